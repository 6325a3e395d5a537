"""The one training loop: steps, schedule, checkpoints, averaging, log, exact resume.

Every random draw of a step derives from (seed, step, purpose), so a run that was killed and
resumed ends with the same bits as one that was not (CPU, same number of threads and processes).
Lightning Fabric carries device, precision and processes; what differs between processes stands in
``ranks``. The state of a run says nothing of how many there are, so another number may go on.
"""

import contextlib
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
from todm.core.forecast_config import EpochSchedule
from todm.optim.build import StepOptimizer
from todm.optim.schedule import eden_factor, epoch_factor, one_cycle_factor
from todm.train.averaging import new_average
from todm.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from todm.train.early_stop import Stopper
from todm.train.keeper import Keeper
from todm.train.log import TrainLog
from todm.train.ranks import Ranks, lost_process_told
from todm.train.sharding import OwnedOptimizer, gather, scatter
from todm.train.task import Task

B = TypeVar("B")
LOG_EVERY_STEPS = 10


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for what takes none of its own (initialisation)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - the one allowed place
        yield


def lr_factor(config: ScheduleConfig | EpochSchedule, step: int, epoch: float) -> float:
    """Return the factor on the learning rate at a step."""
    if isinstance(config, EpochSchedule):
        return epoch_factor(epoch, held_epochs=config.held_epochs, factor=config.epoch_factor)
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


def backward(fabric: Fabric, task: Task[B], batch: B, step: int) -> None:
    """Run a step's forwards, each under autocast alone, and their backwards outside it."""
    losses = task.losses(fabric.to_device(batch), step)
    while True:
        with fabric.autocast():
            loss = next(losses, None)
        if loss is None:
            return
        fabric.backward(loss)


