"""What every sequence mixer offers, over whole sequences and chunk by chunk.

B batch, T frames, L frames of a chunk, D model width, X inner width.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn

from todm.core.specs import MixerSpec

S = TypeVar("S", bound=MixerSpec)
C = TypeVar("C", bound=tuple[Tensor, ...])


class Mixer(nn.Module, ABC, Generic[S, C]):
    """A mixer of specs ``S`` whose constants over a chunk are a NamedTuple ``C``."""

    folded: ClassVar[tuple[str, ...]]
    """Members that matter to a chunk through the constants alone; an export leaves them out."""

    @abstractmethod
    def scan(self, x_BTD: Tensor, spec: S) -> Tensor:
        """Run the training form up to where dropout acts: (B, T, X)."""

    @abstractmethod
    def mix(self, z_BTX: Tensor) -> Tensor:
        """Go on to the update of x, (B, T, D)."""

    @abstractmethod
    def fold(self, spec: S, chunk_frames: int) -> C:
        """Return the constants of the streaming form over chunks of L frames."""

    @abstractmethod
    def step(
        self, x_BLD: Tensor, states: Sequence[Tensor], spec: S, constants: C
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk.

        Args:
            x_BLD: the chunk.
            states: (B, *shape) of each part of ``spec.state_shapes()``; zeros at the start.
            spec: the mixer's sizes.
            constants: ``self.fold(spec, L)``.

        Returns:
            The update of x and the next states.
        """
