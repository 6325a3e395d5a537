"""What the benchmarks' command lines share: readers of values, places of results, errors."""

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from pages import QUICK, RESULTS

from todm.core.errors import TodmError


def names_of(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of comma-separated names."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(","))
        wrong = [name for name in names if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: there are {', '.join(known)}")
        return names

    return read


def named_path(text: str) -> tuple[str, Path]:
    """Read NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: say NAME=PATH")
    return name, Path(path)


def add_quick_and_out(parser: argparse.ArgumentParser, stem: str, *, quick: str) -> None:
    """Add ``--quick`` and ``--out`` of a script that writes one report and has no work folder."""
    parser.add_argument("--quick", action="store_true", help=f"{quick}; writes into {QUICK}")
    parser.add_argument("--out", type=Path, help=f"the report [benchmarks/results/{stem}.json]")


def report_path(args: argparse.Namespace, stem: str) -> Path:
    """Return where the report of ``add_quick_and_out`` goes."""
    out: Path | None = args.out
    return out or (QUICK if args.quick else RESULTS) / f"{stem}.json"


def log_path(args: argparse.Namespace, stem: str) -> Path:
    """Return where what was heard is kept: beside a report elsewhere, never in ``results/``."""
    log: Path | None = args.log
    if log is None and (args.quick or args.out):
        log = report_path(args, stem).with_suffix(".jsonl")
    return log or Path("runs") / f"{stem}.jsonl"


def folders(
    args: argparse.Namespace, stem: str, scratch: str, *, partial: bool
) -> tuple[Path, Path]:
    """Return the work folder and that of the results, of a script with ``--work`` and ``--out``.

    Only a complete run writes to ``results/``, a partial one into its work folder. A trial with
    neither folder works in the scratch folder, and what it found stays in ``QUICK``.
    """
    work = args.work or (Path(scratch) if args.quick else Path("runs") / stem)
    work.mkdir(parents=True, exist_ok=True)
    found = RESULTS
    if partial:
        found = QUICK if args.quick and args.work is None else work
    return work, args.out or found


def told(name: str, run: Callable[[], object]) -> int:
    """Run a script; an error of the user's is a line, and its exit code is returned."""
    try:
        run()
    except TodmError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
