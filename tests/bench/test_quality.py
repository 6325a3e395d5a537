"""The quality lines of ``todm check`` on a real tiny bundle."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
import tiny_bundle

from todm.bench import quality
from todm.core.artifact import MANIFEST_NAME, file_sha256
from todm.core.profile import load_profile
from todm.core.quality import DriftRecord, GateRecord, Quality, failed
from todm.core.quantization import OnnxDynamicInt8
from todm.core.report import environment
from todm.decode.streaming import encode_chunks, padded_features
from todm.features.wav import write_wav
from todm.runtimes.bundle import open_bundle


@pytest.fixture(scope="module")
def tiny():
    return tiny_bundle.made()


@pytest.fixture(scope="module")
def recordings(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    paths = [folder / f"{i}.wav" for i in range(2)]
    for path, samples_S in zip(paths, tiny.audio, strict=False):
        write_wav(path, samples_S)
    return paths


def with_quality(tiny, folder, record):
    """A copy of the tiny bundle with another record."""
    shutil.copytree(tiny.bundle, folder)
    record.write_json(folder / "quality.json")
    manifest = json.loads((folder / MANIFEST_NAME).read_text("utf-8"))
    manifest["files"]["quality.json"] = file_sha256(folder / "quality.json")
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), "utf-8")
    return open_bundle(folder)


def record(**changes):
    fields = {
        "form": "onnx",
        "scheme": OnnxDynamicInt8(),
        "isa": environment().isa,
        "status": "met",
        "nll_fp32": 1.0,
        "nll": 1.005,
        "max_nll_rise": 0.01,
        "wer_fp32": 5.0,
        "wer": 5.1,
        "wer_rise_bound": 0.3,
        "max_wer_rise": 0.5,
    }
    return GateRecord(**(fields | changes))


def test_every_form_streams_against_the_bundles_own_graphs(tiny, recordings):
    lines = {v.name: v for v in quality.fresh_drift(open_bundle(tiny.bundle), recordings, 20.0)}
    assert set(lines) == {
        "drift.onnx.fp32.rel_rms", "drift.onnx.fp32.last_over_first",
        "drift.onnx.int8.last_over_first",
        "drift.executorch.fp32.rel_rms", "drift.executorch.fp32.last_over_first",
    }  # fmt: skip
    assert {v.status for v in lines.values()} == {"met"}
    assert 1e-8 < lines["drift.onnx.fp32.rel_rms"].value < 1e-5
    assert "its float32 graphs in float64" in lines["drift.onnx.fp32.rel_rms"].note


def test_the_graphs_in_float64_are_the_net_in_float64(tiny):
    import torch

    from todm.runtimes.eager import EagerSteps

    bundle = open_bundle(tiny.bundle)
    steps, _ = quality.exact_steps(bundle)
    features_RF = padded_features(tiny.audio[0], tiny.contract)
    net = EagerSteps(tiny.model, tiny.spec, tiny.contract, dtype=torch.float64)
    found_KJ, wanted_KJ = encode_chunks(steps, features_RF), encode_chunks(net, features_RF)
    assert found_KJ.dtype == np.float64
    # only the folded constants were ever rounded to float32
    np.testing.assert_allclose(found_KJ, wanted_KJ, atol=2e-6 * np.abs(wanted_KJ).max())
    context_1C = np.array([[-1, 3]])
    np.testing.assert_allclose(steps.predict(context_1C), net.predict(context_1C), atol=1e-5)
    pred_1J = net.predict(context_1C)
    np.testing.assert_allclose(
        steps.join(wanted_KJ[:1], pred_1J), net.join(wanted_KJ[:1], pred_1J), atol=1e-5
    )


def test_without_audio_or_with_0_seconds_nothing_is_streamed(tiny, recordings):
    bundle = open_bundle(tiny.bundle)
    assert quality.fresh_drift(bundle, recordings, 0.0) == []
    (line,) = quality.fresh_drift(bundle, [], 20.0)
    assert (line.status, line.note) == ("not_judged", "no audio given")


def test_an_ungated_form_is_never_met(tiny):
    lines = {v.name: v for v in quality.stored_quality(open_bundle(tiny.bundle), None)}
    assert lines["gate.stored.onnx.int8.wer_rise_bound"].status == "not_judged"
    assert lines["gate.stored.onnx.int8.nll_rise"].note == "ungated"
    assert lines["drift.stored.executorch.fp32.rel_rms"].status == "met"
    assert lines["isa.onnx.int8"].status == "met"


def test_a_stored_figure_beyond_its_limit_fails_whatever_it_says(tiny, tmp_path):
    bad = record(status="met", wer_rise_bound=0.7)
    bundle = with_quality(tiny, tmp_path / "b", Quality(gate=(bad,)))
    found = failed(quality.stored_quality(bundle, None))
    assert [v.name for v in found] == ["gate.stored.onnx.int8.wer_rise_bound"]


def test_a_withheld_form_is_on_record_and_not_judged(tiny, tmp_path):
    drift = DriftRecord(
        form="onnx", precision="fp16", isa=(), rel_rms=0.1, first=0.1, last=0.5, audio_s=600,
        window_s=60, reference="x",
    )  # fmt: skip
    assert [v.status for v in drift.verdicts()] == ["failed"]
    kept = Quality(drift=(drift,), withheld=("onnx.fp16",))
    assert failed(quality.stored_quality(with_quality(tiny, tmp_path / "b", kept), None)) == []


def test_other_instruction_sets_are_warned_of(tiny, tmp_path):
    other = with_quality(tiny, tmp_path / "b", Quality(gate=(record(isa=("asimd",)),)))
    (line,) = [v for v in quality.stored_quality(other, None) if v.name.startswith("isa")]
    assert line.status == "not_judged"
    assert line.note.startswith("warning: figures are of asimd, this machine has")
    own = with_quality(tiny, tmp_path / "c", Quality(gate=(record(),)))
    board = load_profile("raspberry_pi_5")
    (line,) = [v for v in quality.stored_quality(own, board) if v.name.startswith("isa")]
    assert "raspberry_pi_5 is aarch64-cortex-a76" in line.note
    host = load_profile("this_host")
    assert [v.status for v in quality.stored_quality(own, host)][-1] == "met"
