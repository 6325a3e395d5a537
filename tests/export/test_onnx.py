import numpy as np
import onnx
import pytest
import torch

from todm.core.errors import TodmError
from todm.core.quantization import OnnxDynamicInt8
from todm.core.target import target_of
from todm.decode.streaming import padded_features
from todm.export.onnx_graph import FORBIDDEN_OPS, check_graph
from todm.export.onnx_quant import INTEGER_OPS, linear_nodes, quantise
from todm.runtimes.bundle import PARTS, onnx_name
from todm.runtimes.ort import OrtSteps


def graph_of(tiny, part, precision="fp32"):
    return onnx.load(str(tiny.bundle / onnx_name(part, precision)))


@pytest.mark.parametrize("part", PARTS)
def test_only_standard_operators_of_the_asked_opset(tiny, part):
    proto = graph_of(tiny, part)
    assert [(e.domain, e.version) for e in proto.opset_import] == [("", target_of("onnx").opset)]
    assert not {n.op_type for n in proto.graph.node} & FORBIDDEN_OPS
    assert {n.domain for n in proto.graph.node} == {""}
    check_graph(tiny.bundle / onnx_name(part, "fp32"), 18)


def test_another_opset_than_asked_for_is_refused(tiny):
    with pytest.raises(TodmError, match="asked for 19"):
        check_graph(tiny.bundle / "joiner.onnx", 19)


@pytest.mark.parametrize(("op", "domain"), [("Scan", ""), ("Loop", ""), ("Gelu", "com.microsoft")])
def test_operators_that_devices_may_lack_are_refused(tmp_path, op, domain):
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, [1])],
            [onnx.helper.make_tensor_value_info("y", 1, [1])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )
    path = tmp_path / "g.onnx"
    onnx.save(proto, str(path))
    check_graph(path, 18)
    proto.graph.node[0].op_type, proto.graph.node[0].domain = op, domain
    onnx.save(proto, str(path))
    with pytest.raises((TodmError, onnx.checker.ValidationError)):
        check_graph(path, 18)


def test_the_encoder_has_sherpas_ports_and_metadata(tiny):
    proto = graph_of(tiny, "encoder")
    width = tiny.contract.state_floats
    shapes = {
        p.name: [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim]
        for p in proto.graph.input
    }
    assert shapes == {"x": ["N", 16, 80], "h": [1, "N", width], "c": [1, "N", 1]}
    assert [p.name for p in proto.graph.output] == ["encoder_out", "next_h", "next_c"]
    keys = {p.key: p.value for p in proto.metadata_props}
    assert keys["model_type"] == "lstm"
    assert keys["d_model"] == str(width)
    assert keys["T"] == keys["decode_chunk_len"] == "16"
    assert keys["num_encoder_layers"] == keys["rnn_hidden_size"] == "1"
    assert keys["todm_chunk_frames"] == "4"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("part", PARTS)
def test_no_notes_of_the_exporter_are_shipped(tiny, part, precision):
    proto = graph_of(tiny, part, precision)
    graph = proto.graph
    for noted in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input):
        assert not noted.metadata_props
        assert not noted.doc_string
    assert b".py" not in proto.SerializeToString()  # no path of this checkout, no stack trace
    if part == "encoder":
        assert {p.key for p in proto.metadata_props} >= {"model_type", "T", "todm_token_unit"}


def test_three_streams_in_a_batch_equal_one_by_one(tiny):
    steps = OrtSteps({p: tiny.bundle / onnx_name(p, "fp32") for p in PARTS}, tiny.contract)
    features = [padded_features(samples[:16000], tiny.contract) for samples in tiny.audio[:3]]
    x_NTF = np.stack([f[:16] for f in features])
    state_NS = np.random.default_rng(0).standard_normal((3, tiny.contract.state_floats))
    state_NS = state_NS.astype(np.float32)
    enc_NKJ, next_NS = steps.encode(x_NTF, state_NS)
    for n in range(3):
        enc_1KJ, next_1S = steps.encode(x_NTF[n : n + 1], state_NS[n : n + 1])
        np.testing.assert_allclose(enc_NKJ[n], enc_1KJ[0], atol=1e-4)
        np.testing.assert_allclose(next_NS[n], next_1S[0], atol=1e-4)


@pytest.mark.parametrize("part", PARTS)
def test_int8_takes_the_linears_and_nothing_else(tiny, part):
    exact, quantised = graph_of(tiny, part), graph_of(tiny, part, "int8")
    linears = linear_nodes(exact.graph)
    integer = [n for n in quantised.graph.node if n.op_type in INTEGER_OPS]
    assert len(integer) == len(linears) == {"encoder": 17, "decoder": 1, "joiner": 1}[part]
    count = {
        op: [sum(n.op_type == op for n in proto.graph.node) for proto in (exact, quantised)]
        for op in ("Conv", "MatMul")
    }
    assert count["Conv"][0] == count["Conv"][1]
    scans = [
        n for n in exact.graph.node if n.op_type == "MatMul" and n.name not in linears.values()
    ]
    assert count["MatMul"][1] == len(scans) == (9 if part == "encoder" else 0)
    floats = {t.name for t in quantised.graph.initializer if t.data_type == 1}
    folds = {t.name for t in exact.graph.initializer if "_H" in t.name}
    assert folds <= floats


def test_a_part_without_linears_gets_no_int8_file(tmp_path):
    class Doubler(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    source, out = tmp_path / "a.onnx", tmp_path / "a.int8.onnx"
    program = torch.onnx.export(
        Doubler(), (torch.zeros(1, 2),), dynamo=True, opset_version=18, verbose=False
    )
    program.save(str(source))
    assert quantise(source, out, OnnxDynamicInt8()) == 0
    assert not out.exists()
