"""``todm classify eval``: accuracy or error of a classifier, at its own or a lower frame rate."""

from pathlib import Path

import numpy as np
import torch

from todm.core.artifact import write_artifact
from todm.core.classify_config import ClassifyEvalConfig, SequenceFacts
from todm.core.errors import ConfigError
from todm.core.report import Measurement, Report, environment
from todm.data.sequences import Sequences, open_sequences
from todm.features.decimate import decimated
from todm.metrics.bootstrap import ratio_interval
from todm.models.classifier import Classifier
from todm.models.classifier_store import load_classifier

REPORT = "report.json"


def run(model: Path, corpus: Path, config: ClassifyEvalConfig, out: Path | None = None) -> Report:
    """Evaluate a classifier on prepared sequences; write a report artifact where asked.

    Raises:
        ArtifactError: no classifier or no sequences there, or damaged.
        ConfigError: the sequences are of another kind, or the model cannot change its rate.
    """
    opened, sequences = load_classifier(model), open_sequences(corpus)
    check_same(opened.facts, sequences.facts, model, corpus)
    report = evaluate(opened.model, sequences, config)
    if out is not None:
        parents = {"classifier": opened.artifact, "sequences": sequences.artifact}
        with write_artifact(out, kind="report", parents=parents) as draft:
            report.write_json(draft.path / REPORT)
            draft.body = {"config": config.to_json()}
    return report


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
def evaluate(model: Classifier, sequences: Sequences, config: ClassifyEvalConfig) -> Report:
    """Measure a model, which is left at its own rate.

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
        outputs_BY = torch.cat(
            [
                model(torch.from_numpy(_at_rate(part_BLI.numpy(), config)))
                for part_BLI in torch.split(data.x_BLI, config.batch_size)
            ]
        )
    finally:
        if told:
            model.set_rate(1.0)
    made = _accuracy if model.spec.head == "classes" else _errors
    note = _note(config)
    found = [m.model_copy(update={"note": note}) for m in made(model, outputs_BY, data.y)]
    return Report(environment=environment(), measurements=tuple(found))


def _at_rate(x_BLI: np.ndarray, config: ClassifyEvalConfig) -> np.ndarray:
    return decimated(x_BLI, config.rate, filtered=config.decimate == "filtered")


def _note(config: ClassifyEvalConfig) -> str:
    if config.rate == 1:
        return f"{config.split} split"
    rule = "with" if config.rule else "without"
    return f"{config.split} split, one frame in {config.rate} ({config.decimate}), {rule} the rule"


def _accuracy(_: Classifier, outputs_BY: torch.Tensor, y_B: torch.Tensor) -> list[Measurement]:
    right_B = (outputs_BY.argmax(1) == y_B).float().tolist()
    interval = ratio_interval([100.0 * right for right in right_B], [1.0] * len(right_B))
    return [
        Measurement(
            name="accuracy",
            value=interval.value,
            unit="%",
            low=interval.low,
            high=interval.high,
            n=len(right_B),
        )
    ]


def _errors(model: Classifier, outputs_BY: torch.Tensor, y_BY: torch.Tensor) -> list[Measurement]:
    """Return the RMSE of each figure, in its own unit."""
    found_BY = outputs_BY * model.target_std + model.target_mean
    square_BY = (found_BY - y_BY).square()
    measurements = []
    for index, square_B in enumerate(square_BY.T):
        interval = ratio_interval(square_B.tolist(), [1.0] * len(square_B))
        value, low, high = (
            float(np.sqrt(part)) for part in (interval.value, interval.low, interval.high)
        )
        measurements.append(
            Measurement(
                name=f"rmse.y{index}", value=value, unit="", low=low, high=high, n=len(square_B)
            )
        )
    return measurements
