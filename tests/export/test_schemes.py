"""Every scheme on the tiny net: what it takes, what falls back, what it costs in accuracy."""

import numpy as np
import onnx
import pytest
import torch
from int8_cpu import INT8, saturates
from tiny_bundle import babble, random_model, unequal_spec

from todm.core.contract import contract_of
from todm.core.errors import ConfigError, TodmError
from todm.core.quantization import (
    OnnxBlockInt8,
    OnnxDynamicInt8,
    OnnxFloat16,
    OnnxInt4,
    OnnxStaticInt8,
    Xnnpack8da4w,
    XnnpackDynamicInt8,
    XnnpackStaticInt8,
)
from todm.core.target import target_of
from todm.decode.streaming import encode_chunks, padded_features
from todm.export.calibration import record_calls
from todm.export.executorch import methods_of
from todm.export.executorch_quant import ModuleSteps, quantise_methods
from todm.export.onnx_graph import export_onnx
from todm.export.schemes import Workshop
from todm.runtimes.bundle import onnx_name
from todm.runtimes.eager import EagerSteps

ONNX = (
    (INT8, 0.1),
    (OnnxDynamicInt8(weight_type="QUInt8", reduce_range=True), 0.1),
    (OnnxBlockInt8(fallbacks=()), 0.1),
    (OnnxStaticInt8(calibration_s=20.0), 0.4 if saturates() else 0.1),
    (OnnxInt4(block_size=16), 0.5),
    (OnnxFloat16(), 2e-3),
)
"""A scheme and how far it may be from float32 with random weights."""
XNNPACK = ((XnnpackDynamicInt8(), 0.1), (XnnpackStaticInt8(calibration_s=10.0), 0.2))
LAYERS = {"encoder": 17, "decoder": 1, "joiner": 1}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    model = random_model()
    contract = contract_of(model.spec, "char")
    export_onnx(model, contract, target_of("onnx"), folder)
    return Workshop(model, contract, folder, (babble(10.0, 50), babble(10.0, 51)))


@pytest.fixture(scope="module")
def features(shop):
    return padded_features(babble(8.0, 9), shop.contract)


def deviation(steps, exact, features):
    found, wanted = encode_chunks(steps, features), encode_chunks(exact, features)
    return float(np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()))


def exact_steps(shop):
    return EagerSteps(shop.model, shop.model.spec, shop.contract)


@pytest.mark.parametrize(("scheme", "limit"), ONNX, ids=lambda x: getattr(x, "kind", ""))
def test_an_onnx_scheme_takes_every_linear_and_computes_nearly_the_same(
    shop, features, scheme, limit
):
    assert shop.write(scheme) == LAYERS
    steps = shop.open("onnx", scheme.precision)
    assert 1e-6 < deviation(steps, exact_steps(shop), features) < limit
    shop.remove("onnx", scheme.precision)
    assert not (shop.folder / onnx_name("encoder", scheme.precision)).exists()


@pytest.mark.parametrize(("scheme", "limit"), XNNPACK, ids=lambda x: getattr(x, "kind", ""))
def test_an_xnnpack_scheme_takes_every_linear_and_nothing_else(shop, features, scheme, limit):
    with shop.emulated(scheme) as steps:
        assert 1e-6 < deviation(steps, exact_steps(shop), features) < limit
    methods, taken = shop._program(scheme)
    assert taken == LAYERS
    graph = methods["encoder"][0].graph
    narrowed = [n for n in graph.nodes if "quantize_per_channel" in str(n.target)]
    assert len([n for n in narrowed if "dequantize" in str(n.target)]) == 17


def test_4_bit_groups_must_divide_the_inputs():
    methods = methods_of(random_model())
    with pytest.raises(ConfigError, match=r"16 inputs.*fallbacks"):
        quantise_methods(methods, Xnnpack8da4w(fallbacks=("encoder.blocks.0.mixer.w_value",)))


