"""One net that carries several lookaheads against nets that were trained for one each.

A net with the backward scan sees the rest of its block of frames. ``shared`` is one net whose
training draws 0, 80, 320 or 640 ms for each batch; ``own`` are nets of the same architecture with
one lookahead each, trained with the same steps, data and schedule (that of 0 ms is the causal net,
without the backward scan). The milliseconds are the block's length: a net of 320 ms sees up to
280 ms ahead of a frame, 140 on average, and answers once a block. The largest net of the recipe's
space is trained alone, so that lookahead is all that differs. WER is streamed, one symbol a frame;
the emission delay counts the audio up to the end of the block that was heard.

    python benchmarks/lookahead.py --work runs/lookahead [--sets fsdd,an4] [--seeds 1,2] [--steps N]
    python benchmarks/lookahead.py --quick

Everything is made by stages; a run that was cut off goes on where it stopped. ``--quick`` takes
the same way with a tiny net and speech of espeak-ng; it learns nothing.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spine_quick import write_corpora
from spine_table import DIGITS, number

from todm.core.artifact import Artifact, write_artifact
from todm.core.config import SupernetConfig
from todm.core.cost import macs_per_audio_s
from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.core.errors import TodmError
from todm.core.report import Measurement, Report, environment
from todm.core.specs import FRAME_MS, SUBSAMPLING, SubnetSpec
from todm.data.manifest import Corpus, open_corpus
from todm.evaluate.run import REPORT, EvaluateConfig
from todm.evaluate.run import run as run_evaluate
from todm.flows.stages import StageBook
from todm.models.slicing import slice_weights
from todm.models.store import SPEC, load_supernet, write_model
from todm.prepare.run import run as run_prepare
from todm.recipes import recipe
from todm.train.run import run as run_train

RESULT = Path(__file__).parent / "results" / "lookahead.json"
BLOCK_FRAMES = {0: 1, 80: 2, 320: 8, 640: 16}
"""Frames that see each other, by the milliseconds that they last; one frame alone is causal."""
CAUSAL_CHUNK_FRAMES = 8
"""A causal net computes the same in any chunk."""
CORPUS_SEED = 1


@dataclass(frozen=True)
class Plan:
    """How large the run is."""

    lookaheads_ms: tuple[int, ...]
    seeds: tuple[int, ...]
    recipes: Mapping[str, str]
    strings: StringConfig
    steps: int | None
    """None: the recipe's."""
    threads: int


@dataclass(frozen=True)
class Heard:
    """What a net made of the test split."""

    wer: float
    words: int
    delay_ms: float | None
    """Median emission delay, where the ends of the spoken words are known."""


