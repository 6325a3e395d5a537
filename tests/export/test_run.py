import json
import shutil

import pytest
from tiny_bundle import (
    SPEECH,
    UNGATED,
    babble,
    gated_spec,
    linear_spec,
    random_model,
    unequal_spec,
    write_subnet,
)

from todm.core.artifact import load_artifact
from todm.core.contract import StreamContract
from todm.core.cost_bytes import bundle_bytes
from todm.core.errors import ArtifactError, ConfigError, GateError, InputError
from todm.core.quality import Quality
from todm.core.quantization import Float32, OnnxDynamicInt8
from todm.core.report import Report
from todm.core.specs import SubnetSpec
from todm.core.target import ExportTarget, target_of
from todm.decode.tokens import read_tokens_txt
from todm.export import run as export_run
from todm.export.card import write_card
from todm.export.coverage import Delegation, require_coverage
from todm.export.device_programs import DeviceProgram
from todm.export.evidence import Speech
from todm.export.executorch import ProgramFigures

ONNX = (target_of("onnx"),)


def test_the_bundle_holds_what_a_device_needs(tiny):
    artifact = load_artifact(tiny.bundle, "bundle")
    assert set(artifact.manifest.files) == {
        *(f"{part}{kind}.onnx" for part in ("encoder", "decoder", "joiner")
          for kind in ("", ".int8")),
        "features.onnx", "model.pte", "tokens.txt", "token_table.json", "contract.json",
        "spec.json", "parity.json", "quality.json", "README.md",
    }  # fmt: skip
    assert artifact.manifest.parents == {"subnet": load_artifact(tiny.subnet).digest}
    assert SubnetSpec.read_json(artifact.file("spec.json")) == tiny.spec
    assert StreamContract.read_json(artifact.file("contract.json")) == tiny.contract
    assert read_tokens_txt(artifact.file("tokens.txt"), "char") == tiny.table


def test_the_body_says_cost_lineage_and_form(tiny):
    body = tiny.artifact.body
    assert body["params"] == sum(p.numel() for p in tiny.model.parameters())
    assert body["audio_source"] == SPEECH.source
    assert body["corpus_path"] == "/nowhere/corpus"
    assert body["forms"]["onnx"]["opset"] == 18
    assert body["forms"]["executorch"]["delegation"]["encoder"]["fraction"] > 0.5
    sizes = body["bundle_bytes"]
    files = ("model.pte", "tokens.txt")
    assert sizes["executorch.fp32"] == sum((tiny.bundle / n).stat().st_size for n in files)
    assert sizes["onnx.int8"] < sizes["onnx.fp32"]
    assert set(body["numeric"]) == set(sizes)
    json.dumps(body)


@pytest.mark.parametrize(
    ("form", "precision"), [("onnx", "fp32"), ("onnx", "int8"), ("executorch", "fp32")]
)
def test_the_estimated_bytes_are_those_of_the_files(tiny, form, precision):
    # Padding and names are 0.1 % of so small a net; test_bytes.py holds wider ones to that.
    real = tiny.artifact.body["bundle_bytes"][f"{form}.{precision}"]
    real -= (tiny.bundle / "tokens.txt").stat().st_size
    assert bundle_bytes(tiny.spec, precision, form) == pytest.approx(real, rel=0.002)


def test_every_form_was_judged_on_tokens_and_outputs(tiny):
    report = Report.read_json(tiny.bundle / "parity.json")
    assert {v.status for v in report.verdicts} == {"met"}
    names = {v.name for v in report.verdicts}
    for form in ("torch_stream", "ort", "executorch"):
        assert f"parity.tokens.{form}_vs_torch_offline" in names
        assert f"parity.{form}_vs_torch_offline.rel_rms" in names
    assert report.value("parity.audio_s") >= 60
    assert report.value("parity.tokens") > 300  # else equal tokens would show little
    # random weights are the worst case of int8; with trained ones about 2 %
    assert 1e-4 < report.value("parity.ort.int8.rel_rms") < 0.2


def test_the_card_names_figures_and_limits(tiny):
    card = (tiny.bundle / "README.md").read_text("utf-8")
    assert card.startswith('---\nlibrary_name: "todm"\n')
    for text in (SPEECH.source, "tokens.ort_vs_torch_offline", "corpus", "int8", "MACs"):
        assert text in card


