"""Programs and packages outside Python that some runtimes need, and where todm looks for them."""

import os
import shutil
from pathlib import Path

from todm.core.errors import MissingToolError

NODE_PACKAGES = {"onnxruntime-web": "1.30.0", "sherpa-onnx": "1.13.8"}
"""The npm packages that ``make node`` installs, with the versions that todm is tested with."""
NODE_DIR = "TODM_NODE_DIR"
"""Environment variable: the folder that holds ``node_modules``."""
CHROMIUM = "TODM_CHROMIUM"
"""Environment variable: the browser's program."""
ARM64_DIR = "TODM_ARM64_DIR"
"""Environment variable: the folder that holds the emulated machine's ``root`` and ``site``."""
RUNNER = "TODM_RUNNER"
"""Environment variable: the C++ runner of ExecuTorch programs."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def cache_dir() -> Path:
    """Return the user's cache folder of todm."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "todm"


def tool_dir(variable: str, name: str) -> Path:
    """Return the folder that an environment variable names, else one in the cache."""
    return Path(os.environ.get(variable) or cache_dir() / name)


def node_package(name: str) -> Path:
    """Return the folder of an installed npm package.

    Raises:
        MissingToolError: it is not installed.
    """
    folder = tool_dir(NODE_DIR, "node") / "node_modules" / name
    if not (folder / "package.json").is_file():
        raise MissingToolError(
            f"the npm package {name!r}",
            cure=f"make node (npm install {name}@{NODE_PACKAGES[name]}), or set {NODE_DIR}",
        )
    return folder


def program(names: tuple[str, ...], *, cure: str) -> str:
    """Return the path of the first of some programs that is installed.

    Raises:
        MissingToolError: none is.
    """
    found = next((path for name in names if (path := shutil.which(name)) is not None), None)
    if found is None:
        raise MissingToolError(f"the program {names[0]!r}", cure=cure)
    return found


def node() -> str:
    """Return the path of Node."""
    return program(("node", "nodejs"), cure="install Node.js 20 or newer (apt install nodejs)")


def runner() -> Path:
    """Return the C++ runner of ExecuTorch programs.

    Raises:
        MissingToolError: it is not built.
    """
    built = Path(__file__).resolve().parents[2] / "build" / "runner" / "todm_runner"
    path = Path(os.environ.get(RUNNER) or built)
    if not path.is_file():
        raise MissingToolError("the C++ runner todm_runner", cure=f"make runner, or set {RUNNER}")
    return path


def browser() -> str:
    """Return the path of a Chromium."""
    chosen = os.environ.get(CHROMIUM)
    names = _BROWSERS if chosen is None else (chosen,)
    return program(names, cure=f"apt install chromium, or set {CHROMIUM}")
