"""Measurement processes, one at a time, and the interleaving of their repeats."""

import sys
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from todm.bench.job import BenchJob, Measured
from todm.bench.protocol import ask

CHILD: tuple[str, ...] = (sys.executable, "-m", "todm.bench.measure")
"""The command of a measurement process."""
START_S = 300.0
"""Grace for starting, importing and loading on a slow device."""
SLOWEST_RTF = 20.0
"""A recogniser slower than this is stopped."""


def run_child(job: BenchJob, command: Sequence[str] = CHILD) -> Measured:
    """Measure in a process of its own.

    Raises:
        TodmError: what the child met (of the same class as there).
        ArtifactError: the child died or took too long.
    """
    answer = ask(
        command,
        job,
        subject=f"{job.model} in {job.runtime}",
        threads=job.threads,
        limit_s=START_S + SLOWEST_RTF * (2 * job.seconds + job.paced_s),
    )
    return Measured.parse(answer, where="answer of the measurement process")


def bench_many(
    jobs: Mapping[str, BenchJob], *, repeats: int = 3, command: Sequence[str] = CHILD
) -> dict[str, list[Measured]]:
    """Measure several recognisers in turn, ``repeats`` times round.

    Whatever else the machine does hits them alike, so that ratios between them hold where
    absolute times are soft. One process at a time; a progress bar on stderr.
    """
    found: dict[str, list[Measured]] = {name: [] for name in jobs}
    turns = [(name, job) for _ in range(repeats) for name, job in jobs.items()]
    for name, job in tqdm(turns, desc="bench", unit="run", mininterval=0.2, file=sys.stderr):
        found[name].append(run_child(job, command))
    return found
