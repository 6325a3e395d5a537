"""Pack training audio into Lhotse Shar: archives of recordings with manifests beside them.

lhotse's own writer would decode and encode every recording anew; here the FLAC files go in as they
are, by lhotse's tar writer and placeholders, so that the bytes of the audio do not change. lhotse
reads the folder: ``CutSet.from_shar(in_dir=OUT/shar/train)``.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from todm.core.rng import derive_seed
from todm.data.manifest import Utterance
from todm.data.shards import AUDIO_SUFFIX, cuts_beside
from todm.prepare.cuts import cut_of, write_cuts

FOLDER = Path("shar") / "train"


def pack_shards(
    utterances: Sequence[Utterance],
    num_samples: Mapping[str, int],
    *,
    scratch: Path,
    final: Path,
    shard_size: int,
    seed: int,
) -> list[Utterance]:
    """Move the audio of utterances into archives; return them shuffled, in the order there.

    Args:
        utterances: With their audio below ``scratch``.
        num_samples: Length of each utterance's audio at 16 kHz, by id.
        scratch: Where the artifact is being written.
        final: Where it will stand.
        shard_size: Utterances of an archive.
        seed: Of the shuffle: neighbours in an archive should not be of one speaker.
    """
    from lhotse.shar.utils import to_shar_placeholder
    from lhotse.shar.writers.tar import TarWriter

    folder = scratch / FOLDER
    folder.mkdir(parents=True)
    order = np.random.default_rng(derive_seed(seed, "shards")).permutation(len(utterances))
    packed: list[Utterance] = []
    with TarWriter(str(folder / "recording.%06d.tar"), shard_size) as tar:
        for place, index in enumerate(order):
            utterance = utterances[int(index)]
            archive = FOLDER / f"recording.{place // shard_size:06d}.tar"
            source = scratch / utterance.audio_path.relative_to(final)
            recording = to_shar_placeholder(cut_of(utterance, num_samples[utterance.id]).recording)
            tar.write(f"{utterance.id}{AUDIO_SUFFIX}", io.BytesIO(source.read_bytes()))
            about = io.BytesIO((json.dumps(recording.to_dict()) + "\n").encode())
            tar.write(f"{utterance.id}.json", about, count=False)
            source.unlink()
            packed.append(replace(utterance, audio_path=final / archive))
    for begin in range(0, len(packed), shard_size):
        shard = packed[begin : begin + shard_size]
        archive = scratch / shard[0].audio_path.relative_to(final)
        write_cuts(cuts_beside(archive), shard, num_samples)
    return packed
