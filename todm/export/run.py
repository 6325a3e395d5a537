"""``todm export``: a subnet to a bundle that stock runtimes load, checked before it is left."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.contract import StreamContract, contract_of
from todm.core.cost import chunk_macs, macs_per_audio_s, num_parameters
from todm.core.errors import GateError
from todm.core.profile import DeviceProfile
from todm.core.quality import Quality
from todm.core.quantization import Accelerator
from todm.core.report import Report
from todm.core.specs import SubnetSpec
from todm.core.target import ExportTarget
from todm.decode.streaming import padded_features
from todm.decode.tokens import write_bpe_vocab, write_tokens_txt
from todm.export.assure import Assurance, assure
from todm.export.card import write_card
from todm.export.device_programs import export_device_program
from todm.export.evidence import Speech
from todm.export.forms import (
    bundle_bytes,
    check_targets,
    numeric_labels,
    open_forms,
    write_forms,
)
from todm.export.parity import check_parity, measure_approximate
from todm.export.parity_features import check_features
from todm.export.schemes import Workshop
from todm.export.sherpa import metadata
from todm.models.store import BPE_MODEL, Subnet, load_subnet
from todm.runtimes import bundle as names
from todm.runtimes.eager import EagerSteps


def run(
    subnet: Path,
    targets: Sequence[ExportTarget],
    speech: Speech,
    out: Path,
    *,
    profile: DeviceProfile | None = None,
    accelerators: Sequence[Accelerator] = (),
    assurance: Assurance | None = None,
) -> Artifact:
    """Export a subnet in the targets' forms, each judged before it is left.

    float32 forms by parity with torch on real speech; quantized ones by the accuracy gate on dev
    speech; all of them by the drift gate on minutes of one stream.

    Args:
        subnet: A subnet artifact.
        targets: At most one of each form.
        speech: What parity is judged on, S samples a recording at 16 kHz.
        out: The bundle's folder.
        profile: The device that it is for; stored inside.
        accelerators: For which programs are added that nothing here can run.
        assurance: What quantized forms are judged by; None can export float32 alone.

    Raises:
        InputError: less than 60 s of speech, or nothing to judge a quantized form by.
        ConfigError: targets that no export makes.
        ArtifactError: no subnet, or damaged.
        GateError: a form computes something else, costs too much accuracy or drifts; no bundle
            is left, or the earlier one.
        MissingExtraError: an exporter's package is not installed.
    """
    opened = load_subnet(subnet)
    targets = tuple(target.for_net(opened.spec) for target in targets)
    check_targets(targets)
    assurance = assurance or Assurance()
    assurance.check(targets)
    speech.require_enough()
    audio = speech.recordings
    contract = contract_of(opened.spec, opened.table.unit)
    with write_artifact(out, kind="bundle", parents={"subnet": opened.artifact}) as draft:
        told = write_forms(opened.model, contract, targets, draft.path)
        _write_values(opened, contract, profile, draft.path)
        reference = EagerSteps(opened.model, opened.spec, contract)
        report = check_parity(reference, open_forms(draft.path, contract, targets)[0], audio)
        if (draft.path / names.FEATURES).is_file():
            told_features = check_features(draft.path / names.FEATURES, contract, audio)
            report = report.model_copy(update={"verdicts": (*report.verdicts, *told_features)})
        require(report, out)
        workshop = Workshop(opened.model, contract, draft.path, assurance.calibration, targets)
        shipped = None if profile is None else profile.numeric
        with naming(out):
            quality = assure(workshop, targets, assurance, opened.table, audio, shipped=shipped)
        quality.write_json(draft.path / names.QUALITY)
        report = _with_approximate(report, workshop, audio)
        report.write_json(draft.path / names.PARITY)
        unrun = _device_programs(opened, contract, accelerators, audio, draft.path)
        _tell_programs(told, workshop)
        draft.parents = {**opened.artifact.manifest.parents, **draft.parents}
        heard = {"audio_source": speech.source, "audio_s": round(speech.distinct_s, 2)}
        judged = {"gate_source": assurance.source, "quality": _summary(quality)}
        figures = _figures(opened.spec, contract, draft.path)
        draft.body = _lineage(opened, profile) | figures | heard | judged | unrun | {"forms": told}
        write_card(draft.path, out.name, draft.body, contract, report=report, quality=quality)
    return load_artifact(out, "bundle", verify=False)


def _device_programs(
    subnet: Subnet,
    contract: StreamContract,
    accelerators: Sequence[Accelerator],
    audio: Sequence[Float[np.ndarray, " S"]],
    folder: Path,
) -> dict[str, Any]:
    """Add programs for accelerators; return what was made of each, labelled, for the manifest."""
    speech = [padded_features(samples_S, contract) for samples_S in audio] if accelerators else []
    made = [
        export_device_program(subnet.model, contract, accelerator, speech, folder).to_json()
        for accelerator in accelerators
    ]
    return {"device_programs": made} if made else {}


def _with_approximate(
    report: Report,
    workshop: Workshop,
    audio: Sequence[Float[np.ndarray, " S"]],
) -> Report:
    """Add the errors of the quantized forms that are left."""
    exact, approximate = open_forms(workshop.folder, workshop.contract, workshop.targets)
    found = measure_approximate(exact, approximate, audio)
    return report.model_copy(update={"measurements": (*report.measurements, *found)})


def _tell_programs(told: dict[str, Any], workshop: Workshop) -> None:
    for precision, figures in workshop.figures.items():
        told["executorch"] |= {f"{key}_{precision}": v for key, v in figures.told().items()}


def _summary(quality: Quality) -> dict[str, Any]:
    """Return what the manifest says of each quantized form."""
    forms = {
        record.name: {
            "gate": record.status,
            "isa": list(record.isa),
            "wer_rise_bound": record.wer_rise_bound,
            "nll_rise": record.nll_rise,
            "fallbacks": list(record.scheme.fallbacks),
        }
        for record in quality.gate
    }
    return {"forms": forms, "withheld": list(quality.withheld)}


@contextmanager
def naming(where: Path) -> Iterator[None]:
    """Put the bundle's place before what a gate says.

    Raises:
        GateError: the same, with its place and what is left there.
    """
    try:
        yield
    except GateError as error:
        raise GateError(f"{where}: {_left(where)}: {error}") from error


def _left(where: Path) -> str:
    """Say what stands at the bundle's place after a gate failed."""
    return "the bundle that stood there is untouched" if where.exists() else "no bundle left"


