"""Several processes on CPUs (gloo) train as one would, and end together whatever happens."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from todm.core.artifact import Artifact, load_artifact
from todm.core.config import RunConfig, SupernetConfig
from todm.core.data_config import AugmentConfig
from todm.core.errors import ConfigError, LostProcessError
from todm.models.store import CONFIG
from todm.models.weights import WEIGHTS
from todm.recipes import recipe
from todm.train.checkpoint import CHECKPOINT
from todm.train.log import LOG
from todm.train.ranks import launch, lost_process_told

DRIVER = Path(__file__).with_name("ranks_driver.py")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 900  # a minute on two idle cores
STEPS = 3


def make_config(
    corpus: Artifact, noise_dir: Path, *, steps: int, batch_size: int
) -> SupernetConfig:
    """The recipe "tiny" with noise, dropout and masks."""
    config = recipe("tiny", int(str(corpus.body["vocab_size"])))
    augment = AugmentConfig(
        freq_masks=1,
        time_masks=1,
        noise_dir=noise_dir,
        noise_snr_db=(5.0, 20.0),
        noise_probability=0.5,
    )
    parts: dict[str, dict[str, Any]] = {
        "data": {"augment": augment, "batch_size": batch_size},
        "schedule": {"steps": steps},
        "run": {"accelerator": "cpu", "threads": 1},
    }
    updated = {
        name: getattr(config, name).model_copy(update=values) for name, values in parts.items()
    }
    return config.model_copy(update=updated)


@dataclass(frozen=True)
class Outcome:
    """One training of several processes."""

    statuses: list[int]
    """Exit status of each rank (negative: the signal)."""
    said: str
    out: Path


@pytest.fixture(scope="module")
def outcomes(
    corpus: Artifact, noise_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """All trainings of this module, in one interpreter: to start one costs more than to train."""
    folder = tmp_path_factory.mktemp("ranks")
    for steps, size in ((STEPS, 5), (14, 5), (14, 1)):
        config = make_config(corpus, noise_dir, steps=steps, batch_size=size)
        config.write_json(folder / f"{steps}-{size}.json")
    run = config.run.model_copy(update={"strategy": "fsdp"})
    long_config = make_config(corpus, noise_dir, steps=14, batch_size=5)
    long_config.model_copy(update={"run": run}).write_json(folder / "spread.json")
    spread = str(folder / "spread.json")
    loss = config.loss.model_copy(update={"form": "pruned"})
    for name, strategy in (("pruned", "auto"), ("pruned-spread", "fsdp")):
        place = config.run.model_copy(update={"strategy": strategy})
        pruned = long_config.model_copy(update={"run": place, "loss": loss})
        pruned.write_json(folder / f"{name}.json")
    (folder / "bad.work").mkdir()
    long_config.write_json(folder / "bad.work" / CONFIG)
    (folder / "bad.work" / CHECKPOINT).write_bytes(b"no checkpoint")
    long, short, single = (str(folder / f"{name}.json") for name in ("14-5", f"{STEPS}-5", "14-1"))
    jobs: dict[str, dict[str, Any]] = {
        "one": {"config": short, "world": 1, "out": "a", "record": str(folder / "one")},
        "two": {"config": short, "world": 2, "out": "b", "record": str(folder / "two")},
        "whole": {"config": long, "world": 1, "out": "whole"},
        "stopped": {"config": long, "world": 2, "out": "parts", "stop": 6},
        "gone on": {"config": long, "world": 3, "out": "parts"},
        "ended": {"config": long, "world": 2, "out": "ended", "ends": [4, 7]},
        "killed": {"config": long, "world": 2, "out": "killed", "kill": [1, 6]},
        "healed": {"config": long, "world": 2, "out": "killed"},
        "spread": {"config": spread, "world": 2, "out": "spread"},
        "pruned": {"config": str(folder / "pruned.json"), "world": 1, "out": "p1"},
        "pruned on 2": {"config": str(folder / "pruned.json"), "world": 2, "out": "p2"},
        "pruned spread": {"config": str(folder / "pruned-spread.json"), "world": 2, "out": "p3"},
        "spread stopped": {"config": spread, "world": 2, "out": "again", "stop": 11},
        "spread on 3": {"config": spread, "world": 3, "out": "again"},
        "spread on 2": {"config": spread, "world": 2, "out": "again"},
        "spread killed": {"config": spread, "world": 2, "out": "gone", "kill": [1, 6]},
        "spread ended": {"config": spread, "world": 2, "out": "short", "ends": [4, 7]},
        "bad": {"config": long, "world": 2, "out": "bad"},
        "too many": {"config": single, "world": 2, "out": "none"},
    }
    for job in jobs.values():
        job.update(corpus=str(corpus.path), out=str(folder / job["out"]))
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(list(jobs.values()))],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        name: Outcome(*json.loads(line), Path(job["out"]))
        for (name, job), line in zip(jobs.items(), done.stdout.splitlines(), strict=True)
    }


def test_two_processes_give_the_gradients_of_one(outcomes: dict[str, Outcome]) -> None:
    """Of the same global batches: 5 utterances are 3 and 2, with noise, masks and dropout."""
    for name in ("one", "two"):
        assert set(outcomes[name].statuses) == {0}, outcomes[name].said
    folder = outcomes["one"].out.parent
    for step in range(STEPS):
        alone = torch.load(folder / "one" / f"grads_0_{step}.pt")
        for rank in (0, 1):
            both = torch.load(folder / "two" / f"grads_{rank}_{step}.pt")
            for mine, want in zip(both, alone, strict=True):
                torch.testing.assert_close(mine, want, rtol=1e-5, atol=1e-6)
        assert max(float(grad.abs().max()) for grad in alone) > 0.01  # the bound means something


def test_all_processes_train_the_same_nets(outcomes: dict[str, Outcome]) -> None:
    folder = outcomes["one"].out.parent
    nets = [(folder / "two" / f"nets_{rank}.json").read_text("utf-8") for rank in (0, 1)]
    assert nets[0] == nets[1] == (folder / "one" / "nets_0.json").read_text("utf-8")
    assert len(json.loads(nets[0])) == STEPS


def test_a_run_goes_on_with_another_number_of_processes(outcomes: dict[str, Outcome]) -> None:
    """Data and draws are the global batch's, so the weights stay those of one process alone."""
    assert outcomes["stopped"].statuses == [-signal.SIGKILL] * 2
    assert outcomes["gone on"].statuses == [0, 0, 0], outcomes["gone on"].said
    out = outcomes["gone on"].out
    assert load_artifact(out, "supernet").body["steps"] == 14
    found, want = load_file(out / WEIGHTS), load_file(outcomes["whole"].out / WEIGHTS)
    for name, tensor in want.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    assert not out.with_name(f"{out.name}.work").exists()


