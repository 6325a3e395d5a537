"""A ``todm`` process for tests of the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "from todm.cli import main; main()"


@pytest.fixture(scope="session")
def todm_process():
    """Run ``todm`` in a process of its own; extra Python runs before it."""

    def run(*arguments, before="", cwd=None, env=None):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **(env or {})}
        return subprocess.run(
            [sys.executable, "-c", f"{before}\n{ENTRY}", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
            timeout=300,
            check=False,
        )

    return run
