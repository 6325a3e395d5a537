"""Word strings: recordings of isolated words of one speaker, appended as lhotse cuts.

Within a split each speaker's recordings are dealt like a deck of cards, reshuffled when it is
used up, so every recording is used about equally often. The pauses are silent. Since the parts
are known, so is the end of every word: it is the reference for emission delay.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from todm.core.data_config import SPLITS, Split, StringConfig
from todm.core.errors import DataError
from todm.core.rng import derive_seed
from todm.data.rows import Rejects, Row, Samples
from todm.data.text import normalise
from todm.features.fbank import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from lhotse.cut import Cut, MonoCut


def make_strings(
    rows: Iterable[Row], config: StringConfig, seed: int, rejects: Rejects
) -> Iterator[Row]:
    """Yield strings for each split, made of that split's words only.

    A recording that cannot be read is rejected once and never drawn again.

    Args:
        rows: Isolated words; every row must name its split.
        config: How many strings of how many words, and the pauses.
        seed: Fixes every draw.
        rejects: Told of unreadable recordings.
    """
    by_split: dict[Split, dict[str, list[Row]]] = {split: defaultdict(list) for split in SPLITS}
    for row in rows:
        if row.split is None:
            raise DataError(f"{row.where}: strings need words with a split; give one")
        by_split[row.split][row.speaker].append(row)
    for split in SPLITS:
        if by_split[split]:
            yield from _split_strings(by_split[split], split, config, seed, rejects)


def _split_strings(
    words: dict[str, list[Row]], split: Split, config: StringConfig, seed: int, rejects: Rejects
) -> Iterator[Row]:
    rng = np.random.default_rng(derive_seed(seed, "strings", split))
    decks = {
        name: _Deck(
            words[name],
            np.random.default_rng(derive_seed(seed, split, name)),
            rejects,
            config.trim_db,
        )
        for name in sorted(words)
    }
    for index, speaker in enumerate(_speakers(words, config.count(split), rng)):
        num_words = int(rng.integers(config.min_words, config.max_words + 1))
        drawn = [decks[speaker].draw() for _ in range(num_words)]
        pauses = np.round(rng.uniform(*config.pause_s, num_words + 1) * SAMPLE_RATE_HZ)
        pause_samples = tuple(int(n) for n in pauses)
        yield Row(
            id=f"{split}-{index:05d}-{speaker}",
            speaker=speaker,
            text=" ".join(text for text, _ in drawn),
            split=split,
            load=_joiner([cut for _, cut in drawn], pause_samples),
            where=f"string {index} of {split}",
            word_ends_s=_word_ends_s(drawn, pause_samples),
        )


def _speakers(words: dict[str, list[Row]], count: int, rng: np.random.Generator) -> list[str]:
    """Return a speaker per string, in shares of their recordings, in random order."""
    names = sorted(words)
    sizes = np.array([len(words[name]) for name in names], np.float64)
    edges = np.round(np.cumsum(sizes) / sizes.sum() * count).astype(int)
    counts = np.diff(edges, prepend=0)
    speakers = [name for name, n in zip(names, counts, strict=True) for _ in range(n)]
    return [speakers[i] for i in rng.permutation(len(speakers))]


@dataclass
class _Deck:
    """The recordings of one speaker, dealt without repeats until used up."""

    rows: list[Row]
    rng: np.random.Generator
    rejects: Rejects
    trim_db: float | None
    _left: list[int] = field(default_factory=list)
    _cuts: dict[int, "MonoCut"] = field(default_factory=dict)

    def draw(self) -> tuple[str, "MonoCut"]:
        """Return the text and the cut of the next readable recording.

        Raises:
            DataError: the speaker has none left.
        """
        while self.rows:
            if not self._left:
                self._left = [int(i) for i in self.rng.permutation(len(self.rows))]
            index = self._left.pop()
            if index not in self._cuts:
                try:
                    self._cuts[index] = _word_cut(self.rows[index], self.trim_db)
                except DataError as error:
                    self.rejects.add("audio", f"{self.rows[index].where}: {error}")
                    self._forget(index)
                    continue
            return normalise(self.rows[index].text), self._cuts[index]
        raise DataError("a speaker has no readable recording left; remove the speaker")

    def _forget(self, index: int) -> None:
        """Remove a row; indices above it move down by one."""
        self.rows = self.rows[:index] + self.rows[index + 1 :]
        self._left = [i - (i > index) for i in self._left if i != index]
        self._cuts = {i - (i > index): cut for i, cut in self._cuts.items()}


def trimmed(samples_S: Samples, trim_db: float) -> Samples:
    """Cut what is ``trim_db`` below the loudest 10 ms off both ends, in whole 10 ms."""
    block = SAMPLE_RATE_HZ // 100
    blocks_NS = np.pad(samples_S, (0, -samples_S.size % block)).reshape(-1, block)
    power_N = np.square(blocks_NS, dtype=np.float64).mean(axis=1)
    loud_X = np.flatnonzero(power_N >= power_N.max() * 10.0 ** (-trim_db / 10.0))
    return samples_S[loud_X[0] * block : (loud_X[-1] + 1) * block]


def _word_cut(row: Row, trim_db: float | None) -> "MonoCut":
    """Return a word as a lhotse cut over 16 kHz audio in memory."""
    from lhotse import Recording

    stream = io.BytesIO()
    samples_S = row.load()
    if trim_db is not None:
        samples_S = trimmed(samples_S, trim_db)
    clipped_S = np.clip(samples_S, -1.0, 1.0)
    soundfile.write(stream, clipped_S, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return Recording.from_bytes(stream.getvalue(), recording_id=row.id).to_cut()


def _joiner(cuts: list["MonoCut"], pause_samples: tuple[int, ...]) -> Callable[[], Samples]:
    return partial(_load, cuts, pause_samples)


def _load(cuts: list["MonoCut"], pause_samples: tuple[int, ...]) -> Samples:
    audio_CS: np.ndarray = join_cuts(cuts, pause_samples).load_audio()
    return np.ascontiguousarray(audio_CS[0], np.float32)


def join_cuts(cuts: list["MonoCut"], pause_samples: tuple[int, ...]) -> "Cut":
    """Append cuts with silence before the first, between two, and after the last.

    Args:
        cuts: The words.
        pause_samples: One more than the words, at 16 kHz.
    """
    joined = cuts[0]
    if pause_samples[0]:
        joined = joined.pad(
            duration=_seconds(cuts[0].num_samples + pause_samples[0]), direction="left"
        )
    num_samples = cuts[0].num_samples + pause_samples[0]
    for cut, pause in zip([*cuts[1:], None], pause_samples[1:], strict=True):
        num_samples += pause
        joined = joined.pad(duration=_seconds(num_samples)) if pause else joined
        if cut is not None:
            joined = joined.append(cut)
            num_samples += cut.num_samples
    return joined


def _seconds(num_samples: int) -> float:
    return num_samples / SAMPLE_RATE_HZ


def _word_ends_s(
    drawn: list[tuple[str, "MonoCut"]], pause_samples: tuple[int, ...]
) -> tuple[float, ...] | None:
    """Return where each word ends; None when a recording holds several words."""
    if any(" " in text for text, _ in drawn):
        return None
    lengths = np.array([cut.num_samples for _, cut in drawn])
    ends = np.cumsum(lengths + np.array(pause_samples[:-1]))
    return tuple(float(end) / SAMPLE_RATE_HZ for end in ends)
