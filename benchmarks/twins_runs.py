"""Runs the trainings of ``supernet_vs_single.py``: what is left to do, some at a time, told.

Each training is a process with one thread in a folder named after its configuration's digest, so
that a killed benchmark finds what was done and goes on with what was not.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from twins_job import CONFIG, SCORED, SPECS, TRAINED, Scores
from twins_plan import Run, TwinSet, chosen_index

from todm.core.artifact import is_complete
from todm.core.errors import GateError
from todm.train.log import LOG

JOB = Path(__file__).parent / "twins_job.py"
POLL_S, TELL_EVERY_S = 0.5, 60.0
OUTPUT = "output.log"


@dataclass
class Shelf:
    """The finished runs in a folder, and the choice of rates that follows from them."""

    folder: Path
    _known: dict[str, Scores] = field(default_factory=dict)

    def place(self, run: Run) -> Path:
        """Return a run's folder."""
        return self.folder / run.name

    def scores(self, run: Run) -> Scores | None:
        """Return what a run scored; None while it is not finished."""
        if run.name not in self._known:
            if not is_complete(self.place(run) / SCORED, "report"):
                return None
            self._known[run.name] = Scores(self.place(run))
        return self._known[run.name]

    def chosen(self, twins: TwinSet, net: str) -> Run | None:
        """Return the trial whose rate a net takes; None while one is missing."""
        trials = twins.trials(net)
        scores = [self.scores(run) for run in trials]
        found = [one.choice() for one in scores if one is not None]
        return trials[chosen_index(found)] if len(found) == len(trials) else None

    def seeds(self, twins: TwinSet, net: str) -> tuple[Run, ...]:
        """Return a net's runs at its rate, one a seed; none while the rate is not chosen."""
        chosen = self.chosen(twins, net)
        if chosen is None:
            return ()
        return tuple(twins.run(net, chosen.config.optim.lr, seed) for seed in twins.seeds)

    def left(self, twins: TwinSet) -> list[Run]:
        """Return the runs that can be started now: trials first, then further seeds."""
        trials = [run for net in twins.nets for run in twins.trials(net)]
        further = [run for net in twins.nets for run in self.seeds(twins, net)[1:]]
        return [run for run in (*trials, *further) if self.scores(run) is None]

    def num_left(self, twins: TwinSet) -> dict[str, int]:
        """Return how many runs each net still needs, those included that wait for a choice."""
        count = {}
        for net in twins.nets:
            trials = [run for run in twins.trials(net) if self.scores(run) is None]
            seeds = self.seeds(twins, net)[1:]
            missing = [run for run in seeds if self.scores(run) is None]
            count[net] = len(trials) + (len(missing) if seeds else len(twins.seeds) - 1)
        return count


@dataclass
class _Active:
    run: Run
    process: "subprocess.Popen[bytes]"
    begin_s: float


