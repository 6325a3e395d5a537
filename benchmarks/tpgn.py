"""TPGN on ETTh1 under the paper's protocol, beside DLinear, a GRU and a library's forecasts.

Univariate (OT), 60/20/20 by time of all rows, standardised by the training part, windows of 168
hours at stride 1, MSE and MAE on the standardised scale, the last partial batch of 32 test windows
left out as in the reference. Means over seeds with the least and largest; the verdicts hold them
against the published means (Jia et al. 2024, arXiv 2409.17703, table 1).

Each training is a line of ``runs.jsonl`` in --work: a run that was cut off goes on.

    python benchmarks/tpgn.py [--quick] [--work runs/tpgn] [--data ETTh1.csv] [--only ARM,ARM]
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from arguments import names_of, told
from kept import Kept
from measuring import over_seeds
from pages import QUICK, RESULTS, of_report, write
from tpgn_table import BRANCH_HORIZONS, FIGURES, LIBRARY_WINDOWS, render, verdicts_of

from todm.core.errors import MissingExtraError
from todm.core.forecast_config import ForecastConfig
from todm.core.forecaster_spec import DLinearSpec, GRUSpec, TPGNSpec
from todm.core.report import Measurement, Report, environment
from todm.evaluate.library_forecasts import library_forecast, library_models
from todm.metrics.forecast import absolute_error, seasonal_naive, squared_error
from todm.models.forecasting import forecast_windows
from todm.recipes.forecast import PAPER_HORIZONS, etth1
from todm.train.forecast_run import Prepared, prepare, train

NAME = "tpgn"
SCALING = "pgn_scaling.json"
"""Whose figures a complete run takes over: one report holds all of the network."""
SEEDS, MANY_SEEDS = tuple(range(2023, 2028)), tuple(range(2023, 2033))
BATCH = 32
ORDER = ("tpgn", "dlinear", "dlinear_norm", "branch_long", "branch_short", "library", "gru")
"""Of the runs; the GRU takes longest."""


class Run(NamedTuple):
    """One training, or one library's forecasts."""

    horizon: int
    arm: str
    seed: int

    @property
    def key(self) -> str:
        """Name in the log."""
        return f"{self.horizon}.{self.arm}.{self.seed}"


def arms_of(horizon: int) -> dict[str, ForecastConfig]:
    """Return the configuration of each arm but for its seed.

    DLinear is normalised by the window as TPGN is in ``dlinear_norm``, and as published in
    ``dlinear``; the GRU is normalised.
    """
    base = etth1(horizon)
    assert isinstance(base.net, TPGNSpec)
    arms = {
        "tpgn": base,
        "dlinear": base.model_copy(update={"net": DLinearSpec(), "norm": False, "marks": False}),
        "dlinear_norm": base.model_copy(update={"net": DLinearSpec(), "marks": False}),
        "gru": base.model_copy(update={"net": GRUSpec()}),
    }
    if horizon in BRANCH_HORIZONS:
        for branch in ("long", "short"):
            net = base.net.model_copy(update={"branches": branch})
            arms[f"branch_{branch}"] = base.model_copy(update={"net": net})
    return arms


def plan(horizons: Sequence[int], only: Sequence[str], *, quick: bool) -> list[Run]:
    """Return the runs: TPGN of all horizons first."""
    seeds = {h: SEEDS[:1] if quick else MANY_SEEDS if h == 1440 else SEEDS for h in horizons}
    runs = []
    for arm in [name for name in ORDER if not only or name in only]:
        for horizon in horizons:
            if arm == "library":
                runs.append(Run(horizon, arm, 0))
            elif arm in arms_of(horizon):
                count = SEEDS if arm != "tpgn" and not quick else seeds[horizon]
                runs += [Run(horizon, arm, seed) for seed in count]
    return runs


def settings(config: ForecastConfig, seed: int, *, quick: bool) -> ForecastConfig:
    """Return the configuration of a run."""
    update: dict[str, Any] = {"threads": 1, "accelerator": "cpu"}
    if quick:
        update |= {"epochs": 1}
    train_config = config.train.model_copy(update=update)
    return config.model_copy(update={"seed": seed, "train": train_config})


@cache
def prepared(config: ForecastConfig, data: Path) -> Prepared:
    """Read the table for a configuration, once for all seeds and networks of a horizon."""
    return prepare(config, data)


def data_of(horizon: int, data: Path, *, quick: bool) -> tuple[Prepared, torch.Tensor]:
    """Return the table and the test windows that count: whole batches."""
    ready = prepared(settings(etth1(horizon), 0, quick=quick), data)
    whole = len(ready.windows["test"]) // BATCH * BATCH
    return ready, torch.arange(whole)


def execute(run: Run, data: Path, work: Path, *, quick: bool) -> dict[str, float]:
    """Train (or forecast by the library) and return the figures."""
    ready, kept = data_of(run.horizon, data, quick=quick)
    test = ready.windows["test"]
    spaced = kept[np.round(np.linspace(0, len(kept) - 1, LIBRARY_WINDOWS)).astype(int)]
    if run.arm == "library":
        return library(ready, kept, spaced, run.horizon)
    folder = work / run.key
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = settings(arms_of(run.horizon)[run.arm], run.seed, quick=quick)
    task, state = train(config, prepared(config, data) if not config.marks else ready, folder)
    shutil.rmtree(folder)
    found, truth = forecast_windows(task.model, test, kept)
    few, few_truth = forecast_windows(task.model, test, spaced)
    return {
        "mse": squared_error(found, truth),
        "mae": absolute_error(found, truth),
        "mse50": squared_error(few, few_truth),
        "mae50": absolute_error(few, few_truth),
        "epochs": task.epoch_of(state.step),
        "wall_s": state.wall_s,
        "test_windows": len(kept),
    }


