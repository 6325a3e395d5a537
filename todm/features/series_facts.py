"""What a forecaster knows of its series: the scale of its values, their names, their calendar.

S any axes, C variates, T steps.
"""

import numpy as np
from jaxtyping import Float

from todm.core.value import Value

FACTS = "series.json"
INTERVALS = "intervals.safetensors"
PROBE = "probe.safetensors"
"""A few held-out windows: parity and bench run on them, without the table."""


ROUNDING = 1e-12
"""A deviation that is smaller than this share of the largest value is rounding."""


class Scale(Value):
    """Mean and deviation of each variate over the training part."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, values_TC: Float[np.ndarray, "T C"]) -> "Scale":
        """Measure; a variate that never changes, but for rounding, has the deviation 1."""
        std_C = values_TC.std(0)
        std_C = np.where(std_C > ROUNDING * np.abs(values_TC).max(0), std_C, 1.0)
        return cls(mean=tuple(values_TC.mean(0).tolist()), std=tuple(std_C.tolist()))

    def apply(self, values: Float[np.ndarray, "*S C"]) -> Float[np.ndarray, "*S C"]:
        """Return standardised values."""
        return np.asarray((values - np.asarray(self.mean)) / np.asarray(self.std))

    def undo(self, values: Float[np.ndarray, "*S C"]) -> Float[np.ndarray, "*S C"]:
        """Return values in the series's own unit."""
        return np.asarray(values * np.asarray(self.std) + np.asarray(self.mean))


class SeriesFacts(Value):
    """What a forecaster must know of the series that it was trained on."""

    names: tuple[str, ...]
    frequency: str
    step_s: float
    """The usual time from one step to the next."""
    rows: int
    first: str
    last: str
    scale: Scale
    notes: tuple[str, ...] = ()
    """What reading the table found and did."""
