"""Closed-form costs against torch's own counts, and their growth with every axis."""

import random
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from todm.core.cost import (
    LinearMap,
    chunk_elementwise,
    chunk_macs,
    linear_maps,
    macs_per_audio_s,
    num_parameters,
    state_bytes,
)
from todm.core.cost_bytes import (
    bundle_bytes,
    graph_weight_bytes,
    linear_bytes,
    overhead_bytes,
    stored_as,
    weight_bytes_per_audio_s,
)
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, PGNSpec, ScanForm
from todm.core.quantization import OnnxBlockInt8
from todm.core.specs import BlockSpec, FrontSpec, PredictorSpec, SubnetSpec
from todm.core.target import SCHEMES_OF_FORM
from todm.export.fold import PredictorStep
from todm.models.rnnt import Transducer
from todm.models.slicing import num_parameters as torch_parameters
from todm.optim.build import SSM_NAMES
from todm.recipes.spaces import small_space


def _mhssm(draw, head_dim, form):
    return MHSSMSpec(num_heads=2 * draw(1, 4), head_dim=head_dim, state_dim=draw(1, 6), **form)


def _lssl(draw, head_dim, seed):
    learn = ("fixed", "dt", "dt_a")[seed % 3]
    gating = ("out_glu", "none")[seed % 2]
    sizes = {"num_heads": draw(1, 8), "head_dim": head_dim, "state_dim": draw(1, 9)}
    return LSSLSpec(**sizes, learn=learn, gating=gating)


def _pgn(draw, head_dim):
    return PGNSpec(num_heads=draw(1, 8), head_dim=head_dim, window=draw(1, 9))


def _mixer(draw, seed, head_dim, form):
    match seed % 5:
        case 0:
            return _pgn(draw, head_dim)
        case 1:
            return _lssl(draw, head_dim, seed)
        case _:
            return _mhssm(draw, head_dim, form)


def random_spec(seed: int) -> SubnetSpec:
    """Draw a small net whose layers all differ."""
    draw = random.Random(seed).randint
    head_dim = draw(1, 5)
    mhssm = seed % 5 > 1
    backward = mhssm and bool(seed % 2)
    form = {
        "gating": ("out_glu", "head_glu", "pairs", "none")[seed % 4],
        "conv_frames": (0, 3, 2)[seed % 3],
        "backward": backward,
    }
    blocks_per_chunk, lookahead = draw(1, 3), draw(1, 3) if backward else 0
    blocks = tuple(
        BlockSpec(
            source_layer=2 * layer,
            ffn_dim=draw(1, 40),
            mixer=_mixer(draw, seed, head_dim, form),
        )
        for layer in range(draw(1, 3))
    )
    return SubnetSpec(
        front=FrontSpec(feature_dim=4 * draw(2, 6), channels=(draw(1, 4), draw(1, 6))),
        model_dim=draw(4, 24),
        blocks=blocks,
        predictor=PredictorSpec(
            kind="stateless" if seed % 3 else "pgn",
            embed_dim=draw(2, 16),
            context_size=draw(1, 3) + (seed % 3 == 0),
        ),
        joiner_dim=draw(2, 20),
        vocab_size=draw(2, 12),
        chunk_frames=blocks_per_chunk * (lookahead + 1),
        lookahead_frames=lookahead,
    )