class Trials:
    """The nets of one set: trained, cut to a lookahead and evaluated, each stage once."""

    def __init__(self, book: StageBook, name: str, plan: Plan, corpora_dir: Path | None) -> None:
        self.book, self.name, self.plan, self.corpora_dir = book, name, plan, corpora_dir

    @cached_property
    def corpus(self) -> Artifact:
        """The prepared corpus: strings of FSDD in words, or AN4 in characters."""
        strings = self.name == "fsdd"
        prepare = PrepareConfig(
            name=self.name,
            source=SourceConfig(corpus=self.name),
            tokens=TokenConfig(unit="word" if strings else "char"),
            strings=self.plan.strings if strings else None,
            seed=CORPUS_SEED,
        )
        return self.book.run(
            f"{self.name}.corpus",
            "corpus",
            [prepare.to_json(), str(self.corpora_dir)],
            lambda out: run_prepare(prepare, out, corpora_dir=self.corpora_dir),
        )

    @cached_property
    def opened_corpus(self) -> Corpus:
        """The prepared corpus, opened."""
        return open_corpus(self.corpus.path, verify=False)

    def config(self, lookaheads_ms: Sequence[int], seed: int) -> SupernetConfig:
        """Return the training of the recipe's largest net alone, with these lookaheads."""
        base = recipe(self.plan.recipes[self.name], self.opened_corpus.table.size)
        blocks = [BLOCK_FRAMES[ms] for ms in lookaheads_ms]
        space = base.space.reformed(
            lookaheads=tuple(frames - 1 for frames in blocks),
            chunk_frames=max(CAUSAL_CHUNK_FRAMES, *blocks),
            backward=blocks[-1] > 1,
        )
        steps = self.plan.steps or base.schedule.steps
        run = {"threads": self.plan.threads, "accelerator": "cpu", "eval_every_steps": steps}
        alone = {"num_random": 0, "smallest": 0.0}
        return base.model_copy(
            update={
                "seed": seed,
                "space": space,
                "sandwich": base.sandwich.model_copy(update=alone),
                "distill": base.distill.model_copy(update={"mode": "none"}),
                "schedule": base.schedule.model_copy(update={"steps": steps}),
                "run": base.run.model_copy(update=run),
            }
        )

    def trained(self, net: str, lookaheads_ms: Sequence[int], seed: int) -> Artifact:
        """Return a trained net."""
        config = self.config(lookaheads_ms, seed)
        return self.book.run(
            f"{self.name}.{net}.seed{seed}",
            "supernet",
            [config.to_json(), self.corpus.digest],
            lambda out: run_train(config, self.corpus.path, out),
            silent=False,
        )

    def heard(self, trained: Artifact, lookahead_ms: int) -> Heard:
        """Return what a trained net makes of the test split at one of its lookaheads."""
        name = f"{trained.path.name}.at{lookahead_ms}"
        subnet = self.book.run(
            f"{name}.subnet",
            "subnet",
            trained.digest,
            lambda out: self._cut(trained, lookahead_ms, out),
        )
        config = EvaluateConfig()
        report = self.book.run(
            f"{name}.wer",
            "report",
            [config.to_json(), subnet.digest],
            lambda out: run_evaluate(subnet.path, self.corpus.path, config, out),
            silent=False,
        )
        named = {m.name: m for m in Report.read_json(report.file(REPORT)).measurements}
        delay = named.get("emission_delay_ms.median")
        return Heard(named["wer"].value, named["wer"].n, None if delay is None else delay.value)

    def _cut(self, trained: Artifact, lookahead_ms: int, out: Path) -> None:
        source = load_supernet(trained.path)
        spec = at_lookahead(source.config.space.largest, lookahead_ms)
        parents = {"supernet": trained, "corpus": self.corpus}
        with write_artifact(out, kind="subnet", parents=parents) as draft:
            write_model(draft, slice_weights(source.model, spec), source.table)
            spec.write_json(draft.path / SPEC)
            draft.body = {"corpus_path": str(self.corpus.path.absolute())}

    def measurements(self) -> Iterator[Measurement]:
        """Yield every figure of the set."""
        plan, every = self.plan, self.plan.lookaheads_ms
        shared = [self.trained("shared", every, seed) for seed in plan.seeds]
        for ms in every:
            own = [self.trained(f"own{ms}", [ms], seed) for seed in plan.seeds]
            found = {
                "shared": [self.heard(net, ms) for net in shared],
                "own": [self.heard(net, ms) for net in own],
            }
            spec = at_lookahead(self.config([ms], plan.seeds[0]).space.largest, ms)
            yield from compared(self.name, ms, found, described(spec))
            yield Measurement(
                name=f"{self.name}.macs_per_audio_s.{ms}",
                value=macs_per_audio_s(spec),
                unit="MAC/s",
                note=described(spec),
            )


def at_lookahead(spec: SubnetSpec, lookahead_ms: int) -> SubnetSpec:
    """Return the net at a lookahead, in chunks of a block (of eight frames when causal)."""
    frames = BLOCK_FRAMES[lookahead_ms]
    chunk = frames if frames > 1 else CAUSAL_CHUNK_FRAMES
    return spec.model_copy(update={"lookahead_frames": frames - 1, "chunk_frames": chunk})


def described(spec: SubnetSpec) -> str:
    """Say what a lookahead means."""
    frame_ms, frames = FRAME_MS * SUBSAMPLING, spec.lookahead_frames
    if frames == 0:
        return f"causal, chunks of {spec.chunk_frames * frame_ms} ms"
    return (
        f"chunks of {spec.chunk_frames * frame_ms} ms, {frames * frame_ms} ms ahead at most, "
        f"{frames * frame_ms / 2:g} on average"
    )


def compared(
    name: str, ms: int, found: Mapping[str, Sequence[Heard]], note: str
) -> Iterator[Measurement]:
    """Yield WER and delay of both kinds of net, and their difference; ends are over the seeds."""
    for kind, heard in found.items():
        yield over_seeds(
            f"{name}.wer.{kind}.{ms}",
            [h.wer for h in heard],
            "%",
            f"{note}; {heard[0].words} words",
        )
        delays = [h.delay_ms for h in heard if h.delay_ms is not None]
        if delays:
            yield over_seeds(
                f"{name}.delay_ms.{kind}.{ms}", delays, "ms", "median, up to the end of the block"
            )
    pairs = zip(found["shared"], found["own"], strict=True)
    own = [h.wer for h in found["own"]]
    spread = max(own) - min(own)
    yield over_seeds(
        f"{name}.wer.diff.{ms}",
        [a.wer - b.wer for a, b in pairs],
        "points",
        f"shared minus own, seed by seed; the own nets lie {spread:.2f} points apart",
    )


def over_seeds(name: str, values: Sequence[float], unit: str, note: str) -> Measurement:
    """Return the mean; the interval is from the least to the largest."""
    return Measurement(
        name=name, value=statistics.fmean(values), unit=unit, low=min(values), high=max(values),
        n=len(values), note=f"{note}; mean, least and largest of {len(values)} seeds",
    )  # fmt: skip