def test_data_that_ends_earlier_on_one_process_ends_the_run_cleanly(
    outcomes: dict[str, Outcome],
) -> None:
    assert outcomes["ended"].statuses == [0, 0], outcomes["ended"].said
    body = load_artifact(outcomes["ended"].out, "supernet").body
    assert (body["steps"], body["skipped_steps"]) == (7, 0)


def test_a_killed_process_ends_the_others_with_a_clear_error(outcomes: dict[str, Outcome]) -> None:
    killed, healed = outcomes["killed"], outcomes["healed"]
    assert killed.statuses == [75, -signal.SIGKILL], killed.said
    assert "another process of this training ended or stopped answering" in killed.said
    assert "give the same command again" in killed.said
    assert healed.statuses == [0, 0], healed.said
    assert load_artifact(healed.out, "supernet").body["steps"] == 14


def test_a_spread_net_trains_as_a_whole_one(outcomes: dict[str, Outcome]) -> None:
    """FSDP2: pieces of every tensor on each process; the optimizer's tensors dealt out."""
    assert outcomes["spread"].statuses == [0, 0], outcomes["spread"].said
    found, want = (load_file(outcomes[name].out / WEIGHTS) for name in ("spread", "whole"))
    for name, tensor in want.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    logs = [(outcomes[name].out / LOG).read_text("utf-8") for name in ("spread", "whole")]
    norms = [[json.loads(x).get("grad_norm") for x in log.splitlines()] for log in logs]
    assert norms[0][0] == pytest.approx(norms[1][0], rel=1e-5)


@pytest.mark.parametrize("name", ["pruned on 2", "pruned spread"])
def test_the_pruned_loss_trains_as_one_process_does(
    outcomes: dict[str, Outcome], name: str
) -> None:
    for which in ("pruned", name):
        assert set(outcomes[which].statuses) == {0}, outcomes[which].said
    found, want = (load_file(outcomes[which].out / WEIGHTS) for which in (name, "pruned"))
    for key, tensor in want.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4, msg=key)


def test_a_spread_run_goes_on_with_as_many_processes(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["spread on 3"].statuses[0] == 2, outcomes["spread on 3"].said
    assert "goes on with the same number of processes" in outcomes["spread on 3"].said
    assert outcomes["spread on 2"].statuses == [0, 0], outcomes["spread on 2"].said
    found, want = (load_file(outcomes[name].out / WEIGHTS) for name in ("spread on 2", "spread"))
    assert all(torch.equal(found[name], tensor) for name, tensor in want.items())


def test_a_spread_run_ends_with_the_first_data_that_ends(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["spread ended"].statuses == [0, 0], outcomes["spread ended"].said
    assert load_artifact(outcomes["spread ended"].out, "supernet").body["steps"] == 4


def test_a_killed_process_ends_a_spread_run_too(outcomes: dict[str, Outcome]) -> None:
    killed = outcomes["spread killed"]
    assert killed.statuses == [75, -signal.SIGKILL], killed.said
    assert "another process of this training ended or stopped answering" in killed.said


def test_other_errors_are_not_taken_for_a_lost_process() -> None:
    with pytest.raises(RuntimeError, match="shape") as raised, lost_process_told():
        raise RuntimeError("shape mismatch")
    assert not isinstance(raised.value, LostProcessError)
    with pytest.raises(LostProcessError, match="store is gone"), lost_process_told():
        raise torch.distributed.DistNetworkError("store is gone\nlonger story")


def test_an_error_of_the_first_process_reaches_the_others(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["bad"].statuses == [2, 75], outcomes["bad"].said
    assert "damaged checkpoint" in outcomes["bad"].said
    assert "rank 0 failed: ArtifactError" in outcomes["bad"].said


def test_more_processes_than_utterances_of_a_batch_are_refused(
    outcomes: dict[str, Outcome],
) -> None:
    assert outcomes["too many"].statuses == [2, 2], outcomes["too many"].said
    assert "data.batch_size 1 is the whole batch of 2 processes" in outcomes["too many"].said


def test_a_strategy_without_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node"):
        launch(RunConfig(strategy="ddp"))
