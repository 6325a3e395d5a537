"""Cut manifests: lhotse cuts as gzipped JSON lines, the same bytes for the same corpus."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todm.data.manifest import Utterance
from todm.data.shards import in_shards
from todm.features.fbank import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from lhotse import MonoCut


def write_cuts(path: Path, utterances: Iterable[Utterance], num_samples: Mapping[str, int]) -> None:
    """Write one lhotse MonoCut a line.

    The recording's path is absolute, so any lhotse tool finds the audio; the cut's custom field
    ``audio`` is the path inside the artifact, by which todm finds it after a move. Audio in a shard
    has lhotse's placeholder instead. The gzip header holds no time and no name.

    Args:
        path: The ``.jsonl.gz`` file.
        utterances: With ``audio_path`` as the final absolute path.
        num_samples: Length of each utterance's audio at 16 kHz, by id.
    """
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        for utterance in utterances:
            cut = cut_of(utterance, num_samples[utterance.id]).to_dict()
            stream.write((json.dumps(cut, ensure_ascii=False) + "\n").encode())


def cut_of(utterance: Utterance, num_samples: int) -> "MonoCut":
    """Return an utterance as lhotse's cut."""
    from lhotse import (
        AudioSource,
        MonoCut,
        Recording,
        SupervisionSegment,
    )

    duration_s = num_samples / SAMPLE_RATE_HZ
    kind, place = ("shar", "") if in_shards(utterance) else ("file", str(utterance.audio_path))
    recording = Recording(
        id=utterance.id,
        sources=[AudioSource(type=kind, channels=[0], source=place)],
        sampling_rate=SAMPLE_RATE_HZ,
        num_samples=num_samples,
        duration=duration_s,
    )
    custom: dict[str, Any] = {"tokens": list(utterance.tokens)}
    if utterance.word_ends_s is not None:
        custom["word_ends_s"] = list(utterance.word_ends_s)
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=utterance.id,
        start=0.0,
        duration=duration_s,
        channel=0,
        text=utterance.text,
        speaker=utterance.speaker,
        custom=custom,
    )
    inside = Path(*utterance.audio_path.parts[-3:]).as_posix()
    return MonoCut(
        id=utterance.id,
        start=0.0,
        duration=duration_s,
        channel=0,
        supervisions=[supervision],
        recording=recording,
        custom={"audio": inside},
    )
