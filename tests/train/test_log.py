"""The log's lines, and the same figures in TensorBoard's event files."""

import json
import sys
from pathlib import Path

import pytest

from todm.core.errors import MissingExtraError
from todm.train.log import LOG, TrainLog


def write(folder: Path, log: TrainLog, steps: range) -> None:
    for step in steps:
        log.line(step, **{"loss.largest": 1.0 / (step + 1), "skipped": False})
    log.line(steps.stop, dev={"largest": {"wer": 12.5}}, hypervolume=0.3)


def test_a_silent_log_writes_nothing(tmp_path: Path) -> None:
    log = TrainLog(tmp_path, silent=True, board=tmp_path / "board")
    log.begin(0)
    write(tmp_path, log, range(3))
    assert list(tmp_path.iterdir()) == []


def test_without_its_package_tensorboard_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    log = TrainLog(tmp_path, board=tmp_path / "board")
    with pytest.raises(MissingExtraError, match=r"pip install 'todm\[tensorboard\]'"):
        log.begin(0)


def test_tensorboard_reads_what_the_log_says(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TrainLog(tmp_path, board=tmp_path / "board")
    log.begin(0)
    write(tmp_path, log, range(4))
    again = TrainLog(tmp_path, board=tmp_path / "board")
    again.begin(2)  # killed; the checkpoint is that of step 2
    write(tmp_path, again, range(2, 6))
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss/largest", "dev/largest/wer", "hypervolume"}
    shown = [(e.step, e.value) for e in events.Scalars("loss/largest")]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text("utf-8").splitlines()]
    logged = [(x["step"], x["loss.largest"]) for x in lines if "loss.largest" in x]
    assert [step for step, _ in shown] == [0, 1, 2, 3, 4, 5]
    assert shown == [(step, pytest.approx(value)) for step, value in logged]
