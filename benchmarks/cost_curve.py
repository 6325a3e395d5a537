"""WER against the cost of training, for schedules of the sandwich.

    python benchmarks/cost_curve.py --corpus runs/fsdd_hard --recipe fsdd --work runs/cost_curve
    python benchmarks/cost_curve.py --quick

Every schedule trains the same number of steps on the same batches as the largest net alone would,
so the ratio is what the smaller nets cost on top. Trainings lie in ``--work`` by the digest of
their configuration; a run that was cut off goes on, and several processes may share the work by
``--only``. The last, complete run writes ``cost_curve.json``, ``.md`` and ``.html``.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from spine_cost import wall_ratio
from trials import SIZES, Trials, trial_measurements
from trials_cli import FIGURES, chosen, parser, run_benchmark, shown, summary

from todm.core.artifact import write_artifact
from todm.core.config import SupernetConfig
from todm.core.report import Measurement, Report, environment
from todm.evaluate.run import REPORT
from todm.flows.stages import StageBook
from todm.report.charts import drawing, frame, legend_entry, marker, polyline, x_axis, y_axis
from todm.report.style import CSS


def late(fraction: float, weight: float = 1.0) -> tuple[str, ...]:
    """Return the overrides of a sandwich in the last fraction of the steps.

    The rate is held until it starts, so that untrained slices find it undecayed, and the average
    leaves its first half out. Dropout stays as it is: the adaptive rule gives the largest net its
    rate whatever else is trained.
    """
    return (
        f"sandwich.start_fraction={1 - fraction:g}",
        f"sandwich.task_weight={weight:g}",
        f"schedule.hold_fraction={1 - fraction:g}",
        f"schedule.average_fraction={min(0.25, 0.4 * fraction):g}",
    )


ONE_NET = ("sandwich.smallest=0.5", "sandwich.smallest_replaces=true")
"""One smaller net a step: the smallest or a random one, by a coin."""
HALF, QUARTER = ("sandwich.batch_fraction=0.5",), ("sandwich.batch_fraction=0.25",)
WHOLE, SECOND_HALF = late(1.0, 0.5), late(0.5, 0.5)

SCHEDULES: Mapping[str, Sequence[str]] = {
    "alone": ("sandwich.num_random=0", "sandwich.smallest=0"),
    "f100": WHOLE,
    "f100_equal": late(1.0),
    "f065": late(0.65, 0.5),
    "f065_equal": late(0.65),
    "f050": SECOND_HALF,
    "f050_equal": late(0.5),
    "f025": late(0.25, 0.5),
    "f025_decayed": (*late(0.25, 0.5), "schedule.hold_fraction=0"),
    "f100_one": (*WHOLE, *ONE_NET),
    "f050_one": (*SECOND_HALF, *ONE_NET),
    "f100_half": (*WHOLE, *HALF),
    "f100_quarter": (*WHOLE, *QUARTER),
    "f050_half": (*SECOND_HALF, *HALF),
    "f100_one_half": (*WHOLE, *ONE_NET, *HALF),
    "f100_every2": (*WHOLE, "sandwich.every=2"),
    "f100_every4": (*WHOLE, "sandwich.every=4"),
    "f100_two": (*WHOLE, "sandwich.num_random=2"),
}
"""fNNN: the sandwich in the last NNN % of the steps; one: one smaller net a step instead of two;
half, quarter: of the batch; equal: losses that weigh as much as the largest net's, not half;
everyN: smaller nets in every N-th step; two: two random nets; decayed: the learning rate not held
until the sandwich starts; alone: the largest net alone."""
QUICK = ("f100", "f050_half")


def timed(trials: Trials, name: str, config: SupernetConfig, rounds: int) -> Measurement:
    """Return the wall time of the schedule over that of the largest net alone, measured once."""

    def measure(out: Path) -> None:
        found = wall_ratio(config, trials.corpus, rounds=rounds, threads=trials.threads)
        with write_artifact(out, kind="report") as draft:
            report = Report(environment=environment((config.seed,)), measurements=(found,))
            report.write_json(draft.path / REPORT)

    book = StageBook(trials.folder(config))
    made = book.run("wall", "report", [config.to_json(), rounds], measure)
    (found,) = Report.read_json(made.file(REPORT)).measurements
    return found.model_copy(update={"name": f"{name}.cost.wall_ratio"})


def measure(
    trials: Trials, prefix: str, names: Sequence[str], seeds: Sequence[int], rounds: int
) -> tuple[list[Measurement], list[str]]:
    """Train and recognise every schedule with every seed; say which diverged."""
    found, lost = [], []
    for name in names:
        configs = [trials.config(SCHEDULES[name], seed) for seed in seeds]
        made, diverged = trials.run_all(name, configs)
        lost += diverged
        if made:
            found += trial_measurements(f"{prefix}.{name}", made)
            found.append(timed(trials, f"{prefix}.{name}", made[0].config, rounds))
    return found, lost


def page(prefix: str, names: Sequence[str], found: Sequence[Measurement]) -> str:
    """Return the curve as an HTML page: a point a schedule and size, a line along the best."""
    value = {m.name.removeprefix(f"{prefix}."): m.value for m in found}
    points = {
        size: sorted(
            (value[f"{name}.cost.ratio_to_largest"], value[f"{name}.wer.{size}"], name)
            for name in names
            if f"{name}.wer.{size}" in value
        )
        for size in SIZES
    }
    every = [point for row in points.values() for point in row]
    x = x_axis("training MACs over the largest net's alone", [p[0] for p in every])
    y = y_axis("WER %", [p[1] for p in every])
    body = frame(x, y)
    for style, (size, row) in enumerate(points.items()):
        best = [p for i, p in enumerate(row) if all(p[1] < q[1] for q in row[:i])]
        body += polyline([p[:2] for p in best], x, y, f"line s{style}")
        for ratio, wer, name in row:
            hint = f"{name}, {size}: {wer:.2f} % at {ratio:.2f}"
            body += marker(style, x.at(ratio), y.at(wer), f"dot s{style}", hint)
    title = f"WER against cost of training: {prefix}"
    drawn = drawing("curve", title, "A point a schedule and size; lines along the best.", body)
    legend = "".join(legend_entry(style, size) for style, size in enumerate(SIZES))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{CSS}</style></head><body><h1>{title}</h1>"
        f'<figure class="wide">{drawn}<p class="legend">{legend}</p></figure></body></html>\n'
    )


def main() -> int:
    """Read the command line and run."""
    options = parser(__doc__.partition("\n")[0], SCHEDULES, seeds=(0, 1))
    options.add_argument("--rounds", type=int, default=30, help="timed steps of each kind [30]")
    args = options.parse_args()
    names = chosen(args, QUICK)
    if args.quick:
        args.rounds = 2

    def run(trials: Trials) -> tuple[list[Measurement], list[str]]:
        return measure(trials, args.name, names, args.seeds, args.rounds)

    def tell(trials: Trials, found: Sequence[Measurement]) -> str:
        arms = shown(args, found)
        (args.out / "cost_curve.html").write_text(page(args.name, arms, found), "utf-8")
        figures = {**FIGURES, "wall over largest": "cost.wall_ratio"}
        steps = f"Every schedule: {trials.base.schedule.steps} steps."
        return f"{steps}\n\n{summary(args.name, arms, found, figures)}"

    return run_benchmark("cost_curve", args, run, tell)


if __name__ == "__main__":
    sys.exit(main())
