"""The forecasting task in the loop: the paper's protocol, and a run that was killed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from todm.core.errors import ArtifactError, DataError, MissingExtraError
from todm.core.forecast_config import EpochSchedule, ForecastConfig, ForecastTraining
from todm.core.forecaster_spec import DLinearSpec, TPGNSpec
from todm.models.forecaster_store import load_forecaster
from todm.train import forecast_run
from todm.train.early_stop import LossStopper
from todm.train.forecast import ForecastTask
from todm.train.log import LOG
from todm.train.loop import lr_factor

pytest.importorskip("pandas")

CONFIG = ForecastConfig(
    recipe="test",
    window_steps=24,
    horizon_steps=6,
    net=TPGNSpec(period_steps=6, hidden_dim=2),
    train=ForecastTraining(epochs=4, patience=4, threads=1, accelerator="cpu"),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    times = np.datetime64("2021-01-01T00") + np.arange(400)
    values = np.sin(np.arange(400) * 2 * np.pi / 6) + 0.1 * draw.standard_normal(400)
    path = tmp_path_factory.mktemp("series") / "table.csv"
    rows = (f"{t},{v:.5f}" for t, v in zip(times, values, strict=True))
    path.write_text("date,value\n" + "\n".join(rows) + "\n", "utf-8")
    return path


def changed(**train: object) -> ForecastConfig:
    return CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update=train)})


def test_the_rate_is_held_two_epochs_and_then_falls_by_a_tenth_each() -> None:
    schedule = EpochSchedule(steps=100)
    factors = [lr_factor(schedule, 0, epoch) for epoch in (0.0, 0.9, 1.9, 2.0, 2.9, 3.0, 24.5)]
    assert factors == pytest.approx([1, 1, 1, 0.9, 0.9, 0.81, 0.9**23])


def test_training_is_adam_on_the_squared_error(tmp_path: Path, table: Path) -> None:
    """The loop's result equals a plain loop with torch's Adam over the same batches."""
    config = changed(epochs=3)
    prepared = forecast_run.prepare(config, table)
    task, state = forecast_run.train(config, prepared, tmp_path)
    assert state.step == 3 * task.steps_per_epoch
    (tmp_path / "begin").mkdir()
    again, _ = forecast_run.train(changed(epochs=1), prepared, tmp_path / "begin")
    model = again.model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(forecast_run.derive_seed(config.seed, "init"))
        model.load_state_dict(forecast_run.Forecaster(model.spec).state_dict())
    batches = again.batches(0)
    for step in range(state.step):
        epoch = step // task.steps_per_epoch
        optimizer.param_groups[0]["lr"] = 1e-3 * 0.9 ** max(0, epoch - 1)
        batch = next(batches)
        loss = F.mse_loss(model(batch.x_BWC, batch.marks_BWM), batch.y_BHC)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = min(json.loads(line)["watched_loss"] for line in _evaluations(tmp_path))
    assert best == pytest.approx(json.loads(_evaluations(tmp_path)[-1])["watched_loss"])
    for name, weight in model.state_dict().items():
        # fused and plain Adam round differently
        torch.testing.assert_close(task.model.state_dict()[name], weight, rtol=1e-4, atol=1e-6)


def _evaluations(work: Path) -> list[str]:
    return [line for line in (work / LOG).read_text("utf-8").splitlines() if "watched_loss" in line]


def test_every_window_is_in_an_epoch_once_but_for_a_partial_batch(table: Path) -> None:
    prepared = forecast_run.prepare(CONFIG, table)
    model = forecast_run.Forecaster(CONFIG.spec(1, 4))
    windows = prepared.windows
    task = ForecastTask(model, windows["train"], windows["validation"], batch_size=32, seed=0)
    batches = task.batches(0)
    firsts = []
    for _ in range(2):
        epoch = [next(batches).y_BHC[:, 0, 0] for _ in range(task.steps_per_epoch)]
        firsts.append(torch.cat(epoch))
    assert len(firsts[0]) == len(windows["train"]) // 32 * 32
    assert len(firsts[0].unique()) > 0.95 * len(firsts[0])
    assert not torch.equal(*firsts)
    later = task.batches(task.steps_per_epoch + 1)
    torch.testing.assert_close(next(later).y_BHC[:, 0, 0], firsts[1][32:64])


def test_patience_counts_epochs_without_a_lower_loss() -> None:
    stopper = LossStopper(2)
    seen = []
    for loss in (3.0, 2.0, 2.0, 1.5, 1.6, 1.7):
        grew = stopper.grew({"net": {"loss": loss}})
        seen.append((grew, stopper.stopped))
    assert seen == [
        (True, False),
        (True, False),
        (False, False),
        (True, False),
        (False, False),
        (False, True),
    ]
    other = LossStopper(2)
    other.load_state_dict(stopper.state_dict())
    assert other.stopped
    assert other.best == 1.5


def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = forecast_run.run(CONFIG, table, tmp_path / "whole")
    losses = ForecastTask.losses

    def killed(self, batch, step):  # type: ignore[no-untyped-def]
        if step == 2 * self.steps_per_epoch + 1:
            raise KeyboardInterrupt
        return losses(self, batch, step)

    monkeypatch.setattr(ForecastTask, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        forecast_run.run(CONFIG, table, tmp_path / "again")
    monkeypatch.undo()
    with pytest.raises(
        ArtifactError, match=r"configuration \(train.lr is 0.001 there and 0.1 here\)"
    ):
        forecast_run.run(changed(lr=0.1), table, tmp_path / "again")
    again = forecast_run.run(CONFIG, table, tmp_path / "again")
    ours, theirs = (load_forecaster(a.path).model.state_dict() for a in (again, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not (tmp_path / "again.work").exists()


def test_too_few_validation_windows_are_told_before_training(tmp_path: Path, table: Path) -> None:
    config = CONFIG.model_copy(update={"level": 0.99})
    with pytest.raises(DataError, match="at least 99 validation windows, there are 75"):
        forecast_run.run(config, table, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_net_trains_alike(tmp_path: Path, table: Path) -> None:
    config = CONFIG.model_copy(update={"net": DLinearSpec(average_steps=3), "marks": False})
    artifact = forecast_run.run(config, table, tmp_path / "out")
    assert artifact.body["params"] == 2 * 25 * 6
    assert load_forecaster(artifact.path).spec.marks == 0


def test_without_pandas_the_extra_is_named(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"todm\[forecast\]"):
        forecast_run.run(CONFIG, table, tmp_path / "out")
