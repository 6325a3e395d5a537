"""``todm demo``: from audio to three measured device artifacts, with a table at the end.

prepare, train, search, then for each device extract, export (parity on dev speech), evaluate,
bench and transcribe; finally a report page. Finished stages are reused.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from todm.bench.run import BenchConfig
from todm.bench.run import run as run_bench
from todm.core.artifact import Artifact
from todm.core.config import SupernetConfig
from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.core.errors import GateError
from todm.core.profile import DeviceProfile, load_profile
from todm.core.report import Report
from todm.core.search_config import SearchConfig
from todm.core.specs import SubnetSpec
from todm.core.target import Form
from todm.data.corpora import find_corpus, has_corpus
from todm.data.manifest import Utterance, open_corpus
from todm.evaluate.run import EvaluateConfig
from todm.evaluate.run import run as run_evaluate
from todm.evaluate.source import open_source
from todm.evaluate.transcribe import transcribe_files
from todm.flows.demo_table import DeviceRow, render_table
from todm.flows.export import export_or_float
from todm.flows.extract import extract_for_device
from todm.flows.speech import speech_for
from todm.flows.stages import StageBook, heartbeat
from todm.models.store import SPEC
from todm.prepare.run import run as run_prepare
from todm.recipes import recipe
from todm.report.run import PAGE, ReportSources
from todm.report.run import run as run_report
from todm.report.sources import DeviceSources
from todm.runtimes.bundle import Precision, loaded_names
from todm.search.run import run as run_search
from todm.train.run import run as run_train

DEVICES = ("this_host", "browser_tab", "mcu_arm")
SYNTHESISED_MAX_WER = 10.0
SEED = 1
DEV_STRINGS = 300
"""The gate of int8 bounds its errors by these: on half as many a single one is too much."""
BENCH = BenchConfig(seconds=20.0, paced_s=4.0, repeats=2)


@dataclass(frozen=True)
class DemoResult:
    """What the demo made and whether it is good enough."""

    table: str
    rows: tuple[DeviceRow, ...]
    stages_s: dict[str, float]
    page: Path
    failures: tuple[str, ...]

    def require(self) -> None:
        """Raise when a gate failed.

        Raises:
            GateError: a WER above the bar, or devices that got the same network.
        """
        if self.failures:
            raise GateError("; ".join(self.failures))

    def to_json(self) -> dict[str, object]:
        """Return the result as builtins."""
        return {
            "devices": [vars(row) for row in self.rows],
            "stages_s": self.stages_s,
            "page": str(self.page),
            "failures": list(self.failures),
        }


def run(out: Path, *, corpora_dir: Path | None = None, max_wer: float | None = None) -> DemoResult:
    """Run the whole chain in a folder.

    Args:
        out: Folder of everything that the demo makes.
        corpora_dir: Folder of real corpora; None reads TODM_CORPORA. With an ``fsdd`` corpus the
            demo takes its digit strings, otherwise it synthesises digit strings.
        max_wer: Bar in percent for every shipped net; by default 10 for synthesised speech and
            none for a real corpus.

    Raises:
        TodmError: a stage failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    real = has_corpus("fsdd", corpora_dir)
    bar = max_wer if max_wer is not None or real else SYNTHESISED_MAX_WER
    book = StageBook(out)
    corpus = _corpus(book, corpora_dir if real else None, real=real)
    supernet = _supernet(book, corpus, "fsdd" if real else "espeak_digits")
    search = SearchConfig(seed=SEED)
    front = book.run(
        "front",
        "front",
        [search.to_json(), supernet.digest],
        lambda path: run_search(search, supernet.path, corpus.path, path),
        silent=False,
    )
    devices = [_Device(book, load_profile(name), corpus, supernet, front) for name in DEVICES]
    for device in devices:
        device.make()
    sources = ReportSources(
        supernet=supernet.path,
        front=front.path,
        devices=[device.sources() for device in devices],
        stages_s=book.seconds,
    )
    page = run_report(sources, out / "report")
    rows = tuple(device.row() for device in devices)
    return DemoResult(
        table=render_table(rows, book.seconds, book.reused, page.path / PAGE, corpus_name(real)),
        rows=rows,
        stages_s=book.seconds,
        page=page.path / PAGE,
        failures=tuple(_failures(rows, [device.spec for device in devices], bar)),
    )


def corpus_name(real: bool) -> str:
    """Return what the WER was measured on, in words."""
    if real:
        return "FSDD digit strings, test recordings (the speakers also train)"
    return "synthesised digit strings, voices held out of training"


def _corpus(book: StageBook, corpora_dir: Path | None, *, real: bool) -> Artifact:
    config = PrepareConfig(
        name="fsdd_strings" if real else "espeak_digits",
        source=SourceConfig(corpus="fsdd" if real else "espeak"),
        tokens=TokenConfig(unit="word"),
        strings=StringConfig(num_dev=DEV_STRINGS),
        seed=SEED,
    )
    return book.run(
        "corpus",
        "corpus",
        [config.to_json(), str(find_corpus("fsdd", corpora_dir)) if real else None],
        lambda path: run_prepare(config, path, corpora_dir=corpora_dir),
    )


def _supernet(book: StageBook, corpus: Artifact, recipe_name: str) -> Artifact:
    vocab_size = open_corpus(corpus.path, verify=False).table.size
    config: SupernetConfig = recipe(recipe_name, vocab_size).model_copy(update={"seed": SEED})
    return book.run(
        "supernet",
        "supernet",
        [config.to_json(), corpus.digest],
        lambda path: run_train(config, corpus.path, path),
        silent=False,
    )


