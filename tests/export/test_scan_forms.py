"""The scan's forms behind one description: what graphs hold, and for whom.

Bundles for sherpa-onnx and the web never hold todm's operator, and none is of opset 27.
"""

from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from pydantic import ValidationError
from tiny_bundle import (
    SPEECH,
    UNGATED,
    babble,
    formed_spec,
    gated_spec,
    linear_spec,
    random_model,
    recordings,
    unequal_spec,
    write_subnet,
)

from todm.core.contract import contract_of
from todm.core.cost_mixers import mixer_cost
from todm.core.errors import ConfigError, TodmError
from todm.core.mixer_specs import MHSSMSpec
from todm.core.profile import AllowedOp, DeviceProfile, load_profile, shipped_profiles
from todm.core.quantization import ExportConfig, Float32
from todm.core.specs import BlockSpec
from todm.core.target import ExportTarget, target_of, targets_for
from todm.decode.streaming import encode_chunks, padded_features
from todm.export.assure import Assurance
from todm.export.evidence import Evidence
from todm.export.forms import check_targets
from todm.export.onnx_graph import check_graph, export_onnx
from todm.export.run import run
from todm.kernels.ssm_recurrent import step_constants
from todm.layers.mhssm import MHSSM
from todm.layers.mixer import CAUSAL
from todm.runtimes.bundle import open_bundle
from todm.runtimes.eager import EagerSteps
from todm.runtimes.native import FOLDER_VARIABLE, needs_library
from todm.runtimes.ort import OrtSteps


def encoder_graph(folder, target, spec=None):
    model = random_model(spec=spec or formed_spec())
    contract = contract_of(model.spec, "char")
    paths = export_onnx(model, contract, target, folder)
    return paths, model, contract


@pytest.mark.parametrize("form", ["folded", "unrolled"])
def test_stock_forms_hold_stock_operators_and_hear_the_same(tmp_path, form):
    target = target_of("onnx").model_copy(update={"scan_form": form})
    paths, model, contract = encoder_graph(tmp_path, target)
    opsets = {e.domain: e.version for e in onnx.load(str(paths["encoder"])).opset_import}
    assert opsets == {"": 18}
    features = padded_features(recordings()[0], contract)
    want = encode_chunks(EagerSteps(model, model.spec, contract), features)
    got = encode_chunks(OrtSteps(paths, contract), features)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_the_convolution_with_its_state_as_one_operator(tmp_path):
    target = target_of("onnx", allowed_ops=("com.microsoft.CausalConvWithState",))
    paths, model, contract = encoder_graph(tmp_path, target)
    ops = [n.op_type for n in onnx.load(str(paths["encoder"])).graph.node]
    assert ops.count("CausalConvWithState") == 2  # the layers whose mixers convolve
    features = padded_features(recordings()[0], contract)
    want = encode_chunks(EagerSteps(model, model.spec, contract), features)
    got = encode_chunks(OrtSteps(paths, contract), features)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
    with pytest.raises(TodmError, match=r"com\.microsoft\.CausalConvWithState"):
        check_graph(paths["encoder"], target.opset)


