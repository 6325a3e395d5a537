"""Training of SentencePiece BPE models (Sennrich et al. 2016, arXiv 1508.07909)."""

import io
from collections.abc import Sequence
from pathlib import Path

from todm.core.errors import DataError, MissingExtraError
from todm.decode.tokens import BLANK


def train_bpe(texts: Sequence[str], size: int, path: Path) -> None:
    """Train a BPE model of ``size`` pieces on normalised texts and write it to ``path``.

    Piece 0 is both the blank and SentencePiece's unknown piece, so no id is wasted and an
    unknown character is found by its piece. Deterministic: one thread, no sampling.

    Raises:
        DataError: the texts cannot give so many (or so few) pieces; the message has the cure.
        MissingExtraError: sentencepiece is not installed.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingExtraError("sentencepiece", extra="train") from error
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=65536,
            unk_id=0,
            unk_piece=BLANK,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"bpe_size {size} does not fit {len(texts)} texts: {reason}; choose another bpe_size"
        ) from error
    path.write_bytes(model.getvalue())