def shipped_precision(bundle: Artifact, profile: DeviceProfile) -> Precision:
    """Return the profile's precision, or float32 where the bundle lacks it."""
    form: Form = "executorch" if profile.runtime == "executorch" else "onnx"
    files = frozenset(bundle.manifest.files)
    return "fp32" if loaded_names(form, profile.numeric, files) is None else profile.numeric


class _Device:
    """The stages of one device."""

    def __init__(
        self,
        book: StageBook,
        profile: DeviceProfile,
        corpus: Artifact,
        supernet: Artifact,
        front: Artifact,
    ) -> None:
        self.book, self.profile = book, profile
        self.corpus, self.supernet, self.front = corpus, supernet, front
        self.evaluations: dict[Precision, Path] = {}

    @property
    def spec(self) -> SubnetSpec:
        """The network that the device got."""
        return SubnetSpec.read_json(self.subnet.file(SPEC))

    def make(self) -> None:
        """Extract, export, evaluate, bench, transcribe."""
        name, profile, corpus = self.profile.name, self.profile, self.corpus.path
        self.subnet = self.book.run(
            f"{name}.subnet",
            "subnet",
            [profile.to_json(), self.front.digest],
            lambda path: extract_for_device(
                self.supernet.path, self.front.path, profile, path, corpus=corpus
            ),
        )
        self.bundle = self.book.run(
            f"{name}.bundle",
            "bundle",
            [profile.to_json(), self.subnet.digest],
            lambda path: export_or_float(self.subnet.path, path, profile=profile, corpus=corpus),
        )
        self.shipped = shipped_precision(self.bundle, profile)
        for precision in dict.fromkeys(("fp32", self.shipped)):
            self._evaluate(precision)
        speech = speech_for(self.bundle.path, (), corpus, BENCH.seconds)
        bench = BENCH.model_copy(update={"precision": self.shipped})
        self.bench = self.book.run(
            f"{name}.bench",
            "report",
            [bench.to_json(), self.bundle.digest],
            lambda path: run_bench(self.bundle.path, speech, bench, profile=profile, out=path),
        )
        with heartbeat(f"{name}.transcribe"):
            self._transcribe()

    def _evaluate(self, precision: Precision) -> None:
        config = EvaluateConfig(precision=precision, interval_by="speaker")
        stage = f"{self.profile.name}.wer_{precision}"
        made = self.book.run(
            stage,
            "report",
            [config.to_json(), self.bundle.digest],
            lambda path: run_evaluate(self.bundle.path, self.corpus.path, config, path),
            silent=False,
        )
        self.evaluations[precision] = made.path

    def _transcribe(self) -> None:
        longest = max(open_corpus(self.corpus.path, verify=False).cuts("test"), key=_length)
        source = open_source(self.bundle.path, None, self.shipped, 1)
        (heard,) = transcribe_files(source, [longest.audio_path])
        self.heard, self.spoken = heard.text, longest.text

    def sources(self) -> DeviceSources:
        """Return what the report page shows of this device."""
        return DeviceSources(
            name=self.profile.name,
            profile=self.profile,
            bundle=self.bundle.path,
            evaluations={str(k): v for k, v in self.evaluations.items()},
            bench=self.bench.path,
        )

    def row(self) -> DeviceRow:
        """Return the device's line of the table."""
        bench = Report.read_json(self.bench.file("report.json"))
        wers = {
            precision: Report.read_json(path / "report.json").value("wer")
            for precision, path in self.evaluations.items()
        }
        budget = self.profile.budgets.get("chunk_latency_p95_ms")
        judged = budget is not None and self.profile.judges("chunk_latency_p95_ms")
        return DeviceRow(
            device=self.profile.name,
            form=self.profile.runtime,
            net=self.spec.short_name,
            parameters=int(bench.value("params")),
            macs_per_audio_s=bench.value("macs_per_audio_s"),
            bundle_bytes=int(bench.value("bundle_bytes")),
            wer_fp32=wers["fp32"],
            wer_int8=wers.get("int8"),
            wer_shipped=wers[self.shipped],
            p50_ms=bench.value("latency_ms.p50"),
            p95_ms=bench.value("latency_ms.p95"),
            budget_ms=budget.limit if budget is not None else None,
            budget_judged=judged,
            rtf=bench.value("rtf"),
            spoken=self.spoken,
            heard=self.heard,
        )


def _length(utterance: Utterance) -> int:
    return len(utterance.text.split())


def _failures(
    rows: Sequence[DeviceRow], specs: Sequence[SubnetSpec], max_wer: float | None
) -> list[str]:
    """Return what is not good enough: WERs above the bar, devices with near-equal nets."""
    found = []
    for row in rows:
        worst = max(row.wer_fp32, row.wer_shipped)
        if max_wer is not None and worst > max_wer:
            found.append(f"{row.device}: WER {worst:.2f} % is above {max_wer:g} %")
    for (one, a), (two, b) in itertools.combinations(zip(rows, specs, strict=True), 2):
        axes_a, axes_b = a.axes(), b.axes()
        differing = sum(axes_a[axis] != axes_b[axis] for axis in axes_a)
        if differing < 2:
            found.append(f"{one.device} and {two.device} got nets that differ in {differing} axes")
    return found
