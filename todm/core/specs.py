"""Specifications of networks: frozen values that say an architecture in full.

A ``SubnetSpec`` is hashable: it is a dictionary key, a cache key and (by its digest) a name.
"""

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from todm.core.errors import ConfigError
from todm.core.forecaster_spec import ForecasterSpec
from todm.core.lssl import Learn
from todm.core.value import Value

SUBSAMPLING = 4
"""Fixed: stock runtimes compute timestamps and endpoints from 10 ms frames times 4."""
FRAME_MS = 10
BLANK_ID = 0

ScanForm = Literal["folded", "unrolled", "custom"]
"""How a graph holds the state-space scan of a chunk: as matrix products of standard operators, as
the recurrence frame by frame, or as todm's own operator, which the user builds (``make native``).
"""


class MixerSizes(Value, ABC):
    """What the rest of todm asks of a mixer's spec, whatever its kind."""

    elastic: ClassVar[tuple[str, ...]]
    """Fields in which the nets of one supernet differ, each a prefix; the others are fixed. A
    search space holds allowed values of each (``core.space.AXIS_VALUES`` says where)."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The axis that says how large the mixer is; dropout follows it."""

    @property
    def looks_ahead(self) -> bool:
        """Whether it can use later frames of its own chunk."""
        return False

    @abstractmethod
    def axes(self) -> dict[str, int]:
        """Return the values of ``elastic``, in that order, by their short names."""

    @abstractmethod
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each part of the streaming state of one stream."""

    @property
    def state_floats(self) -> int:
        """Floats of streaming state."""
        return sum(math.prod(shape) for shape in self.state_shapes().values())

    def fixed(self) -> dict[str, Any]:
        """Return what every net of a supernet has in common with the largest."""
        return self.model_dump(exclude=set(self.elastic))


class MHSSMSpec(MixerSizes):
    """A multi-head state-space mixer (Fathullah et al. 2023, arXiv 2305.12498)."""

    elastic: ClassVar[tuple[str, ...]] = ("num_heads", "state_dim")

    kind: Literal["mhssm"] = "mhssm"
    num_heads: int = Field(ge=2, multiple_of=2)
    """Heads kept, a prefix; even, because gating partners are neighbours."""
    head_dim: int = Field(ge=1)
    """Channels per head, P; all channels of a head share its state-space parameters."""
    state_dim: int = Field(ge=1)
    """Complex modes per head, N, a prefix of lowest frequencies first."""
    backward: bool = False
    """A second scan of as many modes against time, inside the ``SubnetSpec``'s lookahead."""
    conv_frames: int = Field(default=0, ge=0)
    """Taps of a causal depthwise convolution before the scan; 0 is none, 1 would do nothing."""
    gating: Literal["out_glu", "head_glu", "pairs", "none"] = "out_glu"
    """How heads gate each other, z after the scan's activation and v * sigmoid(g) a gate:
    ``out_glu`` maps all heads to v and g of the model's width; ``head_glu`` maps them to v and g
    of half as many heads, then out; ``pairs`` takes v from head 2 j and g from a map of head
    2 j + 1 alone, then out; ``none`` maps out."""
    dt_min: float = Field(default=0.01, gt=0.0)
    """Least and largest step size at birth, one a head, in frames of 40 ms."""
    dt_max: float = Field(default=0.5, gt=0.0)

    @model_validator(mode="after")
    def _forms_exist(self) -> "MHSSMSpec":
        if self.conv_frames == 1:
            raise ValueError("conv_frames 1 mixes nothing; give 0 (none) or at least 2")
        if self.dt_min >= self.dt_max:
            raise ValueError(f"dt_min {self.dt_min} must be below dt_max {self.dt_max}")
        return self

    @property
    def inner_dim(self) -> int:
        """Width between the input and output projections, H * P."""
        return self.num_heads * self.head_dim

    @property
    def width(self) -> int:
        """Heads."""
        return self.num_heads

    @property
    def looks_ahead(self) -> bool:
        """Whether there is a scan against time."""
        return self.backward

    def axes(self) -> dict[str, int]:
        """Return heads and modes."""
        return {"heads": self.num_heads, "state": self.state_dim}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the convolution's past frames, and the modes: real rows, then imaginary."""
        conv = {"conv": (self.conv_frames - 1, self.inner_dim)} if self.conv_frames else {}
        return {**conv, "ssm": (self.num_heads, 2 * self.state_dim, self.head_dim)}


