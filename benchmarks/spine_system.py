"""One corpus and the supernet trained on it: prepared, trained, sliced and evaluated by stages."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spine_score import ErrorRows, Recordings, error_rows, string_recordings

from todm.core.artifact import Artifact, write_artifact
from todm.core.config import SupernetConfig
from todm.core.data_config import PrepareConfig
from todm.core.specs import SubnetSpec
from todm.data.manifest import Corpus, open_corpus
from todm.evaluate.run import EvaluateConfig
from todm.evaluate.run import run as run_evaluate
from todm.flows.stages import StageBook
from todm.models.slicing import slice_weights
from todm.models.store import SPEC, Supernet, load_supernet, write_model
from todm.prepare.run import run as run_prepare
from todm.recipes import recipe
from todm.runtimes import Precision
from todm.train.run import run as run_train

SEED = 1
"""Of corpora, training and search; the demo's, so that its nets are these."""


def write_subnet(out: Path, source: Supernet, spec: SubnetSpec, corpus: Artifact) -> None:
    """Write a net of a supernet as a dense subnet artifact, the supernet's bits."""
    parents = {"supernet": source.artifact, "corpus": corpus}
    with write_artifact(out, kind="subnet", parents=parents) as draft:
        write_model(draft, slice_weights(source.model, spec), source.table)
        spec.write_json(draft.path / SPEC)
        draft.body = {
            "recipe": source.config.recipe,
            "corpus_path": str(corpus.path.absolute()),
        }


@dataclass(frozen=True)
class Plan:
    """What a system is made from."""

    name: str
    recipe: str
    prepare: PrepareConfig
    corpora_dir: Path | None
    threads: int
    """CPU threads of the training."""
    test_speech: str
    """What the WER is measured on, in words."""


class System:
    """The stages of one corpus; each runs when something first asks for it."""

    def __init__(self, book: StageBook, plan: Plan) -> None:
        self.book, self.plan = book, plan
        self._evaluations: dict[str, Artifact] = {}

    @cached_property
    def corpus(self) -> Artifact:
        """The prepared corpus."""
        plan = self.plan
        return self.book.run(
            f"{plan.name}.corpus",
            "corpus",
            [plan.prepare.to_json(), str(plan.corpora_dir)],
            lambda out: run_prepare(plan.prepare, out, corpora_dir=plan.corpora_dir),
        )

    @cached_property
    def opened_corpus(self) -> Corpus:
        """The prepared corpus, opened."""
        return open_corpus(self.corpus.path, verify=False)

    @cached_property
    def config(self) -> SupernetConfig:
        """The recipe for this corpus, on CPU with the plan's threads."""
        base = recipe(self.plan.recipe, self.opened_corpus.table.size)
        run = base.run.model_copy(update={"threads": self.plan.threads, "accelerator": "cpu"})
        return base.model_copy(update={"seed": SEED, "run": run})

    @cached_property
    def supernet(self) -> Artifact:
        """The trained supernet."""
        return self.book.run(
            f"{self.plan.name}.supernet",
            "supernet",
            [self.config.to_json(), self.corpus.digest],
            lambda out: run_train(self.config, self.corpus.path, out),
            silent=False,
        )

    @cached_property
    def opened_supernet(self) -> Supernet:
        """The trained supernet, opened."""
        return load_supernet(self.supernet.path)

    @cached_property
    def recordings(self) -> Recordings | None:
        """The recording behind each word of the test strings; None for natural utterances."""
        if self.plan.prepare.strings is None:
            return None
        return string_recordings(self.corpus.path, self.plan.corpora_dir, "test")

    def subnet(self, name: str, spec: SubnetSpec) -> Artifact:
        """Return a net of the supernet as a dense subnet artifact, the supernet's bits."""
        return self.book.run(
            f"{self.plan.name}.{name}.subnet",
            "subnet",
            [spec.to_json(), self.supernet.digest],
            lambda out: write_subnet(out, self.opened_supernet, spec, self.corpus),
        )

    def evaluation(
        self, label: str, model: Artifact, runtime: str | None, precision: Precision
    ) -> Artifact:
        """Recognise the test split by a subnet (torch) or a bundle, streaming."""
        config = EvaluateConfig(runtime=runtime, precision=precision)
        stage = f"{self.plan.name}.{label}.wer_{runtime or 'torch'}_{precision}"
        if stage not in self._evaluations:
            self._evaluations[stage] = self.book.run(
                stage,
                "report",
                [config.to_json(), model.digest],
                lambda out: run_evaluate(model.path, self.corpus.path, config, out),
                silent=False,
            )
        return self._evaluations[stage]

    def rows(self, evaluation: Artifact) -> ErrorRows:
        """Return the errors of an evaluation, grouped by what is independent."""
        return error_rows(evaluation, self.recordings)
