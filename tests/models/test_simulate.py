"""The simulated net computes what the exported int8 form does, with the plain net's weights."""

import numpy as np
import pytest
import torch
from int8_cpu import saturates
from tiny_bundle import (
    babble,
    formed_spec,
    gated_spec,
    linear_spec,
    random_model,
    unequal_spec,
)

from todm.core.contract import contract_of
from todm.core.errors import ConfigError
from todm.core.quantization import Float32, OnnxDynamicInt8, XnnpackDynamicInt8
from todm.core.target import target_of
from todm.decode.streaming import encode_chunks, padded_features
from todm.export.executorch import methods_of
from todm.export.executorch_quant import layer_names
from todm.export.gate import with_fallbacks
from todm.export.onnx_graph import export_onnx
from todm.export.schemes import Workshop
from todm.layers.fake_quant import FakeQuantLinear, IntegerGrid
from todm.models.simulate import PREDICTOR_GATE, linears, simulated
from todm.runtimes.eager import EagerSteps

NO_SATURATION = OnnxDynamicInt8(reduce_range=True)
"""So that any CPU computes the same sums."""
SPECS = (unequal_spec, formed_spec, gated_spec, linear_spec)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("forms"), random_model()
    contract = contract_of(model.spec, "char")
    export_onnx(model, contract, target_of("onnx"), folder)
    return Workshop(model, contract, folder)


@pytest.fixture(scope="module")
def features(shop):
    return padded_features(babble(6.0, 9), shop.contract)


def deviation(found, wanted):
    return float(np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()))


def eager(model, shop):
    return EagerSteps(model, model.spec, shop.contract)


FALLBACKS = ("encoder.to_joiner", "encoder.front.project")
SCHEMES = (
    NO_SATURATION,
    NO_SATURATION.model_copy(update={"weight_type": "QUInt8"}),
    OnnxDynamicInt8(weight_type="QUInt8", fallbacks=FALLBACKS),
    OnnxDynamicInt8(fallbacks=FALLBACKS),
)
ALONE = ("front.project", "blocks.0.mixer.w_in", "blocks.1.mixer.w_gate", "blocks.1.ffn_out")


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_computes_what_onnx_runtime_does(shop, features, scheme):
    if saturates(scheme):
        pytest.skip("sums of two products saturate on this CPU; tests/layers compares each linear")
    with shop.emulated(scheme) as steps:
        wanted = encode_chunks(steps, features)
        start = steps.start_context()
        wanted_pred, wanted_logits = steps.predict(start), steps.join(wanted[:1], wanted[1:2])
    plain = encode_chunks(eager(shop.model, shop), features)
    twin = eager(simulated(shop.model, scheme), shop)
    found = encode_chunks(twin, features)
    assert deviation(plain, wanted) > 5e-3
    # values on the edge of two levels fall either way, and layer by layer more of them are there
    assert deviation(found, wanted) < 0.6 * deviation(plain, wanted)
    np.testing.assert_allclose(twin.predict(start), wanted_pred, atol=1e-5)
    np.testing.assert_allclose(twin.join(wanted[:1], wanted[1:2]), wanted_logits, atol=1e-4)


def alone(shop, layer):
    """The scheme that takes one layer of the encoder."""
    layers = shop.layers(NO_SATURATION)
    return with_fallbacks(NO_SATURATION, [n for n in layers if n != f"encoder.{layer}"])


@pytest.mark.parametrize("layer", ALONE)
def test_a_layer_alone_computes_just_what_onnx_runtime_does(shop, features, layer):
    with shop.emulated(alone(shop, layer)) as steps:
        wanted = encode_chunks(steps, features)
    plain = encode_chunks(eager(shop.model, shop), features)
    found = encode_chunks(eager(simulated(shop.model, alone(shop, layer)), shop), features)
    assert deviation(found, wanted) < 0.05 * deviation(plain, wanted)


@pytest.mark.parametrize("layer", ALONE)
def test_whole_recordings_are_rounded_chunk_by_chunk(shop, features, layer):
    twin = eager(simulated(shop.model, alone(shop, layer)), shop)
    chunked, whole = encode_chunks(twin, features), twin.encode_offline(features[None])[0]
    plain = encode_chunks(eager(shop.model, shop), features)
    assert deviation(whole[: len(chunked)], chunked) < 0.05 * deviation(plain, chunked)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__name__)
def test_layers_are_called_as_an_export_calls_them(spec):
    model = random_model(spec=spec())
    called = set(layer_names(methods_of(model)))
    assert called - set(linears(model)) <= {PREDICTOR_GATE}
    assert set(linears(model)) <= called


GRIDS = (
    (OnnxDynamicInt8(), IntegerGrid(-127, 127, symmetric=True)),
    (OnnxDynamicInt8(reduce_range=True), IntegerGrid(-64, 64, symmetric=True)),
    (OnnxDynamicInt8(weight_type="QUInt8"), IntegerGrid(0, 255, symmetric=False)),
    (
        OnnxDynamicInt8(weight_type="QUInt8", reduce_range=True),
        IntegerGrid(0, 127, symmetric=False),
    ),
    (XnnpackDynamicInt8(), IntegerGrid(-127, 127, symmetric=True)),
)


@pytest.mark.parametrize(("scheme", "grid"), GRIDS, ids=str)
def test_a_scheme_s_grid_is_every_linear_s(shop, scheme, grid):
    """On any CPU: tests/layers holds these grids against integers."""
    twin = simulated(shop.model, scheme)
    assert {m.grid for m in twin.modules() if isinstance(m, FakeQuantLinear)} == {grid}


def test_every_linear_but_the_fallbacks_is_simulated(shop):
    some = ("encoder.blocks.1.ffn_in", "joiner.to_vocab")
    twin = simulated(shop.model, XnnpackDynamicInt8(fallbacks=some))
    fake = {n for n, child in twin.named_modules() if isinstance(child, FakeQuantLinear)}
    names = linears(shop.model)
    assert names["encoder.blocks.1.ffn_in"] == "encoder.blocks.2.ffn_in"  # layer 1 was dropped
    assert fake == set(names.values()) - {names[name] for name in some}
    assert not any(isinstance(m, FakeQuantLinear) for m in shop.model.modules())


def test_the_twin_has_the_very_weights():
    model = random_model()
    twin = simulated(model, OnnxDynamicInt8())
    mine, other = model.state_dict(keep_vars=True), twin.state_dict(keep_vars=True)
    assert list(mine) == list(other)
    assert all(mine[name] is other[name] for name in mine)
    model.load_state_dict(random_model(seed=5).state_dict())
    x, spec = torch.randn(1, 64, 80), model.spec
    other = simulated(random_model(seed=5), OnnxDynamicInt8())
    torch.testing.assert_close(twin.encode(x, spec), other.encode(x, spec))


def test_float32_simulates_nothing():
    model = random_model()
    assert simulated(model, Float32()) is model


def test_an_unknown_fallback_is_told():
    with pytest.raises(ConfigError, match=r"no linear 'encoder.blocks.7.ffn_in'.*blocks.2.ffn_in"):
        simulated(random_model(), OnnxDynamicInt8(fallbacks=("encoder.blocks.7.ffn_in",)))
