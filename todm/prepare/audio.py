"""Write every utterance's audio once: 16-bit mono FLAC at 16 kHz inside the artifact."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from todm.core.data_config import SPLITS, Split
from todm.core.errors import DataError
from todm.data.manifest import Utterance
from todm.data.rows import Rejects, Row
from todm.data.text import normalise
from todm.features.fbank import SAMPLE_RATE_HZ
from todm.features.wav import write_wav

log = logging.getLogger(__name__)
PROGRESS_EVERY = 500


class AudioStore:
    """The ``audio/`` folder of an artifact under construction."""

    def __init__(self, scratch: Path, final: Path) -> None:
        """Write under ``scratch`` and speak of ``final``, where the folder will stand."""
        self._scratch = scratch
        self._final = final
        self._taken: set[str] = set()
        for split in SPLITS:
            (scratch / "audio" / split).mkdir(parents=True, exist_ok=True)

    def write(self, row: Row, split: Split) -> tuple[Path, int]:
        """Load and write a row's audio; return its final path and its length in samples.

        Raises:
            DataError: the audio is bad.
        """
        samples_S = row.load()
        inside = Path("audio") / split / f"{self._stem(row.id)}.flac"
        write_wav(self._scratch / inside, samples_S)
        return self._final / inside, int(samples_S.size)

    def _stem(self, utterance_id: str) -> str:
        """Return a file stem for an id: safe characters, at most 120 of them, none twice."""
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", utterance_id)[:120]
        stem, number = safe, 1
        while stem.lower() in self._taken:
            number += 1
            stem = f"{safe}-{number}"
        self._taken.add(stem.lower())
        return stem


def store_audio(
    rows: Sequence[Row],
    store: AudioStore,
    rejects: Rejects,
    progress: Callable[[str], None] = log.info,
) -> tuple[dict[Split, list[Utterance]], dict[str, int]]:
    """Write the audio of all rows; return utterances by split (no tokens yet) and their lengths.

    Raises:
        DataError: no row is usable.
    """
    utterances: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    num_samples: dict[str, int] = {}
    for index, row in enumerate(rows):
        assert row.split is not None, "fill_splits gives every row a split"
        try:
            path, length = store.write(row, row.split)
        except DataError as error:
            rejects.add("audio", f"{row.where}: {error}")
            continue
        num_samples[row.id] = length
        utterances[row.split].append(_utterance(row, path, length))
        if (index + 1) % PROGRESS_EVERY == 0:
            progress(f"wrote {index + 1} of {len(rows)} utterances")
    if not num_samples:
        raise DataError(
            f"none of {len(rows)} utterances is usable; {rejects.count} lines were rejected"
        )
    return utterances, num_samples


def _utterance(row: Row, path: Path, num_samples: int) -> Utterance:
    return Utterance(
        id=row.id,
        speaker=row.speaker,
        text=normalise(row.text),
        tokens=(),
        duration_s=num_samples / SAMPLE_RATE_HZ,
        audio_path=path,
        word_ends_s=row.word_ends_s,
    )
