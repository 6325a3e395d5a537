import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from todm.core.artifact import MANIFEST_NAME, file_sha256, write_artifact
from todm.core.errors import ArtifactError, ConfigError, InputError
from todm.runtimes import RUNTIMES, SUBNET_RUNTIMES, open_recogniser, resolve
from todm.runtimes.bundle import PARTS, onnx_name, open_bundle
from todm.runtimes.executorch import ExecutorchSteps
from todm.runtimes.ort import OrtSteps
from todm.runtimes.sherpa import REQUIRED_METADATA, check_metadata

BUNDLE_RUNTIMES = sorted(set(RUNTIMES) - SUBNET_RUNTIMES)


def rewritten(source, target, name, change):
    """Copy an artifact with one JSON file changed and its manifest made to agree."""
    shutil.copytree(source, target)
    file = target / name
    data = json.loads(file.read_text("utf-8"))
    change(data)
    file.write_text(json.dumps(data), "utf-8")
    if name != MANIFEST_NAME:
        manifest = json.loads((target / MANIFEST_NAME).read_text("utf-8"))
        manifest["files"][name] = file_sha256(file)
        (target / MANIFEST_NAME).write_text(json.dumps(manifest), "utf-8")
    return target


def truncated(source, target):
    data = source.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


def test_every_entry_of_the_table_resolves():
    for runtime in RUNTIMES:
        assert callable(resolve(runtime))


def test_an_unknown_runtime_names_the_known_ones(tiny):
    with pytest.raises(ConfigError, match=r"tflite.*ort, sherpa"):
        open_recogniser("tflite", tiny.bundle)


def test_no_threads_is_refused(tiny):
    with pytest.raises(ConfigError, match="at least 1"):
        open_recogniser("ort", tiny.bundle, threads=0)


@pytest.mark.parametrize("runtime", BUNDLE_RUNTIMES)
def test_a_damaged_bundle_is_refused_before_it_is_loaded(tiny, tmp_path, runtime):
    broken = tmp_path / "bundle"
    shutil.copytree(tiny.bundle, broken)
    for name in ("encoder.onnx", "model.pte"):
        truncated(tiny.bundle / name, broken / name)
    with pytest.raises(ArtifactError, match="sha256 differs"):
        open_recogniser(runtime, broken)


@pytest.mark.parametrize("runtime", BUNDLE_RUNTIMES)
def test_a_subnet_is_no_bundle(tiny, runtime):
    with pytest.raises(ArtifactError, match="a bundle is needed"):
        open_recogniser(runtime, tiny.subnet)


def test_torch_opens_subnets_in_fp32_only(tiny):
    with pytest.raises(ArtifactError, match="a subnet is needed"):
        open_recogniser("torch", tiny.bundle)
    with pytest.raises(ConfigError, match="fp32 only"):
        open_recogniser("torch", tiny.subnet, "int8")


def test_executorch_has_no_int8(tiny):
    with pytest.raises(ArtifactError, match="no executorch form in int8"):
        open_recogniser("executorch", tiny.bundle, "int8")


def test_a_bundle_without_the_form_says_so(tiny, tmp_path):
    with write_artifact(tmp_path / "b", kind="bundle") as draft:
        for name in ("contract.json", "spec.json", "token_table.json", "tokens.txt"):
            shutil.copy(tiny.bundle / name, draft.path / name)
    with pytest.raises(ArtifactError, match="no onnx form in fp32"):
        open_recogniser("ort", tmp_path / "b")


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_bins", 40), ("preemphasis", 0.5), ("frame_length_ms", 20), ("snip_edges", True)],
)
def test_features_that_no_runtime_would_compute_are_refused(tiny, tmp_path, field, value):
    def change(contract):
        contract["features"][field] = value

    path = rewritten(tiny.bundle, tmp_path / "b", "contract.json", change)
    with pytest.raises(ArtifactError, match="asks for other features"):
        open_bundle(path)


def test_onnxruntime_refuses_half_a_graph_in_one_line(tiny, tmp_path):
    files = {part: tiny.bundle / onnx_name(part, "fp32") for part in PARTS}
    files["encoder"] = truncated(files["encoder"], tmp_path / "encoder.onnx")
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load") as caught:
        OrtSteps(files, tiny.contract)
    assert "\n" not in str(caught.value)


def test_executorch_refuses_half_a_program_in_one_line(tiny, tmp_path):
    path = truncated(tiny.bundle / "model.pte", tmp_path / "model.pte")
    with pytest.raises(ArtifactError, match="ExecuTorch cannot load") as caught:
        ExecutorchSteps(path, tiny.contract)
    assert "\n" not in str(caught.value)


