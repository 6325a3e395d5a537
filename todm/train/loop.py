"""The one training loop: steps, schedule, checkpoints, averaging, log, exact resume.

Every random draw of a step derives from (seed, step, purpose), so a run that was killed and
resumed ends with the same bits as one that was not (CPU, same number of threads).
Lightning Fabric carries device and precision.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from tqdm import tqdm

from todm.core.config import RunConfig, ScheduleConfig
from todm.core.errors import GateError
from todm.optim.build import StepOptimizer
from todm.optim.schedule import eden_factor, one_cycle_factor
from todm.train.checkpoint import RunningAverage, TrainState, load_checkpoint, save_checkpoint
from todm.train.task import Task

B = TypeVar("B")
LOG = "log.jsonl"
LOG_EVERY_STEPS = 10


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for what takes none of its own (initialisation)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - the one allowed place
        yield


def lr_factor(config: ScheduleConfig, step: int, epoch: float) -> float:
    """Return the factor on the learning rate at a step."""
    if config.kind == "one_cycle":
        warmup = config.warmup_steps / config.steps
        return one_cycle_factor(step, config.steps, warmup)
    factor = eden_factor(
        step,
        epoch,
        batches=config.eden_batches,
        epochs=config.eden_epochs,
        warmup_batches=config.warmup_steps,
        held_steps=config.hold_fraction * config.steps,
    )
    tail = config.final_fraction * config.steps
    left = config.steps - step
    return factor * min(1.0, left / tail) if tail > 0 else factor


@dataclass
class Loop(Generic[B]):
    """One run of a task in a work folder that survives a kill."""

    task: Task[B]
    optimizer: StepOptimizer
    schedule: ScheduleConfig
    run: RunConfig
    fabric: Fabric
    work: Path
    fingerprint: str
    state: TrainState = field(default_factory=lambda: TrainState(0, 0, 0, 0, 0.0, 0.0))

    def __post_init__(self) -> None:
        self.average = RunningAverage(self.task.model)
        self._clock = (time.perf_counter(), time.process_time())

    def train(self) -> TrainState:
        """Run (or go on with) all steps; leaves the averaged weights in the model.

        Raises:
            GateError: too many non-finite steps in a row.
        """
        self._resume()
        first = self.state.step
        if first < self.schedule.steps:
            with tqdm(
                total=self.schedule.steps,
                initial=first,
                desc="train",
                unit="step",
                file=sys.stderr,
                mininterval=1.0 if sys.stderr.isatty() else 8.0,
            ) as bar:
                self._steps(bar)
        if self.state.num_averaged:
            self.task.model.load_state_dict(self.average.mean)
        return self.state

    def _steps(self, bar: "tqdm[Any]") -> None:
        total = self.schedule.steps
        for batch in self.task.batches(self.state.step):
            self._one_step(batch)
            done = self.state.step
            bar.update()
            if done % self.run.eval_every_steps == 0 or done == total:
                self._evaluate(bar)
            if done % self.run.checkpoint_every_steps == 0 or done == total:
                self._save()
            if done == total:
                break

    def _one_step(self, batch: B) -> None:
        step, model = self.state.step, self.task.model
        factor = lr_factor(self.schedule, step, self.task.epoch_of(step))
        self.optimizer.set_factor(factor)
        model.train()
        on_device = self.fabric.to_device(batch)
        with self.fabric.autocast():
            for loss in self.task.losses(on_device, step):
                self.fabric.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step = step + 1
        self._count_bad(batch, step)
        average_from = (1.0 - self.schedule.average_fraction) * self.schedule.steps
        if self.state.step > average_from:
            self.state.num_averaged += 1
            self.average.add(model, self.state.num_averaged)
        if step % LOG_EVERY_STEPS == 0 or self.optimizer.skipped:
            self._log_line(
                step=step,
                lr_factor=factor,
                grad_norm=self.optimizer.grad_norm,
                skipped=self.optimizer.skipped,
                **self.task.step_log(),
            )

    def _count_bad(self, batch: B, step: int) -> None:
        if not self.optimizer.skipped:
            self.state.bad_in_a_row = 0
            return
        self.state.skipped_steps += 1
        self.state.bad_in_a_row += 1
        tensors = {k: v.contiguous() for k, v in self.task.save_batch(batch).items()}
        save_file(tensors, self.work / f"bad_step_{step}.safetensors")
        if self.state.bad_in_a_row >= self.run.max_bad_steps:
            raise GateError(
                f"training stopped at step {step}: {self.run.max_bad_steps} steps in a row were "
                f"not finite; their batches lie in {self.work}; lower optim.lr or look at the data"
            )

    def _evaluate(self, bar: "tqdm[Any]") -> None:
        model = self.task.model
        current = {k: v.clone() for k, v in model.state_dict().items()}
        if self.state.num_averaged:
            model.load_state_dict(self.average.mean)
        model.eval()
        scores = self.task.evaluate()
        model.load_state_dict(current)
        wers = "/".join(f"{figures['wer']:.1f}" for figures in scores.values())
        bar.set_postfix_str(f"dev WER {wers} %")
        self._log_line(step=self.state.step, dev={k: dict(v) for k, v in scores.items()})

    def _log_line(self, **fields: object) -> None:
        with (self.work / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(fields) + "\n")

    def _save(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.state.wall_s += wall - self._clock[0]
        self.state.cpu_s += cpu - self._clock[1]
        self._clock = (wall, cpu)
        tensors = {
            "model": self.task.model.state_dict(),
            "average": self.average.mean,
            "optimizer": self.optimizer.state_dict(),
            "task": self.task.state_dict(),
        }
        save_checkpoint(self.work, self.state, tensors, self.fingerprint)

    def _resume(self) -> None:
        content = load_checkpoint(self.work, self.fingerprint)
        log = self.work / LOG
        if content is None:
            log.unlink(missing_ok=True)
            return
        self.state = TrainState(**content["state"])
        self.task.model.load_state_dict(content["model"])
        self.average.mean = content["average"]
        self.optimizer.load_state_dict(content["optimizer"])
        self.task.load_state_dict(content["task"])
        if log.is_file():
            _trim_log(log, self.state.step)


def _trim_log(log: Path, steps_done: int) -> None:
    """Drop what was logged after the checkpoint, and a line cut short by a kill."""
    kept = []
    for line in log.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        limit = steps_done if "dev" in entry else steps_done - 1
        if entry["step"] <= limit:
            kept.append(line)
    scratch = log.with_suffix(".tmp")
    scratch.write_text("".join(line + "\n" for line in kept), "utf-8")
    scratch.replace(log)
