"""The C++ runner hears what the Python runtime hears, and its figures reach the report."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from todm.bench.ops import OpsJob, profile, undisturbed_mean
from todm.bench.run import BenchConfig, inside_program, job_of
from todm.bench.runner import run_runner, runner_measurements
from todm.core.artifact import load_artifact, write_artifact
from todm.core.errors import ArtifactError, ConfigError, MissingBuildError
from todm.core.quantization import XnnpackDynamicInt8
from todm.decode.streaming import padded_features
from todm.export.executorch import contract_constant, methods_of, write_program
from todm.export.executorch_quant import quantise_methods
from todm.export.native import executorch_folder
from todm.runtimes import open_recogniser
from todm.runtimes.bundle import open_bundle
from todm.runtimes.tools import ARM64_DIR, tool_dir

SOURCES = Path(__file__).parents[2] / "todm" / "runtimes" / "csrc"
AARCH64 = tool_dir(ARM64_DIR, "arm64") / "executorch"
"""The package folder of an unpacked aarch64 wheel of executorch (``make arm64``)."""
needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None, reason="needs CMake and a C++ compiler: apt install cmake g++"
)


def built_runner(folder, package, *options):
    configure = ["cmake", "-S", SOURCES, "-B", folder, f"-DEXECUTORCH_PACKAGE={package}", *options]
    for command in (configure, ["cmake", "--build", folder]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "todm_runner"


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return built_runner(tmp_path_factory.mktemp("runner"), executorch_folder())


def rounded(samples):
    """What 16-bit samples keep of a recording."""
    return (np.clip(np.round(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


def heard(path, samples):
    transcript = open_recogniser("executorch", path).transcribe(samples)
    return transcript.ids, transcript.frames


@needs_cmake
def test_tokens_features_and_memory(tiny, runner, tmp_path):
    bundle, samples = open_bundle(tiny.bundle), rounded(tiny.audio[0])
    result = run_runner([str(runner)], bundle, samples, features=tmp_path / "fbank")
    assert (result.tokens, result.frames) == heard(tiny.bundle, samples)
    assert len(result.tokens) > 50
    features = padded_features(samples, bundle.contract)
    got = np.fromfile(tmp_path / "fbank", np.float32).reshape(features.shape)
    np.testing.assert_allclose(got, features, rtol=0, atol=1e-3)
    told = tiny.artifact.body["forms"]["executorch"]["planned_bytes"]
    assert result.planned_bytes == told
    peak = result.peak_bytes
    assert 0 < peak.before <= peak.loaded <= peak.end
    names = {m.name for m in runner_measurements(result)}
    assert {"runner.peak_ram_bytes", "runner.planned_bytes.encoder"} <= names


@needs_cmake
def test_the_int8_program_is_heard_as_in_python(tiny, runner, tmp_path):
    quantised, _ = quantise_methods(methods_of(tiny.model), XnnpackDynamicInt8())
    with write_artifact(tmp_path / "int8", kind="bundle") as draft:
        for name in ("contract.json", "spec.json", "token_table.json", "tokens.txt"):
            shutil.copy(tiny.bundle / name, draft.path / name)
        write_program(quantised, draft.path / "model.int8.pte", contract_constant(tiny.contract))
    samples = rounded(tiny.audio[0])
    result = run_runner([str(runner)], open_bundle(tmp_path / "int8"), samples, precision="int8")
    wanted = open_recogniser("executorch", tmp_path / "int8", "int8").transcribe(samples)
    # Its own features differ in the last bits, which an activation on a rounding edge shows.
    ours = set(zip(result.frames, result.tokens, strict=True))
    theirs = set(zip(wanted.frames, wanted.ids, strict=True))
    assert len(ours & theirs) > 0.9 * len(theirs) > 50


@needs_cmake
def test_a_damaged_program_is_one_line(tiny, runner, tmp_path):
    program = tmp_path / "half.pte"
    program.write_bytes((tiny.bundle / "model.pte").read_bytes()[:2000])
    done = subprocess.run([runner, program, "a.wav"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("todm_runner: ")


@needs_cmake
@pytest.mark.parametrize("words", [("--thread", "2"), ("--threads",), ("a.wav", "b.wav")])
def test_an_option_that_it_does_not_have_is_refused(runner, words):
    done = subprocess.run(
        [runner, "model.pte", "a.wav", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("todm_runner: usage: todm_runner MODEL.pte AUDIO.wav")


def test_no_runner_says_how_to_get_one(tiny, tmp_path):
    with pytest.raises(MissingBuildError, match="make runner"):
        run_runner([str(tmp_path / "none")], open_bundle(tiny.bundle), np.zeros(100, np.float32))


def test_something_else_is_no_runner(tiny):
    with pytest.raises(ArtifactError, match="no result"):
        run_runner(["false"], open_bundle(tiny.bundle), np.zeros(100, np.float32))


def test_only_an_executorch_program_is_looked_into(tiny):
    config = BenchConfig(runtime="ort", profile_ops=True)
    job = job_of(load_artifact(tiny.bundle), [Path("a.wav")], config, None)
    with pytest.raises(ConfigError, match="runtime=executorch"):
        inside_program(job, config)
    assert inside_program(job, BenchConfig(runtime="ort")) == []


def test_operators_are_timed_inside_and_outside_the_delegate(tiny):
    times = profile(OpsJob(model=tiny.bundle, chunks=20))
    assert times.calls_us["DELEGATE_CALL"] > 0
    assert "native_layer_norm.out" in times.portable_us
    assert any(name.startswith("Convolution") for name in times.delegate_us)


def test_an_interrupted_call_does_not_count():
    assert undisturbed_mean([1.0] * 9 + [1000.0]) == 1.0


@needs_cmake
@pytest.mark.skipif(
    not AARCH64.is_dir(), reason=f"needs executorch for aarch64 in {AARCH64}: make arm64"
)
@pytest.mark.skipif(
    None in (shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")),
    reason="needs an aarch64 compiler and qemu: apt install g++-aarch64-linux-gnu qemu-user",
)
def test_aarch64_hears_the_same_under_qemu(tiny, tmp_path):
    options = (
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    )
    program = built_runner(tmp_path / "build", AARCH64, *options)
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "lib").symlink_to("/usr/aarch64-linux-gnu/lib")
    # XNNPACK asks cpuinfo what there is; without an answer it would see the host's.
    core = "Features : fp asimd atomics fphp asimdhp asimddp\nCPU implementer : 0x41\n"
    core += "CPU architecture: 8\nCPU variant : 0x3\nCPU part : 0xd0b\nCPU revision : 1\n"
    (root / "proc" / "cpuinfo").write_text(f"processor : 0\n{core}", "utf-8")
    libraries = f"LD_LIBRARY_PATH={AARCH64}/lib"
    command = ["qemu-aarch64", "-cpu", "cortex-a76", "-L", str(root), "-E", libraries]
    samples = rounded(tiny.audio[0])
    result = run_runner([*command, str(program)], open_bundle(tiny.bundle), samples)
    assert (result.tokens, result.frames) == heard(tiny.bundle, samples)
