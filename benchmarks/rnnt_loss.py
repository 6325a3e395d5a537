"""Time and memory of transducer losses on a CPU: ours full and pruned, torchaudio's, k2's two.

Forward and backward to both summands of an additive joiner over shapes as LibriSpeech has them,
with ragged lengths (``sorted``: a batch of similar lengths; ``mixed``: 30 to 100 % of the longest).
One thread. The forms take turns within each shape; CPU time, the least of the repeats, with the
median beside it. Memory is the growth of the resident set at its peak, each in a fresh process.
Forms of the full lattice are left out where its logits alone exceed FULL_BYTES.

k2's wheel and its torchaudio want a Python 3.9 of their own (torch 1.13.1, torchaudio 0.13.1,
k2 1.23.4, numpy below 2); TODM_K2_PYTHON names its interpreter, and without it our forms alone are
measured.

    TODM_K2_PYTHON=.../bin/python python benchmarks/rnnt_loss.py [--quick] [--out FILE]
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from arguments import add_quick_and_out, report_path
from pages import everything, made_with, page, write

from todm.core.report import Environment, Measurement, Report, environment

SEED = 0
NAME = "rnnt_loss"
WORKER = Path(__file__).with_name("rnnt_worker.py")
K2_PYTHON = "TODM_K2_PYTHON"
SYMBOLS, S_RANGE = 500, 5
FULL_BYTES = 1 << 30
"""Logits of a full lattice that is still measured; its forms need three to five times that."""
SHORTEST = {"sorted": 0.9, "mixed": 0.3}
OURS, PEERS = ("ours_full", "ours_pruned"), ("torchaudio_full", "k2_full", "k2_pruned")
RATIOS = {
    "pruned_over_k2": ("ours_pruned", "k2_pruned"),
    "pruned_over_full": ("ours_pruned", "ours_full"),
    "pruned_over_torchaudio": ("ours_pruned", "torchaudio_full"),
    "full_over_k2_full": ("ours_full", "k2_full"),
    "full_over_torchaudio": ("ours_full", "torchaudio_full"),
}


class Shape(NamedTuple):
    """A padded batch."""

    batch: int
    frames: int
    labels: int
    order: str

    @property
    def name(self) -> str:
        """Part of a measurement's name."""
        return f"b{self.batch}.t{self.frames}.u{self.labels}.{self.order}"

    def job(self, form: str, symbols: int) -> dict[str, Any]:
        """Return what the worker reads."""
        sizes = {"batch": self.batch, "frames": self.frames, "labels": self.labels}
        rest = {"symbols": symbols, "s_range": S_RANGE, "shortest": SHORTEST[self.order]}
        return {"form": form, "shape": {**sizes, **rest, "seed": SEED}, "repeats": 1}


SHAPES = (
    Shape(4, 100, 20, "mixed"),
    Shape(4, 400, 120, "sorted"),
    Shape(8, 250, 60, "mixed"),
    Shape(8, 250, 60, "sorted"),
    Shape(16, 300, 80, "mixed"),
    Shape(30, 100, 20, "sorted"),
    Shape(30, 200, 40, "mixed"),
    Shape(30, 400, 120, "mixed"),
)
QUICK = (Shape(3, 30, 8, "sorted"), Shape(2, 40, 12, "mixed"))


