"""Gradient clipping by the history of gradient norms.

A norm above ``scale`` times the median of the last 100 norms is brought down to that threshold.
The threshold is estimated anew at every 100th norm, and at the 10th, 20th and 40th with twice
the scale; before the 10th nothing is clipped.

Source: icefall's optimiser (Yao et al. 2023, Zipformer, arXiv 2310.11230, section 3.4).
"""

import statistics
from typing import Any

NORM_HISTORY = 100
FIRST_ESTIMATES = (10, 20, 40)


class MedianClip:
    """The factor on the gradients of each step."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._norms: list[float] = []
        self._num_norms = 0
        self._threshold = 0.0

    def factor(self, norm: float) -> float:
        """Return the factor for a (finite) norm, which joins the history."""
        self._norms = [*self._norms, norm][-NORM_HISTORY:]
        self._num_norms += 1
        count = self._num_norms
        if count in FIRST_ESTIMATES or count % NORM_HISTORY == 0:
            early = 2.0 if count in FIRST_ESTIMATES else 1.0
            self._threshold = early * self.scale * statistics.median(self._norms)
        if self._threshold == 0.0 or norm <= self._threshold:
            return 1.0
        return self._threshold / norm

    def state_dict(self) -> dict[str, Any]:
        """Return the history; plain lists and numbers."""
        return {
            "norms": list(self._norms),
            "num_norms": self._num_norms,
            "threshold": self._threshold,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._norms = list(state["norms"])
        self._num_norms = state["num_norms"]
        self._threshold = state["threshold"]
