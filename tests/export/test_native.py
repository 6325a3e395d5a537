"""The operator built from source, in both runtimes, against the scan that defines it."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_bundle import SPEECH, formed_spec, random_model, recordings, write_subnet

from todm.bench.check import served_runtimes
from todm.bench.matrix import hear
from todm.bench.quality import fresh_drift
from todm.core.errors import ArtifactError, MissingBuildError, TodmError
from todm.core.profile import load_profile
from todm.core.target import target_of
from todm.export import native, release
from todm.export.run import run
from todm.features.wav import write_wav
from todm.flows.extract import candidate_bundle
from todm.kernels.ssm import Modes, ssm_scan_ref
from todm.runtimes import native as places
from todm.runtimes import open_recogniser
from todm.runtimes.bundle import open_bundle
from todm.runtimes.ort import open_session


def missing_compiler():
    """Say what is missing; nothing where a compiler is here."""
    try:
        native.find_compiler()
    except MissingBuildError as error:
        return str(error)
    return ""


needs_compiler = pytest.mark.skipif(bool(missing_compiler()), reason=missing_compiler())
ARCHES = ("", "x86-64-v3", "x86-64-v4")
SHAPES = ((1, 8, 4, 64, 16), (2, 5, 2, 20, 3), (1, 9, 16, 8, 16), (2, 8, 6, 1, 16), (1, 1, 2, 3, 1))
"""Streams, frames, heads, channels of a head, modes: whole vectors, remainders, one channel."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    for form in ("onnx", "executorch"):
        native.compile_library(form, folder)
    return folder


def runs_here(arch):
    flags = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    return {"x86-64-v3": " avx2 " in flags, "x86-64-v4": " avx512vl " in flags}.get(arch, True)


def case(streams, frames, heads, width, modes, seed=0):
    """A long memory and inputs of the scale of speech nets'."""
    g = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    lam = torch.polar(torch.full((heads, modes), 0.99, dtype=torch.float64), rand(heads, modes))
    cb = 0.1 * torch.complex(rand(heads, modes), rand(heads, modes))
    return (
        rand(streams, frames, heads, width),
        rand(streams, heads, 2 * modes, width),
        lam,
        cb,
        rand(heads),
    )


def scan_graph(path):
    """One node of the operator, every size free."""
    value = onnx.helper.make_tensor_value_info
    names = ("u", "state", "pole_re", "pole_im", "read_re", "read_im", "skip")
    ranks = (4, 4, 2, 2, 2, 2, 1)
    inputs = [value(n, 1, [f"{n}{i}" for i in range(r)]) for n, r in zip(names, ranks, strict=True)]
    outputs = [value(n, 1, [f"{n}{i}" for i in range(4)]) for n in ("y", "next")]
    node = onnx.helper.make_node("SsmScan", names, ["y", "next"], domain="todm")
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "scan", inputs, outputs),
        opset_imports=[onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("todm", 1)],
        ir_version=10,
    )
    onnx.save(model, str(path))
    return path


def feeds(u, state, lam, cb, skip):
    arrays = {
        "u": u, "state": state, "pole_re": lam.real, "pole_im": lam.imag,
        "read_re": 2 * cb.real, "read_im": -2 * cb.imag, "skip": skip,
    }  # fmt: skip
    return {name: array.to(torch.float32).numpy() for name, array in arrays.items()}


@needs_compiler
@pytest.mark.parametrize("arch", ARCHES)
def test_onnxruntimes_operator_equals_the_reference(tmp_path, arch):
    if not runs_here(arch):
        pytest.skip(f"needs a CPU of {arch} ({'AVX2' if arch == ARCHES[1] else 'AVX-512'})")
    library = native.compile_library("onnx", tmp_path, arch)
    session = open_session(scan_graph(tmp_path / "scan.onnx"), 1, library)
    for shape in SHAPES:
        u, state, lam, cb, skip = case(*shape)
        want = ssm_scan_ref(u, Modes(lam, cb, skip), state)
        for got, exact in zip(session.run(None, feeds(u, state, lam, cb, skip)), want, strict=True):
            # float32 sums of some 20 terms
            np.testing.assert_allclose(got, exact.numpy(), rtol=1e-5, atol=2e-5)


@needs_compiler
def test_inputs_that_do_not_fit_are_an_error_and_no_crash(built, tmp_path):
    session = open_session(scan_graph(tmp_path / "scan.onnx"), 1, built / places.LIBRARIES["onnx"])
    given = feeds(*case(1, 4, 2, 3, 2))
    given["state"] = given["state"][:, :1]
    with pytest.raises(Exception, match="shapes do not fit"):
        session.run(None, given)


@needs_compiler
def test_executorchs_kernel_is_registered(built):
    library = ctypes.CDLL(str(built / places.LIBRARIES["executorch"]), ctypes.RTLD_GLOBAL)
    assert library.todm_kernels_error() == 0


def test_without_a_compiler_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native.main(["onnx", "--out", str(tmp_path)]) == 4
    said = capsys.readouterr().err
    assert "no C++ compiler (no-such-compiler)" in said
    assert said.count("\n") == 1


def test_without_a_runtime_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda _: None)
    assert native.main([]) == 4
    assert "onnxruntime or executorch" in capsys.readouterr().err