def test_executorch_steps_one_stream_at_a_time(tiny):
    steps = ExecutorchSteps(tiny.bundle / "model.pte", tiny.contract)
    with pytest.raises(InputError, match="one stream"):
        steps.predict(np.zeros((2, 2), np.int64))


def test_sherpa_never_sees_a_bundle_without_its_metadata(tiny, tmp_path):
    broken = tmp_path / "bundle"
    shutil.copytree(tiny.bundle, broken)
    manifest = json.loads((broken / MANIFEST_NAME).read_text("utf-8"))
    del manifest["body"]["metadata"]["encoder"]["T"]
    (broken / MANIFEST_NAME).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ArtifactError, match=r"lacks the metadata T that sherpa-onnx needs"):
        check_metadata(open_bundle(broken))


def test_torch_stays_out_of_what_a_device_runs(tiny):
    script = (
        "import sys, os\n"
        "from todm.runtimes import open_recogniser, resolve\n"
        "resolve('sherpa')\n"
        f"open_recogniser('ort', __import__('pathlib').Path({str(tiny.bundle)!r}))\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


WRONG = {
    "another schema": (
        MANIFEST_NAME,
        lambda data: data.update(schema_version=99),
        r"schema 99, this todm reads 1; make the artifact anew",
    ),
    "a missing state": (
        "contract.json",
        lambda data: data["state"].pop(2),
        r"lists other parts of the state than spec.json has; export it anew",
    ),
    "a state elsewhere": (
        "contract.json",
        lambda data: data["state"][2].update(offset=0),
        r"lists other parts of the state",
    ),
    "a rule of tomorrow": (
        "contract.json",
        lambda data: data.update(reset_rule="keep"),
        r"reset_rule.*zero_state_and_context",
    ),
    "another unit": (
        "contract.json",
        lambda data: data.update(token_unit="word"),
        r"char tokens but the contract says word",
    ),
    "a key of tomorrow": (
        "contract.json",
        lambda data: data.update(mood="good"),
        r"unknown key 'mood'",
    ),
}


@pytest.mark.parametrize("runtime", BUNDLE_RUNTIMES)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_contract_is_one_clear_error_in_every_runtime(tiny, tmp_path, runtime, wrong):
    name, change, message = WRONG[wrong]
    bundle = rewritten(tiny.bundle, tmp_path / "bundle", name, change)
    with pytest.raises(InputError, match=message) as caught:
        open_recogniser(runtime, bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", BUNDLE_RUNTIMES)
def test_one_changed_byte_is_one_clear_error_in_every_runtime(tiny, tmp_path, runtime):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny.bundle, bundle)
    data = bytearray((bundle / "tokens.txt").read_bytes())
    data[3] ^= 1
    (bundle / "tokens.txt").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"tokens.txt: sha256 differs"):
        open_recogniser(runtime, bundle)


def test_every_graph_carries_what_sherpa_needs(tiny):
    onnx = pytest.importorskip("onnx")
    for precision in ("fp32", "int8"):
        for part, keys in REQUIRED_METADATA.items():
            path = tiny.bundle / onnx_name(part, precision)
            have = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
            assert set(keys) <= set(have), path.name
            for key in keys:
                assert have[key] == tiny.artifact.body["metadata"][part][key]


RAW_SHERPA = """
import sys
from pathlib import Path
import sherpa_onnx
folder = Path(sys.argv[1])
sherpa_onnx.OnlineRecognizer.from_transducer(
    tokens=str(folder / "tokens.txt"), model_type="lstm",
    **{part: str(folder / f"{part}.onnx") for part in ("encoder", "decoder", "joiner")})
print("loaded")
"""


@pytest.mark.parametrize(
    "key", [None, *(key for part in REQUIRED_METADATA.values() for key in part)]
)
def test_sherpa_ends_its_process_without_any_one_of_them(tiny, tmp_path, key):
    # model_type alone is told to it by its reader as well
    onnx = pytest.importorskip("onnx")
    for name in ("tokens.txt", "joiner.onnx"):
        shutil.copy(tiny.bundle / name, tmp_path / name)
    for part in REQUIRED_METADATA:
        model = onnx.load(str(tiny.bundle / onnx_name(part, "fp32")))
        kept = {p.key: p.value for p in model.metadata_props if p.key != key}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, kept)
        onnx.save(model, str(tmp_path / onnx_name(part, "fp32")))
    done = subprocess.run(
        [sys.executable, "-c", RAW_SHERPA, str(tmp_path)], capture_output=True, check=False
    )
    loads = key in (None, "model_type")
    assert (b"loaded" in done.stdout) is loads, (key, done.stderr[-300:])
    assert (done.returncode == 0) is loads
