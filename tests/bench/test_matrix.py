"""The matrix of runtimes: what is equal, what differs, what was not run and is never called met."""

import json
from pathlib import Path

import fake_runtime
import pytest

from todm.bench import matrix as module
from todm.bench.matrix import PLACES, Heard, Spoken, chosen_places, hear, matrix
from todm.bench.tokens import Tokens
from todm.core.errors import ConfigError
from todm.decode.streaming import Transcript
from todm.runtimes import tools
from todm.runtimes.bundle import open_bundle

SPOKEN = (Spoken(Path("a.wav"), 40.0, "ONE TWO"), Spoken(Path("b.wav"), 40.0, "ONE"))


def transcript(text, ids, margin=0.5):
    frames = tuple(range(0, 3 * len(ids), 3))
    return Transcript(
        text=text, ids=ids, frames=frames, times_s=tuple(0.04 * f for f in frames),
        margins=(margin,) * 10,
    )  # fmt: skip


RIGHT = Tokens(transcripts=(transcript("ONE TWO", (1, 2)), transcript("ONE", (1,))))
WRONG = Tokens(transcripts=(transcript("ONE TWO", (1, 2)), transcript("TWO", (2,), 0.001)))


def told(bundle, **answers):
    """The matrix with these answers; whoever gives none was not run."""

    def hear_at(_, name, precision, spoken):
        found = answers.get(name if precision == "fp32" else f"{name}_{precision}")
        if isinstance(found, Heard):
            return found
        return Heard(found, SPOKEN) if found else Heard(None, (), "needs X: install X")

    measurements, verdicts = matrix(open_bundle(bundle), SPOKEN, tuple(PLACES), hear_at=hear_at)
    return {m.name: m for m in measurements}, {v.name: v for v in verdicts}


def test_equal_differing_and_not_run(bundle):
    figures, verdicts = told(bundle, torch_offline=RIGHT, ort=RIGHT, sherpa=WRONG, ort_int8=WRONG)
    assert verdicts["runtimes.fp32.ort"].status == "met"
    differs = verdicts["runtimes.fp32.sherpa"]
    assert (differs.status, differs.value) == ("failed", 1.0)
    assert "b.wav: frame 0: 1 against 2, logit margins 0.5, 0.001" in differs.note
    assert figures["runtimes.fp32.sherpa.token_match"].value == pytest.approx(2 / 3)
    absent = verdicts["runtimes.fp32.ort_web"]
    assert (absent.status, absent.value) == ("not_judged", None)
    assert absent.note == "not run: needs X: install X"


def test_int8_is_measured_by_wer_and_not_by_tokens(bundle):
    figures, verdicts = told(bundle, ort=RIGHT, ort_int8=WRONG)
    assert verdicts["runtimes.int8.ort"].status == "not_judged"
    assert figures["runtimes.int8.ort.wer"].value == pytest.approx(100 / 3)
    assert "torch" not in {name.split(".")[2] for name in verdicts if ".int8." in name}


def test_every_precision_that_the_bundle_holds_is_heard(tmp_path):
    graphs = {f"{part}.int8_block.onnx": "graph" for part in ("encoder", "decoder", "joiner")}
    bundle = fake_runtime.write_bundle(tmp_path / "blocks", graphs)
    figures, verdicts = told(bundle, ort=RIGHT, ort_int8_block=WRONG)
    assert {name.split(".")[1] for name in verdicts} == {"fp32", "int8", "int8_block"}
    assert figures["runtimes.int8_block.ort.wer"].value == pytest.approx(100 / 3)


def test_a_broken_runtime_fails(bundle):
    broken = Heard(None, (), "its process ended", broken=True)
    _, verdicts = told(bundle, torch_offline=RIGHT, sherpa_node=broken, ort_web_int8=broken)
    assert verdicts["runtimes.fp32.sherpa_node"].status == "failed"
    assert verdicts["runtimes.int8.ort_web"].status == "failed"


def test_a_runtime_alone_is_not_compared_with_itself(bundle):
    figures, verdicts = told(bundle, sherpa=RIGHT)
    alone = verdicts["runtimes.fp32.sherpa"]
    assert (alone.status, alone.value) == ("not_judged", None)
    assert alone.note == "3 tokens; no second runtime was run to compare them with"
    assert "runtimes.fp32.sherpa.token_match" not in figures


def test_silence_everywhere_proves_nothing(bundle):
    nothing = Tokens(transcripts=(transcript("", ()), transcript("", ())))
    _, verdicts = told(bundle, torch_offline=nothing, ort=nothing)
    assert verdicts["runtimes.fp32.ort"].status == "not_judged"


def test_an_emulated_machine_hears_a_sample_and_is_compared_on_it(bundle):
    one = Heard(Tokens(transcripts=RIGHT.transcripts[:1]), SPOKEN[:1])
    _, verdicts = told(bundle, torch_offline=RIGHT, ort_aarch64=one)
    assert verdicts["runtimes.fp32.ort_aarch64"].status == "met"
    assert "2 of 2 tokens" in verdicts["runtimes.fp32.ort_aarch64"].note
    long = [Spoken(Path("x.wav"), 25.0)] * 9
    assert len(list(module._sample(long))) == 3


def test_what_is_not_installed_says_what_to_install(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv(tools.ARM64_DIR, str(tmp_path / "nowhere"))
    monkeypatch.setenv(tools.NODE_DIR, str(tmp_path / "nowhere"))
    opened = open_bundle(bundle)
    for name, cure in {
        "ort_aarch64": "make arm64",
        "ort_web": "export it with --features",
        "executorch": "holds no executorch form",
        "torch": "subnet is gone",
    }.items():
        found = hear(opened, name, "fp32", SPOKEN)
        assert found.tokens is None
        assert not found.broken
        assert cure in found.note


def test_names_are_checked():
    assert chosen_places("all") == tuple(PLACES)
    assert chosen_places("ort, sherpa") == ("ort", "sherpa")
    with pytest.raises(ConfigError, match="no runtime 'tflite'; choose all or some of torch"):
        chosen_places("ort,tflite")


def test_the_npm_packages_are_pinned(tmp_path, monkeypatch):
    package = tmp_path / "node_modules" / "sherpa-onnx"
    package.mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"version": "1"}), "utf-8")
    monkeypatch.setenv(tools.NODE_DIR, str(tmp_path))
    assert tools.node_package("sherpa-onnx") == package
    with pytest.raises(tools.MissingToolError, match=r"onnxruntime-web@1\.\d+\.\d+"):
        tools.node_package("onnxruntime-web")
