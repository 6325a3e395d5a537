"""What every sequence mixer offers, over whole sequences and chunk by chunk.

B batch, T frames, L frames of a chunk, D model width, X inner width.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from todm.core.mixer_specs import MixerSpec, ScanForm
from todm.core.specs import SubnetSpec

S = TypeVar("S", bound=MixerSpec)
C = TypeVar("C", bound=tuple[Tensor | None, ...])


@dataclass(frozen=True, eq=False)
class Lookahead:
    """Which later frames whole sequences may see: those of the same block of frames."""

    frames: int = 0
    """Most later frames that an output sees; 0 is causal."""
    valid_BT: Tensor | None = None
    """The frames that are no padding; None: all are."""

    @property
    def block_frames(self) -> int:
        """Frames of a block."""
        return self.frames + 1

    def hide_padding(self, u_BTX: Tensor) -> Tensor:
        """Zero the frames of padding: nothing may be seen of them."""
        if self.frames == 0 or self.valid_BT is None:
            return u_BTX
        return u_BTX * self.valid_BT[..., None]


CAUSAL = Lookahead()


def lookahead_of(spec: SubnetSpec, x_BTD: Tensor, frame_lens_B: Tensor | None) -> Lookahead:
    """Return the lookahead of a net over these sequences; without lengths nothing is padding."""
    if spec.lookahead_frames == 0:
        return CAUSAL
    valid_BT = None
    if frame_lens_B is not None:
        valid_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < frame_lens_B[:, None]
    return Lookahead(spec.lookahead_frames, valid_BT)


class Mixer(nn.Module, ABC, Generic[S, C]):
    """A mixer of specs ``S`` whose constants over a chunk are a NamedTuple ``C``."""

    folded: ClassVar[tuple[str, ...]]
    """Members that matter to a chunk through the constants alone; an export leaves them out."""

    @abstractmethod
    def scan(self, x_BTD: Tensor, spec: S, ahead: Lookahead) -> Tensor:
        """Run the training form up to where dropout acts: (B, T, X)."""

    @abstractmethod
    def mix(self, z_BTX: Tensor) -> Tensor:
        """Go on to the update of x, (B, T, D)."""

    @abstractmethod
    def fold(self, spec: S, chunk_frames: int, lookahead_frames: int) -> C:
        """Return the constants of the streaming form over chunks of L frames."""

    def constants(
        self, spec: S, chunk_frames: int, lookahead_frames: int, form: ScanForm
    ) -> tuple[Tensor | None, ...]:
        """Return the constants of that form of the scan; a mixer without one has one form only."""
        del form
        return self.fold(spec, chunk_frames, lookahead_frames)

    @abstractmethod
    def step(
        self, x_BLD: Tensor, states: Sequence[Tensor], spec: S, constants: C
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk.

        Args:
            x_BLD: the chunk.
            states: (B, *shape) of each part of ``spec.state_shapes()``; zeros at the start.
            spec: the mixer's sizes.
            constants: ``self.fold(spec, L, lookahead)``.

        Returns:
            The update of x and the next states.
        """
