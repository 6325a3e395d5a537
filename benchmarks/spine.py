"""The figures of the whole chain, from FSDD and AN4 to three measured devices.

Everything is made in a work folder by stages; a run that was cut off goes on where it stopped,
and a stage whose inputs did not change is not repeated. Code is not among the inputs: take a new
work folder after a change of todm. All WERs are streamed, one symbol per frame.

    python benchmarks/spine.py --work runs/spine [--corpus-dir FOLDER] [--only fsdd,cost]
    python benchmarks/spine.py --quick

``--quick`` takes the same way with two small corpora spoken by espeak-ng, a tiny net and one
device. Only a complete run writes to ``results/``; ``--quick`` writes into its work folder, and so
does one with ``--only``: ``partial.json``. ``--out`` names another folder.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import spine_cost
from arguments import folders, names_of, told
from pages import write
from spine_devices import (
    DevicePlan,
    Devices,
    bundles_of,
    int8_measurements,
    named_measurements,
    shipped_measurements,
    size_measurements,
    timed_measurements,
)
from spine_quick import write_corpora
from spine_system import SEED, Plan, System
from spine_table import DEVICES, render, required_names
from token_identity import DEFAULT_SPLITS, token_identity

from todm.bench.run import BenchConfig
from todm.core.artifact import write_artifact
from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.core.quantization import ExportConfig, GateConfig
from todm.core.report import Measurement, Report, environment
from todm.core.search_config import SearchConfig
from todm.evaluate.run import REPORT
from todm.flows.stages import StageBook

NAME = "spine"
PARTS = ("fsdd", "cost", "an4", "devices", "int8", "identity")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How large the run is."""

    strings: StringConfig
    recipes: tuple[str, str]
    devices: DevicePlan
    wall_rounds: int
    bench: BenchConfig
    minutes: float | None
    """Speech of the token comparison; None takes the whole corpus."""
    tokens: int
    threads: int
    """Of training, unless told otherwise."""


FULL = Settings(
    strings=StringConfig(),
    recipes=("fsdd", "an4"),
    devices=DevicePlan(
        names=DEVICES,
        search=SearchConfig(seed=SEED),
        measured=True,
        export=ExportConfig(),
    ),
    wall_rounds=60,
    bench=BenchConfig(seconds=60.0, paced_s=8.0, repeats=3),
    minutes=None,
    tokens=5000,
    threads=2,
)
QUICK = Settings(
    strings=StringConfig(num_train=24, num_dev=40, num_test=12),
    recipes=("tiny", "tiny"),
    devices=DevicePlan(
        names=DEVICES[:1],
        search=SearchConfig(seed=SEED, trials=3, population=2, eval_utterances=4),
        measured=False,
        export=ExportConfig(gate=GateConfig(utterances=4, ranking_utterances=1, drift_s=20.0)),
    ),
    wall_rounds=4,
    bench=BenchConfig(seconds=1.0, paced_s=0.0, repeats=1),
    minutes=0.1,
    tokens=0,
    threads=1,
)


