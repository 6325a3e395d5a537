"""A classifier's evaluation to files: the report, its page and its tables."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from todm.core.artifact import write_artifact
from todm.core.classify_config import ClassifyEvalConfig
from todm.core.report import Report
from todm.evaluate.classify import Evaluation, run
from todm.models.classifier_store import OpenClassifier
from todm.report.classify_page import render
from todm.train.log import LOG

REPORT, PAGE = "report.json", "index.html"
PREDICTIONS, CONFUSIONS = "predictions.csv", "confusions.csv"


def evaluate_to(model: Path, corpus: Path, config: ClassifyEvalConfig, out: Path | None) -> Report:
    """Evaluate a classifier on prepared sequences; write a report artifact where asked.

    Raises:
        ArtifactError: no classifier or no sequences there, or damaged.
        ConfigError: the sequences are of another kind, or the model cannot change its rate.
    """
    found = run(model, corpus, config)
    if out is not None:
        _write(found, config, out)
    return found.report


def _write(found: Evaluation, config: ClassifyEvalConfig, out: Path) -> None:
    opened = found.opened
    parents = {"classifier": opened.artifact, "sequences": found.sequences.artifact}
    names = opened.facts.classes
    with write_artifact(out, kind="report", parents=parents) as draft:
        found.report.write_json(draft.path / REPORT)
        _write_predictions(draft.path / PREDICTIONS, found)
        counts_KK = None
        if names:
            counts_KK = np.zeros((len(names), len(names)), np.int64)
            np.add.at(counts_KK, (found.truth, found.found), 1)
            rows = [(name, *map(int, row)) for name, row in zip(names, counts_KK, strict=True)]
            _write_csv(draft.path / CONFUSIONS, ("truth", *names), rows)
        told = f"{opened.artifact.path.name} on {found.report.measurements[0].note} of "
        told += f"{opened.facts.name}; {len(found.truth)} sequences."
        title = f"Classifier of {opened.facts.name}"
        page = render(
            title,
            found.report,
            told,
            curves=_curves(opened),
            confusions_KK=counts_KK,
            classes=names,
        )
        (draft.path / PAGE).write_text(page, "utf-8")
        draft.body = {"of": "classify", "page": PAGE, "config": config.to_json()}


def _write_predictions(path: Path, found: Evaluation) -> None:
    """Write a row for each sequence."""
    names, targets = found.opened.facts.classes, found.opened.facts.targets
    if names:
        rows = [
            (number, names[truth], names[answer])
            for number, (truth, answer) in enumerate(zip(found.truth, found.found, strict=True))
        ]
        _write_csv(path, ("sequence", "truth", "answer"), rows)
        return
    heads = [f"{name}.{kind}" for kind in ("truth", "answer") for name in targets]
    both = zip(found.truth, found.found, strict=True)
    figures = [(number, *map(float, (*t, *a))) for number, (t, a) in enumerate(both)]
    _write_csv(path, ("sequence", *heads), figures)


def _write_csv(path: Path, heads: tuple[str, ...], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([heads, *rows])


def _curves(opened: OpenClassifier) -> dict[str, list[tuple[float, float]]]:
    """Return loss and dev figures by step, from the log of the training."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in opened.artifact.file(LOG).read_text("utf-8").splitlines():
        entry = json.loads(line)
        if "loss" in entry:
            curves.setdefault("training loss", []).append((entry["step"], entry["loss"]))
        for name, value in next(iter(entry.get("dev", {}).values()), {}).items():
            curves.setdefault(f"dev {name}", []).append((entry["step"], value))
    return curves
