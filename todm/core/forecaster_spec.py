"""Specifications of forecasters: what maps a window of a series to its next steps.

T window steps, H horizon steps, C variates, M calendar marks of a step, P period, R rows.
"""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from todm.core.value import Value


class TPGNSpec(Value):
    """Temporal parallel gated network (Jia et al. 2024, arXiv 2409.17703)."""

    kind: Literal["tpgn"] = "tpgn"
    period_steps: int = Field(ge=2)
    """Steps of a row, P: the window is folded into rows of one period each."""
    hidden_dim: int = Field(ge=1)
    """Units of each variate and branch."""
    branches: Literal["both", "long", "short"] = "both"
    """``long``: the gated network over the rows of each column; ``short``: a map of each row."""


class DLinearSpec(Value):
    """Two linear maps of the window, of its moving average and of the rest.

    Zeng et al. 2023, arXiv 2205.13504; the maps are shared by all variates.
    """

    kind: Literal["dlinear"] = "dlinear"
    average_steps: int = Field(default=25, ge=1)
    """Width of the moving average, odd."""

    @model_validator(mode="after")
    def _average_has_a_middle(self) -> "DLinearSpec":
        if self.average_steps % 2 == 0:
            raise ValueError(f"average_steps {self.average_steps} must be odd")
        return self


class GRUSpec(Value):
    """A GRU over the window; its last state is mapped to the whole horizon."""

    kind: Literal["gru"] = "gru"
    hidden_dim: int = Field(default=32, ge=1)


ForecastNet = Annotated[TPGNSpec | DLinearSpec | GRUSpec, Field(discriminator="kind")]
"""Which network; further kinds join this union."""


class ForecasterSpec(Value):
    """One forecaster, in full."""

    kind: Literal["forecaster"] = "forecaster"
    window_steps: int = Field(ge=2)
    horizon_steps: int = Field(ge=1)
    variates: int = Field(default=1, ge=1)
    marks: int = Field(default=0, ge=0)
    """Calendar marks of each step that the network sees."""
    norm: bool = True
    """Each variate of a window less its mean and over its deviation; undone in the forecast."""
    net: ForecastNet

    @model_validator(mode="after")
    def _window_holds_whole_periods(self) -> "ForecasterSpec":
        if isinstance(self.net, TPGNSpec):
            period = self.net.period_steps
            below = self.window_steps // period * period
            if self.window_steps != below or below < 2 * period:
                near = [n for n in (below, below + period) if n >= 2 * period] or [2 * period]
                raise ValueError(
                    f"window_steps {self.window_steps} must be a multiple of the period of "
                    f"{period} steps and at least two of them; take " + " or ".join(map(str, near))
                )
        return self

    @property
    def short_name(self) -> str:
        """A readable name: network, window, horizon, and six digits of digest."""
        return f"{self.net.kind}_T{self.window_steps}_H{self.horizon_steps}_{self.digest()[:6]}"


def window_rows(spec: ForecasterSpec, net: TPGNSpec) -> int:
    """Return the rows, R, into which the window is folded."""
    return spec.window_steps // net.period_steps


def horizon_rows(spec: ForecasterSpec, net: TPGNSpec) -> int:
    """Return the rows that the horizon takes; what the last one has too much is cut off."""
    return math.ceil(spec.horizon_steps / net.period_steps)
