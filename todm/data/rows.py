"""The common form of every corpus before it is prepared: rows, and the lines rejected.

A reader yields rows with metadata only; the audio of a row is loaded when its turn comes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from todm.core.data_config import SourceConfig, Split, StringConfig, SynthesisConfig
from todm.core.errors import DataError
from todm.features.wav import read_audio

Samples: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float32]]
"""16 kHz mono samples, float32 in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One utterance of a source corpus."""

    id: str
    speaker: str
    text: str
    """As published; normalised later."""
    split: Split | None
    """None when the corpus has no splits; they are drawn later."""
    load: Callable[[], Samples]
    """Returns the samples; raises DataError with one line when the audio is bad."""
    where: str
    """File and line, for messages."""
    word_ends_s: tuple[float, ...] | None = None
    """End of each word in seconds, where the making of the audio tells it."""


@dataclass
class Rejects:
    """Counts rejected lines and tells each of them once."""

    report: Callable[[str], None]
    strict: bool = False
    reasons: dict[str, int] = field(default_factory=dict)
    """Lines by the kind of reason."""

    @property
    def count(self) -> int:
        """Lines rejected so far."""
        return sum(self.reasons.values())

    def add(self, kind: str, line: str) -> None:
        """Reject a line: tell it and count it, or stop when strict.

        Raises:
            DataError: strict is on.
        """
        if self.strict:
            raise DataError(line)
        self.reasons[kind] = self.reasons.get(kind, 0) + 1
        self.report(f"rejected ({kind}): {line}")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a corpus reader is asked for."""

    source: SourceConfig
    root: Path | None
    """Folder or file of the corpus; None for synthesised ones."""
    seed: int
    strings: StringConfig | None = None
    synthesis: SynthesisConfig | None = None
    """Read by synthesised corpora only."""

    def parts(self) -> list[tuple[Path, Split | None]]:
        """Return the places to read with the split that each stands for.

        A single place has no split of its own; with dev or test places beside it, it is train.
        """
        if self.root is None:
            raise DataError(f"corpus {self.source.corpus!r} needs a path; give its place")
        dev, test = self.source.dev_path, self.source.test_path
        parts: list[tuple[Path, Split | None]] = [(self.root, "train" if dev or test else None)]
        parts += [(dev, "dev")] if dev else []
        parts += [(test, "test")] if test else []
        return parts


def file_loader(
    path: Path, *, mix_down: bool, start_s: float = 0.0, duration_s: float | None = None
) -> Callable[[], Samples]:
    """Return a loader of a file or of a part of it (seconds)."""
    return partial(read_audio, path, mix_down=mix_down, start_s=start_s, duration_s=duration_s)


def read_lines(source: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file that are not blank, with their numbers from 1.

    Raises:
        DataError: the file is missing or not readable as text.
    """
    try:
        text = source.read_text("utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{source}: no such file; correct the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: not readable as UTF-8 text ({error})") from error
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.strip():
            yield number, line
