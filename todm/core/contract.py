"""The StreamContract: all that a runtime needs to stream a bundle, stored inside the bundle."""

from typing import Literal

from pydantic import Field

from todm.core.specs import BLANK_ID, FRAME_MS, SUBSAMPLING, SubnetSpec
from todm.core.value import Value


class FeatureSpec(Value):
    """Fbank settings, exactly sherpa-onnx's (kaldi-native-fbank).

    A contract tells them to readers that todm does not know; todm computes these alone, and opens
    no bundle that asks for others.
    """

    sample_rate_hz: int = 16000
    num_bins: int = 80
    frame_shift_ms: int = FRAME_MS
    frame_length_ms: int = 25
    low_freq_hz: float = 20.0
    high_freq_hz: float = -400.0
    """Negative: below the Nyquist frequency by this much."""
    window: Literal["povey"] = "povey"
    preemphasis: float = 0.97
    dither: float = 0.0
    snip_edges: bool = False


class StatePart(Value):
    """One part of the flat state row."""

    name: str
    offset: int = Field(ge=0)
    shape: tuple[int, ...]

    @property
    def num_floats(self) -> int:
        """Floats that the part takes."""
        total = 1
        for size in self.shape:
            total *= size
        return total


class StreamContract(Value):
    """How to feed, step, reset and read one streaming recogniser."""

    features: FeatureSpec = FeatureSpec()
    subsampling: int = SUBSAMPLING
    chunk_frames: int = Field(ge=1)
    """Encoder frames per step; the encoder takes ``chunk_frames * subsampling`` fbank frames."""
    lookahead_frames: int = Field(default=0, ge=0)
    """Most later frames that an output sees, all of its own chunk: a step needs no others."""
    state: tuple[StatePart, ...]
    """The parts of the one flat state row; every part starts at zero."""
    joiner_dim: int = Field(ge=1)
    vocab_size: int = Field(ge=2)
    context_size: int = Field(ge=1)
    blank_id: int = BLANK_ID
    symbols_per_frame: Literal[1] = 1
    """Stock runtimes emit at most one symbol per encoder frame; so does every WER of todm."""
    token_unit: Literal["char", "word", "bpe"]
    tail_padding_ms: int = Field(ge=0)
    """Silence to append at the end of a stream so that the last frames are decoded."""
    reset_rule: Literal["zero_state_and_context"] = "zero_state_and_context"
    """What a new stream starts with."""
    endpoint_rule: Literal["keep_state_and_context"] = "keep_state_and_context"
    """What an endpoint inside a stream does: the text so far is handed over and nothing else
    changes, so that the segments joined are the uninterrupted transcript."""

    @property
    def state_floats(self) -> int:
        """Width of the flat state row."""
        return sum(part.num_floats for part in self.state)

    @property
    def input_frames(self) -> int:
        """Fbank frames per step."""
        return self.chunk_frames * self.subsampling

    @property
    def chunk_ms(self) -> int:
        """Audio per step in milliseconds."""
        return self.input_frames * self.features.frame_shift_ms


def state_parts(spec: SubnetSpec) -> tuple[StatePart, ...]:
    """Lay out the flat state row of a subnet: two conv caches, then each mixer's parts."""
    front = spec.front
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("front.conv1", (1, 1, front.feature_dim)),
        ("front.conv2", (front.channels[0], 1, front.feature_dim // 2)),
    ]
    for block in spec.blocks:
        for name, shape in block.mixer.state_shapes().items():
            shapes.append((f"block{block.source_layer}.{name}", shape))
    parts, offset = [], 0
    for name, shape in shapes:
        part = StatePart(name=name, offset=offset, shape=shape)
        parts.append(part)
        offset += part.num_floats
    return tuple(parts)


def contract_of(spec: SubnetSpec, token_unit: Literal["char", "word", "bpe"]) -> StreamContract:
    """Derive the contract of a subnet.

    The tail is one chunk and one frame more (sherpa decodes only while strictly more frames
    than a chunk are ready) and a further chunk, so that words emitted late are not cut.
    """
    chunk_ms = spec.chunk_frames * SUBSAMPLING * FRAME_MS
    return StreamContract(
        chunk_frames=spec.chunk_frames,
        lookahead_frames=spec.lookahead_frames,
        state=state_parts(spec),
        joiner_dim=spec.joiner_dim,
        vocab_size=spec.vocab_size,
        context_size=spec.predictor.context_size,
        token_unit=token_unit,
        tail_padding_ms=chunk_ms + FRAME_MS + 25 + max(chunk_ms, 320),
    )
