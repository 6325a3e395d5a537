"""Mix recorded noise into utterances as they are prepared, so that it is the same ever after.

Training data may draw its noise anew in every epoch (``data.augment``); what is measured must not.
Each split has noise recordings of its own: none that training heard is in dev or test.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from todm.core.data_config import NoiseConfig, Split
from todm.core.rng import derive_seed
from todm.data.augment import NoiseMixer
from todm.data.corpora import find_corpus
from todm.data.rows import Row, Samples

FOLDER = "noise"
"""Of the corpus folder, where the configuration names no other."""


def with_noise(
    rows: Sequence[Row], config: NoiseConfig, seed: int, corpora_dir: Path | None
) -> list[Row]:
    """Return rows whose audio carries noise; the draw depends on the seed and the row's id.

    Args:
        rows: Each with its split.
        config: Which noise, and how loud.
        seed: Of the preparation.
        corpora_dir: Folder of corpora; None reads TODM_CORPORA.

    Raises:
        DataError: no folder of noise, or none of its recordings is of a split that rows are of.
    """
    folder = config.path if config.path is not None else find_corpus(FOLDER, corpora_dir)
    mixers: dict[Split, NoiseMixer] = {}
    noisy = []
    for row in rows:
        assert row.split is not None, "fill_splits gives every row a split"
        if row.split not in mixers:
            mixers[row.split] = NoiseMixer(folder, config.snr_db, row.split)
        noise_seed = derive_seed(seed, "noise", row.id)
        noisy.append(replace(row, load=partial(_mixed, row, mixers[row.split], noise_seed)))
    return noisy


def _mixed(row: Row, mixer: NoiseMixer, noise_seed: int) -> Samples:
    return mixer.mix(row.load(), np.random.default_rng(noise_seed))
