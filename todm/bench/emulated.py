"""A process on an emulated aarch64: todm itself under qemu-user, in a small Debian root.

``make arm64`` makes the folder: ``root`` (Python and the C library of arm64), ``site`` (the
packages that a device needs) and the root's ``proc/cpuinfo``, which ONNX Runtime reads: it must
tell the features of the processor that qemu is asked for, else its import ends the process.
"""

from pathlib import Path

import todm
from todm.core.errors import MissingToolError
from todm.runtimes.tools import ARM64_DIR, program, tool_dir

CPU = "cortex-a76"
"""Has the dot product (asimddp) and no SME, which qemu 7.2 computes wrongly for int8."""


def aarch64_command(module: str) -> tuple[str, ...]:
    """Return the command that runs one of todm's modules on the emulated machine.

    Raises:
        MissingToolError: qemu or the root is not there.
    """
    folder = tool_dir(ARM64_DIR, "arm64")
    python = folder / "root" / "usr" / "bin" / "python3"
    cure = f"make arm64 (Debian: needs qemu-user and mmdebstrap), or set {ARM64_DIR}"
    qemu = program(("qemu-aarch64", "qemu-aarch64-static"), cure=cure)
    if not (python.exists() and (folder / "site" / "onnxruntime").is_dir()):
        raise MissingToolError(f"an arm64 root in {folder}", cure=cure)
    todms = Path(todm.__file__).resolve().parents[1]
    settings = (
        f"PYTHONPATH={todms}:{folder / 'site'}",
        "PYTHONDONTWRITEBYTECODE=1",
        "ORT_DISABLE_TELEMETRY=1",
    )
    environment = tuple(word for setting in settings for word in ("-E", setting))
    place = (qemu, "-cpu", CPU, "-L", str(folder / "root"), *environment)
    return (*place, str(python), "-m", module)
