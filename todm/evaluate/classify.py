"""``todm classify eval``: accuracy or error of a classifier, at its own or a lower frame rate.

B sequences, Y outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from todm.core.classify_config import ClassifyEvalConfig, SequenceFacts
from todm.core.errors import ConfigError
from todm.core.report import Measurement, Report, environment
from todm.data.sequences import Sequences, open_sequences
from todm.features.decimate import decimated
from todm.metrics.bootstrap import ratio_interval
from todm.models.classifier import Classifier
from todm.models.classifier_store import OpenClassifier, load_classifier


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier said of a split, and what was right."""

    report: Report
    opened: OpenClassifier
    sequences: Sequences
    found: np.ndarray
    """Classes (B), or figures in their own unit (B, Y)."""
    truth: np.ndarray
    """The same of the targets."""


def run(model: Path, corpus: Path, config: ClassifyEvalConfig) -> Evaluation:
    """Evaluate a classifier on prepared sequences.

    Raises:
        ArtifactError: no classifier or no sequences there, or damaged.
        ConfigError: the sequences are of another kind, or the model cannot change its rate.
    """
    opened, sequences = load_classifier(model), open_sequences(corpus)
    check_same(opened.facts, sequences.facts, model, corpus)
    outputs_BY = outputs_of(opened.model, sequences, config)
    truth = sequences.split(config.split).y.numpy()
    if opened.spec.head == "classes":
        found: np.ndarray = outputs_BY.argmax(1).numpy()
        made = [_accuracy(found, truth), *_recalls(found, truth, opened.facts.classes)]
    else:
        scale, offset = opened.model.target_std, opened.model.target_mean
        found = (outputs_BY * scale + offset).numpy()
        made = _errors(found, truth, opened.facts.targets)
    note = _note(config)
    measurements = tuple(m.model_copy(update={"note": note}) for m in made)
    report = Report(environment=environment(), measurements=measurements)
    return Evaluation(report, opened, sequences, found, truth)


def check_same(mine: SequenceFacts, theirs: SequenceFacts, model: Path, corpus: Path) -> None:
    """Do nothing where sequences are of the kind that a model was trained on.

    Raises:
        ConfigError: they are not; the message names the first difference.
    """
    for field in ("num_frames", "input_dim", "frame_rate_hz", "classes", "targets"):
        here, there = getattr(mine, field), getattr(theirs, field)
        if here != there:
            raise ConfigError(f"{field} is {here} in {model} and {there} in {corpus}")


@torch.inference_mode()
def outputs_of(
    model: Classifier, sequences: Sequences, config: ClassifyEvalConfig
) -> Float[Tensor, "B Y"]:
    """Return a model's outputs for a split; it is left at its own rate.

    Raises:
        ConfigError: the model has no step sizes to change, or too few frames would be left.
    """
    if 2 * config.rate > sequences.facts.num_frames:
        raise ConfigError(
            f"a rate of {config.rate} leaves fewer than 2 of {sequences.facts.num_frames} frames"
        )
    data = sequences.split(config.split)
    told = config.rate > 1 and config.rule
    if told:
        model.set_rate(float(config.rate))
    try:
        return torch.cat(
            [
                model(torch.from_numpy(_at_rate(part_BLI.numpy(), config)))
                for part_BLI in torch.split(data.x_BLI, config.batch_size)
            ]
        )
    finally:
        if told:
            model.set_rate(1.0)


def _at_rate(x_BLI: np.ndarray, config: ClassifyEvalConfig) -> np.ndarray:
    return decimated(x_BLI, config.rate, filtered=config.decimate == "filtered")


def _note(config: ClassifyEvalConfig) -> str:
    if config.rate == 1:
        return f"{config.split} split"
    rule = "with" if config.rule else "without"
    return f"{config.split} split, one frame in {config.rate} ({config.decimate}), {rule} the rule"


def _accuracy(found_B: np.ndarray, truth_B: np.ndarray) -> Measurement:
    return _share("accuracy", found_B == truth_B)


def _recalls(found_B: np.ndarray, truth_B: np.ndarray, classes: Sequence[str]) -> list[Measurement]:
    """Return the share of each class that was found, where there is one of it."""
    right_of = {name: found_B[truth_B == k] == k for k, name in enumerate(classes)}
    return [_share(f"recall.{name}", right) for name, right in right_of.items() if right.size]


def _share(name: str, right_B: np.ndarray) -> Measurement:
    interval = ratio_interval((100.0 * right_B).tolist(), [1.0] * len(right_B))
    return Measurement(
        name=name,
        value=interval.value,
        unit="%",
        low=interval.low,
        high=interval.high,
        n=len(right_B),
    )


def _errors(
    found_BY: np.ndarray, truth_BY: np.ndarray, targets: Sequence[str]
) -> list[Measurement]:
    """Return the RMSE of each figure, in its own unit."""
    measurements = []
    for name, square_B in zip(targets, np.square(found_BY - truth_BY).T, strict=True):
        interval = ratio_interval(square_B.tolist(), [1.0] * len(square_B))
        value, low, high = (
            float(np.sqrt(part)) for part in (interval.value, interval.low, interval.high)
        )
        measurements.append(
            Measurement(
                name=f"rmse.{name}", value=value, unit="", low=low, high=high, n=len(square_B)
            )
        )
    return measurements
