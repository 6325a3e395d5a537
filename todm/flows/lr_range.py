"""A learning-rate range test as a report artifact: its steps as CSV and JSON, and a page."""

import csv
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.config import SupernetConfig
from todm.core.report import Measurement, Report, environment
from todm.report.lr_page import render_range
from todm.report.run import PAGE
from todm.report.sources import REPORT
from todm.train.lr_range import run as run_test
from todm.train.lr_range import suggest

STEPS = "lr_range.csv"


def run(config: SupernetConfig, corpus: Path, out: Path, init: Path | None = None) -> Artifact:
    """Test rates around ``optim.lr`` and write what was seen; ``body`` names the suggestion.

    Raises:
        ConfigError: the configuration does not fit the corpus.
        GateError: the loss fell at no rate.
    """
    curve = run_test(config, corpus, init)
    suggested = suggest(curve)
    figures = [
        Measurement(name="lr.suggested", value=suggested, unit=""),
        Measurement(name="lr.configured", value=config.optim.lr, unit=""),
        Measurement(name="loss.least", value=min(s.smoothed for s in curve), unit="nats per token"),
        Measurement(name="steps", value=len(curve), unit="steps"),
    ]
    parents = {"corpus": load_artifact(corpus, "corpus", verify=False)}
    with write_artifact(out, kind="report", parents=parents) as draft:
        report = Report(environment=environment([config.seed]), measurements=tuple(figures))
        report.write_json(draft.path / REPORT)
        with (draft.path / STEPS).open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(("lr", "loss", "smoothed"))
            rows.writerows((s.lr, s.loss, s.smoothed) for s in curve)
        points = [(s.lr, s.loss, s.smoothed) for s in curve]
        (draft.path / PAGE).write_text(render_range(points, suggested), "utf-8")
        draft.body = {
            "of": "lr_range",
            "page": PAGE,
            "suggested_lr": suggested,
            "configured_lr": config.optim.lr,
            "steps": len(curve),
        }
    return load_artifact(out, "report", verify=False)