class Workers:
    """Some trainings at a time until all are done."""

    def __init__(self, shelf: Shelf, jobs: int) -> None:
        self.shelf, self.jobs = shelf, jobs
        self._active: list[_Active] = []
        self._told_s = time.monotonic()

    def work(self, sets: Sequence[TwinSet]) -> None:
        """Run everything that is left, one set after the other; ends its processes when stopped.

        Raises:
            GateError: a training failed; its output says why.
        """
        try:
            while self._start(sets) or self._active:
                time.sleep(POLL_S)
                self._collect(sets)
                if time.monotonic() - self._told_s >= TELL_EVERY_S:
                    self._tell("at work", sets)
        finally:
            for active in self._active:
                active.process.terminate()

    def _start(self, sets: Sequence[TwinSet]) -> bool:
        """Start runs while there are free places; tell whether any was started."""
        busy = {active.run.name for active in self._active}
        ready = (
            (twins, run) for twins in sets for run in self.shelf.left(twins) if run.name not in busy
        )
        started = False
        while len(self._active) < self.jobs and (found := next(ready, None)) is not None:
            twins, run = found
            self._active.append(_Active(run, self._process(twins, run), time.monotonic()))
            self._tell(f"{run.name} started", sets)
            started = True
        return started

    def _process(self, twins: TwinSet, run: Run) -> "subprocess.Popen[bytes]":
        place = self.shelf.place(run)
        place.mkdir(parents=True, exist_ok=True)
        specs = {size: spec.to_json() for size, spec in run.specs.items()}
        for name, content in ((CONFIG, run.config.to_json()), (SPECS, specs)):
            scratch = place / f".{name}"
            scratch.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
            scratch.replace(place / name)
        command = [sys.executable, str(JOB), str(place), str(twins.corpus.artifact.path)]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (place / OUTPUT).open("ab") as output:
            return subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **threads}
            )

    def _collect(self, sets: Sequence[TwinSet]) -> None:
        for active in list(self._active):
            status = active.process.poll()
            if status is None:
                continue
            self._active.remove(active)
            scores = self.shelf.scores(active.run)
            if scores is None:
                raise GateError(
                    f"{active.run.name} ended with status {status}; see "
                    f"{self.shelf.place(active.run) / OUTPUT}"
                )
            wers = ", ".join(f"{size} {one.wer:.2f}" for size, one in scores.dev.items())
            took_s = time.monotonic() - active.begin_s
            told = scores.diverged or f"dev WER % {wers}"
            self._tell(f"{active.run.name} done in {took_s:.0f} s: {told}", sets)

    def _tell(self, event: str, sets: Sequence[TwinSet]) -> None:
        """Print an event with what is left and how long it may take."""
        self._told_s = time.monotonic()
        runs = sum(sum(self.shelf.num_left(twins).values()) for twins in sets)
        seconds = sum(remaining_s(self.shelf, twins, self._steps_done(twins)) for twins in sets)
        left = "" if seconds <= 0 else f", about {seconds / self.jobs / 60:.0f} min"
        at_work = " ".join(f"[{a.run.name} step {self._step(a.run)}]" for a in self._active)
        print(f"{event}; {runs} runs left{left} {at_work}", flush=True)

    def _step(self, run: Run) -> int:
        """Return the last logged step of a run at work."""
        log = self.shelf.place(run) / f"{TRAINED}.work" / LOG
        steps = [0]
        if log.is_file():
            for line in log.read_text("utf-8").splitlines()[-2:]:
                try:
                    steps.append(int(json.loads(line)["step"]))
                except (json.JSONDecodeError, KeyError):
                    continue
        return max(steps)

    def _steps_done(self, twins: TwinSet) -> dict[str, float]:
        """Return, by net, how many trainings' worth of steps the runs at work have behind them."""
        done: dict[str, float] = {}
        for active in self._active:
            if active.run.set_name == twins.name:
                share = self._step(active.run) / active.run.config.schedule.steps
                done[active.run.net] = done.get(active.run.net, 0.0) + share
        return done


def remaining_s(shelf: Shelf, twins: TwinSet, done: Mapping[str, float]) -> float:
    """Estimate the seconds of all trainings left, one at a time; 0 before any has finished.

    A net's trainings take what its finished ones took; a net without one takes what the others
    took, scaled by cost.
    """
    times_s = {net: [*_times_s(shelf, twins, net)] for net in twins.nets}
    rates = [
        seconds / twins.relative_cost(net) for net, found in times_s.items() for seconds in found
    ]
    if not rates:
        return 0.0
    left = shelf.num_left(twins)
    return sum(
        max(0.0, left[net] - done.get(net, 0.0))
        * (mean(found) if found else mean(rates) * twins.relative_cost(net))
        for net, found in times_s.items()
    )


def _times_s(shelf: Shelf, twins: TwinSet, net: str) -> Iterator[float]:
    runs = {run.name: run for run in (*twins.trials(net), *shelf.seeds(twins, net))}
    for run in runs.values():
        scores = shelf.scores(run)
        if scores is not None and not scores.diverged:
            yield float(scores.train["wall_s"])