@needs_compiler
def test_what_the_compiler_says_is_told_in_one_line(tmp_path):
    with pytest.raises(TodmError, match=r"-march=nonsense.*error") as caught:
        native.compile_library("onnx", tmp_path, "nonsense")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def custom_bundle(folder, forms=("onnx", "executorch")):
    subnet = write_subnet(folder / "subnet", random_model(spec=formed_spec()))
    targets = tuple(target_of(form, ("fp32",), allowed_ops=("todm.SsmScan",)) for form in forms)
    return run(subnet, targets, SPEECH, folder / "bundle")


@pytest.fixture(scope="module")
def custom(built, tmp_path_factory):
    """A bundle of the operator in both forms; its parity gate compared both with torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(places.FOLDER_VARIABLE, str(built))
        return custom_bundle(tmp_path_factory.mktemp("custom"))


@pytest.fixture
def with_library(built, monkeypatch):
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(built))


def heard(path, runtime="ort"):
    return open_recogniser(runtime, path).transcribe(recordings()[0]).ids


@needs_compiler
def test_a_bundle_of_the_operator_hears_what_torch_hears(
    custom, with_library, tmp_path, monkeypatch
):
    proto = onnx.load(str(custom.file("encoder.onnx")))
    assert sum(n.op_type == "SsmScan" for n in proto.graph.node) == 3
    assert not [name for name in custom.manifest.files if name.endswith(".so")]
    assert custom.body["forms"]["onnx"]["custom_ops"] == ["todm.SsmScan"]
    assert heard(custom.path) == heard(custom.path, "executorch")
    with pytest.raises(ArtifactError, match=r"todm\.SsmScan, for which sherpa-onnx loads no lib"):
        open_recogniser("sherpa", custom.path)
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path))
    for runtime in ("ort", "executorch"):
        with pytest.raises(MissingBuildError, match="make native"):
            open_recogniser(runtime, custom.path)


@needs_compiler
def test_a_bundle_of_the_operator_is_checked_for_drift_against_its_subnet(
    custom, with_library, tmp_path
):
    write_wav(tmp_path / "a.wav", recordings()[0])
    lines = fresh_drift(open_bundle(custom.path), [tmp_path / "a.wav"], 20.0)
    assert {v.name.rpartition(".")[0] for v in lines} == {
        "drift.onnx.fp32",
        "drift.executorch.fp32",
    }
    assert {v.status for v in lines} == {"met"}
    assert all("its subnet in float64" in v.note for v in lines)


@needs_compiler
def test_check_asks_no_runtime_that_cannot_load_the_operator(custom, tiny):
    bundle = open_bundle(custom.path)
    assert served_runtimes(open_bundle(tiny.bundle)) == ["ort", "sherpa", "executorch"]
    assert served_runtimes(bundle) == ["ort", "executorch"]
    for place in ("sherpa", "sherpa_node", "ort_web", "ort_aarch64", "pte_runner_aarch64"):
        found = hear(bundle, place, "fp32", ())
        assert not found.broken
        assert "the bundle holds todm.SsmScan, of which" in found.note


@needs_compiler
def test_sherpas_users_are_offered_no_bundle_of_the_operator(custom, tiny, tmp_path):
    released, tarball = release.run(custom.path, tmp_path / "out")
    assert tarball is None
    assert "sherpa-onnx" not in tags(released)
    assert "sherpa-onnx" in tags(tiny.artifact)


def tags(artifact):
    lines = artifact.file("README.md").read_text("utf-8").splitlines()
    return next(line for line in lines if line.startswith("tags: "))


@needs_compiler
def test_extract_measures_a_candidate_with_the_operator(custom, with_library, tmp_path):
    profile = load_profile("this_host").model_copy(update={"allowed_ops": ("todm.SsmScan",)})
    subnet = Path(custom.body["subnet_path"])
    candidate = candidate_bundle(subnet, profile, tmp_path / "candidate")
    assert heard(candidate.path) == heard(custom.path)


def test_an_export_without_the_library_leaves_no_bundle(tmp_path, monkeypatch):
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(MissingBuildError, match="make native"):
        custom_bundle(tmp_path, ("onnx",))
    assert not (tmp_path / "bundle").exists()


def test_a_library_beside_or_inside_a_bundle_is_not_looked_for(tiny):
    assert not places.needs_library(open_bundle(tiny.bundle), "onnx")
    assert places.native_folder() not in (tiny.bundle, tiny.bundle.parent)


@pytest.mark.skipif(
    None in (shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")),
    reason="needs an aarch64 compiler and qemu: apt install g++-aarch64-linux-gnu qemu-user",
)
def test_neon_equals_the_reference_under_qemu(tmp_path):
    program = tmp_path / "scan"
    source = Path(__file__).parent / "ssm_scan_stdio.cpp"
    command = ["aarch64-linux-gnu-g++", "-std=c++17", "-O3", "-static", f"-I{native.SOURCES}"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    for shape in SHAPES:
        u, state, lam, cb, skip = case(*shape)
        want = ssm_scan_ref(u, Modes(lam, cb, skip), state)
        data = b"".join(array.tobytes() for array in feeds(u, state, lam, cb, skip).values())
        streams, frames, heads, width, modes = shape
        sizes = [str(size) for size in (streams, frames, heads, modes, width)]
        done = subprocess.run(
            ["qemu-aarch64", str(program), *sizes], input=data, capture_output=True, check=True
        )
        got = np.frombuffer(done.stdout, np.float32)
        exact = np.concatenate([part.numpy().ravel() for part in want])
        np.testing.assert_allclose(got, exact, rtol=1e-5, atol=2e-5)