def table(report: Report, plan: Plan, sets: Sequence[str]) -> str:
    """Return the figures as Markdown."""
    env = report.environment
    named = {m.name: m for m in report.measurements}
    steps = "the recipe's steps" if plan.steps is None else f"{plan.steps} steps"
    lines = [
        "# One net for several lookaheads",
        f"`{env.command}` on {env.cpu}, commit {env.commit}, torch {env.versions['torch']}, "
        f"{env.date}. Seeds {', '.join(map(str, plan.seeds))}, {steps}. Mean WER in percent on the "
        "test split, streamed; in brackets the least and the largest seed.",
    ]
    rows = ["| set | lookahead ms | shared | own | shared - own | delay ms shared / own |"]
    rows.append("|" + "---|" * 6)
    for name in sets:
        for ms in plan.lookaheads_ms:
            cells = [_cell(named, f"{name}.{what}.{ms}") for what in ("wer.shared", "wer.own")]
            cells.append(_cell(named, f"{name}.wer.diff.{ms}"))
            delays = [named.get(f"{name}.delay_ms.{kind}.{ms}") for kind in ("shared", "own")]
            cells.append(" / ".join("-" if d is None else f"{d.value:.0f}" for d in delays))
            rows.append(f"| {name} | {ms} | {' | '.join(cells)} |")
    figures = ["| figure | value | unit | low | high | n | note |\n|---|---|---|---|---|---|---|"]
    figures += [
        f"| {m.name} | {_number(m.value, m.unit)} | {m.unit} | {_number(m.low, m.unit)} "
        f"| {_number(m.high, m.unit)} | {m.n} | {m.note} |"
        for m in report.measurements
    ]
    return "\n\n".join([*lines, "\n".join(rows), "\n".join(figures)]) + "\n"


def _number(value: float | None, unit: str) -> str:
    return number(value, unit) if unit in DIGITS or value is None else f"{value:.0f}"


def _cell(named: Mapping[str, Measurement], name: str) -> str:
    m = named[name]
    low, high = (number(end, m.unit) for end in (m.low, m.high))
    return f"{number(m.value, m.unit)} [{low}, {high}]"


def run(args: argparse.Namespace, work: Path) -> Path:
    """Make everything and write the report and its table."""
    work.mkdir(parents=True, exist_ok=True)
    book = StageBook(work)
    plan = Plan(
        lookaheads_ms=(0, 80) if args.quick else tuple(BLOCK_FRAMES),
        seeds=(1,) if args.quick else args.seeds,
        recipes=dict.fromkeys(args.sets, "tiny") if args.quick else {s: s for s in args.sets},
        strings=StringConfig(num_train=24, num_dev=12, num_test=12)
        if args.quick
        else StringConfig(),
        steps=4 if args.quick else args.steps,
        threads=args.threads,
    )
    corpora_dir = write_corpora(book) if args.quick else args.corpus_dir
    found = [m for name in args.sets for m in Trials(book, name, plan, corpora_dir).measurements()]
    report = Report(environment=environment(plan.seeds), measurements=tuple(found))
    out: Path = args.out or (work / RESULT.name if args.quick else RESULT)
    out.parent.mkdir(parents=True, exist_ok=True)
    report.write_json(out)
    page = table(report, plan, args.sets)
    out.with_suffix(".md").write_text(page, "utf-8")
    print(f"{page}\n{out}")
    return out


def names(text: str) -> tuple[str, ...]:
    """Read the comma-separated sets."""
    found = tuple(text.split(","))
    if not set(found) <= {"fsdd", "an4"}:
        raise argparse.ArgumentTypeError(f"{text}: there are fsdd and an4")
    return found


def numbers(text: str) -> tuple[int, ...]:
    """Read comma-separated seeds."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: give numbers, such as 1,2") from error


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="folder of all stages [runs/lookahead]")
    parser.add_argument("--corpus-dir", type=Path, help="holds fsdd and an4 [TODM_CORPORA]")
    parser.add_argument("--sets", type=names, default=("fsdd",), help="fsdd, an4 or both [fsdd]")
    parser.add_argument("--seeds", type=numbers, default=(1, 2), help="of training [1,2]")
    parser.add_argument("--steps", type=int, help="of every training [the recipe's]")
    parser.add_argument("--threads", type=int, default=1, help="of training [1]")
    parser.add_argument("--quick", action="store_true", help="a tiny trial on synthesised speech")
    parser.add_argument("--out", type=Path, help=f"the report [{RESULT.name} in results]")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="todm-lookahead-") as scratch:
            run(args, args.work or Path(scratch if args.quick else "runs/lookahead"))
    except TodmError as error:
        print(f"lookahead: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
