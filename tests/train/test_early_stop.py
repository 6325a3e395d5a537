"""Training ends when the front stops growing, and hands out the best weights it had."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_loop import LineTask, StopError, make_loop, read_log
from torch import Tensor

from todm.core.config import RunConfig, ScheduleConfig
from todm.core.overrides import apply_overrides
from todm.recipes import recipe
from todm.train.early_stop import ROOM, FrontStopper, watched_nets
from todm.train.keeper import BEST
from todm.train.task import Scores

MACS = {"largest": 200.0, "smallest": 50.0}
SCHEDULE = ScheduleConfig(steps=40, warmup_steps=4, average_fraction=0.0)
RUN = RunConfig(checkpoint_every_steps=4, eval_every_steps=4, accelerator="cpu")


def scores(largest: float, smallest: float) -> Scores:
    return {"largest": {"wer": largest}, "smallest": {"wer": smallest}}


class FrontTask(LineTask):
    """Its dev WERs follow a script, one entry an evaluation."""

    def __init__(self, script: list[tuple[float, float]], *, stop_at: int = -1) -> None:
        super().__init__(stop_at=stop_at)
        self.script = script
        self.evaluated: list[Tensor] = []
        self.steps_done = 0

    def losses(self, batch: Tensor, step: int) -> Iterator[Tensor]:
        self.steps_done = step + 1
        return super().losses(batch, step)

    def evaluate(self) -> Scores:
        self.evaluated.append(self.model.weight.detach().clone())
        return scores(*self.script[self.steps_done // 4 - 1])


def test_the_value_is_the_dominated_part_of_the_box() -> None:
    stopper = FrontStopper(MACS, 3)
    assert stopper.value(scores(100.0, 100.0)) == 0.0
    # (0.2, 1) and (0.5, 0.25) below (1, 1.1)
    want = 0.5 * (ROOM - 0.25) + 0.3 * (ROOM - 1.0)
    assert stopper.value(scores(20.0, 50.0)) == pytest.approx(want)


def test_patience_counts_evaluations_without_growth() -> None:
    stopper = FrontStopper(MACS, 2)
    steps = [(50.0, 60.0), (40.0, 60.0), (45.0, 60.0), (40.0, 60.0)]
    assert [stopper.grew(scores(*pair)) for pair in steps] == [True, True, False, False]
    assert stopper.stopped


def test_patience_begins_with_the_first_net_that_recognises_something() -> None:
    stopper = FrontStopper(MACS, 2)
    assert [stopper.grew(scores(100.0, 130.0)) for _ in range(5)] == [False] * 5
    assert not stopper.stopped
    assert stopper.grew(scores(99.0, 100.0))
    assert [stopper.grew(scores(100.0, 100.0)) for _ in range(2)] == [False] * 2
    assert stopper.stopped


def test_patience_begins_when_the_smaller_nets_train() -> None:
    """The largest net alone may stand still for as long as its part of the schedule lasts."""
    late = ("sandwich.start_fraction=0.35", "schedule.steps=100", "run.eval_every_steps=10")
    config = apply_overrides(recipe("fsdd", 12), [*late, "run.early_stop_patience=2"])
    stopper = FrontStopper.of(config)
    assert stopper is not None
    costs = {name: {"wer": 100.0} for name in watched_nets(config)}
    still = costs | {"largest": {"wer": 10.0}}
    assert [stopper.grew(still) for _ in range(3)] == [True, False, False]
    resumed = FrontStopper.of(config)
    assert resumed is not None
    resumed.load_state_dict(stopper.state_dict())
    for each in (stopper, resumed):
        assert not each.stopped
        assert [each.grew(still), each.stopped, each.grew(still), each.stopped] == [
            False, False, False, True,
        ]  # fmt: skip


def test_one_net_s_progress_keeps_the_training_going() -> None:
    stopper = FrontStopper(MACS, 1)
    assert stopper.grew(scores(10.0, 60.0))
    assert stopper.grew(scores(12.0, 50.0))  # the largest got worse, the front better
    assert not stopper.stopped


SCRIPT = [(60.0, 70.0), (40.0, 50.0), (41.0, 52.0), (40.0, 50.0), (45.0, 55.0), (1.0, 1.0)]


def test_training_stops_and_hands_out_the_best_weights(tmp_path: Path) -> None:
    task = FrontTask(SCRIPT)
    loop = make_loop(tmp_path, task, SCHEDULE, RUN)
    stopping = make_loop(tmp_path, task, SCHEDULE, RUN, stopper=FrontStopper(MACS, 3))
    state = stopping.train()
    assert (state.step, state.stopped) == (20, True)
    assert torch.equal(task.model.weight.detach(), task.evaluated[1])
    values = [line["hypervolume"] for line in read_log(tmp_path) if "dev" in line]
    assert values == [FrontStopper(MACS, 3).value(scores(*pair)) for pair in SCRIPT[:5]]
    assert loop.state.step == 0


def test_a_stopped_run_that_was_killed_before_its_artifact_stays_stopped(tmp_path: Path) -> None:
    first, again = FrontTask(SCRIPT), FrontTask(SCRIPT)
    make_loop(tmp_path, first, SCHEDULE, RUN, stopper=FrontStopper(MACS, 3)).train()
    state = make_loop(tmp_path, again, SCHEDULE, RUN, stopper=FrontStopper(MACS, 3)).train()
    assert (state.step, again.before) == (20, {})
    assert torch.equal(first.model.weight, again.model.weight)


def test_a_killed_run_stops_where_the_whole_one_did(tmp_path: Path) -> None:
    whole, resumed = FrontTask(SCRIPT), FrontTask(SCRIPT)
    make_loop(tmp_path / "a", whole, SCHEDULE, RUN, stopper=FrontStopper(MACS, 3)).train()
    killed = FrontTask(SCRIPT, stop_at=14)
    with pytest.raises(StopError):
        make_loop(tmp_path / "b", killed, SCHEDULE, RUN, stopper=FrontStopper(MACS, 3)).train()
    assert (tmp_path / "b" / BEST).is_file()
    loop = make_loop(tmp_path / "b", resumed, SCHEDULE, RUN, stopper=FrontStopper(MACS, 3))
    assert loop.train().step == 20
    assert torch.equal(whole.model.weight, resumed.model.weight)
    assert read_log(tmp_path / "a") == read_log(tmp_path / "b")


def test_watched_nets_are_the_named_ones_unless_the_front_is_judged() -> None:
    config = recipe("tiny", 7)
    assert watched_nets(config) == config.space.named()
    assert FrontStopper.of(config) is None
    run = config.run.model_copy(update={"early_stop_patience": 2, "early_stop_nets": 3})
    judged = config.model_copy(update={"run": run})
    nets = watched_nets(judged)
    assert list(nets) == ["largest", "middle", "smallest", "sample0", "sample1", "sample2"]
    assert nets == watched_nets(judged)
    assert all(config.space.contains(spec) for spec in nets.values())
    assert FrontStopper.of(judged) is not None
