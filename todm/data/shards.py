"""Audio in Lhotse Shar: tar archives that hold the encoded recordings of many utterances.

Training reads an epoch's archives one after another, each from its beginning (``ShardStream``):
a disk or a network file system then reads forward. Single recordings are found by their place in
the archive (``read_member``).
"""

import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from todm.core.errors import DataError
from todm.data.buckets import DynamicPlan
from todm.data.manifest import Utterance
from todm.data.rows import Samples
from todm.features.wav import decode_audio

if TYPE_CHECKING:
    from lhotse.cut import Cut

ARCHIVE_SUFFIX = ".tar"
AUDIO_SUFFIX = ".flac"


def cuts_beside(archive: Path) -> Path:
    """Return the manifest of an archive, as lhotse names it."""
    return archive.with_name(archive.name.replace("recording.", "cuts.")).with_suffix(".jsonl.gz")


def in_shards(utterance: Utterance) -> bool:
    """Tell whether an utterance's audio is in an archive."""
    return utterance.audio_path.suffix == ARCHIVE_SUFFIX


def read_member(archive: Path, utterance_id: str) -> Samples:
    """Return one recording of an archive.

    Raises:
        DataError: the archive is missing or damaged, or does not hold it.
    """
    where = f"{archive}: {utterance_id}"
    try:
        begin, size = _places(archive)[utterance_id + AUDIO_SUFFIX]
        with archive.open("rb") as stream:
            stream.seek(begin)
            data = stream.read(size)
    except KeyError as error:
        raise DataError(f"{where}: not in the archive; prepare the corpus anew") from error
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{archive}: not readable ({error}); prepare the corpus anew") from error
    return decode_audio(data, where)


@lru_cache(maxsize=1024)
def _places(archive: Path) -> Mapping[str, tuple[int, int]]:
    """Return begin and size of each member."""
    with tarfile.open(archive, "r:") as tar:
        return {member.name: (member.offset_data, member.size) for member in tar}


def shard_numbers(utterances: Sequence[Utterance]) -> tuple[list[Path], NDArray[np.int64]]:
    """Return the archives in the order of their names, and that of each utterance."""
    archives = sorted({utterance.audio_path for utterance in utterances})
    number = {archive: index for index, archive in enumerate(archives)}
    return archives, np.asarray([number[u.audio_path] for u in utterances], np.int64)


class ShardStream:
    """Hands out the recordings of one batch after another, reading each archive once an epoch.

    What is read ahead of its batch is kept, encoded: at most the shards that are shuffled
    together and what the open buckets of ``DynamicPlan`` hold. To start in the middle of an epoch
    takes reading from the first archive on that a batch to come needs; no batch is replayed.
    """

    def __init__(self, utterances: Sequence[Utterance], plan: DynamicPlan) -> None:
        """Read nothing yet."""
        self._utterances = utterances
        self._plan = plan
        self._archives, self._shard_of = shard_numbers(utterances)
        self._lock = threading.Lock()
        self._next = (-1, -1)
        self._cuts: Iterator[Cut] = iter(())
        self._to_come: set[str] = set()
        self._held: dict[str, Cut] = {}

    @property
    def num_held(self) -> int:
        """Recordings that were read and are not handed out yet."""
        return len(self._held)

    def take(self, epoch: int, index: int, batches: Sequence[Sequence[int]]) -> Mapping[str, "Cut"]:
        """Return the cuts of a batch by id, with encoded audio.

        Args:
            epoch: which epoch.
            index: which of its batches.
            batches: all of its batches.

        Raises:
            DataError: an archive is missing or damaged, or lacks an utterance.
        """
        with self._lock:
            if self._next != (epoch, index):
                self._start(epoch, batches[index:])
            ids = [self._utterances[i].id for i in batches[index]]
            while missing := [name for name in ids if name not in self._held]:
                cut = self._read(missing[0])
                if cut.id in self._to_come:
                    self._held[cut.id] = cut
            self._next = (epoch, index + 1)
            self._to_come.difference_update(ids)
            return {name: self._held.pop(name) for name in ids}

    def _start(self, epoch: int, batches: Sequence[Sequence[int]]) -> None:
        from lhotse.shar import LazySharIterator

        members = [i for batch in batches for i in batch]
        order = self._plan.shard_order(epoch)
        needed = set(self._shard_of[members].tolist())
        first = next(place for place, shard in enumerate(order) if shard in needed)
        archives = [self._archives[shard] for shard in order[first:]]
        fields = {"cuts": [str(cuts_beside(a)) for a in archives], "recording": archives}
        self._cuts = iter(LazySharIterator(fields=fields))
        self._to_come = {self._utterances[i].id for i in members}
        self._held = {}

    def _read(self, missing: str) -> "Cut":
        folder = self._archives[0].parent
        try:
            return next(self._cuts)
        except StopIteration as error:
            raise DataError(
                f"{folder}: no shard holds {missing}; prepare the corpus anew"
            ) from error
        except (OSError, EOFError, tarfile.TarError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"{folder}: damaged ({reason}); prepare the corpus anew") from error


def cut_samples(cut: "Cut") -> Samples:
    """Decode the audio of a cut that ``ShardStream`` gave.

    Raises:
        DataError: it is damaged.
    """
    return decode_audio(cut.recording.sources[0].source, str(cut.id))
