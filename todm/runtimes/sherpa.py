"""Stock sherpa-onnx: it computes the features, runs the graphs and searches; todm only feeds it.

Missing metadata ends sherpa's process without an exception, so a bundle is checked before sherpa
sees it: every file by its sha256, and the metadata that the export wrote down. S samples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from todm.core.contract import StreamContract
from todm.core.errors import ArtifactError, InputError, MissingExtraError
from todm.decode.greedy import Hypothesis
from todm.decode.streaming import Transcript, checked_samples, tail_samples, transcript_of
from todm.decode.tokens import SPACE, TokenTable
from todm.runtimes.bundle import BPE_VOCAB, TOKENS, Bundle, Precision, open_bundle
from todm.runtimes.native import require_stock
from todm.runtimes.recogniser import Recogniser, RecogniserStream

REQUIRED_METADATA = {
    "encoder": (
        "model_type", "num_encoder_layers", "T", "decode_chunk_len", "d_model", "rnn_hidden_size",
    ),
    "decoder": ("context_size", "vocab_size"),
}  # fmt: skip
"""Keys without which sherpa-onnx ends the process."""


def check_metadata(bundle: Bundle) -> None:
    """Check that the graphs carry what sherpa-onnx needs, by the bundle's manifest.

    Raises:
        ArtifactError: a key is missing.
    """
    written = bundle.artifact.body.get("metadata")
    for part, keys in REQUIRED_METADATA.items():
        have = written.get(part) if isinstance(written, dict) else None
        missing = [key for key in keys if not isinstance(have, dict) or key not in have]
        if missing:
            raise ArtifactError(
                f"{bundle.artifact.path}: {part}.onnx lacks the metadata {', '.join(missing)} "
                "that sherpa-onnx needs; export it anew"
            )


def _import_sherpa() -> Any:
    try:
        import sherpa_onnx
    except ImportError as error:
        raise MissingExtraError("sherpa-onnx", extra="sherpa") from error
    return sherpa_onnx


def sherpa_hypothesis(
    tokens: Sequence[str],
    times_s: Sequence[float],
    contract: StreamContract,
    ids: Mapping[str, int],
) -> Hypothesis:
    """Read sherpa's tokens and timestamps back as ids and encoder frames."""
    frame_s = contract.subsampling * contract.features.frame_shift_ms / 1000
    frames = tuple(round(second / frame_s) for second in times_s)
    return Hypothesis(tuple(ids[token] for token in tokens), frames, ())


def sherpa_ids(symbols: Sequence[str]) -> dict[str, int]:
    """Return ids by symbol; sherpa shows word starts as a space where tokens.txt has U+2581."""
    return {
        symbol.replace(SPACE, " ", 1) if symbol.startswith(SPACE) else symbol: index
        for index, symbol in enumerate(symbols)
    }


def _units(bundle: Bundle) -> dict[str, str]:
    """Return the modelling unit as sherpa names it, for hotwords; a word table has no name."""
    if BPE_VOCAB in bundle.artifact.manifest.files:
        vocabulary = str(bundle.artifact.file(BPE_VOCAB))
        return {"modeling_unit": "bpe", "bpe_vocab": vocabulary}
    return {}


def online_recognizer(
    files: Mapping[str, Path], tokens: Path, contract: StreamContract, threads: int, **more: str
) -> Any:
    """Return sherpa-onnx's recogniser of three graphs: greedy search, no endpoint detection."""
    features = contract.features
    return _import_sherpa().OnlineRecognizer.from_transducer(
        tokens=str(tokens),
        **{part: str(path) for part, path in files.items()},
        num_threads=threads,
        sample_rate=features.sample_rate_hz,
        feature_dim=features.num_bins,
        low_freq=features.low_freq_hz,
        high_freq=features.high_freq_hz,
        dither=features.dither,
        snip_edges=features.snip_edges,
        decoding_method="greedy_search",
        **more,
    )


class SherpaRecogniser(Recogniser):
    """A loaded OnlineRecognizer; without a table of todm's its transcripts have no text."""

    def __init__(
        self,
        recognizer: Any,
        contract: StreamContract,
        ids: Mapping[str, int],
        table: TokenTable | None,
    ) -> None:
        self._recognizer, self._contract, self._ids, self._table = recognizer, contract, ids, table

    @property
    def contract(self) -> StreamContract:
        """How it is fed, stepped and read."""
        return self._contract

    def stream(self) -> "SherpaStream":
        """Begin a stream."""
        return SherpaStream(self)

    def result(self, stream: Any) -> Transcript:
        """Read a sherpa stream's tokens and timestamps back as ids and encoder frames."""
        result = self._recognizer.get_result_all(stream)
        hypothesis = sherpa_hypothesis(result.tokens, result.timestamps, self._contract, self._ids)
        return transcript_of(hypothesis, self._contract, self._table)

    def create(self) -> Any:
        """Return a new sherpa stream."""
        return self._recognizer.create_stream()

    def drain(self, stream: Any) -> None:
        """Decode every chunk that is ready (sherpa's strict rule)."""
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)


class SherpaStream(RecogniserStream):
    """One stream of a sherpa recogniser."""

    def __init__(self, recogniser: SherpaRecogniser) -> None:
        self._recogniser, self._stream = recogniser, recogniser.create()
        self._finished = False

    def accept(self, samples_S: Float[np.ndarray, " S"]) -> None:
        """Take the next samples and decode every chunk that they complete."""
        if self._finished:
            raise InputError("the stream is finished; open another one")
        rate_hz = self._recogniser.contract.features.sample_rate_hz
        self._stream.accept_waveform(rate_hz, checked_samples(samples_S))
        self._recogniser.drain(self._stream)

    def finish(self) -> Transcript:
        """End the stream: append the contract's silence, decode the rest."""
        if not self._finished:
            self.accept(np.zeros(tail_samples(self._recogniser.contract), np.float32))
            self._stream.input_finished()
            self._recogniser.drain(self._stream)
            self._finished = True
        return self.transcript

    @property
    def transcript(self) -> Transcript:
        """What was decoded so far."""
        return self._recogniser.result(self._stream)


def open_sherpa(path: Path, precision: Precision, threads: int) -> SherpaRecogniser:
    """Load a bundle into stock sherpa-onnx."""
    bundle = open_bundle(path)
    check_metadata(bundle)
    require_stock(bundle, "onnx", "sherpa-onnx")
    recognizer = online_recognizer(
        bundle.onnx_files(precision),
        bundle.artifact.file(TOKENS),
        bundle.contract,
        threads,
        model_type="lstm",
        **_units(bundle),
    )
    ids = sherpa_ids(bundle.table.symbols)
    return SherpaRecogniser(recognizer, bundle.contract, ids, bundle.table)
