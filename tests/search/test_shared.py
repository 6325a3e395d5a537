"""Several processes search one study: every net once, none lost, whoever dies on the way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from todm.core.errors import ArtifactError, ConfigError
from todm.core.search_config import SearchConfig
from todm.search import study as study_module
from todm.search.study import Study

sys.path.insert(0, str(Path(__file__).parent))
from shared_worker import SPACE, formula, told

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300.0


@contextlib.contextmanager
def worker(folder, name, config, **more):
    """Start a worker process; it is killed at the end if it still runs."""
    told_to = {
        "config": config.to_json(),
        "out": str(folder / name),
        "go": str(folder / "go"),
        "seconds": 0.02,
        **more,
    }
    command = [sys.executable, str(Path(__file__).with_name("shared_worker.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, json.dumps(told_to)], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(path, text):
    end = time.monotonic() + TIMEOUT_S
    while not (path.exists() and path.read_text("utf-8") == text):
        assert time.monotonic() < end, f"{path.name} did not say {text!r}"
        time.sleep(0.02)


def states(config):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(config.storage)
    )
    trials = optuna.load_study(study_name="shared", storage=storage).get_trials()
    return [trial.state for trial in trials]


def shared(tmp_path, **changes):
    return SearchConfig(
        **{"trials": 40, "population": 8, "storage": str(tmp_path / "journal"), **changes}
    )


def alone(config):
    study = Study(SPACE, config, "shared")
    study.search(formula, lambda *_: None)
    return study.scores()


def test_two_processes_evaluate_every_net_once(tmp_path):
    config = shared(tmp_path)
    with worker(tmp_path, "a", config) as a, worker(tmp_path, "b", config) as b:
        for name in "ab":
            wait_for(tmp_path / name, "ready")
        (tmp_path / "go").touch()
        assert a.wait(TIMEOUT_S) == b.wait(TIMEOUT_S) == 0
    found = {name: json.loads((tmp_path / name).read_text("utf-8")) for name in "ab"}
    mine = {name: found[name]["mine"] for name in "ab"}
    assert mine["a"]
    assert mine["b"]
    whole = [digest for digest, _ in found["a"]["whole"]]
    assert len(whole) == len(set(whole)) == 40
    assert sorted(mine["a"] + mine["b"]) == sorted(whole)  # each once, by one of them
    assert found["a"]["whole"] == found["b"]["whole"]  # both see one merged result
    assert found["a"]["whole"] == told(alone(config))  # so does who joins when all is done
    count = states(config).count
    assert (count(TrialState.COMPLETE), count(TrialState.RUNNING)) == (40, 0)


def test_a_killed_process_blocks_nobody(tmp_path):
    config = shared(tmp_path, trials=20)
    (tmp_path / "go").touch()
    with worker(tmp_path, "a", config, hang_at=5) as a:
        wait_for(tmp_path / "a", "hanging")
        a.send_signal(signal.SIGKILL)
        a.wait()
    assert states(config).count(TrialState.RUNNING) == 1
    scores = alone(config)
    assert len(scores) == 20
    count = states(config).count
    assert (count(TrialState.COMPLETE), count(TrialState.RUNNING)) == (20, 0)
    starts = Study(SPACE, config.model_copy(update={"storage": None}))
    starts.search(formula, lambda *_: None)
    assert set(list(starts.scores())[:8]) <= set(scores)  # the net it was at is not lost


def test_a_process_on_a_machine_that_is_gone_is_waited_for_and_then_not(tmp_path, monkeypatch):
    config = shared(tmp_path, trials=10)
    with monkeypatch.context() as patch:
        patch.setattr(study_module.socket, "gethostname", lambda: "elsewhere")
        lost = next(Study(SPACE, config, "shared")._claims())
    waits = []
    monkeypatch.setattr(study_module.time, "sleep", waits.append)
    study = Study(SPACE, config, "shared")
    monkeypatch.setattr(study_module.time, "time", lambda: time.monotonic() + 1e12 * len(waits))
    study.search(formula, lambda *_: None)
    assert waits  # nine nets were done and the tenth was elsewhere
    assert len(study.scores()) == 10
    assert lost.spec in study.scores()
    assert states(config).count(TrialState.RUNNING) == 0


def test_scores_that_come_too_late_are_dropped(tmp_path):
    config = shared(tmp_path, trials=10)
    slow, quick = (Study(SPACE, config, "shared") for _ in range(2))
    claim = next(slow._claims())
    slow._study.tell(claim.trial.number, state=TrialState.FAIL)
    quick.search(formula, lambda *_: None)
    assert slow._finish(claim, formula(claim.spec)) is False
    assert len(slow.scores()) == 10
    assert states(config).count(TrialState.COMPLETE) == 10


def test_an_error_frees_the_net(tmp_path):
    config = shared(tmp_path, trials=10)

    def fails(spec):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Study(SPACE, config, "shared").search(fails, lambda *_: None)
    assert states(config) == [TrialState.FAIL]
    assert len(alone(config)) == 10


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/study.db"])
def test_who_searches_alone_finds_the_same_in_any_storage(tmp_path, storage):
    config = shared(tmp_path, trials=12)
    place = storage and storage.format(tmp_path)
    other = config.model_copy(update={"storage": place})
    assert told(alone(config)) == told(alone(other))


def test_a_search_goes_on_for_more_nets(tmp_path):
    few = alone(shared(tmp_path, trials=10))
    more = alone(shared(tmp_path, trials=20))
    assert list(more)[:10] == list(few)
    assert more == alone(SearchConfig(trials=20, population=8))


def test_two_who_want_the_same_net_do_not_both_take_it(tmp_path):
    config = shared(tmp_path)
    one, two = (Study(SPACE, config, "shared") for _ in range(2))
    taken = one._ask()
    assert taken is not None
    assert not two._is_mine(two._study.ask(), taken.spec)


def test_storages_that_are_none(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("dear diary\nno journal\n", "utf-8")
    with pytest.raises(ArtifactError, match=r"notes\.txt: is no journal"):
        Study(SPACE, shared(tmp_path, storage=str(text)))
    with pytest.raises(ArtifactError, match="cannot write"):
        Study(SPACE, shared(tmp_path, storage=str(text / "journal")))
    for url in ("nonsense://user:secret@x", "sqlite:////nowhere/at/all.db"):
        with pytest.raises(ConfigError, match="cannot open") as told_of:
            Study(SPACE, shared(tmp_path, storage=url))
        assert "secret" not in str(told_of.value)
