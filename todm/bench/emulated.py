"""A process on an emulated aarch64: todm itself under qemu-user, in a small Debian root.

``make arm64`` makes the folder: ``root`` (Python and the C library of arm64), ``site`` (the
packages that a device needs) and the root's ``proc/cpuinfo``, which ONNX Runtime reads: it must
tell the features of the processor that qemu is asked for, else its import ends the process. With a
cross compiler there are ``executorch`` (the package for arm64) and ``runner`` (built against it).
"""

from collections.abc import Mapping
from pathlib import Path

import todm
from todm.core.errors import MissingToolError
from todm.runtimes.tools import ARM64_DIR, program, tool_dir

_CURE = f"make arm64 (Debian: needs qemu-user and mmdebstrap), or set {ARM64_DIR}"
CPU = "cortex-a76"
"""Has the dot product (asimddp) and no SME, which qemu 7.2 computes wrongly for int8."""


def aarch64_command(module: str) -> tuple[str, ...]:
    """Return the command that runs one of todm's modules on the emulated machine.

    Raises:
        MissingToolError: qemu or the root is not there.
    """
    folder = tool_dir(ARM64_DIR, "arm64")
    python = folder / "root" / "usr" / "bin" / "python3"
    if not (python.exists() and (folder / "site" / "onnxruntime").is_dir()):
        raise MissingToolError(f"an arm64 root in {folder}", cure=_CURE)
    todms = Path(todm.__file__).resolve().parents[1]
    settings = {
        "PYTHONPATH": f"{todms}:{folder / 'site'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    return (*_emulator(folder, settings), str(python), "-m", module)


def aarch64_runner() -> tuple[str, ...]:
    """Return the command of the C++ runner of ExecuTorch programs on the emulated machine.

    Raises:
        MissingToolError: qemu, the root or the runner is not there.
    """
    folder = tool_dir(ARM64_DIR, "arm64")
    runner = folder / "runner" / "todm_runner"
    if not runner.is_file():
        raise MissingToolError(
            f"the runner for arm64 in {folder / 'runner'}",
            cure=f"{_CURE}; the runner needs cmake and g++-aarch64-linux-gnu too",
        )
    libraries = {"LD_LIBRARY_PATH": str(folder / "executorch" / "lib")}
    return (*_emulator(folder, libraries), str(runner))


def _emulator(folder: Path, settings: Mapping[str, str]) -> tuple[str, ...]:
    qemu = program(("qemu-aarch64", "qemu-aarch64-static"), cure=_CURE)
    environment = [word for pair in settings.items() for word in ("-E", "=".join(pair))]
    return (qemu, "-cpu", CPU, "-L", str(folder / "root"), *environment)
