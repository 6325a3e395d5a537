"""What a training would take, before it starts: batches, parameters, MACs, GPU-hours.

Without a corpus the utterances are LibriSpeech's in number, durations and labels. No audio is
read. Memory is measured, not counted: see ``todm.train.dry_run``.

The hours rest on one published training: icefall's Zipformer-M (65.5 M parameters) takes 67
minutes on four V100 for an epoch of 2880 hours (three speeds of LibriSpeech;
github.com/k2-fsa/icefall pull 1058); its encoder takes 63.29 GFLOPs forward for 30 s of audio
(pull 1093), so about three times that to train. That is 4.1 TFLOP/s a GPU, 3.3 % of the 125 that
NVIDIA states for its tensor cores. The same share of the peak is assumed for this training and
for newer GPUs.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from todm.core.artifact import SCHEMA_VERSION, Artifact, Manifest
from todm.core.config import SupernetConfig
from todm.core.cost import num_parameters
from todm.core.cost_training import TrainingShape
from todm.core.ledger import TrainingLedger
from todm.core.rng import derive_seed
from todm.core.value import Value
from todm.data.librispeech import LABEL_RATES, PARTS, RATE_PROBABILITIES, durations_s
from todm.data.loader import BatchLoader
from todm.data.manifest import Corpus, Utterance
from todm.decode.tokens import BLANK, TokenTable
from todm.train.sandwich import planned_ledger

FRAMES_PER_S = 100
COUNTED_STEPS = 400
"""Steps whose MACs are counted; their mean stands for all."""
PEAK_FLOPS = {"V100": 125e12, "A100": 312e12, "H100": 989e12}
"""Dense float16/bfloat16 products a second, as NVIDIA's data sheets state them."""
_TRAINED_FLOPS = 3 * 63.29e9 / 30.0 * 2880 * 3600
ACHIEVED_SHARE = _TRAINED_FLOPS / (4 * 67 * 60) / PEAK_FLOPS["V100"]
"""Part of the peak that training a recogniser of this kind reached; 0.033."""


class BatchPlan(Value):
    """How the corpus falls into batches."""

    utterances: int
    audio_h: float
    steps_per_epoch: int
    epochs: float
    """In all steps."""
    utterances_per_batch: float
    audio_s_per_batch: float
    padding_share: float
    """Part of a mean batch that is padding."""


class TrainingPlan(Value):
    """What a configuration asks for."""

    recipe: str
    corpus: str
    parameters_largest: int
    parameters_smallest: int
    steps: int
    batches: BatchPlan
    macs_per_step: float
    """Of all nets of a mean step, forward and backward."""
    macs: float
    ratio_to_largest: float
    """All MACs over those of the largest net alone on the same batches."""
    gpu_hours: dict[str, float]
    """By GPU, at ``achieved_share`` of its peak."""
    achieved_share: float = ACHIEVED_SHARE


def planning_corpus(recipe: str, vocab_size: int) -> Corpus:
    """Return LibriSpeech (its 100 hours for ``librispeech_100``) without its audio."""
    names = ["train-clean-100"] if recipe == "librispeech_100" else list(PARTS)
    lengths_s = durations_s(*names)
    rng = np.random.default_rng(derive_seed(0, "planning-corpus"))
    rates = np.interp(rng.random(len(lengths_s)), RATE_PROBABILITIES, LABEL_RATES)
    manifest = Manifest(kind="corpus", schema_version=SCHEMA_VERSION, files={}, parents={}, body={})
    symbols = (BLANK, *(f"s{index}" for index in range(1, vocab_size)))
    utterances = tuple(
        Utterance(
            id=f"u{index}",
            speaker="s",
            text="",
            tokens=(1,) * round(rate * duration_s),
            duration_s=duration_s,
            audio_path=Path(),
        )
        for index, (duration_s, rate) in enumerate(zip(lengths_s, rates.tolist(), strict=True))
    )
    artifact = Artifact(Path(f"LibriSpeech {', '.join(names)} (published durations)"), manifest)
    return Corpus(artifact, TokenTable(unit="bpe", symbols=symbols), {"train": utterances})


def planning_loader(config: SupernetConfig, corpus: Corpus) -> BatchLoader:
    """Return the training's loader; noise, which batches do not depend on, is left out."""
    quiet = {"noise_probability": 0.0, "noise_snr_db": None, "noise_dir": None}
    augment = config.data.augment.model_copy(update=quiet)
    data = config.data.model_copy(update={"augment": augment})
    return BatchLoader(corpus, "train", data, config.seed)


def shape_of(batch: Sequence[Utterance], stretch: float) -> TrainingShape:
    """Return the padded shape of a batch whose audio is ``stretch`` times as long."""
    longest_s = stretch * max(utterance.duration_s for utterance in batch)
    return TrainingShape(
        batch=len(batch),
        frames=round(FRAMES_PER_S * longest_s),
        target_len=max(len(utterance.tokens) for utterance in batch),
    )


def make_plan(config: SupernetConfig, corpus: Corpus, loader: BatchLoader) -> TrainingPlan:
    """Count batches and MACs of a training."""
    epoch = [[loader.utterances[i] for i in indices] for indices in loader.epoch_batches(0)]
    ledger = _ledger(config, epoch)
    macs_per_step = ledger.macs / ledger.steps
    macs = macs_per_step * config.schedule.steps
    return TrainingPlan(
        recipe=config.recipe,
        corpus=str(corpus.artifact.path),
        parameters_largest=num_parameters(config.space.largest),
        parameters_smallest=num_parameters(config.space.smallest),
        steps=config.schedule.steps,
        batches=_batches(config, epoch),
        macs_per_step=macs_per_step,
        macs=macs,
        ratio_to_largest=ledger.ratio_to_largest,
        gpu_hours={
            name: 2 * macs / (ACHIEVED_SHARE * flops) / 3600 for name, flops in PEAK_FLOPS.items()
        },
    )


def _batches(config: SupernetConfig, epoch: Sequence[Sequence[Utterance]]) -> BatchPlan:
    audio_s = sum(u.duration_s for batch in epoch for u in batch)
    padded_s = sum(len(batch) * max(u.duration_s for u in batch) for batch in epoch)
    utterances = sum(map(len, epoch))
    return BatchPlan(
        utterances=utterances,
        audio_h=audio_s / 3600,
        steps_per_epoch=len(epoch),
        epochs=config.schedule.steps / len(epoch),
        utterances_per_batch=utterances / len(epoch),
        audio_s_per_batch=audio_s / len(epoch),
        padding_share=1.0 - audio_s / padded_s,
    )


def _ledger(config: SupernetConfig, epoch: Sequence[Sequence[Utterance]]) -> TrainingLedger:
    """Count a shorter training, whose steps are spread over an epoch as the real one's are."""
    count = min(COUNTED_STEPS, config.schedule.steps)
    stretch = mean(1.0 / factor for factor in config.data.augment.speed_factors)
    schedule = config.schedule.model_copy(update={"steps": count})
    shapes = (shape_of(epoch[step * len(epoch) // count], stretch) for step in range(count))
    return planned_ledger(config.model_copy(update={"schedule": schedule}), shapes)
