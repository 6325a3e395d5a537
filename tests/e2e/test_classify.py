"""``todm classify`` from a table to bundles, a resumed training, and wrong inputs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typed import todm
from typer.testing import CliRunner

from todm.bench.step_facts import facts_of
from todm.cli import app
from todm.core.artifact import load_artifact
from todm.core.classify_config import ClassifyConfig, ClassifyEvalConfig
from todm.core.errors import ArtifactError
from todm.data.sequences import open_sequences
from todm.evaluate.classify import run as run_eval
from todm.features.decimate import decimated
from todm.features.wav import write_wav
from todm.models.classifier_store import load_classifier
from todm.runtimes.classifier import ClassifierContract, classify, open_classifier
from todm.train.classify_run import run as run_train

FRAMES = 24
SMALL = {
    "recipe": "small",
    "depth": 1,
    "width": 8,
    "map": {"kind": "lssl", "state_dim": 4},
    "train": {"epochs": 12, "batch_size": 8, "lr": 0.02, "threads": 1, "accelerator": "cpu"},
}


def waves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Slow and quick sines of random phase, and how many turns each makes."""
    draw = np.random.default_rng(seed)
    turns_B = 1 + 3 * draw.integers(0, 2, count)
    phase_B = draw.uniform(0, 2 * np.pi, count)
    time_L = np.arange(FRAMES) / FRAMES
    return np.sin(2 * np.pi * turns_B[:, None] * time_L + phase_B[:, None]), turns_B


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of sequences, classes and figures, prepared by the command."""
    root = tmp_path_factory.mktemp("classify")
    for name in ("classes", "figures"):
        arrays: dict[str, np.ndarray] = {}
        for seed, (split, count) in enumerate((("train", 64), ("dev", 24), ("test", 40))):
            x_BL, turns_B = waves(count, seed)
            arrays[f"x_{split}"] = x_BL
            arrays[f"y_{split}"] = turns_B // 4 if name == "classes" else 10.0 * turns_B
        np.savez(root / f"{name}.npz", **arrays)
        path = f"source.path={root / name}.npz"
        sets = ("--set", path, "--set", "source.head=auto")
        assert todm("classify", "prepare", "--recipe", "bidmc", *sets, "--out", root / name) == 0
    (root / "small.json").write_text(json.dumps(SMALL), "utf-8")
    return root


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    out = folder / "net"
    arguments = ("--config", folder / "small.json", "--corpus", folder / "classes", "--out", out)
    assert todm("classify", "train", *arguments) == 0
    return out


def test_a_warm_up_of_nearly_all_steps_leaves_one_to_fall(folder: Path, tmp_path: Path) -> None:
    given = ("--config", folder / "small.json", "--corpus", folder / "classes")
    sets = ("--set", "train.epochs=1", "--set", "train.warmup_fraction=0.99")  # 8 steps
    assert todm("classify", "train", *given, *sets, "--out", tmp_path / "net") == 0


def test_it_learns_and_its_accuracy_has_an_interval(trained: Path, folder: Path) -> None:
    report = run_eval(trained, folder / "classes", ClassifyEvalConfig()).report
    accuracy, *recalls = report.measurements
    assert [m.name for m in recalls] == ["recall.0", "recall.1"]
    right = sum(m.value * m.n for m in recalls)
    assert right / sum(m.n for m in recalls) == pytest.approx(accuracy.value)
    assert (accuracy.name, accuracy.unit, accuracy.n) == ("accuracy", "%", 40)
    assert accuracy.value > 85.0
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low <= accuracy.value <= accuracy.high
    result = CliRunner().invoke(app, ["classify", "eval", str(trained), "--json"])
    assert json.loads(result.stdout)["measurements"][0]["value"] == accuracy.value


def test_the_rate_and_its_rule_reach_the_model(trained: Path, folder: Path) -> None:
    found = {
        rule: run_eval(trained, folder / "classes", ClassifyEvalConfig(rate=2, rule=rule)).report
        for rule in (True, False)
    }
    assert "with the rule" in found[True].measurements[0].note
    assert "without the rule" in found[False].measurements[0].note
    assert found[True].value("accuracy") > 70.0
    assert todm("classify", "eval", trained, "--rate", 2, "--no-rule", "--split", "dev") == 0


def test_figures_are_estimated_in_their_own_unit(folder: Path) -> None:
    config = ClassifyConfig.parse(SMALL, where="test")
    run_train(config, folder / "figures", folder / "regressor")
    report = run_eval(folder / "regressor", folder / "figures", ClassifyEvalConfig()).report
    assert report.measurements[0].name == "rmse.y0"
    assert report.value("rmse.y0") < 0.7 * 15.0  # 10 or 40: a constant is 15 off
    assert "rmse_standardised" in load_artifact(folder / "regressor", "classifier").body["dev"]
    pytest.importorskip("onnxruntime")
    pytest.importorskip("executorch")
    out = folder / "regressor_bundle"
    assert todm("classify", "export", folder / "regressor", "--target", "both", "--out", out) == 0
    bundle, test = load_artifact(out, "bundle"), open_sequences(folder / "figures").split("test")
    contract = ClassifierContract.read_json(bundle.file("contract.json"))
    for runtime in ("ort", "executorch"):
        found_BY = classify(open_classifier(bundle, runtime), contract, test.x_BLI.numpy())
        rmse = float(np.sqrt(np.square(found_BY - test.y.numpy()).mean()))
        assert rmse == pytest.approx(report.value("rmse.y0"), rel=1e-4)


def test_bundles_say_what_torch_says(trained: Path, folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("executorch")
    out = folder / "bundle"
    arguments = (trained, "--target", "both", "--chunk", 6, "--out", out)
    assert todm("classify", "export", *arguments) == 0
    bundle = load_artifact(out, "bundle")
    assert bundle.body["chunk_frames"] == 6
    verdicts = json.loads((out / "parity.json").read_text("utf-8"))["verdicts"]
    assert {v["status"] for v in verdicts} == {"met"}
    assert len(verdicts) == 6
    assert {"classifier.onnx", "model.pte", "contract.json", "facts.json"} <= set(
        bundle.manifest.files
    )
    # Per frame 1 -> 8 -> 8 and the layer's Toeplitz, read and write products; once 8 -> 2 outputs
    # and the state's transition.
    per_frame, order, width = 8 + 8 * 8, 4, 8
    scan = 6 * 6 + 2 * 6 * order + order * order
    assert bundle.body["macs_per_chunk"] == 6 * per_frame + width * scan + width * 2
    assert bundle.body["params"] == load_artifact(trained, "classifier").body["params"]


@pytest.mark.parametrize(
    ("runtime", "device", "judged"),
    [
        ("ort", "raspberry_pi_4", "macs_per_audio_s"),
        ("executorch", "this_host", "chunk_latency_p95_ms"),
    ],
)
def test_a_bundle_is_measured_by_chunks(
    trained: Path,
    folder: Path,
    runtime: str,
    device: str,
    judged: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("executorch")
    out = folder / f"measured_{runtime}"
    arguments = (trained, "--target", "both", "--chunk", 6, "--out", out)
    assert todm("classify", "export", *arguments) == 0
    capsys.readouterr()
    few = ("--set", "steps=9", "--set", "repeats=1", "--set", f"runtime={runtime}", "--json")
    assert todm("bench", out, "--device", device, *few) == 0
    report = json.loads(capsys.readouterr().out)
    found = {m["name"]: m for m in report["measurements"]}
    assert found["latency_ms.p50"]["n"] == 9
    macs = load_artifact(out, "bundle").body["macs_per_chunk"]
    assert found["macs_per_chunk"]["value"] == macs
    # The recipe's rate: 125 Hz
    assert found["macs_per_series_s"]["value"] == pytest.approx(macs * 125.0 / 6)
    assert found["rtf"]["value"] < 1.0
    status = {v["name"]: v["status"] for v in report["verdicts"]}
    assert status["bundle_bytes"] == status[judged] == "met"
    assert todm("bench", out, "--audio", "x.wav") == 2
    assert "is measured without speech" in capsys.readouterr().err


def test_a_bundle_without_a_rate_has_no_rtf(trained: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert todm("classify", "export", trained, "--out", tmp_path / "bundle") == 0
    bundle = load_artifact(tmp_path / "bundle", "bundle")
    facts = json.loads(bundle.file("facts.json").read_text("utf-8"))
    bundle.file("facts.json").write_text(json.dumps(facts | {"frame_rate_hz": None}), "utf-8")
    names = {m.name for m in facts_of(bundle).measurements()}
    assert names == {"params", "macs_per_chunk"}


def test_an_evaluation_has_a_page_and_tables(trained: Path, folder: Path) -> None:
    out = folder / "judged"
    assert todm("classify", "eval", trained, "--out", out) == 0
    page = (out / "index.html").read_text("utf-8")
    assert "<caption>Sequences: a row a true class" in page
    assert "dev accuracy by step" in page
    accuracy = json.loads((out / "report.json").read_text("utf-8"))["measurements"][0]["value"]
    with (out / "confusions.csv").open(newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    counts = np.array([row[1:] for row in rows], int)
    assert (head, counts.sum()) == (["truth", "0", "1"], 40)
    assert 100.0 * np.trace(counts) / 40 == pytest.approx(accuracy)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        answers = list(csv.DictReader(stream))
    assert sum(a["truth"] == a["answer"] for a in answers) == np.trace(counts)
    run_train(ClassifyConfig.parse(SMALL, where="test"), folder / "figures", folder / "judged_r")
    assert todm("classify", "eval", folder / "judged_r", "--out", folder / "judged_figures") == 0
    lines = (folder / "judged_figures" / "predictions.csv").read_text("utf-8").splitlines()
    assert (lines[0], len(lines)) == ("sequence,y0.truth,y0.answer", 41)


@pytest.mark.parametrize("runtime", ["ort", "executorch"])
def test_a_bundle_for_half_the_rate_answers_as_the_model_told_so(
    trained: Path, folder: Path, tmp_path: Path, runtime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("executorch")
    arguments = (trained, "--target", "both", "--rate", 2, "--chunk", 4, "--out", tmp_path / "half")
    assert todm("classify", "export", *arguments) == 0
    test = open_sequences(folder / "classes").split("test")
    np.savez(tmp_path / "slow.npz", x=decimated(test.x_BLI.numpy(), 2, filtered=True))
    capsys.readouterr()
    file = tmp_path / "slow.npz"
    assert todm("classify", "predict", tmp_path / "half", file, "--runtime", runtime, "--json") == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    right = [a["best"] == str(int(y)) for a, y in zip(answers, test.y, strict=True)]
    told = run_eval(trained, folder / "classes", ClassifyEvalConfig(rate=2)).report
    assert 100.0 * sum(right) / len(right) == pytest.approx(told.value("accuracy"))
    facts = json.loads((tmp_path / "half" / "facts.json").read_text("utf-8"))
    assert (facts["num_frames"], facts["frame_rate_hz"]) == (12, 62.5)


@pytest.mark.parametrize("form", ["raw", "mfcc"])
def test_recordings_are_classified_as_they_were_prepared(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each test recording of a tiny corpus, from its file, by the model and by its bundle."""
    pytest.importorskip("onnxruntime")
    corpus = tone_corpus(tmp_path / "tones")
    source = {"kind": "audio", "corpus": "fsdd", "path": str(corpus), "duration_s": 0.25}
    (tmp_path / "prepare.json").write_text(
        json.dumps({"name": "tones", "source": source | {"form": form}}), "utf-8"
    )
    out = ("--config", tmp_path / "prepare.json", "--out", tmp_path / "sequences")
    assert todm("classify", "prepare", *out) == 0
    run_train(ClassifyConfig.parse(SMALL, where="test"), tmp_path / "sequences", tmp_path / "net")
    exported = (tmp_path / "net", "--out", tmp_path / "bundle")
    assert todm("classify", "export", *exported) == 0
    judged = run_eval(tmp_path / "net", tmp_path / "sequences", ClassifyEvalConfig())
    files = sorted(corpus.glob("test_*.wav"))
    capsys.readouterr()
    for model in ("net", "bundle"):
        assert todm("classify", "predict", tmp_path / model, *files, "--json") == 0
        answers = json.loads(capsys.readouterr().out)["answers"]
        names = judged.opened.facts.classes
        assert sorted(a["best"] for a in answers) == sorted(names[k] for k in judged.found)
        assert all(sum(a["outputs"].values()) == pytest.approx(1.0) for a in answers)
    assert todm("classify", "predict", tmp_path / "bundle", files[0]) == 0
    assert capsys.readouterr().out.startswith(f"{answers[0]['best']} ")


