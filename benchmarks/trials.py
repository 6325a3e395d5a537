"""Trainings of one benchmark on one prepared corpus: each runs once, keyed by its configuration.

A trial is a supernet trained from a configuration, its named nets cut out and recognised as
devices do (streaming, one symbol a frame). What is finished is never repeated and what was cut
off goes on; equal configurations share a training whatever they are called. Processes may share a
work folder as long as no two work on the same trial.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from measuring import over_seeds
from spine_system import write_subnet

from todm.core.artifact import Artifact, load_artifact
from todm.core.config import SupernetConfig
from todm.core.data_config import Split
from todm.core.errors import GateError
from todm.core.ledger import TrainingLedger
from todm.core.overrides import apply_overrides
from todm.core.report import Measurement, Report
from todm.core.specs import SubnetSpec
from todm.data.manifest import Corpus, open_corpus
from todm.evaluate.run import REPORT, EvaluateConfig
from todm.evaluate.run import run as run_evaluate
from todm.flows.stages import StageBook
from todm.models.store import LEDGER, load_supernet
from todm.recipes import recipe
from todm.train.run import run as run_train

SIZES = ("largest", "middle", "smallest")
DELAYS = ("median", "p95")
DIVERGED = "diverged.txt"


@dataclass(frozen=True)
class Trial:
    """One training and what its named nets recognised."""

    config: SupernetConfig
    supernet: Artifact
    reports: Mapping[str, Report]
    """By net."""

    @cached_property
    def ledger(self) -> TrainingLedger:
        """What the training took."""
        return TrainingLedger.read_json(self.supernet.file(LEDGER))

    def wer(self, net: str) -> float:
        """Return the WER in percent."""
        return self.reports[net].value("wer")

    def delay_ms(self, net: str, figure: str) -> float | None:
        """Return a figure of the emission delay; None without word ends or right words."""
        name = f"emission_delay_ms.{figure}"
        found = [m.value for m in self.reports[net].measurements if m.name == name]
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials of a corpus, in a work folder."""

    work: Path
    corpus_path: Path
    recipe: str
    overrides: tuple[str, ...]
    """Dotted overrides of the recipe that every trial has."""
    split: Split
    """What is recognised: ``dev`` where a choice is made, ``test`` where a claim is."""
    threads: int
    aligner: Path | None = None
    """Whose forced alignment the delays count from; None takes the corpus's word ends."""

    @cached_property
    def corpus(self) -> Corpus:
        """The prepared corpus, opened."""
        return open_corpus(self.corpus_path, verify=False)

    @cached_property
    def base(self) -> SupernetConfig:
        """The configuration that arms override."""
        config = recipe(self.recipe, self.corpus.table.size)
        run = config.run.model_copy(update={"threads": self.threads, "accelerator": "cpu"})
        return apply_overrides(config.model_copy(update={"run": run}), self.overrides)

    def config(self, overrides: Iterable[str], seed: int) -> SupernetConfig:
        """Return an arm's configuration."""
        return apply_overrides(self.base, [*overrides, f"seed={seed}"])

    def folder(self, config: SupernetConfig) -> Path:
        """Return where the training of a configuration on this corpus lies."""
        parts = f"{config.digest()} {self.corpus.artifact.digest}"
        return self.work / sha256(parts.encode()).hexdigest()[:16]

    def run_all(
        self,
        name: str,
        configs: Sequence[SupernetConfig],
        nets: Mapping[str, SubnetSpec] | None = None,
    ) -> tuple[list[Trial], list[str]]:
        """Run one arm's configurations; return the trials and why others have none."""
        made, lost = [], []
        for config in configs:
            try:
                made.append(self.run(name, config, nets))
            except GateError as error:
                lost.append(f"{name}, seed {config.seed}: diverged ({error})")
        return made, lost

    def run(
        self, name: str, config: SupernetConfig, nets: Mapping[str, SubnetSpec] | None = None
    ) -> Trial:
        """Train and recognise, or read what was made before.

        Args:
            name: What to call the trial.
            config: The training.
            nets: What is cut out and recognised; None is the space's three named sizes.

        Raises:
            GateError: the training diverged, now or before; it is not repeated.
        """
        folder = self.folder(config)
        diverged = folder / DIVERGED
        if diverged.is_file():
            raise GateError(diverged.read_text("utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name.txt").write_text(f"{name}, seed {config.seed}\n", "utf-8")
        book = StageBook(folder)
        try:
            supernet = book.run(
                "supernet",
                "supernet",
                [config.to_json(), self.corpus.artifact.digest],
                lambda out: run_train(config, self.corpus_path, out),
                silent=False,
            )
        except GateError as error:
            diverged.write_text(str(error), "utf-8")
            raise
        named = config.space.named()
        nets = {size: named[size] for size in SIZES} if nets is None else nets
        reports = {n: self._recognised(book, supernet, n, spec) for n, spec in nets.items()}
        return Trial(config, supernet, reports)

    def _recognised(
        self, book: StageBook, supernet: Artifact, name: str, spec: SubnetSpec
    ) -> Report:
        subnet = book.run(
            f"{name}.subnet",
            "subnet",
            [spec.to_json(), supernet.digest],
            lambda out: write_subnet(out, load_supernet(supernet.path), spec, self.corpus.artifact),
        )
        evaluate = EvaluateConfig(split=self.split)
        clock = [] if self.aligner is None else [load_artifact(self.aligner).digest]
        found = book.run(
            f"{name}.{self.split}",
            "report",
            [evaluate.to_json(), subnet.digest, *clock],
            lambda out: run_evaluate(
                subnet.path, self.corpus_path, evaluate, out, aligner=self.aligner
            ),
            silent=False,
        )
        return Report.read_json(found.file(REPORT))


def net_measurements(name: str, net: str, trials: Sequence[Trial]) -> list[Measurement]:
    """Return WER and delay of a net over the seeds.

    Args:
        name: Of the figures, with ``{}`` for ``wer``, ``delay_ms`` and ``delay_p95_ms``.
        net: Which of each trial's nets.
        trials: One a seed.
    """
    found = [over_seeds(name.format("wer"), [t.wer(net) for t in trials], "%")]
    for figure in DELAYS:
        delays = [t.delay_ms(net, figure) for t in trials]
        known = [delay for delay in delays if delay is not None]
        if known:
            title = "delay_ms" if figure == "median" else f"delay_{figure}_ms"
            found.append(over_seeds(name.format(title), known, "ms"))
    return found


def trial_measurements(prefix: str, trials: Sequence[Trial]) -> list[Measurement]:
    """Return WER, delay and cost of an arm over its seeds."""
    found = [m for size in SIZES for m in net_measurements(f"{prefix}.{{}}.{size}", size, trials)]
    ratios = [t.ledger.ratio_to_largest for t in trials]
    note = "MACs of all nets over those of the largest net alone, from the ledgers"
    found.append(over_seeds(f"{prefix}.cost.ratio_to_largest", ratios, "", note=note))
    macs = [t.ledger.macs / 1e12 for t in trials]
    found.append(over_seeds(f"{prefix}.cost.tmacs", macs, "TMAC"))
    return found
