"""From samples to a transcript: features, chunks, steps, greedy search.

The chunk rule is sherpa-onnx's, and it is strict: a chunk of T fbank frames is decoded only while
more than T frames are waiting. A stream's tail of up to T frames would so be lost; ``finish``
therefore appends the contract's silence. S samples (16 kHz), T fbank frames of a chunk, F mel
bins, R fbank frames of a recording, K encoder frames, J joiner width.
"""

import numpy as np
from jaxtyping import Float, Float32

from todm.core.contract import StreamContract
from todm.core.errors import DataError, InputError
from todm.core.value import Value
from todm.decode.greedy import GreedyStream, Hypothesis
from todm.decode.steps import TransducerSteps
from todm.decode.tokens import TokenTable
from todm.features.fbank import OnlineFbank, fbank


class Transcript(Value):
    """What a recogniser made of a recording."""

    text: str
    ids: tuple[int, ...]
    frames: tuple[int, ...]
    """Encoder frame of each token."""
    times_s: tuple[float, ...]
    """When each token was emitted, in seconds of audio (the start of its encoder frame)."""
    margins: tuple[float, ...] = ()
    """Best minus second-best logit of every encoder frame; empty where a runtime hides it."""

    @property
    def hypothesis(self) -> Hypothesis:
        """The tokens alone, to compare."""
        return Hypothesis(self.ids, self.frames, self.margins)


def transcript_of(
    hypothesis: Hypothesis, contract: StreamContract, table: TokenTable | None
) -> Transcript:
    """Add times and text; without a table the text stays empty."""
    frame_ms = contract.subsampling * contract.features.frame_shift_ms
    return Transcript(
        text="" if table is None else table.decode(hypothesis.ids),
        ids=hypothesis.ids,
        frames=hypothesis.frames,
        times_s=tuple(frame * frame_ms / 1000 for frame in hypothesis.frames),
        margins=hypothesis.margins,
    )


def whole_chunks(ready_frames: int, chunk_input_frames: int) -> int:
    """Return how many chunks the strict rule decodes of that many fbank frames."""
    return max(0, (ready_frames - 1) // chunk_input_frames)


def tail_samples(contract: StreamContract) -> int:
    """Return the silence that ends a stream, in samples."""
    return contract.tail_padding_ms * contract.features.sample_rate_hz // 1000


def checked_samples(samples_S: Float[np.ndarray, " S"]) -> Float32[np.ndarray, " S"]:
    """Return samples as float32.

    Raises:
        DataError: not one channel of finite numbers.
    """
    if samples_S.ndim != 1:
        raise DataError(f"samples of shape {samples_S.shape}: one channel is needed; mix down")
    if not np.isfinite(samples_S).all():
        raise DataError("samples hold NaN or infinite values; replace the recording")
    return np.ascontiguousarray(samples_S, np.float32)


def padded_features(
    samples_S: Float[np.ndarray, " S"], contract: StreamContract
) -> Float32[np.ndarray, "R F"]:
    """Return the fbank frames that a stream of this recording decodes, tail included."""
    silence = np.zeros(tail_samples(contract), np.float32)
    features_RF = fbank(np.concatenate([checked_samples(samples_S), silence]))
    num_chunks = whole_chunks(features_RF.shape[0], contract.input_frames)
    return features_RF[: num_chunks * contract.input_frames]


def encode_chunks(
    steps: TransducerSteps, features_RF: Float[np.ndarray, "R F"]
) -> Float[np.ndarray, "K J"]:
    """Return the encoder output of whole chunks, stepped from the zero state."""
    state_1S, outputs = steps.zero_state(), []
    chunk = steps.contract.input_frames
    for start in range(0, features_RF.shape[0], chunk):
        enc_1KJ, state_1S = steps.encode(features_RF[None, start : start + chunk], state_1S)
        outputs.append(enc_1KJ[0])
    return np.concatenate(outputs)


class StreamingDecoder:
    """One stream: ``accept`` samples as they come, then ``finish``."""

    def __init__(self, steps: TransducerSteps, table: TokenTable) -> None:
        self._steps, self._table = steps, table
        self._search = GreedyStream(steps)
        self._start()

    def _start(self) -> None:
        self._features = OnlineFbank()
        self._state_1S = self._steps.zero_state()
        self._done_frames = 0
        self._finished = False

    def reset(self) -> None:
        """Begin anew, by the contract's rule: zero state, start context, time 0."""
        self._search.reset()
        self._start()

    def accept(self, samples_S: Float[np.ndarray, " S"]) -> None:
        """Take the next samples and decode every chunk that they complete.

        Raises:
            InputError: the stream is finished.
            DataError: the samples are not one channel of finite numbers.
        """
        if self._finished:
            raise InputError("the stream is finished; reset it before it takes more samples")
        self._features.accept(checked_samples(samples_S))
        self._drain()

    def finish(self) -> Transcript:
        """Append the contract's silence, decode what is left and return the transcript."""
        if not self._finished:
            self.accept(np.zeros(tail_samples(self._steps.contract), np.float32))
            self._features.finish()
            self._drain()
            self._finished = True
        return self.transcript

    def _drain(self) -> None:
        chunk = self._steps.contract.input_frames
        while self._done_frames + chunk < self._features.ready_frames:
            x_TF = self._features.frames(self._done_frames, chunk)
            enc_1KJ, self._state_1S = self._steps.encode(x_TF[None], self._state_1S)
            self._search.advance(enc_1KJ[0])
            self._done_frames += chunk

    @property
    def transcript(self) -> Transcript:
        """What was decoded so far."""
        return transcript_of(self._search.hypothesis, self._steps.contract, self._table)
