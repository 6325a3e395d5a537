"""The closed forms of ``core.cost_bytes`` against files, over forms, schemes and mixers.

Fitted constants cannot know the digits of a name or the padding of one tensor: some hundred bytes,
which are more than 0.1 % of a small file. So nets here are as wide as the schemes are meant for.
"""

import pytest
import torch
from tiny_bundle import SYMBOLS, random_model, recordings

from todm.core.contract import contract_of
from todm.core.cost_bytes import bundle_bytes
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, PGNSpec
from todm.core.quantization import OnnxStaticInt8, SchemeSettings, XnnpackStaticInt8
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.core.target import SCHEMES_OF_FORM, target_of
from todm.export.assure import write_ungated
from todm.export.forms import bundle_bytes as file_bytes
from todm.export.forms import write_forms
from todm.export.schemes import Workshop
from todm.runtimes.bundle import TOKENS

MIXERS = (
    MHSSMSpec(num_heads=16, head_dim=16, state_dim=8),
    PGNSpec(num_heads=16, head_dim=16, window=8),
    LSSLSpec(num_heads=16, head_dim=16, state_dim=8),
)
BRIEF = SchemeSettings(
    onnx_int8_static=OnnxStaticInt8(calibration_s=0.4),
    executorch_int8_static=XnnpackStaticInt8(calibration_s=0.4),
)


def wide_spec(mixers, predictor="stateless"):
    return SubnetSpec(
        model_dim=256,
        blocks=tuple(
            BlockSpec(source_layer=layer, ffn_dim=1024, mixer=mixer)
            for layer, mixer in enumerate(mixers)
        ),
        predictor=PredictorSpec(kind=predictor, embed_dim=256),
        joiner_dim=256,
        vocab_size=len(SYMBOLS),
        chunk_frames=4,
    )


@torch.no_grad()
def wide_model(spec):
    """Return a net without equal tensors, which exporters store once."""
    model = random_model(spec=spec)
    for weight in model.parameters():
        weight.add_(0.02 * torch.randn_like(weight))
    return model


def measured(spec, folder, target):
    """Export a net; return the bytes of each of its forms without ``tokens.txt``."""
    model, contract = wide_model(spec), contract_of(spec, "char")
    (folder / TOKENS).write_text("")
    write_forms(model, contract, (target,), folder)
    write_ungated(Workshop(model, contract, folder, tuple(recordings()[:1]), (target,)), (target,))
    return {name.partition(".")[2]: size for name, size in file_bytes(folder).items()}


def check(spec, folder, form, scan, precisions):
    target = target_of(form, precisions, BRIEF).model_copy(update={"scan_form": scan})
    found = measured(spec, folder, target)
    assert set(found) == set(precisions)
    gaps = {p: bundle_bytes(spec, p, form, scan) / size - 1 for p, size in found.items()}
    assert gaps == pytest.approx(dict.fromkeys(gaps, 0.0), abs=0.001)


@pytest.mark.parametrize("scan", ["folded", "unrolled"])
def test_onnx_files_of_every_scheme_and_mixer(tmp_path, scan):
    mixers = MIXERS if scan == "folded" else MIXERS[:1]  # the others have no other form
    check(wide_spec(mixers), tmp_path, "onnx", scan, SCHEMES_OF_FORM["onnx"])


def test_onnx_files_of_the_operator(tmp_path):
    # Static ranges are left out: onnxruntime calibrates without libraries of operators.
    precisions = tuple(p for p in SCHEMES_OF_FORM["onnx"] if p != "int8_static")
    check(wide_spec(MIXERS[:1]), tmp_path, "onnx", "custom", precisions)


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["folded", "unrolled", "custom"])
def test_executorchs_programs(tmp_path, scan):
    precisions = SCHEMES_OF_FORM["executorch"] if scan == "folded" else ("fp32", "int8")
    mixers = MIXERS if scan == "folded" else MIXERS[:1]
    check(wide_spec(mixers), tmp_path, "executorch", scan, precisions)


FORMS = {
    "head_glu": {"gating": "head_glu"},
    "pairs": {"gating": "pairs"},
    "none": {"gating": "none"},
    "taps": {"conv_frames": 4},
    "ahead": {"backward": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["folded", "unrolled", "custom"])
@pytest.mark.parametrize("form", ["onnx", "executorch"])
def test_other_gates_taps_and_lookahead(tmp_path, form, scan):
    mixers = tuple(MIXERS[0].model_copy(update=changes) for changes in FORMS.values())
    spec = wide_spec((*mixers, MIXERS[2].model_copy(update={"gating": "none"})), "pgn")
    spec = spec.model_copy(update={"lookahead_frames": 3})
    check(spec, tmp_path, form, scan, ("fp32",))
