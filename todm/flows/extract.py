"""Extraction with measurements: candidates are exported, and timed where this is the device."""

import tempfile
from pathlib import Path

from todm.bench.child import bench_many
from todm.bench.figures import cost_measurements
from todm.bench.run import BenchConfig, budget_values, job_of, report_of, speech_of
from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.contract import contract_of
from todm.core.profile import TIMED_BUDGETS, DeviceProfile
from todm.core.target import targets_for
from todm.decode.tokens import write_tokens_txt
from todm.export.assure import write_ungated
from todm.export.forms import write_forms
from todm.export.schemes import Workshop
from todm.extract.run import MeasureArtifact
from todm.extract.run import run as run_extract
from todm.flows.lineage import corpus_of
from todm.models.store import load_subnet
from todm.runtimes.bundle import CONTRACT, SPEC, TABLE, TOKENS

QUICK = BenchConfig(seconds=8.0, paced_s=2.0, repeats=2)
"""How a candidate is timed; ``todm bench`` measures the one that was taken at length."""


def extract_for_device(
    supernet: Path,
    front: Path,
    profile: DeviceProfile,
    out: Path,
    *,
    corpus: Path | None = None,
    allow_unjudged: bool = False,
) -> Artifact:
    """Extract the best subnet that a device affords, its bundle's bytes and times measured.

    Args:
        supernet: A supernet artifact.
        front: The front of a search over it.
        profile: The device.
        out: Where the subnet artifact goes.
        corpus: The corpus to evaluate on; None takes the one that was searched on.
        allow_unjudged: Go on although no budget can be judged here.

    Raises:
        GateError: no budget can be judged here.
        InfeasibleError: no subnet meets the budgets.
        ArtifactError: an input is not what it should be.
    """
    place = corpus or corpus_of(front)
    return run_extract(
        supernet,
        front,
        profile,
        place,
        out,
        allow_unjudged=allow_unjudged,
        measure=measurer(profile, place),
    )


def measurer(profile: DeviceProfile, corpus: Path, config: BenchConfig = QUICK) -> MeasureArtifact:
    """Return a function that exports a candidate as the device gets it, and measures that.

    Bytes are those of the exported files; time and memory are measured when the profile is of
    this host, in processes of their own. Parity is not checked here: ``todm export`` judges the
    subnet that is taken.
    """
    timed = any(profile.judges(name) for name in profile.budgets if name in TIMED_BUDGETS)

    def measure(subnet: Path) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="todm-measure-") as scratch:
            bundle = candidate_bundle(subnet, profile, Path(scratch) / "bundle")
            speech = speech_of(corpus, "dev", config.seconds)
            job = job_of(bundle, speech, config, profile)
            if not timed:
                return budget_values(cost_measurements(bundle, job))
            found = bench_many({"candidate": job}, repeats=config.repeats)["candidate"]
            return budget_values(report_of(bundle, job, found, profile).measurements)

    return measure


def candidate_bundle(subnet: Path, profile: DeviceProfile, out: Path) -> Artifact:
    """Write a subnet's bundle for measurements: what the device loads, nothing judged."""
    opened = load_subnet(subnet)
    contract = contract_of(opened.spec, opened.table.unit)
    with write_artifact(out, kind="bundle", parents={"subnet": opened.artifact}) as draft:
        targets = [target.for_net(opened.spec) for target in targets_for(profile, None)]
        told = write_forms(opened.model, contract, targets, draft.path)
        workshop = Workshop(opened.model, contract, draft.path, targets=tuple(targets))
        write_ungated(workshop, targets)
        write_tokens_txt(opened.table, draft.path / TOKENS)
        opened.table.write_json(draft.path / TABLE)
        contract.write_json(draft.path / CONTRACT)
        opened.spec.write_json(draft.path / SPEC)
        draft.body = {"candidate": True, "forms": told}
    return load_artifact(out, "bundle", verify=False)
