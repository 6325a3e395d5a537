"""The training loop: schedule, average, bad steps, log, and going on after a stop."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from todm.core.config import OptimConfig, RunConfig, ScheduleConfig
from todm.core.errors import ArtifactError, GateError
from todm.optim.build import build_optimizer
from todm.optim.schedule import eden_factor, one_cycle_factor
from todm.train.checkpoint import CHECKPOINT
from todm.train.early_stop import FrontStopper
from todm.train.log import LOG
from todm.train.loop import Loop, lr_factor, seeded
from todm.train.task import Scores, Task

STEPS_PER_EPOCH = 5


class StopError(Exception):
    """Stands for a kill between two steps."""


class LineTask(Task[Tensor]):
    """Fits a linear map by batches drawn from their step; remembers the weights of each step."""

    def __init__(self, *, bad_steps: frozenset[int] = frozenset(), stop_at: int = -1) -> None:
        with seeded(1):
            self.model = nn.Linear(3, 2)
        self.bad_steps = bad_steps
        self.stop_at = stop_at
        self.before: dict[int, Tensor] = {}
        self.trained_in_train_mode: set[bool] = set()

    def batches(self, start_step: int) -> Iterator[Tensor]:
        step = start_step
        while True:
            yield torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            step += 1

    def losses(self, batch: Tensor, step: int) -> Iterator[Tensor]:
        if step == self.stop_at:
            raise StopError
        self.before[step] = self.model.weight.detach().clone()
        self.trained_in_train_mode.add(self.model.training)
        yield (self.model(batch)[:, 0] - batch[:, 1]).square().mean()
        scale = math.inf if step in self.bad_steps else 1.0
        yield self.model(batch)[:, 1].square().mean() * scale

    def step_log(self) -> dict[str, float]:
        return {"loss": 0.5}

    def evaluate(self) -> Scores:
        assert not self.model.training
        return {"largest": {"wer": float(self.model.weight.detach().sum())}}

    def epoch_of(self, step: int) -> float:
        return step / STEPS_PER_EPOCH

    def save_batch(self, batch: Tensor) -> dict[str, Tensor]:
        return {"batch": batch}


SCHEDULE = ScheduleConfig(steps=25, warmup_steps=4, average_fraction=0.2)
RUN = RunConfig(checkpoint_every_steps=8, eval_every_steps=10, accelerator="cpu")


def make_loop(
    work: Path,
    task: LineTask,
    schedule: ScheduleConfig = SCHEDULE,
    run: RunConfig = RUN,
    fingerprint: str = "a",
    stopper: FrontStopper | None = None,
) -> Loop[Tensor]:
    work.mkdir(exist_ok=True)
    return Loop(
        task=task,
        optimizer=build_optimizer(task.model, OptimConfig(lr=0.02)),
        schedule=schedule,
        run=run,
        fabric=Fabric(accelerator="cpu", devices=1),
        work=work,
        fingerprint=fingerprint,
        stopper=stopper,
    )


def read_log(work: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (work / LOG).read_text("utf-8").splitlines()]


def test_factor_is_eden_times_the_final_fall() -> None:
    config = ScheduleConfig(
        steps=100, warmup_steps=10, eden_batches=50.0, eden_epochs=2.0, final_fraction=0.2
    )
    for step in (0, 5, 10, 79, 80, 90, 99):
        epoch = step / 7
        want = eden_factor(step, epoch, batches=50.0, epochs=2.0, warmup_batches=10)
        want *= min(1.0, (100 - step) / 20)
        assert lr_factor(config, step, epoch) == pytest.approx(want, rel=1e-12)
    flat = config.model_copy(update={"final_fraction": 0.0})
    assert lr_factor(flat, 99, 3.0) == eden_factor(
        99, 3.0, batches=50.0, epochs=2.0, warmup_batches=10
    )


def test_a_held_rate_decays_once_the_hold_ends() -> None:
    eden = {"steps": 100, "warmup_steps": 10, "eden_batches": 50.0, "eden_epochs": 2.0}
    held = ScheduleConfig.model_validate({**eden, "hold_fraction": 0.6})
    plain = ScheduleConfig.model_validate({**eden, "warmup_steps": 0})
    assert [lr_factor(held, step, step / 7) for step in (10, 30, 60)] == [1.0, 1.0, 1.0]
    assert lr_factor(held, 5, 5 / 7) == pytest.approx(0.75)
    for step in (61, 75, 99):  # as a run that began at the end of the hold
        want = lr_factor(plain, step - 60, (step - 60) / 7)
        assert lr_factor(held, step, step / 7) == pytest.approx(want)
    with pytest.raises(ValueError, match="eden only"):
        ScheduleConfig(kind="one_cycle", steps=9, warmup_steps=3, hold_fraction=0.5)
    with pytest.raises(ValueError, match="eden only"):
        ScheduleConfig(kind="one_cycle", steps=9, warmup_steps=3, final_fraction=0.5)
    with pytest.raises(ValueError, match="warmup_steps is 30 of 20 steps"):
        ScheduleConfig(kind="one_cycle", steps=20, warmup_steps=30)


def test_factor_of_one_cycle() -> None:
    config = ScheduleConfig(kind="one_cycle", steps=100, warmup_steps=10)
    for step in (0, 9, 10, 50, 99):
        assert lr_factor(config, step, 0.0) == one_cycle_factor(step, 100, 0.1)


def test_every_step_runs_at_its_scheduled_rate(tmp_path: Path) -> None:
    task = LineTask()
    loop = make_loop(tmp_path, task)
    step_of = loop.optimizer.step
    rates: list[float] = []

    def spied() -> None:
        rates.append(loop.optimizer.inner.param_groups[0]["lr"])
        step_of()

    loop.optimizer.step = spied  # type: ignore[method-assign]
    loop.train()
    want = [0.02 * lr_factor(SCHEDULE, step, step / STEPS_PER_EPOCH) for step in range(25)]
    assert rates == pytest.approx(want, rel=1e-12)
    assert task.trained_in_train_mode == {True}


def test_the_result_is_the_mean_of_the_last_weights(tmp_path: Path) -> None:
    """A fifth of 25 steps: the weights after steps 20 to 24."""
    task = LineTask()
    loop = make_loop(tmp_path, task)
    after: list[Tensor] = []
    update = loop.optimizer.step

    def spied() -> None:
        update()
        after.append(task.model.weight.detach().double())

    loop.optimizer.step = spied  # type: ignore[method-assign]
    loop.train()
    assert loop.keeper.average.count == 5
    want = torch.stack(after[-5:]).mean(0)
    torch.testing.assert_close(task.model.weight.detach().double(), want, rtol=1e-6, atol=1e-7)
    assert not torch.equal(task.model.weight.detach().double(), after[-1])


class TwoLossTask(LineTask):
    """Its dev loss is least for one of the windows, as a weight in it says."""

    def evaluate(self) -> Scores:
        return {"largest": {"wer": 1.0, "loss": abs(float(self.model.weight[0, 0].detach()))}}


def test_of_several_windows_the_one_with_the_least_dev_loss_is_handed_out(tmp_path: Path) -> None:
    schedule = SCHEDULE.model_copy(
        update={"averaging": "pairs", "average_starts": (0.2, 0.4, 0.8)}  # steps 5, 10, 20
    )
    task = TwoLossTask()
    loop = make_loop(tmp_path, task, schedule)
    after: list[Tensor] = []
    update = loop.optimizer.step

    def spied() -> None:
        update()
        after.append(task.model.weight.detach().double())

    loop.optimizer.step = spied  # type: ignore[method-assign]
    loop.train()
    means = {start: torch.stack(after[start:]).mean(0) for start in (5, 10, 20)}
    best = min(means, key=lambda start: abs(float(means[start][0, 0])))
    torch.testing.assert_close(task.model.weight.detach().double(), means[best])
    said = read_log(tmp_path)[-1]
    assert said["average_from"] == best
    assert said["dev_loss_from"] == {
        str(start): pytest.approx(abs(float(mean[0, 0])), abs=1e-6) for start, mean in means.items()
    }


def test_without_averaging_the_result_is_the_last_weights(tmp_path: Path) -> None:
    averaged, last = LineTask(), LineTask()
    make_loop(tmp_path / "a", averaged).train()
    plain = SCHEDULE.model_copy(update={"average_fraction": 0.0})
    loop = make_loop(tmp_path / "b", last, plain)
    loop.train()
    assert loop.keeper.average.count == 0
    assert not torch.equal(averaged.model.weight, last.model.weight)


def test_a_non_finite_step_is_skipped_counted_and_saved(tmp_path: Path) -> None:
    task = LineTask(bad_steps=frozenset({3, 4, 12}))
    state = make_loop(tmp_path, task).train()
    assert state.step == 25
    assert (state.skipped_steps, state.bad_in_a_row) == (3, 0)
    assert torch.equal(task.before[3], task.before[4])
    assert torch.equal(task.before[4], task.before[5])
    assert not torch.equal(task.before[5], task.before[6])
    assert bool(torch.isfinite(task.model.weight).all())
    saved = sorted(p.name for p in tmp_path.glob("bad_step_*"))
    assert saved == [f"bad_step_{n}.safetensors" for n in (12, 3, 4)]
    marked = [e["step"] for e in read_log(tmp_path) if e.get("skipped")]
    assert marked == [3, 4, 12]


def test_the_saved_batch_is_the_one_that_was_bad(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    task = LineTask(bad_steps=frozenset({3}))
    make_loop(tmp_path, task).train()
    want = next(task.batches(3))
    assert torch.equal(load_file(tmp_path / "bad_step_3.safetensors")["batch"], want)


def test_ten_bad_steps_in_a_row_stop_with_a_clear_error(tmp_path: Path) -> None:
    task = LineTask(bad_steps=frozenset(range(5, 25)))
    loop = make_loop(tmp_path, task)
    with pytest.raises(GateError, match="10 steps in a row were not finite") as raised:
        loop.train()
    message = str(raised.value)
    assert "stopped at step 14" in message
    assert str(tmp_path) in message
    assert "optim.lr" in message
    assert "\n" not in message
    assert len(list(tmp_path.glob("bad_step_*"))) == 10


def test_the_progress_bar_is_closed_when_training_stops(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else the error's one line would be written behind the bar."""
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(stop_at=3)).train()
    assert capfd.readouterr().err.endswith("\n")