def test_the_card_tells_of_accelerators_and_of_what_runs_slowly(tiny, tmp_path):
    body = json.loads(json.dumps(tiny.artifact.body))
    slow = Delegation(delegated_ops=4, portable_ops=6, delegates=1, portable={"aten_cat": 6})
    warning = require_coverage({"joiner": slow}, "XNNPACK")[0]
    figures = ProgramFigures(
        delegation={"joiner": slow}, planned_bytes={"joiner": 64}, warnings=(warning,)
    ).told()
    body["numeric"]["executorch.int8"] = "int8"
    body["forms"]["executorch"] |= {f"{key}_int8": value for key, value in figures.items()}
    made = DeviceProgram(
        accelerator="coreml",
        file="model.coreml.pte",
        numeric="float32",
        bytes=1234,
        delegation={"encoder": Delegation(delegated_ops=90, portable_ops=2, delegates=1)},
    )
    body["device_programs"] = [made.to_json()]
    report, quality = (
        kind.read_json(tiny.bundle / name)
        for kind, name in ((Report, "parity.json"), (Quality, "quality.json"))
    )
    shutil.copy(tiny.bundle / "spec.json", tmp_path)
    write_card(tmp_path, "b", body, tiny.contract, report=report, quality=quality)
    card = (tmp_path / "README.md").read_text("utf-8")
    for line in (
        "- `model.int8.pte` joiner: XNNPACK runs 4 of 10 operators",
        f"- `model.int8.pte`, warning: {warning}",
        "| `model.coreml.pte` | coreml | exported | float32 | encoder: 90 of 92 operators |",
    ):
        assert line in card.splitlines()
    del body["numeric"]["executorch.int8"], body["device_programs"]  # withheld; none asked for
    write_card(tmp_path, "b", body, tiny.contract, report=report, quality=quality)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "model.int8.pte" not in card
    assert "accelerators" not in card


@pytest.mark.parametrize(
    ("spec", "told", "state_space"),
    [
        (unequal_spec(), "an encoder of mhssm layers, a stateless predictor", True),
        (gated_spec(), "an encoder of pgn layers, a pgn predictor", False),
        (linear_spec(), "an encoder of lssl layers, a stateless predictor", True),
    ],
    ids=["mhssm", "pgn", "lssl"],
)
def test_the_card_names_the_nets_own_mixers_and_predictor(tiny, tmp_path, spec, told, state_space):
    spec.write_json(tmp_path / "spec.json")
    quality = Quality.read_json(tiny.bundle / "quality.json")
    report = Report.read_json(tiny.bundle / "parity.json")
    write_card(tmp_path, "b", tiny.artifact.body, tiny.contract, report=report, quality=quality)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert told in card
    assert ("state-space" in card) is state_space


def test_too_little_speech_is_refused_and_repeats_do_not_count(tiny, tmp_path):
    few = Speech(tiny.audio[:2], "few")
    with pytest.raises(InputError, match="60 s"):
        export_run.run(tiny.subnet, ONNX, few, tmp_path / "b", assurance=UNGATED)
    loop = Speech([babble(10, 0)] * 9, "a loop")
    with pytest.raises(InputError, match="distinct"):
        export_run.run(tiny.subnet, ONNX, loop, tmp_path / "b", assurance=UNGATED)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "targets",
    [
        (),
        (target_of("onnx"), target_of("onnx")),
        (ExportTarget(form="executorch", schemes=(Float32(), OnnxDynamicInt8())),),
        (ExportTarget(form="onnx", schemes=(OnnxDynamicInt8(),)),),
        (ExportTarget(form="onnx", schemes=(Float32(), OnnxDynamicInt8(), OnnxDynamicInt8())),),
    ],
)
def test_impossible_targets_are_refused(tiny, tmp_path, targets):
    with pytest.raises(ConfigError, match=r"form|schemes"):
        export_run.run(tiny.subnet, targets, SPEECH, tmp_path / "b", assurance=UNGATED)


def test_a_bundle_is_no_subnet(tiny, tmp_path):
    with pytest.raises(ArtifactError, match="a subnet is needed"):
        export_run.run(tiny.bundle, ONNX, SPEECH, tmp_path / "b", assurance=UNGATED)


def test_forms_of_other_weights_leave_no_bundle(tiny, tmp_path, monkeypatch):
    def write_wrong_forms(model, contract, targets, folder):
        for name in ("encoder.onnx", "decoder.onnx", "joiner.onnx"):
            shutil.copy(tiny.bundle / name, folder / name)
        return {"onnx": {}}

    monkeypatch.setattr(export_run, "write_forms", write_wrong_forms)
    judge, reports = export_run.check_parity, []
    monkeypatch.setattr(
        export_run, "check_parity", lambda *given: reports.append(judge(*given)) or reports[0]
    )
    other = write_subnet(tmp_path / "other", random_model(seed=7))
    with pytest.raises(GateError, match=r"no bundle left: parity\.ort_vs_torch_offline.rel_rms"):
        export_run.run(other, ONNX, SPEECH, tmp_path / "b", assurance=UNGATED)
    assert [p.name for p in tmp_path.iterdir()] == ["other"]
    shutil.copytree(tiny.bundle, tmp_path / "b")
    monkeypatch.setattr(export_run, "check_parity", lambda *_: reports[0])  # the same forms again
    with pytest.raises(GateError, match="the bundle that stood there is untouched: parity"):
        export_run.run(other, ONNX, SPEECH, tmp_path / "b", assurance=UNGATED)
    assert load_artifact(tmp_path / "b").digest == tiny.artifact.digest