class Worker:
    """A process that runs jobs of one Python."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.process = subprocess.Popen(
            [python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=surroundings(python),
            text=True,
        )

    def once(self, job: dict[str, Any]) -> tuple[float, float]:
        """Run a job once; return its milliseconds and its loss."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.python}: the worker died at {job}")
        found = json.loads(answer)
        return float(found["ms"][0]), float(found["loss"])

    def megabytes(self, job: dict[str, Any]) -> float:
        """Run a job in a fresh process for its memory."""
        done = subprocess.run(
            [self.python, str(WORKER), "--memory", json.dumps(job)],
            stdout=subprocess.PIPE,
            env=surroundings(self.python),
            text=True,
            check=True,
        )
        return float(json.loads(done.stdout.splitlines()[-1])["bytes"]) / 1e6

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def surroundings(python: str) -> dict[str, str]:
    """Return the environment of a worker: one thread, todm for our own Python only."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    if python == sys.executable:
        env["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    return env


def measure(
    shape: Shape, workers: dict[str, Worker], symbols: int, repeats: int
) -> list[Measurement]:
    """Time the forms in turns, then weigh each, then compare."""
    logits_bytes = 4 * shape.batch * shape.frames * (shape.labels + 1) * symbols
    forms = [f for f in workers if f.endswith("pruned") or logits_bytes <= FULL_BYTES]
    times_ms: dict[str, list[float]] = {form: [] for form in forms}
    losses: dict[str, float] = {}
    for turn in range(repeats + 1):
        for form in forms:
            found_ms, losses[form] = workers[form].once(shape.job(form, symbols))
            if turn:
                times_ms[form].append(found_ms)
    full = [losses[form] for form in forms if form.endswith("full")]
    if any(not math.isclose(loss, full[0], rel_tol=1e-4) for loss in full):
        raise SystemExit(f"{shape.name}: the full losses are not one: {losses}")
    memory_mb = {form: workers[form].megabytes(shape.job(form, symbols)) for form in forms}
    found = []
    for form in forms:
        least, median = min(times_ms[form]), float(np.median(times_ms[form]))
        found += [
            Measurement(
                name=f"cpu.{form}.time.{shape.name}", value=least, unit="ms", low=least,
                high=median, n=repeats, note="forward and backward; least CPU time, high is median",
            ),
            Measurement(
                name=f"cpu.{form}.memory.{shape.name}", value=memory_mb[form], unit="MB",
                note="growth of the resident set at its peak; a fresh process",
            ),
        ]  # fmt: skip
    kinds = {"time": times_ms, "memory": {form: [mb] for form, mb in memory_mb.items()}}
    return found + ratios(shape, kinds)


def ratios(shape: Shape, kinds: dict[str, dict[str, list[float]]]) -> list[Measurement]:
    """Compare the least figures of the forms that were measured.

    A quick shape may fit into memory that the process had already: then there is no ratio.
    """
    found = []
    for name, (one, other) in RATIOS.items():
        for kind, figures in kinds.items():
            ours, theirs = min(figures.get(one, [0.0])), min(figures.get(other, [0.0]))
            if ours and theirs:
                note = f"{one} over {other}"
                found.append(ratio(f"cpu.{name}.{kind}.{shape.name}", ours / theirs, note))
    return found


def ratio(name: str, value: float, note: str) -> Measurement:
    """Return a plain fraction."""
    return Measurement(name=name, value=value, unit="", note=note)


def means(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the geometric mean over the shapes of each ratio."""
    found = []
    for name, (one, other) in RATIOS.items():
        for kind in ("time", "memory"):
            prefix = f"cpu.{name}.{kind}"
            values = [m.value for m in measurements if m.name.startswith(prefix + ".")]
            if values:
                mean = math.exp(sum(map(math.log, values)) / len(values))
                found.append(
                    Measurement(
                        name=prefix, value=mean, unit="", low=min(values), high=max(values),
                        n=len(values), note=f"{one} over {other}: geometric mean over the shapes",
                    )
                )  # fmt: skip
    return found


def render(report: Report) -> str:
    """Return the page."""
    where = (
        f"{made_with(report.environment)} One thread; the peers are k2's and torchaudio's, under "
        "their own torch. Additive joiner, forward and "
        f"backward, {S_RANGE} kept positions. For orientation, published with LibriSpeech shapes "
        "and 500 symbols on an unnamed GPU "
        "(github.com/csukuangfj/transducer-loss-benchmarking, batch of 30): torchaudio 544 ms and "
        "18922 MB, k2 unpruned 387 ms and 22057 MB, k2 pruned 63 ms and 3820 MB."
    )
    figures = everything(report.measurements, ".3f")
    return page("# Transducer losses on a CPU", where, figures)


def with_peers(env: Environment, python: str | None) -> Environment:
    """Return the environment with what the peers' interpreter has."""
    if python is None:
        return env
    code = (
        "import json, sys, torch, torchaudio; from importlib.metadata import version; "
        "print(json.dumps({'peers.python': sys.version.split()[0], "
        "'peers.torch': torch.__version__, 'peers.torchaudio': torchaudio.__version__, "
        "'peers.k2': version('k2')}))"
    )
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    peers = json.loads(done.stdout)
    command = f"{K2_PYTHON}=PYTHON39 {env.command}"
    return env.model_copy(update={"versions": {**env.versions, **peers}, "command": command})


def main() -> None:
    """Measure and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="of each form and shape [5]")
    add_quick_and_out(parser, NAME, quick="two tiny shapes, once, under a minute")
    args = parser.parse_args()
    python = os.environ.get(K2_PYTHON)
    workers = dict.fromkeys(OURS, Worker(sys.executable))
    if python:
        workers |= dict.fromkeys(PEERS, Worker(python))
    measurements: list[Measurement] = []
    for shape in QUICK if args.quick else SHAPES:
        symbols, repeats = (30, 1) if args.quick else (SYMBOLS, args.repeats)
        measurements += measure(shape, workers, symbols, repeats)
        print(f"{shape.name}: done", flush=True)
    for worker in set(workers.values()):
        worker.close()
    measurements = [*means(measurements), *measurements]
    env = with_peers(environment((SEED,)), python)
    report = Report(environment=env, measurements=tuple(measurements))
    for m in means(measurements):
        print(f"{m.name} {m.value:.3f}")
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    main()