def test_nine_bad_steps_in_a_row_do_not_stop(tmp_path: Path) -> None:
    task = LineTask(bad_steps=frozenset(range(20)) - {9, 19})
    assert make_loop(tmp_path, task).train().skipped_steps == 18


def test_bad_steps_before_and_after_a_stop_count_together(tmp_path: Path) -> None:
    """Else a diverged run that is restarted again and again would never give up."""
    bad = frozenset(range(4, 25))
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(bad_steps=bad, stop_at=10)).train()
    with pytest.raises(GateError, match="stopped at step 13"):  # checkpoint at 8, bad from 4
        make_loop(tmp_path, LineTask(bad_steps=bad)).train()


@pytest.mark.parametrize("stop_at", [3, 8, 16, 22, 24])
def test_a_stopped_run_ends_with_the_same_bits_and_log(tmp_path: Path, stop_at: int) -> None:
    bad = frozenset({6, 13, 23})
    whole = LineTask(bad_steps=bad)
    want = make_loop(tmp_path / "whole", whole).train()
    with pytest.raises(StopError):
        make_loop(tmp_path / "parts", LineTask(bad_steps=bad, stop_at=stop_at)).train()
    resumed = LineTask(bad_steps=bad)
    loop = make_loop(tmp_path / "parts", resumed)
    state = loop.train()
    assert min(resumed.before) == stop_at // 8 * 8
    for mine, reference in zip(
        resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, reference)
    kept = ("step", "skipped_steps", "bad_in_a_row")
    assert [getattr(state, k) for k in kept] == [getattr(want, k) for k in kept]
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")