class Spine:
    """All parts of the benchmark; what several of them need is made once."""

    def __init__(
        self, book: StageBook, settings: Settings, corpora_dir: Path | None, threads: int
    ) -> None:
        self.book, self.settings = book, settings
        self.corpora_dir, self.threads = corpora_dir, threads

    @property
    def parts(self) -> dict[str, Callable[[], list[Measurement]]]:
        """What ``--only`` names."""
        return {
            "fsdd": self.fsdd_part,
            "cost": self.cost_part,
            "an4": lambda: named_measurements(self.an4, delays=False),
            "devices": self.devices_part,
            "int8": self.int8_part,
            "identity": self.identity_part,
        }

    @cached_property
    def fsdd(self) -> System:
        """Digit strings in whole words."""
        prepare = PrepareConfig(
            name="fsdd_strings",
            source=SourceConfig(corpus="fsdd"),
            tokens=TokenConfig(unit="word"),
            strings=self.settings.strings,
            seed=SEED,
        )
        speech = (
            f"{self.settings.strings.num_test} strings of held-out recordings, "
            "whose speakers also train"
        )
        return self._system("fsdd", self.settings.recipes[0], prepare, speech)

    @cached_property
    def an4(self) -> System:
        """AN4 in characters."""
        prepare = PrepareConfig(name="an4", source=SourceConfig(corpus="an4"), seed=SEED)
        return self._system(
            "an4", self.settings.recipes[1], prepare, "test split, speakers unheard"
        )

    def _system(self, name: str, recipe: str, prepare: PrepareConfig, speech: str) -> System:
        plan = Plan(
            name=name,
            recipe=recipe,
            prepare=prepare,
            corpora_dir=self.corpora_dir,
            threads=self.threads,
            test_speech=speech,
        )
        return System(self.book, plan)

    @cached_property
    def fsdd_devices(self) -> Devices:
        """The devices' nets, searched and extracted."""
        return Devices(self.fsdd, self.settings.devices)

    @cached_property
    def an4_devices(self) -> Devices:
        """The same architectures, of the AN4 supernet."""
        return Devices(self.an4, self.settings.devices, self.fsdd_devices)

    def fsdd_part(self) -> list[Measurement]:
        """WER and delays of the named nets, and how long the training took."""
        body = self.fsdd.supernet.body
        trained = Measurement(
            name="fsdd.train_s",
            value=float(str(body["wall_s"])),
            unit="s",
            note=f"{body['steps']} steps with their dev evaluations, {self.threads} threads, "
            f"{body['cpu_s']} CPU seconds",
        )
        return [*named_measurements(self.fsdd, delays=True), trained]

    def cost_part(self) -> list[Measurement]:
        """The price of the sandwich."""
        system, rounds = self.fsdd, self.settings.wall_rounds

        def measure(out: Path) -> None:
            config, corpus = system.config, system.opened_corpus
            found = (
                spine_cost.macs_ratio(system.supernet),
                spine_cost.wall_ratio(config, corpus, rounds=rounds, threads=self.threads),
            )
            with write_artifact(out, kind="report") as draft:
                report = Report(environment=environment((SEED,)), measurements=found)
                report.write_json(draft.path / REPORT)

        key = [system.supernet.digest, system.corpus.digest, rounds]
        made = self.book.run("fsdd.cost", "report", key, measure)
        return list(Report.read_json(made.file(REPORT)).measurements)

    def devices_part(self) -> list[Measurement]:
        """What each device's net weighs, takes and recognises."""
        devices = self.fsdd_devices
        return [
            *size_measurements(devices),
            *timed_measurements(devices, self.settings.bench),
            *shipped_measurements(devices),
        ]

    def int8_part(self) -> list[Measurement]:
        """What int8 costs in words."""
        return [*int8_measurements(self.fsdd_devices), *int8_measurements(self.an4_devices)]

    def identity_part(self) -> list[Measurement]:
        """Whether every runtime hears the same tokens."""
        bundles, subnets = bundles_of(self.an4_devices)
        minutes = self.settings.minutes
        return token_identity(
            bundles,
            subnets,
            self.an4.corpus.path,
            log=self.book.folder / "token_identity.jsonl",
            minutes=self._all_minutes() if minutes is None else minutes,
            tokens=self.settings.tokens,
        )

    def _all_minutes(self) -> float:
        """Return the whole corpus's minutes, but for the last recording's last blink."""
        corpus = self.an4.opened_corpus
        total_s = sum(u.duration_s for split in DEFAULT_SPLITS for u in corpus.cuts(split))
        return round(total_s / 60 - 0.001, 3)


def run(args: argparse.Namespace, work: Path, out: Path) -> set[str]:
    """Make every part that is asked for, write the report and return the names that lack."""
    book = StageBook(work)
    settings = QUICK if args.quick else FULL
    threads = settings.threads if args.threads is None else args.threads
    corpora_dir = write_corpora(book) if args.quick else args.corpus_dir
    parts = Spine(book, settings, corpora_dir, threads).parts
    found = [measurement for name in args.only for measurement in parts[name]()]
    report = Report(environment=environment((SEED,)), measurements=tuple(found))
    title = "The spine, in a tiny trial that learns nothing" if args.quick else "The spine"
    page = render(report, title)
    seconds = ", ".join(
        f"{name} {seconds:.0f}{' (reused)' if name in book.reused else ''}"
        for name, seconds in book.seconds.items()
    )
    print(f"{page}\nseconds: {seconds}")
    complete = args.only == PARTS
    write(report, page, out / f"{NAME if complete else 'partial'}.json")
    return required_names() - {m.name for m in found} if complete and not args.quick else set()


def part_names(text: str) -> tuple[str, ...]:
    """Read the parts of ``--only``; they run in their own order."""
    names = names_of(PARTS)(text)
    return tuple(name for name in PARTS if name in names)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="folder of all stages [runs/spine]")
    parser.add_argument("--corpus-dir", type=Path, help="holds fsdd and an4 [TODM_CORPORA]")
    parser.add_argument(
        "--only", type=part_names, default=PARTS, help=f"of {', '.join(PARTS)}; writes partial.json"
    )
    parser.add_argument("--threads", type=int, help="of training [2; 1 with --quick]")
    parser.add_argument("--quick", action="store_true", help="a tiny trial on synthesised speech")
    parser.add_argument("--out", type=Path, help="folder of spine.json [benchmarks/results]")
    args = parser.parse_args()
    missing: set[str] = set()
    partial = args.quick or args.only != PARTS

    def measure() -> None:
        with tempfile.TemporaryDirectory(prefix="todm-spine-") as scratch:
            missing.update(run(args, *folders(args, NAME, scratch, partial=partial)))

    code = told(NAME, measure)
    if missing:
        print(f"{NAME}: not measured: {', '.join(sorted(missing))}", file=sys.stderr)
    return code or int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
