"""``todm forecast train``: a table and a configuration to a forecaster artifact."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from todm.core.artifact import Artifact, file_sha256, load_artifact, write_artifact
from todm.core.config import OptimConfig, RunConfig
from todm.core.cost_forecast import forecast_macs, forecaster_parameters
from todm.core.forecast_config import EpochSchedule, ForecastConfig
from todm.core.rng import derive_seed
from todm.data.calendar_marks import mark_names
from todm.data.series import Series, read_series
from todm.data.windows import Part, Windows, make_windows
from todm.features.series_facts import Scale, SeriesFacts
from todm.metrics.forecast import check_windows, conformal_half_widths
from todm.models.forecaster import Forecaster
from todm.models.forecaster_store import write_forecaster
from todm.models.forecasting import forecast_windows
from todm.optim.build import NEVER_CLIPPED, build_optimizer
from todm.train.checkpoint import TrainState
from todm.train.early_stop import LossStopper
from todm.train.forecast import NET, ForecastTask
from todm.train.log import LOG
from todm.train.loop import Loop, seeded
from todm.train.ranks import launch, threads_each
from todm.train.start import work_folder

PROBE_WINDOWS = 32


@dataclass(frozen=True)
class Prepared:
    """A table that was read for a configuration."""

    series: Series
    windows: dict[Part, Windows]
    scale: Scale
    sha256: str


def prepare(config: ForecastConfig, table: Path) -> Prepared:
    """Read a table, split it and check that it is long enough.

    Raises:
        DataError: it is not; or it is no series (``data.series``).
    """
    series = read_series(table, config.series)
    windows, scale = make_windows(
        series,
        config.series,
        window_steps=config.window_steps,
        horizon_steps=config.horizon_steps,
        marks=config.marks,
    )
    check_windows(len(windows["validation"]), config.level)
    return Prepared(series, windows, scale, file_sha256(table))


def run(config: ForecastConfig, table: Path, out: Path) -> Artifact:
    """Train a forecaster; a killed run goes on where it was.

    Args:
        config: everything that decides the training.
        table: a text file with a time and values.
        out: where the artifact goes; the run works in ``<out>.work`` until then.

    Raises:
        DataError: the table is no series, or too short.
        ConfigError: an unknown frequency.
        ArtifactError: ``<out>.work`` holds an unfinished run of something else.
        GateError: training diverged.
        MissingExtraError: pandas is not installed.
    """
    prepared = prepare(config, table)
    out = out.absolute()
    with work_folder(config, out, "forecaster") as work:
        task, state = train(config, prepared, work)
        return _write(config, prepared, task, state, table=table, work=work, out=out)


def train(
    config: ForecastConfig, prepared: Prepared, work: Path
) -> tuple[ForecastTask, TrainState]:
    """Train in a work folder; the best weights are in the task's model afterwards."""
    settings = config.train
    marks = len(mark_names(prepared.series.frequency))
    with seeded(derive_seed(config.seed, "init")):
        model = Forecaster(config.spec(len(prepared.series.names), marks))
    task = ForecastTask(
        model,
        prepared.windows["train"],
        prepared.windows["validation"],
        batch_size=settings.batch_size,
        seed=config.seed,
    )
    place = RunConfig(
        accelerator=settings.accelerator,
        threads=settings.threads,
        eval_every_steps=task.steps_per_epoch,
        checkpoint_every_steps=task.steps_per_epoch,
    )
    torch.set_num_threads(threads_each(place))
    fabric = launch(place)
    fabric.to_device(model)
    loop = Loop(
        task=task,
        optimizer=build_optimizer(
            model,
            OptimConfig(
                kind="adamw",
                lr=settings.lr,
                betas=(0.9, 0.999),
                weight_decay=0.0,
                clipping_scale=NEVER_CLIPPED,
            ),
        ),
        schedule=EpochSchedule(
            steps=settings.epochs * task.steps_per_epoch,
            held_epochs=settings.held_epochs,
            epoch_factor=settings.epoch_factor,
        ),
        run=place,
        fabric=fabric,
        work=work,
        fingerprint=f"{config.deciding().digest()}-{prepared.sha256}",
        stopper=LossStopper(settings.patience),
    )
    state = loop.train()
    model.eval()
    return task, state


def _write(
    config: ForecastConfig,
    prepared: Prepared,
    task: ForecastTask,
    state: TrainState,
    *,
    table: Path,
    work: Path,
    out: Path,
) -> Artifact:
    series, validation = prepared.series, prepared.windows["validation"]
    found, truth = forecast_windows(task.model, validation)
    scores = task.evaluate()[NET]
    facts = SeriesFacts(
        names=series.names,
        frequency=series.frequency,
        step_s=series.step_s,
        rows=len(series.times),
        first=str(series.times[0]),
        last=str(series.times[-1]),
        scale=prepared.scale,
        notes=series.notes,
    )
    with write_artifact(out, kind="forecaster") as draft:
        write_forecaster(
            draft,
            task.model,
            config,
            facts,
            half_widths_HC=conformal_half_widths(found, truth, config.level),
            probe=validation.batch(validation.evenly(PROBE_WINDOWS)),
        )
        shutil.copyfile(work / LOG, draft.path / LOG)
        draft.body = {
            "recipe": config.recipe,
            "name": task.model.spec.short_name,
            "data_path": str(table.absolute()),
            "data_sha256": prepared.sha256,
            "windows": {part: len(w) for part, w in prepared.windows.items()},
            "notes": list(series.notes),
            "params": forecaster_parameters(task.model.spec),
            "macs_per_forecast": forecast_macs(task.model.spec),
            "steps": state.step,
            "epochs": round(task.epoch_of(state.step), 2),
            "stopped_early": state.stopped,
            "wall_s": round(state.wall_s, 1),
            "validation_mse": scores["loss"],
            "validation_mae": scores["mae"],
        }
    return load_artifact(out, "forecaster", verify=False)
