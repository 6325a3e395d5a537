"""Causal subsampling by 4: normalise, two strided 2-d convolutions, a projection.

Each convolution (kernel 3, stride 2) is padded by one frame to the left in time, so encoder
frame t sees fbank frames up to 4 t + 3 and no later one, and its streaming state is the last
input frame of each convolution. Padding is zero *after* feature normalisation: a zero state
equals the start of a recording.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.specs import SUBSAMPLING, FrontSpec


class Subsampling(nn.Module):
    """(B, 4 T, F) fbank to (B, T, D)."""

    mean: Tensor
    istd: Tensor

    def __init__(self, model_dim: int, spec: FrontSpec) -> None:
        super().__init__()
        first, second = spec.channels
        self.register_buffer("mean", torch.zeros(spec.feature_dim))
        self.register_buffer("istd", torch.ones(spec.feature_dim))
        self.conv1 = nn.Conv2d(1, first, 3, stride=2, padding=(0, 1))
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=(0, 1))
        self.project = nn.Linear(spec.flat_dim, model_dim)

    def forward(self, features_BTF: Tensor) -> Tensor:
        """Run whole recordings; frames beyond a multiple of 4 are dropped."""
        usable = features_BTF.shape[1] // SUBSAMPLING * SUBSAMPLING
        return self.step(features_BTF[:, :usable], None)[0]

    def step(
        self, features_BTF: Tensor, caches: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Advance by a multiple of 4 frames.

        ``caches`` are the last input frames of the convolutions, (B, 1, 1, F) and
        (B, C1, 1, F / 2); None is the zero state.
        """
        x = ((features_BTF - self.mean) * self.istd)[:, None]
        x, cache1 = _extend(x, None if caches is None else caches[0])
        x = F.silu(self.conv1(x))
        x, cache2 = _extend(x, None if caches is None else caches[1])
        x = F.silu(self.conv2(x))
        return self.project(x.transpose(1, 2).flatten(2)), (cache1, cache2)


def _extend(x_BCTF: Tensor, cache_BC1F: Tensor | None) -> tuple[Tensor, Tensor]:
    """Put the cached frame (or zeros) before x; return it with the new cache."""
    if cache_BC1F is None:
        return F.pad(x_BCTF, (0, 0, 1, 0)), x_BCTF[:, :, -1:]
    return torch.cat([cache_BC1F, x_BCTF], 2), x_BCTF[:, :, -1:]