def test_a_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    """Killed after the last step, before the artifact was written."""
    first, again = LineTask(), LineTask()
    make_loop(tmp_path, first).train()
    make_loop(tmp_path, again).train()
    assert again.before == {}
    assert torch.equal(first.model.weight, again.model.weight)


def test_log_is_trimmed_to_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(stop_at=22)).train()
    log = tmp_path / LOG
    assert [e["step"] for e in read_log(tmp_path)] == [0, 10, 10, 20, 20]
    log.write_text(log.read_text("utf-8") + '{"step": 21, "lr_fac', "utf-8")  # cut by a kill
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(stop_at=16)).train()
    entries = read_log(tmp_path)
    assert [e["step"] for e in entries] == [0, 10, 10]  # the checkpoint is that of step 16
    assert sum("dev" in e for e in entries) == 1


def test_a_log_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(stop_at=5)).train()
    make_loop(tmp_path, LineTask()).train()
    assert [e["step"] for e in read_log(tmp_path) if "dev" not in e] == [0, 10, 20]


def test_a_changed_configuration_refuses_to_resume(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(stop_at=9)).train()
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ArtifactError, match="another configuration, corpus or --init") as raised:
        make_loop(tmp_path, LineTask(), fingerprint="b").train()
    assert "--out" in str(raised.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert len(read_log(tmp_path)) == 1  # nothing was touched


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    with pytest.raises(StopError):
        make_loop(tmp_path, LineTask(stop_at=9)).train()
    target = tmp_path / CHECKPOINT
    target.write_bytes(target.read_bytes()[:-400] if content is None else content)
    with pytest.raises(ArtifactError, match="damaged checkpoint") as raised:
        make_loop(tmp_path, LineTask()).train()
    assert str(target) in str(raised.value)


def test_evaluation_sees_the_average_and_leaves_the_weights(tmp_path: Path) -> None:
    task = LineTask()
    often = RUN.model_copy(update={"eval_every_steps": 1})
    make_loop(tmp_path / "often", task, run=often).train()
    seldom = LineTask()
    make_loop(tmp_path / "seldom", seldom).train()
    assert torch.equal(task.model.weight, seldom.model.weight)
    scores = [e["dev"]["largest"]["wer"] for e in read_log(tmp_path / "often") if "dev" in e]
    assert len(scores) == 25
    assert scores[10] == pytest.approx(float(task.before[11].sum()))
    assert scores[-1] == pytest.approx(float(task.model.weight.detach().sum()))


def test_seeded_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.randn(2)
    with seeded(3):
        assert torch.equal(torch.randn(2), first)
    assert torch.equal(torch.get_rng_state(), before)