def library(
    ready: Prepared, kept: torch.Tensor, spaced: torch.Tensor, horizon: int
) -> dict[str, float]:
    """Return the errors of the seasonal naive on all windows, and of the library on some."""
    test, found = ready.windows["test"], {}
    batch = test.batch(kept)
    naive = seasonal_naive(batch.x_BWC.numpy(), horizon, 24)
    found["seasonal_naive.mse"] = squared_error(naive, batch.y_BHC.numpy())
    found["seasonal_naive.mae"] = absolute_error(naive, batch.y_BHC.numpy())
    few = test.batch(spaced)
    for name, make in library_models(24).items():
        forecast = library_forecast(make, few.x_BWC.numpy(), horizon)
        found[f"{name}.mse50"] = squared_error(forecast, few.y_BHC.numpy())
        found[f"{name}.mae50"] = absolute_error(forecast, few.y_BHC.numpy())
    return found


def measurements_of(
    done: dict[str, dict[str, float]], horizons: Sequence[int]
) -> Iterator[Measurement]:
    """Yield every figure."""
    for horizon in horizons:
        for arm in arms_of(horizon):
            runs = [f for key, f in done.items() if key.startswith(f"{horizon}.{arm}.")]
            if runs and arm.startswith("branch_"):
                yield from _errors(f"branches.{horizon}.{arm.removeprefix('branch_')}", runs)
            elif runs:
                yield from _arm(f"ETTh1.{horizon}.{arm}", runs)
            if runs and arm == "tpgn" and horizon in BRANCH_HORIZONS:
                yield from _errors(f"branches.{horizon}.both", runs)
        yield from _library_measurements(done.get(f"{horizon}.library.0", {}), horizon)


def _errors(place: str, runs: Sequence[dict[str, float]]) -> Iterator[Measurement]:
    windows = f"{runs[0]['test_windows']:.0f} test windows, mean over seeds"
    for figure in FIGURES:
        yield over_seeds(f"{place}.{figure}", [r[figure] for r in runs], "", note=windows)


def _arm(place: str, runs: Sequence[dict[str, float]]) -> Iterator[Measurement]:
    yield from _errors(place, runs)
    few = f"the {LIBRARY_WINDOWS} windows of the library's forecasts, mean over seeds"
    for figure in FIGURES:
        yield over_seeds(f"{place}.{figure}50", [r[f"{figure}50"] for r in runs], "", note=few)
    stopped = "until it stopped, mean over seeds"
    yield over_seeds(f"{place}.epochs", [r["epochs"] for r in runs], "", note=stopped)


def _library_measurements(figures: dict[str, float], horizon: int) -> Iterator[Measurement]:
    for name, value in figures.items():
        few = name.endswith("50")
        note = f"statsforecast, {LIBRARY_WINDOWS} evenly spaced windows" if few else "all windows"
        count = LIBRARY_WINDOWS if few else 1
        yield Measurement(name=f"ETTh1.{horizon}.{name}", value=value, unit="", n=count, note=note)


def synthetic(path: Path) -> Path:
    """Write an hourly table with a daily cycle, for --quick; return its path."""
    draw = np.random.default_rng(0)
    hours = np.arange(2400)
    values = np.sin(2 * np.pi * hours / 24) + 0.2 * draw.standard_normal(hours.size)
    start = np.datetime64("2020-01-01T00")
    rows = (f"{start + int(h)},{v:.4f}" for h, v in zip(hours, values, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("date,OT\n" + "\n".join(rows) + "\n", "utf-8")
    return path


def main() -> None:
    """Do the runs that are not done, and write the report and its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="a made-up series, one epoch; writes into --work")
    add("--work", type=Path, help="where runs are kept [runs/tpgn]")
    add("--data", type=Path, help="ETTh1.csv [TODM_CORPORA/etth1/ETTh1.csv]")
    arms = ", ".join(ORDER)
    add("--only", type=names_of(ORDER), default=(), help=f"of {arms}; writes into --work")
    args = parser.parse_args()
    work: Path = args.work or (QUICK / NAME if args.quick else Path("runs") / NAME)
    work.mkdir(parents=True, exist_ok=True)
    horizons = PAPER_HORIZONS[:1] if args.quick else PAPER_HORIZONS
    data: Path = args.data or Path(os.environ.get("TODM_CORPORA", ".")) / "etth1" / "ETTh1.csv"
    if args.quick:
        data = synthetic(work / "quick.csv")
    kept = Kept(work / "runs.jsonl", "figures")
    runs = plan(horizons, args.only, quick=args.quick)
    for run in runs:
        if run.key in kept.found:
            continue
        try:
            figures = execute(run, data, work, quick=args.quick)
        except MissingExtraError as error:
            print(f"{run.key}: left out, {error}", flush=True)
            continue
        kept.put(run.key, figures)
        print(run.key, {k: round(v, 4) for k, v in figures.items()}, flush=True)
    partial = args.quick or args.only
    scaling = [] if partial else of_report(RESULTS / SCALING)
    measured = (*measurements_of(kept.found, horizons), *scaling)
    report = Report(
        environment=environment(sorted({run.seed for run in runs if run.arm != "library"})),
        measurements=measured,
        verdicts=() if args.quick else tuple(verdicts_of(measured)),
    )
    write(report, render(report), (work if partial else RESULTS) / f"{NAME}.json")


if __name__ == "__main__":
    sys.exit(told(NAME, main))