@dataclass
class Loop(Generic[B]):
    """One run of a task in a work folder that survives a kill."""

    task: Task[B]
    optimizer: StepOptimizer | OwnedOptimizer
    schedule: ScheduleConfig | EpochSchedule
    run: RunConfig
    fabric: Fabric
    work: Path
    fingerprint: str
    spread_from: Task[B] | None = None
    """The task with a whole copy of the model, where the processes hold pieces of it."""
    stopper: Stopper | None = None
    """Ends training early; None trains all steps."""
    board: Path | None = None
    """Folder for TensorBoard; None writes none."""
    state: TrainState = field(default_factory=TrainState)

    def __post_init__(self) -> None:
        self.ranks = Ranks(self.fabric)
        self.whole = self.spread_from or self.task
        average = new_average(self.schedule, self.whole.model, self.work)
        self.keeper = Keeper(self.whole, average, self.stopper, self.work)
        self.log = TrainLog(self.work, silent=not self.ranks.is_first, board=self.board)
        self._clock = (time.perf_counter(), time.process_time())

    def train(self) -> TrainState:
        """Run (or go on with) all steps; leaves the weights to hand out in ``whole.model``.

        Raises:
            GateError: too many non-finite steps in a row.
        """
        self._resume()
        if not self.is_spread:
            self.ranks.align(self.task.model)
        if self.state.step < self.schedule.steps and not self.state.stopped:
            with tqdm(
                total=self.schedule.steps,
                initial=self.state.step,
                desc="train",
                unit="step",
                file=sys.stderr,
                mininterval=1.0 if sys.stderr.isatty() else 8.0,
                disable=not self.ranks.is_first,
            ) as bar:
                self._steps(bar)
        said = self.ranks.first(self.keeper.hand_out)
        if said:
            self.log.line(step=self.state.step, **said)
        if not self.is_spread:
            self.ranks.align(self.task.model)
        return self.state

    @property
    def is_spread(self) -> bool:
        """Whether each process holds a part of the model."""
        return self.spread_from is not None

    def _put_together(self) -> None:
        """Bring rank 0's whole copy up to date; all ranks take part."""
        if self.is_spread:
            gather(self.task.model, self.whole.model, keep=self.ranks.is_first)

    def _steps(self, bar: "tqdm[Any]") -> None:
        total, evaluated, saved = self.schedule.steps, self.state.step, self.state.step
        for batch in self._batches():
            self._one_step(batch)
            done = self.state.step
            bar.update()
            if done % self.run.eval_every_steps == 0:
                self._evaluate(bar)
                evaluated = done
            if done % self.run.checkpoint_every_steps == 0:
                self._save()
                saved = done
            if done == total or self.state.stopped:
                break
        if evaluated < self.state.step:
            self._evaluate(bar)
        if saved < self.state.step:
            self._save()

    def _batches(self) -> Iterator[B | None]:
        """Yield batches as long as some rank has one; None on a rank whose data has ended.

        Where the model is spread no rank can run without the others: all end with the first.
        """
        batches = self.task.batches(self.state.step)
        needed = self.ranks.world if self.is_spread else 1
        while True:
            batch = next(batches, None)
            if self.ranks.count(batch is not None) < needed:
                return
            yield batch

    def _one_step(self, batch: B | None) -> None:
        step, model = self.state.step, self.task.model
        factor = lr_factor(self.schedule, step, self.task.epoch_of(step))
        self.optimizer.set_factor(factor)
        model.train()
        if batch is not None:
            with lost_process_told():  # a spread model speaks with the others there too
                backward(self.fabric, self.task, batch, step)
        if not self.is_spread:
            self.ranks.add_gradients(model.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step = step + 1
        self._count_bad(batch, step)
        if self.keeper.average.wants(step + 1):
            self._put_together()
        if self.ranks.is_first:
            self.keeper.add(step + 1)
        if step % LOG_EVERY_STEPS == 0 or self.optimizer.skipped:
            self.log.line(
                step=step,
                lr_factor=factor,
                grad_norm=self.optimizer.grad_norm,
                skipped=self.optimizer.skipped,
                **self.task.step_log(),
            )

    def _count_bad(self, batch: B | None, step: int) -> None:
        if not self.optimizer.skipped:
            self.state.bad_in_a_row = 0
            return
        self.state.skipped_steps += 1
        self.state.bad_in_a_row += 1
        if batch is not None:
            tensors = {k: v.contiguous() for k, v in self.task.save_batch(batch).items()}
            who = "" if self.ranks.is_first else f"_rank{self.ranks.rank}"
            self.work.mkdir(parents=True, exist_ok=True)  # on another machine it may be missing
            save_file(tensors, self.work / f"bad_step_{step}{who}.safetensors")
        if self.state.bad_in_a_row >= self.run.max_bad_steps:
            raise GateError(
                f"training stopped at step {step}: {self.run.max_bad_steps} steps in a row were "
                f"not finite; their batches lie in {self.work}; lower optim.lr or look at the data"
            )

    def _evaluate(self, bar: "tqdm[Any]") -> None:
        self._put_together()
        scores, extra, self.state.stopped = self.ranks.first(
            lambda: (*self.keeper.evaluate(), self.keeper.stopped)
        )
        bar.set_postfix_str(self.task.headline(scores))
        self.log.line(step=self.state.step, dev={k: dict(v) for k, v in scores.items()}, **extra)

    def _save(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.state.wall_s += wall - self._clock[0]
        self.state.cpu_s += cpu - self._clock[1]
        self._clock = (wall, cpu)
        self._put_together()
        optimizer = self.optimizer.state_dict()
        if not self.ranks.is_first:
            return
        tensors = {
            "model": self.whole.model.state_dict(),
            "keeper": self.keeper.state_dict(),
            "optimizer": optimizer,
            "task": self.task.state_dict(),
        }
        save_checkpoint(self.work, self.state, tensors, self.fingerprint)

    def _resume(self) -> None:
        content = self.ranks.first(lambda: load_checkpoint(self.work, self.fingerprint))
        if content is not None:
            self.state = TrainState(**content["state"])
            self.whole.model.load_state_dict(content["model"])
            if self.is_spread:
                scatter(content["model"], self.task.model)
            self.keeper.load_state_dict(content["keeper"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.task.load_state_dict(content["task"])
        self.log.begin(self.state.step)
