import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_runtime

from todm.features.wav import write_wav
from todm.runtimes import RUNTIMES

FAKE = Path(__file__).parent / "fake_runtime.py"


@pytest.fixture
def measure_command():
    return (sys.executable, str(FAKE), "measure")


@pytest.fixture
def token_command():
    return (sys.executable, str(FAKE), "tokens")


@pytest.fixture
def bundle(tmp_path):
    return fake_runtime.write_bundle(tmp_path / "bundle")


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "speech.wav"
    write_wav(path, fake_runtime.bursts(0.3, 1.0, 1.5))
    return path


@pytest.fixture(autouse=True)
def _fake_runtimes(monkeypatch):
    for name, where in fake_runtime.FAKES.items():
        monkeypatch.setitem(RUNTIMES, name, where)
