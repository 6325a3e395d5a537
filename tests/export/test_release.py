"""The model card as the hub reads it, and the archive as sherpa-onnx's users unpack it."""

import json
import shutil
import subprocess
import sys
import tarfile

import pytest
from tiny_bundle import babble

from todm.bench import peer
from todm.bench.run import BenchConfig
from todm.core.artifact import write_artifact
from todm.core.errors import ArtifactError, ConfigError
from todm.core.report import Measurement, Report, environment
from todm.export import release
from todm.export.card_facts import Facts
from todm.features.wav import write_wav
from todm.runtimes.bundle import open_bundle

FACTS = Facts(languages=("en",), licence="cc-by-4.0", data="digits")


def evaluation(path, model, *, of="evaluate", name="wer", value=4.5):
    with write_artifact(path, kind="report", parents={"model": model}) as draft:
        figure = Measurement(name=name, value=value, unit="%", low=4.0, high=5.0, n=900)
        Report(environment=environment(), measurements=(figure,)).write_json(
            draft.path / "report.json"
        )
        draft.body = {"of": of, "runtime": "ort", "precision": "int8", "split": "test"}
    return path


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    from tiny_bundle import made

    folder = tmp_path_factory.mktemp("release")
    tiny = made()
    reports = [
        evaluation(folder / "wer", tiny.artifact),
        evaluation(folder / "bench", tiny.artifact, of="bench", name="peak_ram_bytes", value=2e6),
    ]
    artifact, tarball = release.run(tiny.bundle, folder / "tiny_net", reports=reports, facts=FACTS)
    return tiny, artifact, tarball


def front(artifact):
    text = artifact.file("README.md").read_text("utf-8")
    block = text.split("---\n")[1]
    return {k: json.loads(v) for k, v in (line.split(": ", 1) for line in block.splitlines())}


def test_the_card_holds_every_result_with_precision_runtime_and_isa(released):
    _, artifact, _ = released
    head = front(artifact)
    assert head["language"] == ["en"]
    assert head["license"] == "cc-by-4.0"
    (index,) = head["model-index"]
    assert index["name"] == "tiny_net"
    (wer,) = index["results"][0]["metrics"]
    isa = "+".join(environment().isa) or "unknown ISA"
    assert wer == {"type": "wer", "name": f"WER (ort, int8, {isa})", "value": 4.5}
    assert index["results"][0]["dataset"] == {"type": "digits", "name": "digits", "split": "test"}
    text = artifact.file("README.md").read_text("utf-8")
    for told in ("peak RAM | ort int8 2.0 MB", "latency tier | low", "languages | en"):
        assert told in text


def test_the_hub_reads_the_card(released):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(str(released[1].file("README.md")))
    assert [r.metric_value for r in card.data.eval_results] == [4.5, 2e6]


def test_a_release_is_a_bundle_that_knows_its_parent(released):
    tiny, artifact, _ = released
    opened = open_bundle(artifact.path)
    assert opened.artifact.manifest.parents["bundle"] == tiny.artifact.digest
    assert opened.contract == tiny.contract


def test_reports_of_other_models_are_refused(released, tmp_path):
    tiny, artifact, _ = released
    wrong = evaluation(tmp_path / "wrong", artifact)
    with pytest.raises(ArtifactError, match="measured another model"):
        release.run(tiny.bundle, tmp_path / "out", reports=[wrong])
    check = evaluation(tmp_path / "check", tiny.artifact, of="check")
    with pytest.raises(ArtifactError, match="no report of todm eval or todm bench"):
        release.run(tiny.bundle, tmp_path / "out", reports=[check])
    with pytest.raises(ArtifactError, match="is the bundle itself"):
        release.run(tiny.bundle, tiny.bundle)


@pytest.fixture
def unpacked(released, tmp_path):
    _, _, tarball = released
    with tarfile.open(tarball) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    return folder


def test_the_archive_is_named_and_laid_out_as_sherpas(released, unpacked):
    name = unpacked.name
    assert name.startswith("sherpa-onnx-streaming-todm-tiny-net-en-20")
    assert released[2].name == f"{name}.tar.bz2"
    names = {path.name for path in unpacked.iterdir()}
    assert {"encoder.onnx", "encoder.int8.onnx", "tokens.txt", "README.md"} <= names
    assert "manifest.json" not in names


STOCK = """
import sys
from pathlib import Path
import sherpa_onnx
folder = Path(sys.argv[1])
sherpa_onnx.OnlineRecognizer.from_transducer(
    tokens=str(folder / "tokens.txt"), encoder=str(folder / "encoder.onnx"),
    decoder=str(folder / "decoder.onnx"), joiner=str(folder / "joiner.onnx"))
print("loaded")
"""


def test_stock_sherpa_loads_the_unpacked_archive(unpacked):
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(unpacked)], capture_output=True, check=True
    )
    assert b"loaded" in done.stdout


def test_a_triple_is_read_by_its_signature(released, unpacked):
    tiny = released[0]
    assert peer.is_triple(unpacked)
    assert not peer.is_triple(tiny.bundle)
    triple = peer.read_triple(unpacked, "fp32")
    mine, theirs = tiny.contract, triple.contract
    for field in ("chunk_frames", "joiner_dim", "vocab_size", "context_size", "subsampling"):
        assert getattr(theirs, field) == getattr(mine, field)
    assert theirs.state_floats == mine.state_floats + 1  # and the unused c
    assert triple.model_type == "lstm"
    assert peer.read_triple(unpacked, "int8").files["encoder"].name == "encoder.int8.onnx"


def test_a_triple_is_measured_with_our_meter(unpacked, tmp_path):
    speech = tmp_path / "speech.wav"
    write_wav(speech, babble(3.0, 1))
    config = BenchConfig(seconds=1.0, paced_s=0.0, repeats=1)
    report = peer.run(unpacked, [speech], config)
    size = sum((unpacked / f"{part}.onnx").stat().st_size for part in peer.PARTS)
    size += (unpacked / "tokens.txt").stat().st_size
    assert report.value("bundle_bytes") == size
    assert report.value("latency_ms.p50") > 0
    with pytest.raises(ConfigError, match="runs in sherpa alone"):
        peer.run(unpacked, [speech], BenchConfig(runtime="ort"))


def test_wrong_triples_are_one_clear_error(unpacked, tmp_path):
    onnx = pytest.importorskip("onnx")
    shutil.copy(unpacked / "encoder.onnx", unpacked / "encoder-2.onnx")
    with pytest.raises(ArtifactError, match="one encoder in fp32 is needed"):
        peer.read_triple(unpacked, "fp32")
    (unpacked / "encoder-2.onnx").unlink()
    model = onnx.load(str(unpacked / "encoder.onnx"))
    del model.metadata_props[:]
    onnx.save(model, str(unpacked / "encoder.onnx"))
    with pytest.raises(ArtifactError, match="has no decode_chunk_len, so it is no online"):
        peer.read_triple(unpacked, "fp32")
