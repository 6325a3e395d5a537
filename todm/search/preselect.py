"""Which of several children to evaluate: the one that a cheap model expects the most of.

A net's MACs are arithmetic and need no evaluation; its quality does. So NSGA-II draws a few
children for each that is evaluated, a linear model of the nets evaluated so far predicts their
quality, and the child that would add most hypervolume is taken (preselection by a surrogate;
Jin 2011, Swarm and Evolutionary Computation 1(2)). The model is a ridge regression of log quality
on the axes' values, each of which it may judge by itself: quality grows about additively with
them. Where no child is expected to add anything, the first is taken, as NSGA-II alone would.

N nets, X features.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from todm.metrics.hypervolume import hypervolume

RIDGE = 0.1
BEYOND = 1.1
"""The reference point, in units of the worst values so far."""

Values = tuple[float, float]
"""What is minimised: quality and MACs."""


class Surrogate:
    """Predicts the quality of genomes from those that were evaluated."""

    def __init__(
        self,
        choices: Mapping[str, Sequence[int]],
        genomes: Sequence[Mapping[str, int]],
        values: Sequence[Values],
    ) -> None:
        """Fit the model.

        Args:
            choices: The values of each decision, ascending.
            genomes: At least one, evaluated.
            values: What each of them has.
        """
        self._choices, self._values = choices, list(values)
        log_N = np.log1p([quality for quality, _ in values])
        self._mean = float(log_N.mean())
        x_NX = np.stack([self._features(genome) for genome in genomes])
        gram_XX = x_NX.T @ x_NX + RIDGE * np.eye(x_NX.shape[1])
        self._weights_X = np.linalg.solve(gram_XX, x_NX.T @ (log_N - self._mean))
        self._reference = (
            BEYOND * max(quality for quality, _ in values),
            BEYOND * max(macs for _, macs in values),
        )
        self._volume = hypervolume(values, self._reference)

    def quality(self, genome: Mapping[str, int]) -> float:
        """Return the quality that is expected of a genome."""
        return float(np.expm1(self._features(genome) @ self._weights_X + self._mean))

    def gain(self, genome: Mapping[str, int], macs: float) -> float:
        """Return the hypervolume that a genome with these MACs is expected to add."""
        added = [*self._values, (self.quality(genome), macs)]
        return hypervolume(added, self._reference) - self._volume

    def _features(self, genome: Mapping[str, int]) -> Float64[np.ndarray, " X"]:
        """Return a one, and for each value but the least whether the decision reaches it."""
        reached = [
            float(genome[name] >= value)
            for name, values in self._choices.items()
            for value in values[1:]
        ]
        return np.array([1.0, *reached])
