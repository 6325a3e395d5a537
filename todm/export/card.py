"""The model card: README.md with the front matter of the Hugging Face hub."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from todm.core.contract import StreamContract
from todm.core.mixer_specs import StateSizes
from todm.core.quality import Quality
from todm.core.quantization import PrecisionName
from todm.core.report import Report
from todm.core.specs import SubnetSpec
from todm.export.card_facts import Facts, choice_rows, front_matter, gate_results, results_table
from todm.export.card_quality import quality_section
from todm.export.card_table import table
from todm.runtimes.bundle import CARD, SPEC, pte_name
from todm.runtimes.native import SCAN_OP

TAGS = ("streaming", "rnn-t", "on-device")


def write_card(
    folder: Path,
    name: str,
    body: Mapping[str, Any],
    contract: StreamContract,
    *,
    report: Report,
    quality: Quality,
    facts: Facts | None = None,
) -> None:
    """Write the card of a bundle.

    Args:
        folder: The bundle's draft, all other files in place.
        name: The bundle's name.
        body: The manifest's body.
        contract: The stream contract.
        report: The parity report.
        quality: What the gates found.
        facts: What was measured and told since; None: nothing.
    """
    facts = facts or Facts(data=_data(body))
    measured = gate_results(quality, facts.data)
    facts = facts.model_copy(update={"results": (*facts.results, *measured)})
    spec = SubnetSpec.read_json(folder / SPEC)
    tags = [*TAGS, *_tags(body["forms"], spec)]
    sections = [
        front_matter(name, tags, facts) + f"# {name}",
        _what(body, contract, spec),
        "## At a glance\n\n" + table(("", ""), choice_rows(body, contract, facts)),
        *_results(facts),
        "## Files\n\n" + _files(folder),
        "## Size and cost\n\n" + _cost(body),
        "## Precision\n\n" + "\n".join(_precision(body)),
        *_device_programs(body),
        "## Accuracy and drift\n\n" + quality_section(quality),
        "## Parity\n\n" + _parity(body, report),
        "## Lineage\n\n" + _lineage(body, report),
        "## Licence\n\n" + _licence(facts),
    ]
    (folder / CARD).write_text("\n\n".join(sections) + "\n", "utf-8")


def _data(body: Mapping[str, Any]) -> str:
    """Return the name of the folder of the corpus that the lineage remembers."""
    place = body.get("corpus_path")
    return Path(place).name if isinstance(place, str) else ""


def _results(facts: Facts) -> Iterable[str]:
    if facts.results:
        yield "## Results\n\nint8 figures hold for the instruction set that made them.\n\n" + table(
            *results_table(facts.results)
        )


def _licence(facts: Facts) -> str:
    weights = (
        "The weights' licence follows from the corpus that they were trained on"
        if facts.licence is None
        else f"The weights: {facts.licence}"
    )
    return f"{weights}; todm, which made these files, is Apache-2.0."


def _tags(forms: Mapping[str, Any], spec: SubnetSpec) -> Iterable[str]:
    if any(isinstance(block.mixer, StateSizes) for block in spec.blocks):
        yield "state-space"
    if "onnx" in forms:
        yield "onnx"
        if SCAN_OP not in forms["onnx"].get("custom_ops", ()):
            yield "sherpa-onnx"
    if "executorch" in forms:
        yield "executorch"


def _what(body: Mapping[str, Any], contract: StreamContract, spec: SubnetSpec) -> str:
    device = f" for the device `{body['device']}`" if "device" in body else ""
    mixers = " and ".join(dict.fromkeys(block.mixer.kind for block in spec.blocks))
    axes = ", ".join(f"{key} {_plain(value)}" for key, value in body["axes"].items())
    return (
        f"A streaming RNN-T speech recogniser{device}, cut from a todm supernet: an encoder of "
        f"{mixers} layers, a {spec.predictor.kind} predictor, a joiner.\n\n"
        f"Architecture: {axes}. Audio: {contract.features.sample_rate_hz} Hz mono, "
        f"{contract.features.num_bins} log mel bins (kaldi-native-fbank with sherpa-onnx's "
        f"settings). Chunks of {contract.chunk_ms} ms, {_lookahead(contract)}, "
        f"{contract.vocab_size} tokens ({contract.token_unit}), at most one per 40 ms frame. "
        f"Append {contract.tail_padding_ms} ms of silence at the end of a stream."
    )


def _lookahead(contract: StreamContract) -> str:
    if contract.lookahead_frames == 0:
        return "no lookahead"
    frame_ms = contract.subsampling * contract.features.frame_shift_ms
    return f"up to {contract.lookahead_frames * frame_ms} ms of lookahead inside the chunk"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _plain(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _files(folder: Path) -> str:
    rows = [(f"`{p.name}`", f"{p.stat().st_size:,}") for p in sorted(folder.iterdir())]
    return table(("file", "bytes"), rows)


def _cost(body: Mapping[str, Any]) -> str:
    rows = [
        ("parameters", f"{body['params']:,}"),
        ("MACs per second of audio", f"{body['macs_per_audio_s']:,.0f}"),
    ]
    rows += [(f"bytes loaded, {form}", f"{n:,}") for form, n in body["bundle_bytes"].items()]
    return table(("figure", "value"), rows)


def _precision(body: Mapping[str, Any]) -> Iterable[str]:
    for form, label in body["numeric"].items():
        yield f"- `{form}`: {label}"
    told = body["forms"].get("executorch", {})
    for precision in get_args(PrecisionName):
        suffix = "" if precision == "fp32" else f"_{precision}"
        if f"executorch.{precision}" not in body["numeric"]:
            continue  # withheld by a gate
        for method, found in told.get(f"delegation{suffix}", {}).items():
            yield f"- `{pte_name(precision)}` {method}: XNNPACK runs {_share(found)}"
        for warning in told.get(f"warnings{suffix}", ()):
            yield f"- `{pte_name(precision)}`, warning: {warning}"


def _share(delegation: Mapping[str, Any]) -> str:
    delegated, portable = delegation["delegated_ops"], delegation["portable_ops"]
    return f"{delegated} of {delegated + portable} operators"


def _device_programs(body: Mapping[str, Any]) -> Iterable[str]:
    """Yield the section on programs that nothing here could run, if the bundle has any."""
    programs = body.get("device_programs", ())
    if not programs:
        return
    rows = [
        (
            f"`{p['file']}`",
            p["accelerator"],
            p["label"],
            p["numeric"],
            "; ".join(f"{name}: {_share(found)}" for name, found in p["delegation"].items()),
        )
        for p in programs
    ]
    head = ("file", "accelerator", "label", "numeric", "delegated")
    yield (
        "## Programs for accelerators\n\nCompiled by the vendor's tools and not run: nothing of "
        "what this card says of parity, accuracy and drift holds for them before they are measured "
        "on the device.\n\n" + table(head, rows)
    )


def _parity(body: Mapping[str, Any], report: Report) -> str:
    checks = [
        (v.name.removeprefix("parity."), _figure(v.value), f"{v.limit:g}", v.status, v.note)
        for v in report.verdicts
    ]
    figures = [
        (m.name.removeprefix("parity."), f"{m.value:.4g}", m.unit, m.note)
        for m in report.measurements
    ]
    return (
        f"On {body['audio_s']:.1f} s of speech ({body['audio_source']}), each recording and all "
        "joined into one stream. Errors are relative; tokens must be equal.\n\n"
        + table(("check", "value", "limit", "status", "note"), checks)
        + "\n\n"
        + table(("figure", "value", "unit", "note"), figures)
    )


def _lineage(body: Mapping[str, Any], report: Report) -> str:
    env = report.environment
    versions = ", ".join(f"{name} {version}" for name, version in env.versions.items())
    return (
        f"Made {env.date} from the subnet `{body['name']}` by todm at commit {env.commit}, on "
        f"{env.machine} ({env.cpu}; {' '.join(env.isa)}); {versions}. The digests of all parents "
        "stand in `manifest.json`."
    )
