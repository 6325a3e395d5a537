"""``todm extract``: a supernet, its front and a device profile to one dense subnet."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todm.core.artifact import Artifact, Draft, load_artifact, write_artifact
from todm.core.errors import ArtifactError, GateError
from todm.core.front import TRIALS_FILE, Front, FrontPoint
from todm.core.profile import BUDGET_UNITS, DeviceProfile
from todm.core.report import Verdict
from todm.core.search_config import SearchConfig
from todm.core.specs import SubnetSpec
from todm.data.manifest import Corpus, open_corpus
from todm.extract.choose import Choice, candidates, choose
from todm.extract.constraints import Values, judged_budgets, verdicts_of
from todm.extract.evaluate import evaluate_points
from todm.models.rnnt import Transducer
from todm.models.scoring import Scores, ScoringSet, corpus_samples, score, scoring_set
from todm.models.slicing import slice_weights
from todm.models.store import BPE_MODEL, SPEC, Supernet, load_supernet, write_model

PROFILE = "profile.json"
"""A copy of the device profile, in the subnet artifact."""

MeasureArtifact = Callable[[Path], Mapping[str, float]]
"""Exports and benches a candidate subnet artifact at a path; returns figures by name of budget."""


@dataclass(frozen=True)
class Inputs:
    """Everything that an extraction reads, opened."""

    supernet: Supernet
    front: Artifact
    trials: Front
    search: SearchConfig
    corpus: Corpus
    profile: DeviceProfile

    def scoring(self, model: Transducer, limit: int | None) -> ScoringSet:
        """Return the search's split, prepared with a model's front end."""
        samples = corpus_samples(self.corpus, self.supernet.table, self.search.split, limit)
        topology = self.supernet.config.loss.topology
        return scoring_set(model, samples, self.supernet.table, topology=topology)

    @property
    def parents(self) -> dict[str, Artifact]:
        """The lineage of the subnet."""
        return {
            "supernet": self.supernet.artifact,
            "front": self.front,
            "corpus": self.corpus.artifact,
        }


def run(
    supernet: Path,
    front: Path,
    profile: DeviceProfile,
    corpus: Path,
    out: Path,
    *,
    allow_unjudged: bool = False,
    measure: MeasureArtifact | None = None,
) -> Artifact:
    """Extract the best subnet that a device's budgets allow, as a dense network.

    Every subnet that the search evaluated is a candidate, not the front alone: a budget may be of
    another cost than the front's. The one taken is evaluated again on the whole split.

    Args:
        supernet: a supernet artifact.
        front: the front of a search over it.
        profile: the device.
        corpus: the corpus to evaluate on.
        out: where the subnet artifact goes.
        allow_unjudged: go on although no budget of the device can be judged here.
        measure: exports and benches a candidate artifact; several may be tried, best first. It
            returns figures named as the budgets are, ``bundle_bytes`` of the shipped form among
            them. Without it bytes are arithmetic, and time and memory are not judged.

    Raises:
        GateError: no budget can be judged here, so nothing says that the net suits the device
            (exit 1: the inputs are right, the gate is not passed).
        InfeasibleError: no subnet meets the budgets; names what each would need at least.
        ArtifactError: an input is not what it should be.
    """
    _refuse_unjudged(profile, judged_budgets(profile, measured=measure is not None), allow_unjudged)
    inputs = _open(supernet, front, profile, corpus)
    found = candidates(
        inputs.supernet.config.space,
        inputs.trials,
        profile,
        lambda specs: _evaluate(inputs, specs),
        inputs.search.seed,
    )
    choice = choose(found, profile, None if measure is None else _measurer(inputs, measure))
    verdicts = verdicts_of(profile, choice.values, choice.measured)
    judged = [verdict.name for verdict in verdicts if verdict.status != "not_judged"]
    _refuse_unjudged(profile, judged, allow_unjudged)
    twin = slice_weights(inputs.supernet.model, choice.point.spec)
    again = score(twin, twin.spec, inputs.scoring(twin, None))
    with write_artifact(out, kind="subnet", parents=inputs.parents) as draft:
        _write(draft, inputs, twin)
        draft.body = _body(inputs, choice, verdicts, again)
    return load_artifact(out, "subnet", verify=False)


def _refuse_unjudged(profile: DeviceProfile, judged: Sequence[str], allow: bool) -> None:
    if judged or allow:
        return
    have = ", ".join(profile.budgets) or "none"
    raise GateError(
        f"{profile.name}: none of its budgets ({have}) can be judged on this machine; add one of "
        f"bundle_bytes or macs_per_audio_s ({', '.join(BUDGET_UNITS)} exist), or say "
        "--allow-unjudged"
    )


def _open(supernet: Path, front: Path, profile: DeviceProfile, corpus: Path) -> Inputs:
    opened, searched = load_supernet(supernet), load_artifact(front, "front")
    if searched.manifest.parents.get("supernet") != opened.artifact.digest:
        raise ArtifactError(
            f"{front}: was searched on another supernet than {supernet}; search this one first"
        )
    source = open_corpus(corpus)
    if searched.manifest.parents.get("corpus") != source.artifact.digest:
        raise ArtifactError(
            f"{front}: was searched on another corpus than {corpus}, and WERs of two are not to be "
            "compared; search on that one, or leave out --corpus"
        )
    return Inputs(
        supernet=opened,
        front=searched,
        trials=Front.read_json(searched.file(TRIALS_FILE)),
        search=SearchConfig.parse(searched.body.get("config"), where=f"{front} config"),
        corpus=source,
        profile=profile,
    )


def _evaluate(inputs: Inputs, specs: Sequence[SubnetSpec]) -> list[FrontPoint]:
    model = inputs.supernet.model
    return evaluate_points(model, specs, inputs.scoring(model, inputs.search.eval_utterances))


def _measurer(inputs: Inputs, measure: MeasureArtifact) -> Callable[[SubnetSpec], Values]:
    """Return a function that measures a subnet through a candidate artifact of its own."""

    def measured(spec: SubnetSpec) -> Values:
        twin = slice_weights(inputs.supernet.model, spec)
        with tempfile.TemporaryDirectory(prefix="todm-candidate-") as scratch:
            path = Path(scratch) / "subnet"
            with write_artifact(path, kind="subnet", parents=inputs.parents) as draft:
                _write(draft, inputs, twin)
                draft.body = {"candidate": True, **_lineage(inputs)}
            return dict(measure(path))

    return measured


def _write(draft: Draft, inputs: Inputs, twin: Transducer) -> None:
    write_model(draft, twin, inputs.supernet.table)
    twin.spec.write_json(draft.path / SPEC)
    inputs.profile.write_json(draft.path / PROFILE)
    if BPE_MODEL in inputs.supernet.artifact.manifest.files:
        shutil.copyfile(inputs.supernet.artifact.file(BPE_MODEL), draft.path / BPE_MODEL)


def _lineage(inputs: Inputs) -> dict[str, Any]:
    return {
        "profile": inputs.profile.name,
        "recipe": inputs.supernet.config.recipe,
        "corpus_path": str(inputs.corpus.artifact.path.absolute()),
        "corpus_digest": inputs.corpus.artifact.digest,
    }


def _body(
    inputs: Inputs, choice: Choice, verdicts: Sequence[Verdict], again: Scores
) -> dict[str, Any]:
    point = choice.point
    axes = {name: list(v) if isinstance(v, tuple) else v for name, v in point.spec.axes().items()}
    return {
        **_lineage(inputs),
        "axes": axes,
        "num_parameters": point.num_parameters,
        "macs_per_audio_s": point.macs_per_audio_s,
        "values": dict(choice.values),
        "measured": list(choice.measured),
        "measured_candidates": choice.tries,
        "verdicts": [verdict.to_json() for verdict in verdicts],
        "search_wer": point.wer,
        "split": inputs.search.split,
        "wer": again.wer,
        "nll": again.nll,
        "words": again.words,
    }
