"""The streaming encoder: subsampling, the kept blocks, a final norm.

``forward`` is the training form over whole sequences, ``step`` the streaming form over one chunk;
both compute the same function (tested for chunks 1, 3, 16 and T).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from todm.core.contract import state_parts
from todm.core.specs import SubnetSpec
from todm.kernels.ssm import ChunkFold, fold, ssm_chunk
from todm.layers.block import Block
from todm.layers.dropout import DropoutPlan
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
        self, features_BTF: Tensor, spec: SubnetSpec, drop: DropoutPlan | None = None
    ) -> Tensor:
        """Encode whole recordings: fbank (B, T, F) to (B, T // 4, D)."""
        return self.body(self.front(features_BTF), spec, drop)

    def body(self, x_BTD: Tensor, spec: SubnetSpec, drop: DropoutPlan | None = None) -> Tensor:
        """Run the kept blocks over the front end's output, which all subnets share."""
        for block_spec in spec.blocks:
            x_BTD = self.block(block_spec.source_layer)(x_BTD, block_spec, drop)
        return self.norm(x_BTD)

    def folds(self, spec: SubnetSpec, chunk_frames: int) -> list[ChunkFold]:
        """Return the chunk form of every kept mixer."""
        return [
            fold(self.block(b.source_layer).mixer.modes(b.mixer), chunk_frames) for b in spec.blocks
        ]

    def step(
        self,
        features_BTF: Tensor,
        state_BS: Tensor,
        spec: SubnetSpec,
        folds: Sequence[ChunkFold],
    ) -> tuple[Tensor, Tensor]:
        """Advance one chunk of ``4 * chunk`` fbank frames.

        Args:
            features_BTF: fbank of the chunk.
            state_BS: the flat state row of ``state_parts(spec)``; zeros at the start.
            spec: the subnet.
            folds: ``self.folds(spec, chunk)``.
        """
        parts = state_parts(spec)
        views = [
            state_BS[:, p.offset : p.offset + p.num_floats].reshape(-1, *p.shape) for p in parts
        ]
        x_BTD, caches = self.front.step(features_BTF, (views[0], views[1]))
        states = []
        for block_spec, view, chunk_fold in zip(spec.blocks, views[2:], folds, strict=True):
            block = self.block(block_spec.source_layer)
            u_BTHP = block.mixer.enter(block.mixer_norm(x_BTD), block_spec.mixer)
            y_BTHP, state = ssm_chunk(u_BTHP, view, chunk_fold)
            x_BTD = x_BTD + block.mixer.gate(block.mixer.leave(y_BTHP))
            x_BTD = x_BTD + block.ffn(x_BTD, block_spec)
            states.append(state)
        row_BS = torch.cat([part.flatten(1) for part in (*caches, *states)], 1)
        return self.norm(x_BTD), row_BS
