"""The lock, the set-up and the packaging keep their promises."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^\s;+]+)( ; python_version .*)?$")
NOT_LOCKED = ("k2", "torchaudio", "baselines", "coreml", "ethosu")
"""Extras whose wheels want another Python, torch's CUDA build, another scipy or numpy; coremltools
is for another machine."""
GPU_PACKAGES = ("nvidia", "triton", "cuda", "cupy", "pytorch-triton")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def lock():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_lock_pins_exact_versions_without_hashes_or_local_versions(lock):
    assert [line for line in lock if not LINE.match(line)] == []
    assert "torch==2.13.0" in lock


def test_the_lock_has_no_gpu_package(lock):
    assert [line for line in lock if line.startswith(GPU_PACKAGES)] == []


def test_the_lock_holds_every_package_that_the_project_names(lock, project):
    named = list(project["project"]["dependencies"])
    for extra, packages in project["project"]["optional-dependencies"].items():
        if extra not in NOT_LOCKED:
            named += packages
    pinned = {line.split("==")[0] for line in lock}
    assert {canonical(re.split(r"[<>=\[ ]", name)[0]) for name in named} - pinned == set()


def test_the_cpu_set_up_brought_no_gpu_package():
    if not importlib.metadata.version("torch").endswith("+cpu"):
        pytest.skip("this environment has another build of torch than Linux's CPU one")
    installed = [canonical(d.metadata["Name"]) for d in importlib.metadata.distributions()]
    assert [name for name in installed if name.startswith(GPU_PACKAGES)] == []


def test_what_is_installed_is_what_the_lock_says(lock):
    if not (ROOT / ".venv").is_dir():
        pytest.skip("not set up by make")
    wrong = []
    for line in lock:
        name, version = LINE.match(line).group("name", "version")
        try:
            found = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # hatchling and packages of other Pythons need not be here
        wrong += [f"{name} {found}, locked {version}"] if found != version else []
    assert wrong == []


def test_the_wheel_ships_profiles_and_type_marker(project):
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"hardware_profiles": "todm/hardware_profiles"}
    assert (ROOT / "todm/py.typed").is_file()


def test_versions_agree(project):
    import todm

    assert project["project"]["version"] == todm.__version__
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
