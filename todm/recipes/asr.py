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
from todm.core.space import SearchSpace, spread_order
from todm.core.specs import BlockSpec, MHSSMSpec, PredictorSpec, SubnetSpec

LAYERS, MODEL_DIM, FFN_DIM, HEADS, HEAD_DIM, MODES, JOINER_DIM = 6, 128, 512, 16, 8, 16, 128


def small_space(vocab_size: int) -> SearchSpace:
    """Return the space around 1.2 M parameters: 6 x 512 down to 2 x 128."""
    mixer = MHSSMSpec(num_heads=HEADS, head_dim=HEAD_DIM, state_dim=MODES)
    largest = SubnetSpec(
        model_dim=MODEL_DIM,
        blocks=tuple(
            BlockSpec(source_layer=layer, ffn_dim=FFN_DIM, mixer=mixer) for layer in range(LAYERS)
        ),
        predictor=PredictorSpec(embed_dim=MODEL_DIM),
        joiner_dim=JOINER_DIM,
        vocab_size=vocab_size,
    )
    return SearchSpace(
        largest=largest,
        depths=(2, 3, 4, 5, 6),
        depth_order=spread_order(LAYERS),
        ffn_dims=(128, 256, 384, 512),
        heads=(4, 8, 12, 16),
        state_dims=(8, 12, 16),
        joiner_dims=(64, 96, 128),
    )


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
        sandwich=SandwichConfig(),
        distill=DistillConfig(),
        optim=OptimConfig(),
        schedule=ScheduleConfig(steps=2500, final_fraction=0.2),
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
            "schedule": ScheduleConfig(steps=1200, final_fraction=0.2),
        }
    )


def an4(vocab_size: int) -> SupernetConfig:
    """CMU AN4 in characters: half an hour of many speakers, up to 20 symbols in 70 frames.

    Characters crowd on few frames, so training knows the one-symbol limit of the devices; with
    so little speech, augmentation is strong and the schedule long (docs/log.md).
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
            "schedule": ScheduleConfig(
                steps=3200, eden_batches=1000, eden_epochs=25, final_fraction=0.3
            ),
        }
    )


def tiny(vocab_size: int) -> SupernetConfig:
    """A net of a few thousand weights for tests and first looks; learns nothing useful."""
    mixer = MHSSMSpec(num_heads=4, head_dim=4, state_dim=4)
    largest = SubnetSpec(
        model_dim=16,
        blocks=tuple(BlockSpec(source_layer=i, ffn_dim=32, mixer=mixer) for i in range(3)),
        predictor=PredictorSpec(embed_dim=16),
        joiner_dim=16,
        vocab_size=vocab_size,
    )
    space = SearchSpace(
        largest=largest,
        depths=(1, 2, 3),
        depth_order=spread_order(3),
        ffn_dims=(16, 32),
        heads=(2, 4),
        state_dims=(2, 4),
        joiner_dims=(8, 16),
    )
    return SupernetConfig(
        recipe="tiny",
        space=space,
        data=LoaderConfig(batch_size=4, augment=AugmentConfig(freq_masks=1, time_masks=1)),
        schedule=ScheduleConfig(steps=30, warmup_steps=5),
        run=RunConfig(checkpoint_every_steps=5, eval_every_steps=15, eval_utterances=8, threads=1),
    )
