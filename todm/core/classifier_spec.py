"""Specifications of sequence classifiers and regressors: layers of one kind, a mean, a linear map.

L frames, I inputs of a frame, H model width.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from todm.core.lssl import Learn, StateKind
from todm.core.value import Value

MOST_STEP = 1e4
"""Of a range of steps, in frames: with longer ones a state forgets everything in a frame."""


def _check_steps(dt_range: tuple[float, float] | None) -> None:
    if dt_range is not None and not 0.0 < dt_range[0] < dt_range[1] <= MOST_STEP:
        raise ValueError(
            f"dt_range must be two ascending positive steps up to {MOST_STEP:g}, got {dt_range}"
        )


class LSSLMap(Value):
    """A linear state-space layer (Gu et al. 2021, arXiv 2110.13985): GELU and a linear map follow.

    Its step sizes are drawn from [1 / L, 100 / L] for sequences of L frames, the paper's rule.
    """

    streams: ClassVar[bool] = True

    kind: Literal["lssl"] = "lssl"
    state_dim: int = Field(default=32, ge=1)
    """Order of the state, N."""
    num_outputs: int = Field(default=1, ge=1)
    """Outputs of each channel, M."""
    state: StateKind = "legs"
    learn: Learn = "dt_a"
    """What trains beside C and D."""
    dt_range: tuple[float, float] | None = None
    """Least and largest step at birth; None is the rule."""

    @model_validator(mode="after")
    def _choices_fit(self) -> "LSSLMap":
        if self.learn == "dt_a" and self.state in ("random", "legt"):
            raise ValueError(f"A of state {self.state} does not train here; set learn to dt")
        _check_steps(self.dt_range)
        return self


class MHSSMMap(Value):
    """The multi-head state-space mixer (Fathullah et al. 2023, arXiv 2305.12498)."""

    streams: ClassVar[bool] = True

    kind: Literal["mhssm"] = "mhssm"
    num_heads: int = Field(default=16, ge=2, multiple_of=2)
    head_dim: int = Field(default=4, ge=1)
    state_dim: int = Field(default=16, ge=1)
    """Complex modes of a head."""
    gating: Literal["out_glu", "none"] = "out_glu"
    dt_range: tuple[float, float] | None = None
    """Least and largest step at birth; None is [1 / L, 100 / L], as of a ``LSSLMap``."""

    @model_validator(mode="after")
    def _steps_ascend(self) -> "MHSSMMap":
        _check_steps(self.dt_range)
        return self


class GRUMap(Value):
    """A gated recurrent unit (Cho et al. 2014, arXiv 1406.1078); a linear map follows."""

    streams: ClassVar[bool] = False

    kind: Literal["gru"] = "gru"
    hidden_dim: int | None = Field(default=None, ge=1)
    """Units; None is the model's width."""


class ConvMap(Value):
    """A causal convolution, layer i dilated by ``growth`` to the i; GELU and a linear map follow.

    Bai et al. 2018, arXiv 1803.01271.
    """

    streams: ClassVar[bool] = False

    kind: Literal["conv"] = "conv"
    taps: int = Field(default=9, ge=2)
    growth: int = Field(default=8, ge=1)


SequenceMap = Annotated[LSSLMap | MHSSMMap | GRUMap | ConvMap, Field(discriminator="kind")]
"""What sees other frames; ``streams`` tells whether it has a chunk form to export. Further kinds
join this union."""


class ClassifierSpec(Value):
    """One classifier or regressor, in full."""

    kind: Literal["classifier"] = "classifier"
    input_dim: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    """Frames of the sequences that it trains on, L."""
    outputs: int = Field(ge=1)
    """Classes, or figures to estimate."""
    head: Literal["classes", "regression"] = "classes"
    """``classes``: cross entropy. ``regression``: squared error of standardised targets."""
    depth: int = Field(ge=1)
    width: int = Field(ge=1)
    """Channels of every layer, H."""
    map: SequenceMap
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _classes_are_several(self) -> "ClassifierSpec":
        if self.head == "classes" and self.outputs < 2:
            raise ValueError("a classifier needs at least two classes")
        return self

    @property
    def dt_range(self) -> tuple[float, float]:
        """Least and largest step size at birth of the maps that have one."""
        own = self.map.dt_range if isinstance(self.map, LSSLMap | MHSSMMap) else None
        return own or (1.0 / self.num_frames, 100.0 / self.num_frames)

    @property
    def short_name(self) -> str:
        """A readable name: map, depth, width, and six digits of digest."""
        return f"{self.map.kind}_L{self.depth}_H{self.width}_{self.digest()[:6]}"
