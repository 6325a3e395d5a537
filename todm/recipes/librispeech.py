"""Supernet recipes for LibriSpeech: streaming, BPE of 500 symbols, 6 to 66 M parameters in one.

Where the sizes come from: the largest net has the weights of icefall's streaming Zipformer
(66.1 M), the smallest those of its smallest published one (6.1 M), so that a front can be laid
beside three trainings (github.com/k2-fsa/icefall, egs/librispeech/ASR/RESULTS.md). Width 512 is
the usual one at that size (Emformer, Shi et al. 2021, arXiv 2010.10759); 22 layers with FFNs of
2112 give 66.4 M, and every axis goes down in quarters or nearly: 7 layers with FFNs of 528, 8
heads and a joiner of 128 keep 6.0 M.

Where the training comes from: icefall's zipformer recipe, which reads three speeds of the corpus
as one epoch. 30 such epochs are 90 readings with one speed drawn for each, 311 million seconds;
Eden's 3.5 epochs are 10.5 here. The pruned loss, SpecAugment, MUSAN at 10 to 20 dB on half of the
utterances and leaving out what is longer than 20 s are that recipe's too. Neither has been trained
here.
"""

from pathlib import Path

from todm.core.config import LossConfig, OptimConfig, RunConfig, ScheduleConfig, SupernetConfig
from todm.core.data_config import AugmentConfig, LoaderConfig
from todm.recipes.sandwich import LATE_SANDWICH, late
from todm.recipes.spaces import librispeech_space

NOISE_DIR = Path("musan")
"""MUSAN (openslr.org/17) below the working folder; --set data.augment.noise_dir names another."""


AUGMENT = AugmentConfig(
    time_masks=10,
    time_mask_max_frames=100,
    time_mask_fraction=0.15,
    freq_masks=2,
    freq_mask_max_bins=27,
    speed_factors=(0.9, 1.0, 1.1),
    noise_snr_db=(10.0, 20.0),
    noise_probability=0.5,
    noise_dir=NOISE_DIR,
)


def librispeech_960(vocab_size: int) -> SupernetConfig:
    """All of LibriSpeech: 311 million seconds in batches of about 1040."""
    return SupernetConfig(
        recipe="librispeech_960",
        space=librispeech_space(vocab_size),
        data=LoaderConfig(batch_size=400, max_audio_s=20.0, max_duration_s=1200.0, augment=AUGMENT),
        loss=LossConfig(form="pruned"),
        optim=OptimConfig(lr=0.045),
        sandwich=LATE_SANDWICH,
        schedule=late(
            ScheduleConfig(
                steps=300_000,
                warmup_steps=500,
                eden_batches=7500,
                eden_epochs=10.5,
                final_fraction=0.1,
            )
        ),
        run=RunConfig(
            checkpoint_every_steps=1000,
            eval_every_steps=4000,
            eval_utterances=500,
            precision="bf16-mixed",
        ),
    )


def librispeech_100(vocab_size: int) -> SupernetConfig:
    """train-clean-100: 33 million seconds in batches of about 520."""
    whole = librispeech_960(vocab_size)
    return whole.model_copy(
        update={
            "recipe": "librispeech_100",
            "data": whole.data.model_copy(update={"batch_size": 200, "max_duration_s": 600.0}),
            "schedule": whole.schedule.model_copy(update={"steps": 60_000}),
        }
    )
