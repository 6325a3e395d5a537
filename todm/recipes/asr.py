"""Supernet recipes for speech recognition."""

from todm.core.config import (
    DistillConfig,
    LossConfig,
    OptimConfig,
    RunConfig,
    SandwichConfig,
    ScheduleConfig,
    SupernetConfig,
)
from todm.core.data_config import AugmentConfig, LoaderConfig
from todm.recipes.sandwich import LATE_SANDWICH, late
from todm.recipes.spaces import small_space, tiny_space

LIGHT_MASKS = AugmentConfig(
    time_masks=1, time_mask_max_frames=12, freq_masks=2, freq_mask_max_bins=8
)
"""For words of a few hundred milliseconds; heavier masks slow the start (docs/log.md)."""


def fsdd(vocab_size: int) -> SupernetConfig:
    """Digit strings of FSDD, whole words."""
    return SupernetConfig(
        recipe="fsdd",
        space=small_space(vocab_size),
        data=LoaderConfig(batch_size=16, augment=LIGHT_MASKS),
        loss=LossConfig(),
        sandwich=LATE_SANDWICH,
        distill=DistillConfig(),
        optim=OptimConfig(),
        schedule=late(ScheduleConfig(steps=2500, final_fraction=0.2)),
        run=RunConfig(),
    )


def espeak_digits(vocab_size: int) -> SupernetConfig:
    """Digit strings of synthesised voices: the demo's default.

    Its voices are held out of training, so speed (which moves formants too) varies more.
    """
    augment = LIGHT_MASKS.model_copy(update={"speed_factors": (0.85, 1.0, 1.15)})
    return fsdd(vocab_size).model_copy(
        update={
            "recipe": "espeak_digits",
            "data": LoaderConfig(batch_size=16, augment=augment),
            "schedule": late(ScheduleConfig(steps=1200, final_fraction=0.2)),
        }
    )


def an4(vocab_size: int) -> SupernetConfig:
    """CMU AN4 in characters: half an hour of many speakers, up to 20 symbols in 70 frames.

    Characters crowd on few frames, so training knows the one-symbol limit of the devices; with
    so little speech, augmentation is strong and the schedule long, and the smaller nets train from
    the first step on: starting them late cost the largest net seven points on dev (docs/log.md).
    """
    augment = AugmentConfig(
        time_masks=2,
        time_mask_max_frames=20,
        freq_masks=2,
        freq_mask_max_bins=15,
        speed_factors=(0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15),
    )
    return fsdd(vocab_size).model_copy(
        update={
            "recipe": "an4",
            "data": LoaderConfig(batch_size=16, augment=augment),
            "loss": LossConfig(topology="one_symbol"),
            "sandwich": SandwichConfig(),
            "schedule": ScheduleConfig(
                steps=3200, eden_batches=1000, eden_epochs=25, final_fraction=0.3
            ),
        }
    )


def with_mixer(config: SupernetConfig, mixer: str) -> SupernetConfig:
    """Return a recipe of the small space with another mixer, and its name after that."""
    space = small_space(config.space.largest.vocab_size, mixer)
    return config.model_copy(update={"recipe": f"{config.recipe}_{mixer}", "space": space})


def fsdd_pgn(vocab_size: int) -> SupernetConfig:
    """``fsdd`` with parallel gated networks."""
    return with_mixer(fsdd(vocab_size), "pgn")


def an4_pgn(vocab_size: int) -> SupernetConfig:
    """``an4`` with parallel gated networks."""
    return with_mixer(an4(vocab_size), "pgn")


def fsdd_lssl(vocab_size: int) -> SupernetConfig:
    """``fsdd`` with linear state-space layers."""
    return with_mixer(fsdd(vocab_size), "lssl")


def an4_lssl(vocab_size: int) -> SupernetConfig:
    """``an4`` with linear state-space layers."""
    return with_mixer(an4(vocab_size), "lssl")


def tiny(vocab_size: int) -> SupernetConfig:
    """A net of a few thousand weights for tests and first looks; learns nothing useful."""
    return SupernetConfig(
        recipe="tiny",
        space=tiny_space(vocab_size),
        data=LoaderConfig(batch_size=4, augment=AugmentConfig(freq_masks=1, time_masks=1)),
        schedule=ScheduleConfig(steps=30, warmup_steps=5),
        run=RunConfig(checkpoint_every_steps=5, eval_every_steps=15, eval_utterances=8, threads=1),
    )
