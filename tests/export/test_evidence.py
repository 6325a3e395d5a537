import numpy as np
import pytest
from tiny_bundle import SYMBOLS, babble

from todm.core.artifact import load_artifact, write_artifact
from todm.core.errors import ConfigError, DataError, InputError
from todm.core.quantization import GateConfig, OnnxDynamicInt8, OnnxStaticInt8
from todm.core.target import ExportTarget, target_of
from todm.data.manifest import Corpus, Utterance
from todm.decode.drift import joined
from todm.decode.tokens import TokenTable
from todm.export.assure import Assurance
from todm.export.evidence import Evidence, evidence_of
from todm.features.wav import write_wav

TABLE = TokenTable(unit="char", symbols=SYMBOLS)


def utterance(folder, name, seed, text="AB"):
    path = folder / f"{name}.wav"
    write_wav(path, babble(1.0, seed))
    return Utterance(
        id=name, speaker="s", text=text, tokens=(2, 3), duration_s=1.0, audio_path=path
    )


@pytest.fixture
def corpus(tmp_path):
    def made(**splits):
        with write_artifact(tmp_path / "corpus", kind="corpus"):
            pass
        everything = {"train": (), "dev": (), "test": ()} | splits
        return Corpus(artifact=load_artifact(tmp_path / "corpus"), table=TABLE, _splits=everything)

    return made


def test_calibration_is_of_train_and_spread(corpus, tmp_path):
    train = tuple(utterance(tmp_path, f"t{i}", i) for i in range(6))
    dev = (utterance(tmp_path, "d", 9),)
    found = evidence_of(corpus(train=train, dev=dev), TABLE, GateConfig(), 3.0)
    assert len(found.dev) == 1
    assert found.dev[0].text == "AB"
    assert len(found.calibration) == 3
    assert "calibrated on 3 of train" in found.source
    assert evidence_of(corpus(train=train, dev=dev), TABLE, GateConfig(), 0.0).calibration == ()


def test_a_test_recording_never_calibrates(corpus, tmp_path):
    shared = utterance(tmp_path, "x", 1)
    splits = {"train": (shared,), "dev": (utterance(tmp_path, "d", 2),), "test": (shared,)}
    with pytest.raises(DataError, match="x is a test recording"):
        evidence_of(corpus(**splits), TABLE, GateConfig(), 3.0)
    with pytest.raises(ConfigError, match="calibration_split"):
        GateConfig.parse({"calibration_split": "test"}, where="gate")


def test_no_dev_speech_and_foreign_tokens_are_refused(corpus, tmp_path):
    with pytest.raises(DataError, match="--precision fp32"):
        evidence_of(corpus(), TABLE, GateConfig(), 0.0)
    silent = utterance(tmp_path, "d", 2, text="")
    with pytest.raises(DataError, match="no transcribed dev speech"):
        evidence_of(corpus(dev=(silent,)), TABLE, GateConfig(), 0.0)
    other = TokenTable(unit="char", symbols=SYMBOLS[:-1])
    with pytest.raises(ConfigError, match="token table"):
        evidence_of(corpus(dev=(silent,)), other, GateConfig(), 0.0)


def test_a_quantized_form_without_data_is_refused_unless_said():
    onnx = (target_of("onnx"),)
    with pytest.raises(InputError, match="int8 is judged on transcribed dev speech") as error:
        Assurance().check(onnx)
    assert error.value.exit_code == 2
    Assurance(ungated=True).check(onnx)
    Assurance().check((target_of("onnx", ("fp32",)), target_of("executorch")))
    Assurance(evidence=Evidence((), (), "x")).check(onnx)
    static = (target_of("onnx", ("int8_static",)),)
    with pytest.raises(InputError, match="calibrated on training or dev speech"):
        Assurance(ungated=True).check(static)


def test_targets_take_precisions_by_name():
    target = target_of("onnx", ("int8_static", "int8"))
    assert [s.precision for s in target.schemes] == ["fp32", "int8_static", "int8"]
    assert isinstance(target.schemes[1], OnnxStaticInt8)
    assert ExportTarget.parse(target.to_json(), where="x") == target
    assert OnnxDynamicInt8().weight_type == "QInt8"
    with pytest.raises(ConfigError, match="executorch has no fp16"):
        target_of("executorch", ("fp16",))


def test_joined_speech_repeats_in_turn():
    a, b = np.full(16000, 1.0, np.float32), np.full(8000, 2.0, np.float32)
    stream_S = joined([a, b], 4.0)
    assert stream_S.size == 64000
    np.testing.assert_array_equal(stream_S[:24000], np.concatenate([a, b]))
    np.testing.assert_array_equal(stream_S[24000:48000], stream_S[:24000])
    with pytest.raises(DataError, match="empty"):
        joined([np.zeros(0, np.float32)], 1.0)