def test_heads_of_one_channel_export_in_every_form(tmp_path):
    mixer = MHSSMSpec(num_heads=16, head_dim=1, state_dim=4)
    blocks = (BlockSpec(source_layer=0, ffn_dim=32, mixer=mixer),)
    spec = formed_spec().model_copy(update={"blocks": blocks, "lookahead_frames": 0})
    features = None
    for form in ("folded", "unrolled"):
        (tmp_path / form).mkdir()
        target = target_of("onnx").model_copy(update={"scan_form": form})
        paths, model, contract = encoder_graph(tmp_path / form, target, spec)
        features = padded_features(recordings()[0], contract)
        got = encode_chunks(OrtSteps(paths, contract), features)
        want = EagerSteps(model, spec, contract).encode_offline(features[None])[0]
        np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def test_heads_of_one_channel_learn_and_cost_what_is_said():
    shared, alone = (
        MHSSMSpec(num_heads=64 // width, head_dim=width, state_dim=8) for width in (16, 1)
    )
    mixer = MHSSM(32, alone)
    x = torch.randn(2, 12, 32, requires_grad=True)
    mixer.mix(mixer.scan(x, alone, CAUSAL)).square().sum().backward()
    for name, weight in mixer.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name
    # The products are as many either way; what grows is the constants, by the head's channels.
    assert mixer_cost(alone).chunk_macs(8) == mixer_cost(shared).chunk_macs(8)
    for form in ("folded", "unrolled", "custom"):
        sizes = [mixer_cost(spec).graph_scalars(8, form) for spec in (alone, shared)]
        assert sizes[0] == 16 * sizes[1]
    constants = step_constants("unrolled", mixer.modes(alone), 8)
    held = sum(c.numel() for c in constants if c is not None)
    assert mixer_cost(alone).graph_scalars(8, "unrolled") == held


def test_a_net_gets_no_form_that_its_mixers_lack():
    every = target_of("onnx", allowed_ops=get_args(AllowedOp))
    assert every.for_net(formed_spec()) == every
    assert every.for_net(unequal_spec()).custom_ops == ("todm.SsmScan",)  # no layer convolves
    for spec in (gated_spec(), linear_spec()):
        assert every.for_net(spec) == target_of("onnx")


def test_an_export_asks_for_no_operator_that_the_net_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nothing"))  # no library is built
    spec = gated_spec()
    spec = spec.model_copy(update={"blocks": spec.blocks[:1]})
    subnet = write_subnet(tmp_path / "subnet", random_model(spec=spec))
    targets = (target_of("onnx", ("fp32",), allowed_ops=("todm.SsmScan",)),)
    artifact = run(subnet, targets, SPEECH, tmp_path / "b", assurance=UNGATED)
    told = artifact.body["forms"]["onnx"]
    assert told["scan_form"] == "folded"
    assert "custom_ops" not in told
    assert not needs_library(open_bundle(artifact.path), "onnx")


def test_static_ranges_of_the_operator_are_refused_before_anything_is_written(tmp_path):
    subnet = write_subnet(tmp_path / "subnet", random_model(spec=formed_spec()))
    evidence = Evidence(dev=(), calibration=(babble(2.0, 1),), source="babble")
    judged = Assurance(evidence=evidence, ungated=True)
    targets = (target_of("onnx", ("int8_static",), allowed_ops=("todm.SsmScan",)),)
    with pytest.raises(ConfigError, match=r"int8_static.*--scan folded") as caught:
        run(subnet, targets, SPEECH, tmp_path / "b", assurance=judged)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()
    # A net without such a scan has nothing to refuse, nor has ExecuTorch, which todm calibrates.
    check_targets([targets[0].for_net(gated_spec())])
    check_targets([target_of("executorch", ("int8_static",), allowed_ops=("todm.SsmScan",))])


@pytest.mark.parametrize("runtime", ["sherpa_onnx", "onnxruntime_web"])
def test_stock_runtimes_never_get_the_operator(runtime):
    profile = load_profile("raspberry_pi_4").model_copy(update={"runtime": runtime})
    with pytest.raises(ConfigError, match="no operator"):
        DeviceProfile.parse(profile.to_json() | {"allowed_ops": ["todm.SsmScan"]}, where="p")
    with pytest.raises(ConfigError, match="loads no operator library"):
        targets_for(profile, None, ExportConfig(scan_form="custom"))
    for name in shipped_profiles():
        shipped = load_profile(name)
        for target in targets_for(shipped, "both"):
            assert "todm.SsmScan" not in target.custom_ops


def test_no_graph_may_ask_for_opset_27():
    with pytest.raises(ValidationError):
        ExportTarget(form="onnx", opset=27, schemes=(Float32(),))


def test_the_convolution_operator_is_onnx_runtimes_alone():
    with pytest.raises(ValidationError, match="set form = onnx"):
        ExportTarget(form="executorch", schemes=(Float32(),), conv_op=True)
