import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
# The scripts import their neighbours by name, as they do when they are run.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import tiny_bundle


@pytest.fixture(scope="session")
def tiny():
    """The tiny subnet and its bundle, exported once per process whoever asks."""
    return tiny_bundle.made()
