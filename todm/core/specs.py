"""Specification of a recogniser: a frozen value that says an architecture in full.

A ``SubnetSpec`` is hashable: it is a dictionary key, a cache key and (by its digest) a name.
"""

from typing import Literal

from pydantic import Field, model_validator

from todm.core.mixer_specs import MixerSpec
from todm.core.value import Value

SUBSAMPLING = 4
"""Fixed: stock runtimes compute timestamps and endpoints from 10 ms frames times 4."""
FRAME_MS = 10
BLANK_ID = 0


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
