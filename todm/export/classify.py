"""``todm classify export``: a classifier to a bundle, by the writers and checks of every export.

The exported form is a step over a chunk: matrix products from the folded state-space constants and
a running mean. After the last chunk of a sequence it must say what torch says of the whole
sequence in float64, on held-out sequences: in float32 torch's own kernel of thousands of frames is
further off (8.8e-6 over 2,000 frames) than the chunks are (1.5e-7). Exports are float32 only.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.classify_config import FACTS, SequenceFacts
from todm.core.errors import ConfigError
from todm.core.profile import DeviceProfile
from todm.core.report import Measurement, Report, Verdict, environment
from todm.core.target import ExportTarget
from todm.data.sequences import open_sequences
from todm.export.executorch import write_program
from todm.export.forms import distinct_forms
from todm.export.onnx_graph import write_graph
from todm.export.parity import STREAMING, judge_deviation
from todm.export.run import require
from todm.features.decimate import decimated
from todm.metrics.deviation import Deviation
from todm.models.classifier import StreamingClassifier, divisors
from todm.models.classifier_store import SPEC, OpenClassifier, load_classifier
from todm.runtimes import bundle as names
from todm.runtimes.classifier import (
    FILES,
    METHOD,
    ONNX,
    ClassifierContract,
    ExecutorchClassifier,
    LoadedClassifier,
    OrtClassifier,
    classify,
)

PORTS = (("frames", "state"), ("outputs", "next_state"))
MOST_CHUNK_FRAMES = 32
PARITY_SEQUENCES = 32


def run(
    model: Path,
    targets: Sequence[ExportTarget],
    out: Path,
    *,
    corpus: Path,
    profile: DeviceProfile | None = None,
    chunk_frames: int | None = None,
    rate: int = 1,
) -> Artifact:
    """Export a classifier in the targets' forms and check parity.

    Args:
        model: a classifier artifact.
        targets: at most one of each form; int8 is not made.
        out: the bundle's folder.
        corpus: the sequences whose dev split parity is judged on.
        profile: the device that it is for; stored inside.
        chunk_frames: frames of a step; None takes the largest divisor of the length up to 32.
        rate: the device's frames are one in so many of those of training; every step size is
            lengthened accordingly.

    Raises:
        ConfigError: no target, two of one form, a model without a chunk form, a chunk that does
            not divide the length, or a rate that leaves fewer than two frames.
        ArtifactError: no classifier or no sequences, or damaged.
        GateError: a form computes something else; no bundle is left, or the earlier one.
        MissingExtraError: an exporter's package is not installed.
    """
    forms = distinct_forms(targets)
    opened = load_classifier(model)
    length, facts = _at_rate(opened, rate)
    chunk = divisors(length, MOST_CHUNK_FRAMES)[-1] if chunk_frames is None else chunk_frames
    step = StreamingClassifier(opened.model, chunk, length).eval()
    contract = ClassifierContract(
        num_frames=length,
        chunk_frames=chunk,
        input_dim=opened.spec.input_dim,
        outputs=opened.spec.outputs,
        state_floats=step.state_floats,
        rate=rate,
    )
    with write_artifact(out, kind="bundle", parents={"classifier": opened.artifact}) as draft:
        told = {t.form: _write_form(step, contract, t, draft.path) for t in targets}
        contract.write_json(draft.path / names.CONTRACT)
        (draft.path / SPEC).write_bytes(opened.artifact.file(SPEC).read_bytes())
        facts.write_json(draft.path / FACTS)
        if profile is not None:
            profile.write_json(draft.path / names.PROFILE)
        report = _parity(opened, contract, corpus, draft.path)
        require(report, out)
        report.write_json(draft.path / names.PARITY)
        draft.body = {
            "name": opened.spec.short_name,
            "kind": opened.spec.kind,
            "chunk_frames": chunk,
            "rate": rate,
            "params": opened.artifact.body["params"],
            "macs_per_chunk": _macs(step, contract),
            "bundle_bytes": {form: (draft.path / FILES[form]).stat().st_size for form in forms},
            "classifier_path": str(opened.artifact.path.absolute()),
            "forms": told,
        } | ({} if profile is None else {"device": profile.name})
        (draft.path / names.CARD).write_text(_card(opened, contract, out.name, report), "utf-8")
    return load_artifact(out, "bundle", verify=False)


def _at_rate(opened: OpenClassifier, rate: int) -> tuple[int, SequenceFacts]:
    """Tell the model its rate; return the frames of a sequence and what is known of sequences."""
    facts = opened.facts
    if rate == 1 or not opened.spec.map.streams:  # what does not stream is refused for that
        return facts.num_frames, facts
    length = -(-facts.num_frames // rate)
    if length < 2:
        raise ConfigError(f"a rate of {rate} leaves {length} of {facts.num_frames} frames")
    opened.model.set_rate(float(rate))
    hz = facts.frame_rate_hz
    told = {"num_frames": length, "frame_rate_hz": None if hz is None else hz / rate}
    return length, facts.model_copy(update=told)


def _write_form(
    step: StreamingClassifier, contract: ClassifierContract, target: ExportTarget, folder: Path
) -> dict[str, Any]:
    streams = 2 if target.form == "onnx" else 1  # one alone would fix the number in ONNX
    inputs = _example(contract, streams)
    if target.form == "onnx":
        said = {"model_type": "todm_classifier", "chunk_frames": str(contract.chunk_frames)}
        write_graph(folder / ONNX, (step, inputs, [0, 0]), PORTS, target, said)
        return {"opset": target.opset}
    return write_program({METHOD: (step, inputs)}, folder / names.PTE).told()


def _example(contract: ClassifierContract, streams: int) -> tuple[Tensor, Tensor]:
    return (
        torch.zeros(streams, contract.chunk_frames, contract.input_dim),
        torch.zeros(streams, contract.state_floats),
    )


def _macs(step: StreamingClassifier, contract: ClassifierContract) -> int:
    """Return the MACs of a chunk's products."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        step(*_example(contract, 1))
    return int(counter.get_total_flops()) // 2