def step_macs_by_torch(spec: SubnetSpec) -> dict[str, float]:
    """Count one chunk of the streaming form with torch, by graph of the bundle."""
    model, frames = Transducer(spec).eval(), spec.chunk_frames
    folds = model.encoder.folds(spec, frames)
    features = torch.randn(1, 4 * frames, spec.front.feature_dim)
    counts = {}
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            enc, _ = model.encoder.step(features, torch.zeros(1, spec.state_floats), spec, folds)
            enc = model.joiner.from_encoder(enc, spec.joiner_dim)
        counts["encoder"] = counter.get_total_flops() / 2
        predict = PredictorStep(model)
        context = torch.zeros(frames, spec.predictor.context_size, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            pred = predict(context)
        counts["predictor"] = counter.get_total_flops() / 2
        with FlopCounterMode(display=False) as counter:
            model.joiner(enc[0], pred)
        counts["joiner"] = counter.get_total_flops() / 2
    return counts


@pytest.mark.parametrize("seed", range(12))
def test_parameters_equal_torch(seed):
    spec = random_spec(seed)
    assert num_parameters(spec) == torch_parameters(Transducer(spec))


@pytest.mark.parametrize("seed", range(12))
def test_chunk_macs_equal_flop_counter(seed):
    spec = random_spec(seed)
    macs = chunk_macs(spec)
    ours = {"encoder": macs.encoder, "predictor": macs.predictor, "joiner": macs.joiner}
    assert ours == step_macs_by_torch(spec)
    assert macs.total == sum(ours.values())
    assert macs_per_audio_s(spec) == pytest.approx(macs.total / (0.04 * spec.chunk_frames))


@pytest.mark.parametrize("seed", range(8))
def test_fp32_bytes_are_those_of_the_tensors(seed):
    spec = random_spec(seed)
    model = Transducer(spec)
    folds = model.encoder.folds(spec, spec.chunk_frames)
    folded = {"log_neg_re", "im", "log_dt", "c", "d"}
    if spec.blocks[0].mixer.kind == "pgn":
        folded = {"taps"}
    if spec.blocks[0].mixer.kind == "lssl":
        folded |= set(SSM_NAMES)
    weights = {n: t for n, t in model.state_dict().items() if not n.startswith("predictor.")}
    kept = [t for name, t in weights.items() if name.split(".")[-1] not in folded]
    kept += list(PredictorStep(model).predictor.parameters())
    total = sum(t.numel() for t in kept) + sum(t.numel() for fold in folds for t in fold)
    assert sum(graph_weight_bytes(spec, "fp32").values()) == 4 * total


@pytest.mark.parametrize("scan", ["unrolled", "custom"])
@pytest.mark.parametrize("seed", range(8))
def test_other_scan_forms_hold_other_constants_and_nothing_else(seed, scan):
    spec = random_spec(seed)
    model, frames = Transducer(spec), spec.chunk_frames
    folded, other = (model.encoder.folds(spec, frames, form) for form in ("folded", scan))
    more = sum(
        sum(t.numel() for t in constants if t is not None) * sign
        for sign, folds in ((1, other), (-1, folded))
        for constants in folds
    )
    sizes = [sum(graph_weight_bytes(spec, "fp32", scan=form).values()) for form in (scan, "folded")]
    assert sizes[0] - sizes[1] == 4 * more


@pytest.mark.parametrize(
    ("form", "precision"),
    [(form, precision) for form, names in SCHEMES_OF_FORM.items() for precision in names],
)
def test_schemes_differ_by_the_linears_alone(form, precision):
    spec = random_spec(0)
    full, small = (sum(graph_weight_bytes(spec, p, form).values()) for p in ("fp32", precision))
    saved = sum(linear_bytes(m, "fp32", form) - linear_bytes(m, stored_as(m, precision), form)
                for m in linear_maps(spec))  # fmt: skip
    assert full - small == saved
    wide = LinearMap("ffn", 256, 1024)
    bits = 8 * (linear_bytes(wide, precision, form) - 4 * wide.outputs) / wide.macs
    bits_of = {"fp32": 32, "fp16": 16, "int8": 8, "int8_block": 8, "int8_static": 8, "int4": 4}
    wanted = bits_of[precision]
    assert wanted <= bits < wanted + 1.1


def test_what_blocks_leave_in_float32_is_what_their_scheme_says():
    left = {m.part for m in linear_maps(random_spec(0)) if stored_as(m, "int8_block") == "fp32"}
    assert left == {"encoder_out"}
    assert OnnxBlockInt8().fallbacks == ("encoder.to_joiner",)  # its name in a graph


def test_every_form_adds_overhead_by_the_layer():
    spec = small_space(12).largest
    less = spec.model_copy(update={"blocks": spec.blocks[:-1]})
    least = spec.model_copy(update={"blocks": spec.blocks[:-2]})
    for form, precisions in SCHEMES_OF_FORM.items():
        for precision in precisions:
            for scan in get_args(ScanForm):
                sizes = [overhead_bytes(s, precision, form, scan) for s in (least, less, spec)]
                assert 0 < sizes[1] - sizes[0] == sizes[2] - sizes[1]
    with pytest.raises(KeyError):
        bundle_bytes(spec, "fp16", "executorch")


def test_state_bytes_are_the_flat_row():
    spec = small_space(12).smallest
    caches = 80 + 16 * 40
    assert state_bytes(spec) == 4 * (caches + 2 * (8 * 4 * 2 * 8))


def test_weights_read_once_a_chunk_and_once_a_frame():
    spec = small_space(12).smallest
    sizes = graph_weight_bytes(spec, "fp32")
    unread = 4 * 128 * (12 - 2)
    per_frame = sizes["predictor"] - unread + sizes["joiner"]
    expected = sizes["encoder"] / 0.32 + 25 * per_frame
    assert weight_bytes_per_audio_s(spec, "fp32") == pytest.approx(expected)


COSTS = {
    "parameters": num_parameters,
    "macs": macs_per_audio_s,
    "elementwise": lambda spec: chunk_elementwise(spec).total,
    "fp32": lambda spec: bundle_bytes(spec, "fp32"),
    "int8": lambda spec: bundle_bytes(spec, "int8"),
    "pte": lambda spec: bundle_bytes(spec, "fp32", "executorch"),
    "read": lambda spec: weight_bytes_per_audio_s(spec, "int8"),
}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_every_cost_grows_with_every_axis(seed, data):
    space = small_space(12)
    genome = space.encode(space.sample(random.Random(seed)))
    choices = space.choices()
    kept = space.kept_layers(genome["depth"])
    axes = ["depth", "joiner", *(f"{axis}{i}" for axis in ("ffn", "heads", "state") for i in kept)]
    growable = [name for name in axes if genome[name] < choices[name][-1]]
    if not growable:
        return
    name = data.draw(st.sampled_from(growable))
    larger = genome | {name: min(v for v in choices[name] if v > genome[name])}
    before, after = space.decode(genome), space.decode(larger)
    for label, cost in COSTS.items():
        if label in ("elementwise", "macs") or not name.startswith("state"):
            assert cost(after) > cost(before), (label, name)
        else:
            assert cost(after) >= cost(before), (label, name)