@pytest.mark.parametrize(
    "scheme", [OnnxDynamicInt8(), OnnxInt4(block_size=16), OnnxFloat16(), XnnpackDynamicInt8()],
    ids=lambda s: s.kind,
)  # fmt: skip
def test_with_all_but_one_layer_in_float32_little_is_lost(shop, features, scheme):
    layers = shop.layers(scheme)
    assert len(layers) == 19
    assert "encoder.blocks.1.ffn_in" in layers
    others = tuple(layer for layer in layers if layer != "encoder.blocks.1.ffn_in")
    with shop.emulated(scheme.model_copy(update={"fallbacks": layers})) as steps:
        whole = deviation(steps, exact_steps(shop), features)
    with shop.emulated(scheme.model_copy(update={"fallbacks": others})) as steps:
        one = deviation(steps, exact_steps(shop), features)
    with shop.emulated(scheme) as steps:
        every = deviation(steps, exact_steps(shop), features)
    assert whole < 2e-6 < one < every


def test_both_runtimes_call_layers_alike(shop):
    assert set(shop.layers(OnnxDynamicInt8())) == set(shop.layers(XnnpackDynamicInt8()))


def test_the_scan_stays_float32_in_every_onnx_scheme(shop):
    source = onnx.load(str(shop.folder / "encoder.onnx"))
    folded = {t.name: t for t in source.graph.initializer if len(t.dims) == 3 or "_HN" in t.name}
    assert len(folded) == 15  # five constants of three layers
    for scheme, _ in ONNX:
        shop.write(scheme)
        graph = onnx.load(str(shop.folder / onnx_name("encoder", scheme.precision))).graph
        kept = {t.name: t for t in graph.initializer}
        for name, tensor in folded.items():
            assert kept[name].data_type == onnx.TensorProto.FLOAT
            np.testing.assert_array_equal(
                onnx.numpy_helper.to_array(kept[name]), onnx.numpy_helper.to_array(tensor)
            )
        ends = {p.name: p.type.tensor_type.elem_type for p in (*graph.input, *graph.output)}
        assert ends["h"] == ends["next_h"] == onnx.TensorProto.FLOAT


def test_calibration_carries_the_state(shop):
    calls = record_calls(exact_steps(shop), shop.calibration, 12.0, max_calls=1000)
    states = [state_NS for _, state_NS in calls["encoder"]]
    assert not states[0].any()
    assert all(state_NS.any() for state_NS in states[1:])
    chunk_s = shop.contract.chunk_ms / 1000
    assert len(states) == pytest.approx(12.0 / chunk_s, abs=4)
    assert len(calls["joiner"]) == len(states) * shop.contract.chunk_frames
    thin = record_calls(exact_steps(shop), shop.calibration, 12.0, max_calls=10)
    assert {len(found) for found in thin.values()} == {10}
    assert thin["encoder"][-1][1].any()


def test_static_ranges_without_speech_are_refused(shop):
    bare = Workshop(shop.model, shop.contract, shop.folder)
    for scheme in (OnnxStaticInt8(), XnnpackStaticInt8()):
        with pytest.raises(TodmError, match="calibration"):
            bare.write(scheme)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme",
    [
        XnnpackDynamicInt8(),
        XnnpackStaticInt8(calibration_s=5.0),
        # predictor and two of the mixer's maps have widths that groups of 32 do not divide
        Xnnpack8da4w(
            fallbacks=(
                "decoder.to_joiner",
                *(f"encoder.blocks.{i}.mixer.{w}" for i in (0, 2) for w in ("w_value", "w_gate")),
                "encoder.blocks.0.ffn_out",
                "joiner.to_vocab",
            )
        ),
    ],
    ids=lambda s: s.kind,
)
def test_the_lowered_program_computes_what_was_emulated(shop, features, scheme):
    with shop.emulated(scheme) as steps:
        emulated = encode_chunks(steps, features)
    shop.write(scheme)
    assert all(d.delegates for d in shop.figures[scheme.precision].delegation.values())
    lowered = encode_chunks(shop.open("executorch", scheme.precision), features)
    # A rounding that falls the other way moves one activation by a whole step.
    error = np.sqrt(np.square(lowered - emulated).mean() / np.square(emulated).mean())
    assert error < 0.05


def test_emulated_float32_modules_are_the_net(shop, features):
    with torch.no_grad():
        steps = ModuleSteps(methods_of(random_model(spec=unequal_spec())), shop.contract)
        assert deviation(steps, exact_steps(shop), features) < 1e-6
