"""The supernet's claim: one training gives every size what a training of its own would give.

For each set a supernet and a twin of each size (the same architecture trained alone) are trained
with the same steps, batches, data, schedule and loss, their learning rates chosen on dev at the
first seed, and compared on test with several seeds: WER, emission delay, training cost.

    python benchmarks/supernet_vs_single.py --corpus-dir FOLDER [--jobs 2] [--only fsdd]
    python benchmarks/supernet_vs_single.py --report [--out FOLDER]
    python benchmarks/supernet_vs_single.py --quick

Works in ``--work``; a run that was killed goes on where it was when started again. Runs are named
by the digest of their configuration and corpus; code is not among that: take a new work folder
after a change of todm. The table holds what is finished and names what is missing; ``--report``
writes it without training anything.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from arguments import folders, names_of, told
from pages import write
from twins_cost import cost_measurements, rate_measurements, totals
from twins_figures import cells_of, measurements
from twins_plan import PLANS, SetPlan, TwinSet, plan_names, read_plan
from twins_runs import Shelf, Workers
from twins_table import render, svg_name, wer_by_macs

from todm.core.artifact import is_complete, load_artifact
from todm.core.errors import ConfigError
from todm.core.report import Report, environment
from todm.data.manifest import open_corpus
from todm.flows.stages import StageBook
from todm.prepare.run import run as run_prepare

NAME = "supernet_vs_single"
DEFAULT_SETS = ("fsdd", "arabic")
SEEDS, QUICK_SEEDS = (1, 2, 3), (1, 2)
QUICK_PLAN = Path(__file__).parent / "configs" / "supernet_vs_single_quick.toml"


def prepared(
    book: StageBook, name: str, plan: SetPlan, args: argparse.Namespace, *, make: bool
) -> TwinSet | None:
    """Return a set on its prepared corpus; None where there is none and none is to be made."""
    if not make and not is_complete(book.folder / f"{name}.corpus", "corpus"):
        return None
    if make:
        book.run(
            f"{name}.corpus",
            "corpus",
            [plan.prepare.to_json(), str(args.corpus_dir)],
            lambda out: run_prepare(plan.prepare, out, corpora_dir=args.corpus_dir),
        )
    corpus = open_corpus(load_artifact(book.folder / f"{name}.corpus", "corpus").path)
    return TwinSet(name, plan, corpus, args.seeds, args.steps)


def write_report(shelf: Shelf, sets: Sequence[TwinSet], absent: Sequence[str], out: Path) -> Report:
    """Write the JSON, its page, the drawings and the configurations that were compared."""
    cells, missing, costs = [], [f"{name}: everything" for name in absent], []
    for twins in sets:
        found, lacking = cells_of(shelf, twins)
        made, no_cost = cost_measurements(shelf, twins)
        cells += found
        costs += [*made, *rate_measurements(shelf, twins)]
        missing += [*lacking, *no_cost]
    made, verdicts = measurements(cells, sets)
    more, judged = totals(cells, [*made, *costs], complete=not missing)
    report = Report(
        environment=environment(sets[0].seeds if sets else ()),
        measurements=(*made, *costs, *more),
        verdicts=(*verdicts, *judged),
    )
    out.mkdir(parents=True, exist_ok=True)
    named = {measurement.name: measurement for measurement in report.measurements}
    for twins in sets:
        drawn = wer_by_macs(named, twins)
        if drawn is not None:
            (out / svg_name(twins.name)).write_text(drawn, "utf-8")
        write_configs(shelf, twins, out / f"{NAME}.configs" / twins.name)
    page = render(report, sets, missing)
    print(page.partition("| verdict")[0])
    write(report, page, out / f"{NAME}.json")
    return report


def write_configs(shelf: Shelf, twins: TwinSet, folder: Path) -> None:
    """Write what replays a set: ``todm prepare --config``, ``todm train-supernet --config``.

    The trainings carry the chosen rate and the first seed; ``--set seed=N`` gives the others.
    """
    chosen = {net: shelf.chosen(twins, net) for net in twins.nets}
    folder.mkdir(parents=True, exist_ok=True)
    twins.plan.prepare.write_json(folder / "prepare.json")
    for net, run in chosen.items():
        if run is not None:
            run.config.write_json(folder / f"{net}.json")


def run(args: argparse.Namespace, work: Path, out: Path) -> None:
    """Train what is left of the chosen sets, then write the report of all sets there are."""
    book, shelf = StageBook(work), Shelf(work / "runs")
    plans = {name: read_plan(PLANS / f"{name}.toml") for name in plan_names()}
    if args.quick:
        plans = {"quick": read_plan(QUICK_PLAN)}
    wanted = tuple(plans) if args.quick else args.only
    sets, absent = {}, []
    for name, plan in plans.items():
        make = name in wanted and not args.report
        twins = prepared(book, name, plan, args, make=make)
        if twins is not None:
            sets[name] = twins
        elif name in DEFAULT_SETS:
            absent.append(name)
    if not sets:
        raise ConfigError(f"{work}: no set is prepared there; correct --work, or train first")
    if not args.report:
        Workers(shelf, args.jobs).work([sets[name] for name in wanted])
    write_report(shelf, list(sets.values()), absent, out)


def set_names(text: str) -> tuple[str, ...]:
    """Read the comma-separated sets of ``--only``."""
    return names_of(plan_names())(text)


def seed_numbers(text: str) -> tuple[int, ...]:
    """Read the comma-separated numbers of ``--seeds``."""
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers such as 1,2,3") from error
    if min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: seeds are not negative")
    return seeds


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help=f"folder of all runs [runs/{NAME}]")
    parser.add_argument("--corpus-dir", type=Path, help="holds the corpora [TODM_CORPORA]")
    sets = f"of {', '.join(plan_names())} [{','.join(DEFAULT_SETS)}]"
    parser.add_argument("--only", type=set_names, default=DEFAULT_SETS, metavar="SETS", help=sets)
    parser.add_argument(
        "--seeds", type=seed_numbers, help="[1,2,3]; rates by the first; others write into --work"
    )
    parser.add_argument(
        "--steps", type=int, help="updates of every training [the plan's]; writes into --work"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, a thread each")
    parser.add_argument("--report", action="store_true", help="train nothing, write the table")
    parser.add_argument("--quick", action="store_true", help="a tiny trial on synthesised speech")
    parser.add_argument("--out", type=Path, help="folder of the results [benchmarks/results]")
    args = parser.parse_args()
    args.seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)

    partial = args.quick or args.steps is not None or args.seeds != SEEDS

    def work() -> None:
        with tempfile.TemporaryDirectory(prefix="todm-twins-") as scratch:
            run(args, *folders(args, NAME, scratch, partial=partial))

    return told(NAME, work)


if __name__ == "__main__":
    sys.exit(main())
