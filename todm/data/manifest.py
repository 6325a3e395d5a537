"""Prepared corpora: open the artifact, get utterances and the token table. No lhotse needed."""

import gzip
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from todm.core.artifact import Artifact, load_artifact
from todm.core.data_config import SPLITS, Split
from todm.core.errors import ArtifactError, DataError
from todm.decode.tokens import TokenTable

TABLE_NAME = "token_table.json"
TOKENS_NAME = "tokens.txt"
BPE_NAME = "bpe.model"


def cuts_name(split: Split) -> str:
    """Return the file that holds a split's cuts."""
    return f"cuts_{split}.jsonl.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One utterance of a prepared corpus."""

    id: str
    speaker: str
    text: str
    """Normalised words separated by single spaces."""
    tokens: tuple[int, ...]
    duration_s: float
    audio_path: Path
    """16-bit FLAC, mono, 16 kHz; or the archive (``.tar``) that holds it under the id."""
    word_ends_s: tuple[float, ...] | None = None
    """End of each word in seconds, where known."""


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus artifact."""

    artifact: Artifact
    table: TokenTable
    _splits: dict[Split, tuple[Utterance, ...]] = field(default_factory=dict, repr=False)

    def cuts(self, split: Split) -> tuple[Utterance, ...]:
        """Return a split's utterances, in the order of preparation; read when first asked for.

        Raises:
            DataError: there is no such split, or its manifest is damaged.
        """
        if split not in self._splits:
            self._splits[split] = _read_cuts(self.artifact, split)
        return self._splits[split]

    @property
    def bpe_model(self) -> Path | None:
        """The SentencePiece model of a BPE corpus."""
        return self.artifact.file(BPE_NAME) if self.table.unit == "bpe" else None

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a normalised text.

        Raises:
            DataError: a symbol is outside the table.
        """
        return self.table.encode(text, bpe_model=self.bpe_model)


def open_corpus(path: Path, *, verify: bool = True) -> Corpus:
    """Open a prepared corpus.

    Args:
        path: The artifact's folder.
        verify: Check every file's sha256.

    Raises:
        ArtifactError: no corpus artifact there, or it is damaged.
    """
    artifact = load_artifact(path, "corpus", verify=verify)
    return Corpus(artifact=artifact, table=TokenTable.read_json(artifact.file(TABLE_NAME)))


def _read_cuts(artifact: Artifact, split: Split) -> tuple[Utterance, ...]:
    if split not in SPLITS:
        raise DataError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    source = artifact.file(cuts_name(split))
    try:
        with gzip.open(source, "rt", encoding="utf-8") as stream:
            return tuple(_utterance(json.loads(line), artifact.path) for line in stream)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtifactError(f"{source}: damaged cuts ({error}); prepare the corpus anew") from error


def _utterance(cut: dict[str, Any], folder: Path) -> Utterance:
    supervision = cut["supervisions"][0]
    custom = supervision["custom"]
    ends = custom.get("word_ends_s")
    return Utterance(
        id=cut["id"],
        speaker=supervision["speaker"],
        text=supervision["text"],
        tokens=tuple(custom["tokens"]),
        duration_s=float(cut["duration"]),
        audio_path=folder / cut["custom"]["audio"],
        word_ends_s=None if ends is None else tuple(ends),
    )
