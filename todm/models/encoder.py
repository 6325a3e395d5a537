"""The streaming encoder: subsampling, the kept blocks, a final norm.

``forward`` is the training form over whole sequences, ``step`` the streaming form over one chunk;
both compute the same function (tested for chunks 1, 3, 16 and T; with lookahead for chunks of
whole blocks).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from todm.core.contract import state_parts
from todm.core.mixer_specs import ScanForm
from todm.core.specs import SubnetSpec
from todm.layers.block import Block
from todm.layers.dropout import DropoutPlan
from todm.layers.mixer import lookahead_of
from todm.layers.subsampling import Subsampling


class Encoder(nn.Module):
    """Elastic encoder; ``spec`` of a call says which part of it runs."""

    def __init__(self, spec: SubnetSpec) -> None:
        super().__init__()
        self.front = Subsampling(spec.model_dim, spec.front)
        self.blocks = nn.ModuleDict(
            {str(block.source_layer): Block(spec.model_dim, block) for block in spec.blocks}
        )
        self.norm = nn.LayerNorm(spec.model_dim)

    def block(self, layer: int) -> Block:
        """Return the block of a source layer."""
        block = self.blocks[str(layer)]
        assert isinstance(block, Block)
        return block

    def forward(
        self,
        features_BTF: Tensor,
        spec: SubnetSpec,
        drop: DropoutPlan | None = None,
        frame_lens_B: Tensor | None = None,
    ) -> Tensor:
        """Encode whole recordings: fbank (B, T, F) to (B, T // 4, D)."""
        return self.body(self.front(features_BTF), spec, drop, frame_lens_B)

    def body(
        self,
        x_BTD: Tensor,
        spec: SubnetSpec,
        drop: DropoutPlan | None = None,
        frame_lens_B: Tensor | None = None,
    ) -> Tensor:
        """Run the kept blocks over the front end's output, which all subnets share.

        Args:
            x_BTD: the front end's output.
            spec: the subnet.
            drop: dropout of a training step.
            frame_lens_B: encoder frames of each recording; a net with lookahead sees no padding.
        """
        ahead = lookahead_of(spec, x_BTD, frame_lens_B)
        for block_spec in spec.blocks:
            x_BTD = self.block(block_spec.source_layer)(x_BTD, block_spec, drop, ahead)
        return self.norm(x_BTD)

    def folds(self, spec: SubnetSpec, chunk_frames: int, form: ScanForm = "folded") -> list[Any]:
        """Return the constants of every kept mixer over a chunk, each a NamedTuple of tensors."""
        ahead = spec.lookahead_frames
        return [
            self.block(b.source_layer).mixer.constants(b.mixer, chunk_frames, ahead, form)
            for b in spec.blocks
        ]

    def step(
        self,
        features_BTF: Tensor,
        state_BS: Tensor,
        spec: SubnetSpec,
        folds: Sequence[Any],
    ) -> tuple[Tensor, Tensor]:
        """Advance one chunk of ``4 * chunk`` fbank frames.

        Args:
            features_BTF: fbank of the chunk.
            state_BS: the flat state row of ``state_parts(spec)``; zeros at the start.
            spec: the subnet.
            folds: ``self.folds(spec, chunk)``.
        """
        views = state_views(state_BS, spec)
        x_BTD, next_caches = self.front.step(features_BTF, (next(views), next(views)))
        states = list(next_caches)
        for block_spec, constants in zip(spec.blocks, folds, strict=True):
            own = tuple(islice(views, len(block_spec.mixer.state_shapes())))
            block = self.block(block_spec.source_layer)
            x_BTD, next_states = block.step(x_BTD, own, block_spec, constants)
            states += next_states
        return self.norm(x_BTD), torch.cat([part.flatten(1) for part in states], 1)


def state_views(state_BS: Tensor, spec: SubnetSpec) -> Iterator[Tensor]:
    """Yield each part of a flat state row as ``state_parts`` lays it out."""
    for part in state_parts(spec):
        yield state_BS[:, part.offset : part.offset + part.num_floats].reshape(-1, *part.shape)
