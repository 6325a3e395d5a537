"""Bytes and paced chunk latency of numeric forms: random weights, forms measured in turns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import torch

from todm.bench.child import bench_many
from todm.bench.job import BenchJob
from todm.core.artifact import Artifact, is_complete, load_artifact, write_artifact
from todm.core.contract import contract_of
from todm.core.cost import num_parameters
from todm.core.cost_bytes import bundle_bytes as cost_bytes
from todm.core.mixer_specs import MHSSMSpec
from todm.core.report import Measurement, Verdict
from todm.core.specs import BLANK_ID, BlockSpec, PredictorSpec, SubnetSpec
from todm.core.target import target_of
from todm.decode.tokens import BLANK, TokenTable, write_tokens_txt
from todm.export.assure import write_ungated
from todm.export.forms import bundle_bytes, write_forms
from todm.export.schemes import Workshop
from todm.export.sherpa import metadata
from todm.features.wav import write_wav
from todm.models.rnnt import Transducer
from todm.runtimes import Precision
from todm.runtimes.bundle import CONTRACT, PARTS, SPEC, TABLE, TOKENS, onnx_name

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8_block", "int4", "fp16")
JUDGED: tuple[Precision, ...] = ("int8", "int8_block")
VOCAB = 500
BLANK_LEAD = 1.1
"""Added to the logit of the blank, so that one frame in twenty or so has a token, as in speech."""
BYTES_LIMIT, LATENCY_LIMIT, LINEARS_LIMIT, COST_LIMIT = 0.30, 0.45, 0.27, 0.001


def random_spec(layers: int, width: int, chunk_frames: int = 8) -> SubnetSpec:
    """Return a net of equal layers with heads of at most 64 channels."""
    heads = max(4, width // 64)
    mixer = MHSSMSpec(num_heads=heads, head_dim=width // heads, state_dim=16)
    blocks = tuple(BlockSpec(source_layer=i, ffn_dim=4 * width, mixer=mixer) for i in range(layers))
    return SubnetSpec(
        model_dim=width,
        blocks=blocks,
        predictor=PredictorSpec(embed_dim=width),
        joiner_dim=width,
        vocab_size=VOCAB,
        chunk_frames=chunk_frames,
    )


SIZES = {"9m": random_spec(12, 256), "16m": random_spec(22, 256), "36m": random_spec(12, 512)}
QUICK_SIZES = {"quick": random_spec(1, 64)}


def random_bundle(spec: SubnetSpec, out: Path) -> Artifact:
    """Write a random net in every precision that needs no speech, unjudged."""
    if is_complete(out, "bundle"):
        return load_artifact(out, "bundle", verify=False)
    torch.manual_seed(0)  # noqa: TID251 - torch's initialisers take no generator
    model, contract = Transducer(spec).eval(), contract_of(spec, "bpe")
    with torch.no_grad():
        for weight in model.parameters():  # equal ones, as layers are born, would be stored once
            weight.add_(0.01 * torch.randn_like(weight))
        model.joiner.to_vocab.bias[BLANK_ID] += BLANK_LEAD
    targets = (target_of("onnx", PRECISIONS),)
    table = TokenTable(unit="bpe", symbols=(BLANK, *(f"\u2581T{i}" for i in range(VOCAB - 1))))
    with write_artifact(out, kind="bundle") as draft:
        write_forms(model, contract, targets, draft.path)
        write_ungated(Workshop(model, contract, draft.path), targets)
        contract.write_json(draft.path / CONTRACT)
        spec.write_json(draft.path / SPEC)
        table.write_json(draft.path / TABLE)
        write_tokens_txt(table, draft.path / TOKENS)
        draft.body = {"metadata": metadata(contract)}
    return load_artifact(out, "bundle", verify=False)


def babble(path: Path, seconds: float = 20.0) -> Path:
    """Write noise whose level changes: random weights hear nothing in speech either."""
    rng = np.random.default_rng(0)
    level_S = np.repeat(rng.uniform(0.01, 0.2, round(seconds * 10)), 1600)
    write_wav(path, (level_S * rng.standard_normal(level_S.size)).clip(-1, 1).astype(np.float32))
    return path


def measure(
    sizes: Mapping[str, SubnetSpec], work: Path, *, repeats: int, paced_s: float
) -> tuple[list[Measurement], list[Verdict]]:
    """Return bytes and latency ratios of every size, all forms in one interleaved run."""
    audio = (babble(work / "babble.wav").absolute(),)
    bundles = {name: random_bundle(spec, work / f"random.{name}") for name, spec in sizes.items()}
    jobs = {
        f"{name}.{precision}": BenchJob(
            model=artifact.path.absolute(), runtime="ort", precision=precision, audio=audio,
            seconds=min(5.0, paced_s), paced_s=paced_s,
        )
        for name, artifact in bundles.items()
        for precision in PRECISIONS
    }  # fmt: skip
    found = bench_many(jobs, repeats=repeats)
    paced = {k: [median(m.paced_ms or m.back_to_back_ms) for m in v] for k, v in found.items()}
    measurements, verdicts = [], []
    for name, spec in sizes.items():
        measurements += _ratios(name, spec, bundles[name], paced)
        if num_parameters(spec) >= 8_000_000:
            verdicts += _bars(name, measurements)
    return measurements, verdicts


def _ratios(
    name: str, spec: SubnetSpec, bundle: Artifact, paced: Mapping[str, Sequence[float]]
) -> list[Measurement]:
    sizes = bundle_bytes(bundle.path)
    note = f"{num_parameters(spec) / 1e6:.1f} M parameters, random weights, chunks of 320 ms"
    found = []
    base_ms = paced[f"{name}.fp32"]
    for precision in PRECISIONS[1:]:
        ratio = sizes[f"onnx.{precision}"] / sizes["onnx.fp32"]
        times = [a / b for a, b in zip(paced[f"{name}.{precision}"], base_ms, strict=True)]
        found += [
            Measurement(name=f"{name}.{precision}.bytes_ratio", value=ratio, unit="", note=note),
            Measurement(
                name=f"{name}.{precision}.latency_ratio", value=median(times), unit="",
                low=min(times), high=max(times), n=len(times),
                note=f"{note}; paced, median chunk of a repeat, fp32 {median(base_ms):.2f} ms"
                + ("; slower than fp32: not chosen" if median(times) > 1 else ""),
            ),
        ]  # fmt: skip
    for precision in JUDGED:
        found.append(linears_ratio(name, precision, bundle.path))
        found.append(cost_gap(name, precision, spec, sizes, bundle.path))
    return found


def linears_ratio(name: str, precision: Precision, folder: Path) -> Measurement:
    """Return the bytes of the int8 linears over those of the same linears in float32.

    What a graph stores beside its linears is the same in both forms.
    """
    before, rest, after = 0, 0, 0
    for part in PARTS:
        plain = onnx.load(str(folder / onnx_name(part, "fp32"))).graph
        narrow = onnx.load(str(folder / onnx_name(part, precision))).graph
        used = {n.input[1] for n in plain.node if n.op_type in ("MatMul", "Gemm")}
        used -= {tensor.name for tensor in narrow.initializer}  # falls back
        for tensor in plain.initializer:
            if tensor.name in used and len(tensor.dims) == 2:
                before += _bytes(tensor)
            else:
                rest += _bytes(tensor)
        after += sum(map(_bytes, narrow.initializer))
    return Measurement(
        name=f"{name}.{precision}.linears_ratio", value=(after - rest) / before, unit="",
        note="weights, scales and zero points over float32 weights",
    )  # fmt: skip


def _bytes(tensor: onnx.TensorProto) -> int:
    return int(onnx.numpy_helper.to_array(tensor).nbytes)


def cost_gap(
    name: str, precision: Precision, spec: SubnetSpec, sizes: Mapping[str, int], folder: Path
) -> Measurement:
    """Return how far the int8 bundle is from the arithmetic of ``core.cost`` (tokens apart)."""
    real = sizes[f"onnx.{precision}"] - (folder / TOKENS).stat().st_size
    return Measurement(
        name=f"{name}.{precision}.cost_gap", unit="",
        value=abs(real / cost_bytes(spec, precision) - 1.0),
        note=f"{real} bytes, no layer in float32 by a gate",
    )  # fmt: skip


def _bars(name: str, measurements: Sequence[Measurement]) -> list[Verdict]:
    bars = {
        "bytes_ratio": BYTES_LIMIT,
        "latency_ratio": LATENCY_LIMIT,
        "linears_ratio": LINEARS_LIMIT,
        "cost_gap": COST_LIMIT,
    }
    limits = {f"{name}.{p}.{figure}": limit for p in JUDGED for figure, limit in bars.items()}
    return [
        Verdict(
            name=m.name, limit=limits[m.name], value=m.value, unit=m.unit, note=m.note,
            status="met" if m.value <= limits[m.name] else "failed",
        )
        for m in measurements
        if m.name in limits
    ]  # fmt: skip
