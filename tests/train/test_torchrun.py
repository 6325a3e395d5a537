"""The command under torchrun itself: two processes, one killed, gone on with by one alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from todm.core.artifact import Artifact, load_artifact
from todm.recipes import recipe
from todm.train.checkpoint import CHECKPOINT

ROOT = Path(__file__).parents[2]
STEPS = 400
DEADLINE_S = 600
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def process_of(rank: int, parent: int) -> int:
    """The process that torchrun started for a rank, as its environment says."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            started_by = int((folder / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if started_by == parent and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


def wait_for(path: Path, job: "subprocess.Popen[str]") -> None:
    begin = time.monotonic()
    while not path.is_file():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() - begin < DEADLINE_S
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the process in /proc")
def test_a_killed_rank_ends_the_job_and_one_process_goes_on(
    corpus: Artifact, tmp_path: Path
) -> None:
    config = recipe("tiny", int(str(corpus.body["vocab_size"])))
    run = config.run.model_copy(update={"accelerator": "cpu", "eval_every_steps": STEPS})
    schedule = config.schedule.model_copy(update={"steps": STEPS})
    config = config.model_copy(update={"run": run, "schedule": schedule})
    config.write_json(tmp_path / "config.json")
    out = tmp_path / "net"
    train = ["-m", "todm", "train-supernet", "--corpus", str(corpus.path), "--out", str(out)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    job = subprocess.Popen(
        [sys.executable, *torchrun, *train, "--config", str(tmp_path / "config.json")],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "net.work" / CHECKPOINT, job)
    os.kill(process_of(1, job.pid), signal.SIGKILL)
    killed_at = time.monotonic()
    _, said = job.communicate(timeout=DEADLINE_S)
    assert job.returncode != 0
    assert time.monotonic() - killed_at < 120  # torchrun's own patience is 30 seconds
    assert "Signal 9 (SIGKILL)" in said
    assert not out.exists()

    done = subprocess.run(
        [sys.executable, *train, "--resume", "--json"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["body"]["steps"] == STEPS
    assert load_artifact(out, "supernet").body["steps"] == STEPS
