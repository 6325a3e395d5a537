"""Run trainings of several processes, joined as torchrun joins them.

    python ranks_driver.py JOBS

JOBS is a JSON list of objects, run one after the other: ``world`` processes train ``config`` on
``corpus`` into ``out``. They are forked from this interpreter, so that Python and torch are
imported once, with the variables that torchrun would set. Optional: ``record`` (a folder: every
rank writes the gradients and nets of each step there, and no step changes the weights), ``kill``
([rank, step]: dies by SIGKILL in that step), ``stop`` (the step at which all are killed), ``ends``
(steps after which each rank's data ends). Prints each rank's exit status and what the ranks said,
one line of JSON a job.
"""

import functools
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import todm.train.supernet
from todm.cli.failures import guarded
from todm.core.config import SupernetConfig
from todm.optim.build import StepOptimizer
from todm.train.run import run
from todm.train.supernet import SupernetTask


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def join(rank: int, world: int, port: int) -> None:
    """Set what torchrun sets."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        GROUP_RANK="0",
        WORLD_SIZE=str(world),
        LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="test",
    )


def record(folder: Path, rank: int) -> None:
    """Write each step's gradients instead of using them, and the nets that it trained."""
    seen: list[dict[str, Any]] = []
    nets_of_step = todm.train.supernet.nets_of_step

    def noted(*args: Any, **named: Any) -> Any:
        nets = nets_of_step(*args, **named)
        seen.append({"step": named["step"], "nets": [spec.digest() for _, spec in nets]})
        (folder / f"nets_{rank}.json").write_text(json.dumps(seen), "utf-8")
        return nets

    def kept(self: StepOptimizer) -> None:
        groups = self.inner.param_groups
        grads = [p.grad for group in groups for p in group["params"]]
        torch.save(grads, folder / f"grads_{rank}_{len(seen) - 1}.pt")

    todm.train.supernet.nets_of_step = noted
    StepOptimizer.step = kept  # type: ignore[method-assign]


def die_in(step: int) -> None:
    losses = SupernetTask.losses

    def armed(self: SupernetTask, batch: Any, at: int) -> Iterator[Tensor]:
        if at >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses(self, batch, at)

    SupernetTask.losses = armed  # type: ignore[method-assign]


def end_data_after(steps: int) -> None:
    batches = SupernetTask.batches

    def short(self: SupernetTask, start_step: int) -> Iterator[Any]:
        for step, batch in enumerate(batches(self, start_step), start_step):
            if step >= steps:
                return
            yield batch

    SupernetTask.batches = short  # type: ignore[method-assign]


def train(job: dict[str, Any], rank: int, port: int) -> None:
    if job["world"] > 1:
        join(rank, job["world"], port)
    if "record" in job:
        Path(job["record"]).mkdir(exist_ok=True)
        record(Path(job["record"]), rank)
    if "kill" in job and job["kill"][0] == rank:
        die_in(job["kill"][1])
    if "stop" in job:
        die_in(job["stop"])
    if "ends" in job:
        end_data_after(job["ends"][rank])
    config = SupernetConfig.read_json(Path(job["config"]))
    run(config, Path(job["corpus"]), Path(job["out"]))


def forked(call: Callable[[], None], said: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        code = guarded(call, debug=False)
    finally:
        os._exit(code)


def main() -> None:
    for job in json.loads(sys.argv[1]):
        port, said = free_port(), Path(f"{job['out']}.said")
        said.unlink(missing_ok=True)
        children = [
            forked(functools.partial(train, job, rank, port), said) for rank in range(job["world"])
        ]
        waited = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(json.dumps([waited, said.read_text("utf-8")]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
