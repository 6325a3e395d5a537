"""Token tables: text to ids and back, in the convention of sherpa-onnx.

Id 0 is the blank. ``▁`` (U+2581) stands for a space: characters spell the space as ``▁``, words
are written ``▁ONE``, BPE pieces carry it where a word begins. So every table decodes alike:
join the symbols, replace ``▁`` by a space, strip.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never

from pydantic import Field, model_validator

from todm.core.data_config import TokenConfig
from todm.core.errors import DataError, MissingExtraError
from todm.core.value import Value

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

BLANK = "<blk>"
SPACE = "\u2581"
SWALLOWED = "<unk>"
"""Stock sherpa-onnx takes the symbol of this name for a second blank."""


class TokenTable(Value):
    """The symbols of a recogniser, by id."""

    unit: Literal["char", "word", "bpe"]
    symbols: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _as_every_runtime_reads_it(self) -> "TokenTable":
        if self.symbols[0] != BLANK:
            raise ValueError(f"symbol 0 must be {BLANK}, got {self.symbols[0]!r}")
        repeated = [symbol for symbol, n in Counter(self.symbols).items() if n > 1]
        if repeated:
            raise ValueError(f"repeated symbols: {' '.join(repeated[:5])}")
        if SWALLOWED in self.symbols:
            raise ValueError(
                f"{SWALLOWED} may not be a symbol: sherpa-onnx would never write it; "
                "train with a table without it, or under another name"
            )
        for symbol in self.symbols:
            if not symbol or symbol.split() != [symbol]:
                raise ValueError(f"a symbol may not be empty or hold white space: {symbol!r}")
        return self

    @property
    def size(self) -> int:
        """Number of symbols, the blank included."""
        return len(self.symbols)

    def encode(self, text: str, *, bpe_model: Path | None = None) -> list[int]:
        """Return the ids of a normalised text.

        Args:
            text: Words separated by single spaces, as ``todm.data.text.normalise`` gives.
            bpe_model: The SentencePiece model; needed for ``unit="bpe"``.

        Raises:
            DataError: a symbol is outside the table; the message names it.
        """
        match self.unit:
            case "char":
                pieces = list(text.replace(" ", SPACE))
            case "word":
                pieces = [SPACE + word for word in text.split()]
            case "bpe":
                pieces = _bpe_pieces(text, bpe_model)
            case _:
                assert_never(self.unit)
        ids = _ids_by_symbol(self.symbols)
        outside = [piece for piece in pieces if piece not in ids]
        if outside:
            raise DataError(
                f"symbol {outside[0]!r} of {text[:40]!r} is outside the table of {self.size} "
                f"{self.unit} tokens; train with a text that has it or remove the line"
            )
        return [ids[piece] for piece in pieces]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids (blanks are skipped).

        Raises:
            DataError: an id is outside the table.
        """
        pieces = []
        for token in ids:
            if not 0 <= token < self.size:
                raise DataError(f"token id {token} is outside the table of {self.size} symbols")
            if token:
                pieces.append(self.symbols[token])
        return "".join(pieces).replace(SPACE, " ").strip()


@lru_cache(maxsize=8)
def _ids_by_symbol(symbols: tuple[str, ...]) -> dict[str, int]:
    return {symbol: index for index, symbol in enumerate(symbols) if index}


@lru_cache(maxsize=4)
def load_bpe(path: Path) -> "SentencePieceProcessor":
    """Open a SentencePiece model.

    Raises:
        DataError: the file is missing or no model.
        MissingExtraError: sentencepiece is not installed.
    """
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise MissingExtraError("sentencepiece", extra="train") from error
    if not path.is_file():
        raise DataError(f"{path}: no such SentencePiece model")
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: is no SentencePiece model; prepare the corpus anew") from error


def _bpe_pieces(text: str, bpe_model: Path | None) -> list[str]:
    if bpe_model is None:
        raise DataError("a BPE table encodes only with its model file (bpe.model)")
    return [str(piece) for piece in load_bpe(bpe_model).encode(text, out_type=str)]


def build_table(
    texts: Sequence[str], config: TokenConfig, *, bpe_model: Path | None = None
) -> TokenTable:
    """Return the table of a corpus: its characters, its words, or its BPE model's pieces.

    Args:
        texts: Normalised training texts.
        config: The token unit.
        bpe_model: The trained model (``todm.data.bpe.train_bpe``) for ``unit="bpe"``.

    Raises:
        DataError: no text holds a symbol, or the BPE model is missing.
    """
    match config.unit:
        case "char":
            found = {char for text in texts for char in text.replace(" ", SPACE)}
            symbols = sorted(found | {SPACE}) if found else []
        case "word":
            symbols = sorted({SPACE + word for text in texts for word in text.split()})
        case "bpe":
            if bpe_model is None:
                raise DataError("a BPE table is built from its model file (bpe.model)")
            model = load_bpe(bpe_model)
            symbols = [model.id_to_piece(i) for i in range(1, model.get_piece_size())]
        case _:
            assert_never(config.unit)
    if not symbols:
        raise DataError("no training text holds a symbol; check the transcripts")
    return TokenTable(unit=config.unit, symbols=(BLANK, *symbols))


def write_tokens_txt(table: TokenTable, path: Path) -> None:
    """Write the table as sherpa-onnx reads it: one ``symbol id`` a line."""
    lines = [f"{symbol} {index}\n" for index, symbol in enumerate(table.symbols)]
    path.write_text("".join(lines), "utf-8")


def write_bpe_vocab(model: Path, path: Path) -> None:
    """Write a BPE model's vocabulary as sherpa-onnx reads it: piece, tab, score.

    Raises:
        DataError: the model cannot be read.
    """
    bpe = load_bpe(model)
    lines = [f"{bpe.id_to_piece(i)}\t{bpe.get_score(i):g}\n" for i in range(bpe.get_piece_size())]
    path.write_text("".join(lines), "utf-8")


def read_tokens_txt(path: Path, unit: Literal["char", "word", "bpe"]) -> TokenTable:
    """Read a ``tokens.txt``; the file does not tell the unit.

    Raises:
        DataError: the file is missing, a line is no ``symbol id``, or ids are not 0, 1, 2 ...
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as a token table ({error})") from error
    symbols: list[str] = []
    for number, line in enumerate((text for text in lines if text), start=1):
        symbol, _, index = line.rpartition(" ")
        if not symbol or index != str(len(symbols)):
            raise DataError(f"{path}:{number}: expected 'symbol {len(symbols)}', got {line!r}")
        symbols.append(symbol)
    return TokenTable.parse({"unit": unit, "symbols": symbols}, where=str(path))