@torch.inference_mode()
def _parity(
    opened: OpenClassifier, contract: ClassifierContract, corpus: Path, folder: Path
) -> Report:
    whole_BLI = open_sequences(corpus).split("dev").x_BLI[:PARITY_SEQUENCES]
    trained_on = (opened.spec.num_frames, opened.spec.input_dim)
    if whole_BLI.shape[1:] != trained_on:
        raise ConfigError(
            f"{corpus}: sequences of {tuple(whole_BLI.shape[1:])} (frames, inputs), the classifier "
            f"has {trained_on}; give those it was trained on"
        )
    x_BLI = torch.from_numpy(decimated(whole_BLI.numpy(), contract.rate, filtered=True))
    exact = copy.deepcopy(opened.model).double()
    theirs_BY = (exact(x_BLI.double()) * exact.target_std + exact.target_mean).numpy()
    forms: dict[str, LoadedClassifier] = {}
    if (folder / ONNX).is_file():
        forms["ort"] = OrtClassifier(folder / ONNX)
    if (folder / names.PTE).is_file():
        forms["executorch"] = ExecutorchClassifier(folder / names.PTE)
    verdicts: list[Verdict] = []
    for name, form in forms.items():
        mine_BY = classify(form, contract, x_BLI.numpy())
        deviation = Deviation()
        deviation.add(mine_BY, theirs_BY)
        verdicts += judge_deviation(f"{name}_vs_torch", deviation, STREAMING, "outputs")
        if opened.spec.head == "classes":
            verdicts.append(_same_classes(name, mine_BY, theirs_BY))
    counted = Measurement(name="parity.sequences", value=len(x_BLI), unit="sequences")
    return Report(environment=environment(), measurements=(counted,), verdicts=tuple(verdicts))


def _same_classes(name: str, mine_BY: np.ndarray, theirs_BY: np.ndarray) -> Verdict:
    differing = int((mine_BY.argmax(1) != theirs_BY.argmax(1)).sum())
    return Verdict(
        name=f"parity.classes.{name}_vs_torch",
        status="failed" if differing else "met",
        limit=0.0,
        value=float(differing),
        unit="sequences",
    )


def _card(opened: OpenClassifier, contract: ClassifierContract, name: str, report: Report) -> str:
    facts = opened.facts
    told = f"{len(facts.classes)} classes" if facts.classes else f"{len(facts.targets)} figures"
    rows = [f"| {v.name} | {v.value:.2g} | {v.limit:g} | {v.status} |" for v in report.verdicts]
    slower = "" if contract.rate == 1 else f" A frame is one in {contract.rate} of training's."
    scaled = "" if facts.classes else " They are in the unit of the training targets."
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Tells {told} of {facts.name}: sequences of {contract.num_frames} frames with "
            f"{contract.input_dim} input(s).{slower}",
            "",
            f"A step takes `frames` (N, {contract.chunk_frames}, {contract.input_dim}) and `state` "
            f"(N, {contract.state_floats}), zeros at the start, and gives `outputs` (N, "
            f"{contract.outputs}) of all frames so far and `next_state`.{scaled} Names of the "
            f"outputs are in `{FACTS}`.",
            "",
            "| parity with torch | value | limit | status |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