class PGNSpec(MixerSizes):
    """A parallel gated network (Jia et al. 2024, arXiv 2409.17703) over the last frames."""

    elastic: ClassVar[tuple[str, ...]] = ("num_heads", "window")

    kind: Literal["pgn"] = "pgn"
    num_heads: int = Field(ge=1)
    """Groups of channels kept, a prefix; they are a unit of size only, all see each other."""
    head_dim: int = Field(ge=1)
    """Channels of a group, P."""
    window: int = Field(default=16, ge=1)
    """Frames of history, W, a prefix of most recent first; the frame itself is not among them."""

    @property
    def inner_dim(self) -> int:
        """Channels of the history, H * P."""
        return self.num_heads * self.head_dim

    @property
    def width(self) -> int:
        """Groups of channels."""
        return self.num_heads

    def axes(self) -> dict[str, int]:
        """Return groups of channels and window."""
        return {"heads": self.num_heads, "window": self.window}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the last inputs of the history, oldest first."""
        return {"history": (self.window, self.inner_dim)}


class LSSLSpec(MixerSizes):
    """Heads of linear state-space layers (Gu et al. 2021, arXiv 2110.13985)."""

    elastic: ClassVar[tuple[str, ...]] = ("num_heads", "state_dim")

    kind: Literal["lssl"] = "lssl"
    num_heads: int = Field(ge=1)
    """Heads kept, a prefix."""
    head_dim: int = Field(ge=1)
    """Channels per head, P; all channels of a head share A, B, C and the step size."""
    state_dim: int = Field(ge=1)
    """Order of the real state per head, N: A is lower triangular, so a prefix is a smaller order's
    state. (LegT has no such prefixes and is no mixer.)"""
    state: Literal["legs", "lagt"] = "legs"
    learn: Learn = "dt_a"
    alpha: float = Field(default=0.5, ge=0.5, le=1.0)
    """Discretisation: 1/2 bilinear, 1 backward Euler; below 1/2 steps this long are unstable."""
    gating: Literal["out_glu", "none"] = "out_glu"
    """As an ``MHSSMSpec``'s; the paper has none."""
    dt_min: float = Field(default=0.01, gt=0.0)
    """Least and largest step size at birth, one a head, in frames of 40 ms."""
    dt_max: float = Field(default=0.5, le=1.0)

    @model_validator(mode="after")
    def _steps_differ(self) -> "LSSLSpec":
        if self.dt_min >= self.dt_max:
            raise ValueError(f"dt_min {self.dt_min} must be below dt_max {self.dt_max}")
        return self

    @property
    def inner_dim(self) -> int:
        """Width between the input and output projections, H * P."""
        return self.num_heads * self.head_dim

    @property
    def width(self) -> int:
        """Heads."""
        return self.num_heads

    def axes(self) -> dict[str, int]:
        """Return heads and order."""
        return {"heads": self.num_heads, "state": self.state_dim}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the state."""
        return {"ssm": (self.num_heads, self.state_dim, self.head_dim)}


MixerSpec = MHSSMSpec | PGNSpec | LSSLSpec
"""Which sequence mixer; further kinds join this union."""


class BlockSpec(Value):
    """One kept encoder layer."""

    source_layer: int = Field(ge=0)
    """Which layer of the supernet this is."""
    ffn_dim: int = Field(ge=1)
    mixer: MixerSpec = Field(discriminator="kind")


class FrontSpec(Value):
    """Causal two-layer Conv2d subsampling by 4: channels and input features."""

    feature_dim: int = Field(default=80, ge=4, multiple_of=4)
    channels: tuple[int, int] = (16, 32)

    @property
    def flat_dim(self) -> int:
        """Features per output frame before the projection."""
        return self.channels[1] * (self.feature_dim // 4)

    @property
    def state_floats(self) -> tuple[int, int]:
        """Cached floats of each convolution: its last input frame."""
        return self.feature_dim, self.channels[0] * (self.feature_dim // 2)


class PredictorSpec(Value):
    """What reads the last tokens: no state but their ids."""

    kind: Literal["stateless", "pgn"] = Field(
        default="stateless", exclude_if=lambda kind: kind == "stateless"
    )
    """``stateless``: a depthwise convolution over the embeddings. ``pgn``: a parallel gated network
    (Jia et al. 2024, arXiv 2409.17703), whose window is all tokens but the last."""
    embed_dim: int = Field(ge=1)
    context_size: int = Field(default=2, ge=1, le=5)
    """Tokens that it reads: 1 to 4 for ``stateless``, 2 to 5 for ``pgn``."""

    @model_validator(mode="after")
    def _context_suits_the_kind(self) -> "PredictorSpec":
        least, most = (1, 4) if self.kind == "stateless" else (2, 5)
        if not least <= self.context_size <= most:
            raise ValueError(
                f"context_size {self.context_size}: a predictor of kind {self.kind} reads "
                f"{least} to {most} tokens"
            )
        return self

    @property
    def window(self) -> int:
        """Tokens before the last one."""
        return self.context_size - 1


class SubnetSpec(Value):
    """One recogniser, in full."""

    kind: Literal["rnnt"] = "rnnt"
    front: FrontSpec = FrontSpec()
    model_dim: int = Field(ge=1)
    blocks: tuple[BlockSpec, ...] = Field(min_length=1)
    predictor: PredictorSpec
    joiner_dim: int = Field(ge=1)
    vocab_size: int = Field(ge=2)
    chunk_frames: int = Field(default=8, ge=1)
    """Encoder frames (40 ms each) per streaming step."""
    lookahead_frames: int = Field(default=0, ge=0)
    """Most later frames that an output sees, all of its own chunk: frames lie in blocks of
    ``lookahead_frames + 1``, which see nothing of the next block, and a chunk holds whole blocks.
    0 is a causal net, which any chunk suits."""

    @model_validator(mode="after")
    def _layers_ascend(self) -> "SubnetSpec":
        layers = [block.source_layer for block in self.blocks]
        if layers != sorted(set(layers)):
            raise ValueError(f"source layers must ascend without repeats, got {layers}")
        return self

    @model_validator(mode="after")
    def _lookahead_fits(self) -> "SubnetSpec":
        if self.lookahead_frames and not any(b.mixer.looks_ahead for b in self.blocks):
            raise ValueError("lookahead_frames needs a mixer that looks ahead (mhssm: backward)")
        if not self.fits_chunk(self.chunk_frames):
            raise ValueError(
                f"lookahead_frames {self.lookahead_frames} makes blocks of {self.block_frames} "
                f"frames; chunk_frames {self.chunk_frames} must be a multiple of that"
            )
        return self

    @property
    def block_frames(self) -> int:
        """Frames of the blocks that see each other."""
        return self.lookahead_frames + 1

    def fits_chunk(self, chunk_frames: int) -> bool:
        """Tell whether the net can be streamed in chunks of so many frames."""
        return chunk_frames % self.block_frames == 0

    @property
    def state_floats(self) -> int:
        """Width of the flat streaming state row."""
        mixers = sum(block.mixer.state_floats for block in self.blocks)
        return sum(self.front.state_floats) + mixers

    @property
    def short_name(self) -> str:
        """A readable name: layers, FFN and mixer widths, joiner, and six digits of digest."""
        ffn = "-".join(str(b.ffn_dim) for b in self.blocks)
        width = "-".join(str(b.mixer.width) for b in self.blocks)
        return f"L{len(self.blocks)}_F{ffn}_H{width}_J{self.joiner_dim}_{self.digest()[:6]}"

    def axes(self) -> dict[str, object]:
        """Return the elastic axes by name, to compare and to print."""
        mixers = [block.mixer.axes() for block in self.blocks]
        names = dict.fromkeys(name for axes in mixers for name in axes)
        return {
            "layers": tuple(b.source_layer for b in self.blocks),
            "ffn": tuple(b.ffn_dim for b in self.blocks),
            **{name: tuple(axes.get(name, 0) for axes in mixers) for name in names},
            "joiner": self.joiner_dim,
            "lookahead": self.lookahead_frames,
        }


ModelSpec = SubnetSpec | ForecasterSpec
"""What cost, export and bench take; further kinds join this union."""


def read_model_spec(path: Path) -> ModelSpec:
    """Read the spec of a model of any kind.

    Raises:
        ConfigError: no spec, or of a kind that this todm does not know.
    """
    kinds: dict[str, type[ModelSpec]] = {"rnnt": SubnetSpec, "forecaster": ForecasterSpec}
    kind = _Tag.read_json(path).kind
    if kind not in kinds:
        raise ConfigError(f"{path}: no model of kind {kind!r}; known: {', '.join(kinds)}")
    return kinds[kind].read_json(path)


class _Tag(Value):
    """The kind of a spec, whatever else it says."""

    model_config = ConfigDict(extra="ignore")

    kind: str
