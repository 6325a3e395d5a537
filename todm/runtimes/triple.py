"""A peer's transducer triple in stock sherpa-onnx: no manifest, so nothing is checked by sha256."""

from collections import defaultdict
from pathlib import Path

from todm.core.contract import StreamContract
from todm.core.errors import DataError
from todm.core.value import Value
from todm.runtimes.sherpa import SherpaRecogniser, online_recognizer, sherpa_ids


class Triple(Value):
    """Three graphs, their tokens, and what they say of themselves."""

    files: dict[str, Path]
    tokens: Path
    contract: StreamContract
    model_type: str
    """Of sherpa-onnx; empty lets it find out."""
    num_parameters: int


def open_triple(triple: Triple, threads: int) -> SherpaRecogniser:
    """Load a peer's triple; a symbol that sherpa spells otherwise than ``tokens.txt`` has id 0.

    Raises:
        DataError: ``tokens.txt`` cannot be read.
        MissingExtraError: sherpa-onnx is not installed.
    """
    try:
        lines = triple.tokens.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{triple.tokens}: not readable as a token table ({error})") from error
    symbols = [line.rpartition(" ")[0] for line in lines if line]
    ids = defaultdict(int, sherpa_ids(symbols))
    recognizer = online_recognizer(
        triple.files, triple.tokens, triple.contract, threads, model_type=triple.model_type
    )
    return SherpaRecogniser(recognizer, triple.contract, ids, None)
