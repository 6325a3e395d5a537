"""Fake-quantised linears against ONNX Runtime's integers, and the gradient that passes through."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from int8_cpu import saturates
from onnx.reference import ReferenceEvaluator
from torch import nn

from todm.core.quantization import OnnxDynamicInt8
from todm.export.onnx_quant import quantise
from todm.layers.fake_quant import (
    FakeQuantLinear,
    IntegerGrid,
    round_activation,
    round_weight,
    straight_through,
)

SIGNED = IntegerGrid(-127, 127, symmetric=True)
FORMS = (
    (OnnxDynamicInt8(), SIGNED),
    (OnnxDynamicInt8(reduce_range=True), IntegerGrid(-64, 64, symmetric=True)),
    (OnnxDynamicInt8(weight_type="QUInt8"), IntegerGrid(0, 255, symmetric=False)),
    (
        OnnxDynamicInt8(weight_type="QUInt8", reduce_range=True),
        IntegerGrid(0, 127, symmetric=False),
    ),
)


def random_linear(seed=0, inputs=24, outputs=10):
    g = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, outputs)
    spread = torch.logspace(-3, 1, outputs)[:, None]  # each output wants a scale of its own
    layer.weight.data = spread * (torch.randn(outputs, inputs, generator=g) + 0.3)
    layer.bias.data = torch.randn(outputs, generator=g)
    return layer


def write_graph(layer, path):
    weight_IO, bias_O = layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy()
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["product"], "product"),
            onnx.helper.make_node("Add", ["product", "b"], ["y"], "sum"),
        ],
        "linear",
        [value("x", kind, ["R", weight_IO.shape[0]])],
        [value("y", kind, ["R", weight_IO.shape[1]])],
        [onnx.numpy_helper.from_array(weight_IO, "w"), onnx.numpy_helper.from_array(bias_O, "b")],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))


@pytest.mark.parametrize(("scheme", "grid"), FORMS, ids=lambda x: getattr(x, "weight_type", ""))
def test_equals_the_integer_graph(tmp_path, scheme, grid):
    """By ONNX's own reference on any CPU, by ONNX Runtime where its sums are exact."""
    layer, g = random_linear(), torch.Generator().manual_seed(3)
    calls = torch.randn(6, 4, 24, generator=g)
    calls *= torch.logspace(-1, 1, 6)[:, None, None]
    write_graph(layer, tmp_path / "x.onnx")
    assert quantise(tmp_path / "x.onnx", tmp_path / "y.onnx", scheme) == 1
    forms = [ReferenceEvaluator(onnx.load(tmp_path / "y.onnx"))]
    if not saturates(scheme):
        path, providers = tmp_path / "y.onnx", ["CPUExecutionProvider"]
        forms.append(onnxruntime.InferenceSession(path, providers=providers))
    with torch.no_grad():
        found = FakeQuantLinear(layer, grid, 4)(calls.reshape(1, 24, 24))[0].numpy()
        plain = layer(calls).reshape(24, 10).numpy()
    for form in forms:
        wanted = np.concatenate([form.run(None, {"x": call.numpy()})[0] for call in calls])
        # relative to each output's size: float32 sums, in another order
        size = np.abs(wanted).max(0)
        assert (np.abs(found - wanted) / size).max() < 2e-6
        assert (np.abs(found - plain) / size).max() > 1e-3


def test_gradients_pass_straight_through():
    layer, g = random_linear(), torch.Generator().manual_seed(4)
    x, out = torch.randn(2, 8, 24, generator=g, requires_grad=True), torch.randn(2, 8, 10)
    fake = FakeQuantLinear(layer, SIGNED, 4)
    assert fake.weight is layer.weight
    assert fake.bias is layer.bias
    (fake(x) * out).sum().backward()
    rounded_x, rounded_w = round_activation(x.detach(), 4), round_weight(layer.weight, SIGNED)
    torch.testing.assert_close(x.grad, out @ rounded_w)
    torch.testing.assert_close(layer.weight.grad, torch.einsum("bto,bti->oi", out, rounded_x))
    torch.testing.assert_close(layer.bias.grad, out.sum((0, 1)))


def test_the_value_is_the_rounded_one_and_the_gradient_one():
    x = torch.tensor([0.2, 1.7], requires_grad=True)
    y = straight_through(x, x.round())
    torch.testing.assert_close(y, torch.tensor([0.0, 2.0]))
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [3.0, 5.0]


def test_a_call_is_rounded_by_its_own_range_alone():
    x = torch.randn(3, 11, 5, generator=torch.Generator().manual_seed(5))
    found = round_activation(x, 4)
    for utterance in range(3):
        for start in (0, 4, 8):
            call = x[utterance, start : start + 4]
            low, high = min(float(call.min()), 0.0), max(float(call.max()), 0.0)
            step = (high - low) / 255
            levels = torch.round(call / step)
            torch.testing.assert_close(found[utterance, start : start + 4], levels * step)
            one = round_activation(call, 4)
            torch.testing.assert_close(found[utterance, start : start + 4], one)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 9), call=st.integers(1, 5))
def test_nothing_moves_by_more_than_half_a_step_and_zero_stays(seed, rows, call):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=g, dtype=torch.float64) * 10.0 ** (seed % 7 - 3)
    x[0, 0] = 0.0
    found = round_activation(x, call)
    assert found[0, 0] == 0.0
    for start in range(0, rows, call):
        part = x[start : start + call]
        step = (part.max().clamp(min=0) - part.min().clamp(max=0)) / 255
        # the zero point is rounded too, so that the ends may be cut by half a step
        assert ((found[start : start + call] - part).abs() <= step * (1 + 1e-9)).all()
    weight = round_weight(x, SIGNED)
    assert ((weight - x).abs() <= x.abs().amax(1, keepdim=True) / 254 * (1 + 1e-9)).all()
    torch.testing.assert_close(round_weight(weight, SIGNED), weight)


def test_what_is_zero_everywhere_stays_zero():
    zeros = torch.zeros(3, 4)
    assert torch.equal(round_activation(zeros, 2), zeros)
    for _, grid in FORMS:
        assert torch.equal(round_weight(zeros, grid), zeros)


def test_a_linear_without_bias():
    layer = nn.Linear(6, 3, bias=False)
    x = torch.randn(5, 6)
    wanted = F.linear(round_activation(x, 1), round_weight(layer.weight, SIGNED))
    torch.testing.assert_close(FakeQuantLinear(layer, SIGNED, 1)(x), wanted)