def tone_corpus(folder: Path) -> Path:
    """Two words of one tone each, in the form of the shared corpora."""
    folder.mkdir()
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for split, takes in (("train", 8), ("dev", 3), ("test", 3)):
        for take in range(takes):
            for word, hz in (("ONE", 200), ("TWO", 700)):
                name = f"{split}_{word}_{take}"
                time_S = np.arange(4000 + 200 * take) / 16000
                tone_S = 0.3 * np.sin(2 * np.pi * (hz + 9 * take) * time_S)
                write_wav(folder / f"{name}.wav", tone_S.astype(np.float32))
                rows.append(f"{name}\ta\t{word}\t{name}.wav\t{split}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


@pytest.mark.parametrize("command", ["eval", "check", "transcribe x.wav"])
def test_commands_of_speech_say_that_they_take_no_classifier(
    trained: Path, folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *others = command.split()
    assert todm("classify", "export", trained, "--out", folder / "spoken_to") == 0
    capsys.readouterr()
    assert todm(name, folder / "spoken_to", *others) == 2
    error = capsys.readouterr().err
    assert "holds a classifier, which this command does not take; see todm classify" in error


def test_a_killed_training_goes_on_bit_for_bit(
    trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todm.train.classify import ClassifyTask

    whole = ClassifyTask.losses

    def killed(self, batch, step):
        if step == 21:
            raise KeyboardInterrupt
        return whole(self, batch, step)

    config = ClassifyConfig.parse({**SMALL, "dropout": 0.1}, where="test")
    once = run_train(config, folder / "classes", folder / "once")
    monkeypatch.setattr(ClassifyTask, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        run_train(config, folder / "classes", folder / "twice")
    monkeypatch.undo()
    other = config.model_copy(update={"width": 16})
    with pytest.raises(ArtifactError, match=r"configuration \(width is 8 there and 16 here\)"):
        run_train(other, folder / "classes", folder / "twice")
    twice = run_train(config, folder / "classes", folder / "twice")
    assert once.manifest.files["model.safetensors"] == twice.manifest.files["model.safetensors"]


def test_baselines_are_evaluated_but_neither_told_the_rate_nor_exported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ClassifyConfig.parse(
        {**SMALL, "map": {"kind": "gru"}, "train": {**SMALL["train"], "epochs": 1}}, where="test"
    )
    run_train(config, folder / "classes", folder / "gru")
    assert todm("classify", "eval", folder / "gru", "--rate", 2, "--no-rule") == 0
    capsys.readouterr()
    assert todm("classify", "eval", folder / "gru", "--rate", 2) == 2
    assert "no step size" in capsys.readouterr().err
    for more in ((), ("--rate", 2)):
        assert todm("classify", "export", folder / "gru", *more, "--out", folder / "no") == 2
        assert "baseline of training" in capsys.readouterr().err
    assert not (folder / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("prepare --out {0}/x", "give one of --recipe"),
        ("prepare --recipe fsd --out {0}/x", "no recipe 'fsd'"),
        ("prepare --recipe bidmc --out {0}/x", "bidmc.npz: no such file"),
        ("train --recipe fsd --corpus {0}/classes --out {0}/x", "no recipe 'fsd'"),
        ("train --recipe fsdd_raw --corpus {0}/no --out {0}/x", "no such folder"),
        ("train --recipe fsdd_raw --corpus {0}/net --out {0}/x", "sequences is needed"),
        (
            "train --recipe fsdd_raw --set map.state_dim=0 --corpus {0}/classes --out {0}/x",
            "state_dim",
        ),
        (
            "train --recipe fsdd_raw --set map.dt_range=[0.5,0.1] --corpus {0}/classes --out {0}/x",
            "ascending positive steps",
        ),
        (
            "train --recipe fsdd_raw --set map.dt_range=[0.1,Infinity] --corpus {0}/classes"
            " --out {0}/x",
            "ascending positive steps up to",
        ),
        ("eval {0}/net --rate 0", "--rate"),
        ("eval {0}/classes", "a classifier is needed"),
        ("eval {0}/net --corpus {0}/figures", "classes is"),
        ("eval {0}/net --rate 13", "fewer than 2 of 24"),
        ("eval {0}/net --no-rule", "read with a rate of at least 2"),
        ("export {0}/net --chunk 5 --out {0}/x", "do not divide sequences of 24"),
        ("export {0}/net --chunk 48 --out {0}/x", "do not divide sequences of 24"),
        ("export {0}/net --rate 24 --out {0}/x", "leaves 1 of 24 frames"),
        ("predict {0}/net {0}/no.wav", "no such file"),
        ("predict {0}/net {0}/small.json", "does not say how its sequences were made"),
        ("predict {0}/net {0}/classes.npz", "has no array 'x'"),
        ("predict {0}/net {0}/nan.npz", "x[1] holds values that are not finite"),
        ("train --recipe fsdd_raw --corpus {0}/classes --out {0}/classes", "holds a sequences"),
        ("predict {0}/net {0}/classes.npz --runtime ort", "--runtime is for bundles"),
        ("predict {0}/classes {0}/classes.npz", "holds a sequences; give a classifier"),
    ],
)
def test_wrong_inputs_are_one_line_and_exit_2(
    trained: Path, folder: Path, arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(folder / "nan.npz", x=np.where(np.arange(3) == 1, np.nan, 0.0)[:, None].repeat(24, 1))
    capsys.readouterr()
    assert todm("classify", *arguments.format(folder).split()) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error
    assert not (folder / "x").exists()


def test_a_damaged_model_is_told(trained: Path, folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained, tmp_path / "net")
    data = bytearray((tmp_path / "net" / "model.safetensors").read_bytes())
    data[-4] ^= 1
    (tmp_path / "net" / "model.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        load_classifier(tmp_path / "net")