def _write_values(
    subnet: Subnet, contract: StreamContract, profile: DeviceProfile | None, folder: Path
) -> None:
    write_tokens_txt(subnet.table, folder / names.TOKENS)
    subnet.table.write_json(folder / names.TABLE)
    contract.write_json(folder / names.CONTRACT)
    subnet.spec.write_json(folder / names.SPEC)
    if BPE_MODEL in subnet.artifact.manifest.files:
        write_bpe_vocab(subnet.artifact.file(BPE_MODEL), folder / names.BPE_VOCAB)
    if profile is not None:
        profile.write_json(folder / names.PROFILE)


def require(report: Report, where: Path) -> None:
    """Do nothing when every parity verdict is met.

    Raises:
        GateError: one line that names the failed ones.
    """
    failed = [v for v in report.verdicts if v.status == "failed"]
    if failed:
        shown = "; ".join(f"{v.name} {v.value:.3g} > {v.limit:g} ({v.note})" for v in failed[:4])
        raise GateError(
            f"{where}: {len(failed)} parity checks failed, {_left(where)}: {shown}; "
            "report it with the subnet"
        )


def _lineage(subnet: Subnet, profile: DeviceProfile | None) -> dict[str, Any]:
    """Return what the subnet remembers (its corpus, its device) and its own place."""
    kept: dict[str, Any] = {
        key: subnet.artifact.body[key]
        for key in ("corpus_path", "device", "wer", "search_wer")
        if key in subnet.artifact.body
    }
    named = {} if profile is None else {"device": profile.name}
    return {**kept, **named, "subnet_path": str(subnet.artifact.path.absolute())}


def _figures(spec: SubnetSpec, contract: StreamContract, folder: Path) -> dict[str, Any]:
    return {
        "name": spec.short_name,
        "axes": {k: list(v) if isinstance(v, tuple) else v for k, v in spec.axes().items()},
        "params": num_parameters(spec),
        "macs_per_audio_s": macs_per_audio_s(spec),
        "macs_per_chunk": chunk_macs(spec).to_json(),
        "bundle_bytes": bundle_bytes(folder),
        "numeric": numeric_labels(folder),
        "metadata": metadata(contract),
    }
