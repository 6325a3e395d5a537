"""The command line that the benchmarks of many trials share, and their tiny corpus."""

import argparse
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from arguments import folders, names_of, told
from pages import everything, kept, made_with, number, page, table, write
from trials import SIZES, Trials

from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.core.errors import ConfigError
from todm.core.report import Measurement, Report, environment
from todm.features.wav import write_wav
from todm.prepare.run import run as run_prepare

WORDS = ("ONE", "TWO", "SIX")


def numbers(text: str) -> tuple[int, ...]:
    """Read comma-separated seeds."""
    return tuple(int(part) for part in text.split(","))


def parser(title: str, arms: Collection[str], *, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark of trials."""
    made = argparse.ArgumentParser(description=title)
    add = made.add_argument
    add("--corpus", type=Path, help="a prepared corpus, a hard one")
    add("--name", help="of the set in the figures [the corpus's folder]")
    add("--recipe", help="base configuration, such as fsdd")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="changes it for every arm")
    add(
        "--only",
        type=names_of(arms),
        help="comma-separated arms; writes into --work, as fewer seeds do. A report that lies "
        "where it writes keeps its other arms",
    )
    add("--seeds", type=numbers, default=tuple(seeds), help=f"[{','.join(map(str, seeds))}]")
    add("--split", choices=("dev", "test"), default="dev", help="what is recognised [dev]")
    add("--align", type=Path, help="a net whose forced alignment delays count from, if the corpus "
        "has no word ends")  # fmt: skip
    add("--work", type=Path, help="folder of all trainings; a run that was cut off goes on there")
    add("--threads", type=int, default=1, help="of training [1]")
    add("--quick", action="store_true", help="a tiny trial on tones; learns nothing")
    add("--out", type=Path, help="folder of the results [benchmarks/results; --work if partial]")
    made.set_defaults(all_seeds=tuple(seeds), all_arms=tuple(arms))
    return made


def chosen(args: argparse.Namespace, quick: Sequence[str]) -> Sequence[str]:
    """Return the arms that were asked for, in their own order; a quick run has one seed."""
    if args.quick:
        args.seeds = args.seeds[:1]
    wanted = args.only or (quick if args.quick else args.all_arms)
    args.wanted = [arm for arm in args.all_arms if arm in wanted]
    return args.wanted


def shown(args: argparse.Namespace, found: Sequence[Measurement]) -> list[str]:
    """Return the arms that have a figure, in their own order."""
    return [arm for arm in args.all_arms if any(f".{arm}." in f"{m.name}." for m in found)]


def trials_of(args: argparse.Namespace, work: Path) -> Trials:
    """Return the trials that the command line asks for.

    Raises:
        ConfigError: neither a corpus with a recipe nor ``--quick``.
    """
    if args.quick:
        corpus, recipe = tone_corpus(work / "tones"), "tiny"
        args.set = ["schedule.steps=10", "run.eval_every_steps=10", *args.set]
    elif args.corpus is None or args.recipe is None:
        raise ConfigError("give --corpus FOLDER and --recipe NAME, or --quick")
    else:
        corpus, recipe = args.corpus, args.recipe
    return Trials(
        work=work,
        corpus_path=corpus,
        recipe=recipe,
        overrides=tuple(args.set),
        split=args.split,
        threads=args.threads,
        aligner=args.align,
    )


def run_benchmark(
    stem: str,
    args: argparse.Namespace,
    measure: Callable[[Trials], tuple[list[Measurement], list[str]]],
    tell: Callable[[Trials, Sequence[Measurement]], str],
) -> int:
    """Run a benchmark in its work folder and write ``stem.json`` and ``stem.md``.

    Args:
        stem: Name of the results.
        args: Of ``parser``, after ``chosen``; ``args.out`` and ``args.work`` are filled in.
        measure: Returns the figures, and a line for each training that diverged.
        tell: Returns the page's text above the table of all figures, those of arms that a partial
            run found in an earlier report among them.
    """

    def run() -> None:
        partial = args.only is not None or args.quick or args.seeds != args.all_seeds
        with tempfile.TemporaryDirectory(prefix=f"todm-{stem}-") as scratch:
            args.work, args.out = folders(args, stem, scratch, partial=partial)
            args.out.mkdir(parents=True, exist_ok=True)
            trials = trials_of(args, args.work)
            args.name = args.name or trials.corpus_path.name
            found, lost = measure(trials)
        if partial:
            again = {m.name for m in found}
            found += [m for m in kept(args.out / f"{stem}.json") if m.name not in again]
        text = "\n\n".join([tell(trials, found), *lost])
        report = Report(environment=environment(args.seeds), measurements=tuple(found))
        where = (
            f"{made_with(report.environment)} {trials.split} split, seeds "
            f"{', '.join(map(str, args.seeds))}, batch {trials.base.data.batch_size}."
        )
        absent = [arm for arm in args.all_arms if arm not in (*args.wanted, *shown(args, found))]
        if absent:
            text += f"\n\nNot run yet: {', '.join(absent)}."
        print(text)
        write(report, page(f"# {stem}", where, text, everything(found)), args.out / f"{stem}.json")

    return told(stem, run)


def summary(
    prefix: str, names: Sequence[str], found: Sequence[Measurement], figures: Mapping[str, str]
) -> str:
    """Return a table with a row for each arm.

    Args:
        prefix: Of the figures' names.
        names: The arms in order.
        found: All figures.
        figures: The columns: title, and what follows the arm in a figure's name.
    """
    named = {m.name: m for m in found}

    def cell(name: str, figure: str) -> str:
        got = named.get(f"{prefix}.{name}.{figure}")
        return "-" if got is None else number(got.value, got.unit)

    rows = [[name, *(cell(name, figure) for figure in figures.values())] for name in names]
    return table(["arm", *figures], rows)


FIGURES = {
    **{f"WER {size} %": f"wer.{size}" for size in SIZES},
    **{f"delay {size} ms": f"delay_ms.{size}" for size in SIZES},
    **{f"p95 {size} ms": f"delay_p95_ms.{size}" for size in SIZES},
    "MACs over largest": "cost.ratio_to_largest",
    "TMAC": "cost.tmacs",
}
"""Columns that every benchmark of trials has."""


def tone_corpus(folder: Path) -> Path:
    """Make a corpus of strings of tones with known word ends, once."""
    corpus = folder / "corpus"
    if corpus.exists():
        return corpus
    source = folder / "source" / "fsdd"
    source.mkdir(parents=True, exist_ok=True)
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for split in ("train", "dev", "test"):
        for take, word in enumerate(WORDS * 3):
            name = f"{split}_{word}_{take}"
            times_S = np.arange(3000 + 100 * take) / 16000
            tone_S = 0.2 * np.sin(2 * np.pi * (150 + 40 * take) * times_S)
            write_wav(source / f"{name}.wav", tone_S.astype(np.float32))
            rows.append(f"{name}\ta\t{word}\t{name}.wav\t{split}")
    (source / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    config = PrepareConfig(
        name="tones",
        source=SourceConfig(corpus="fsdd"),
        tokens=TokenConfig(unit="word"),
        strings=StringConfig(max_words=2, num_train=8, num_dev=3, num_test=3),
    )
    run_prepare(config, corpus, corpora_dir=folder / "source")
    return corpus
