"""Build todm's operator from source: ``python -m todm.export.native`` (``make native``).

One kernel (``kernels/csrc/ssm_scan.h``) with an adapter for each runtime. Nothing of todm needs
it; it is faster than the folded products where a user may load a library of their own.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from todm.core.errors import MissingBuildError, MissingExtraError, TodmError
from todm.core.target import Form
from todm.runtimes.native import LIBRARIES, native_folder

SOURCES = Path(__file__).resolve().parents[1] / "kernels" / "csrc"
ADAPTERS: dict[Form, str] = {
    "onnx": "ort_ssm_scan.cpp",
    "executorch": "executorch_ssm_scan.cpp",
}
COMPILERS = ("c++", "g++", "clang++")


def find_compiler() -> str:
    """Return the C++ compiler: that of the variable CXX, else the first on the path.

    Raises:
        MissingBuildError: there is none.
    """
    wanted = os.environ.get("CXX")
    for name in (wanted,) if wanted else COMPILERS:
        if found := shutil.which(name):
            return found
    raise MissingBuildError(
        f"no C++ compiler ({wanted or ', '.join(COMPILERS)}) to build todm's operator with; "
        "install g++ or clang, or set CXX. Nothing else of todm needs it"
    )


def executorch_folder() -> Path:
    """Return the installed package, whose headers and libraries ExecuTorch's adapter needs.

    Raises:
        MissingExtraError: executorch is not installed.
    """
    found = importlib.util.find_spec("executorch")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("executorch", extra="executorch")
    return Path(next(iter(found.submodule_search_locations)))


def executorch_flags(package: Path) -> list[str]:
    """Return what code against the package's headers and libraries is compiled with."""
    include, lib = package / "include", package / "lib"
    c10 = include / "executorch/runtime/core/portable_type/c10"
    return [
        *(f"-I{folder}" for folder in (include, c10)),
        "-DC10_USING_CUSTOM_GENERATED_MACROS",
        "-DET_EVENT_TRACER_ENABLED",
        f"-L{lib}",
        "-lexecutorch",
        f"-Wl,-rpath,{lib}",
    ]


def compile_library(form: Form, folder: Path, arch: str = "native", *, flags: str = "") -> Path:
    """Build one library.

    Args:
        form: The runtime's.
        folder: Where it goes, under the name of ``LIBRARIES``.
        arch: The instruction set, the compiler's ``-march``; empty is the compiler's own choice.
        flags: Further arguments of the compiler.

    Returns:
        The library.

    Raises:
        MissingBuildError: no compiler.
        MissingExtraError: ExecuTorch's headers are not installed.
        TodmError: the compiler fails.
    """
    compiler = find_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    library, draft = folder / LIBRARIES[form], folder / f".{LIBRARIES[form]}.{os.getpid()}"
    command = [compiler, "-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"]
    command += [f"-march={arch}"] if arch else []
    command += [str(SOURCES / ADAPTERS[form]), "-o", str(draft), *flags.split()]
    command += executorch_flags(executorch_folder()) if form == "executorch" else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        draft.unlink(missing_ok=True)
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise TodmError(f"{' '.join(command)}: {lines[0][:300]}")
    draft.replace(library)
    return library


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the libraries asked for, or those whose runtime is installed."""
    parser = argparse.ArgumentParser(prog="todm.export.native", description=__doc__)
    parser.add_argument("forms", nargs="*", choices=[*LIBRARIES, []], help="[what is installed]")
    parser.add_argument("--arch", default="native", help="the compiler's -march [native]")
    parser.add_argument("--out", type=Path, help=f"folder of the libraries [{native_folder()}]")
    asked = parser.parse_args(arguments)
    installed = {"onnx": "onnxruntime", "executorch": "executorch"}
    forms = asked.forms or [f for f in LIBRARIES if importlib.util.find_spec(installed[f])]
    try:
        if not forms:
            raise MissingExtraError(" or ".join(installed.values()), extra="onnx")
        for form in forms:
            print(compile_library(form, asked.out or native_folder(), asked.arch))  # noqa: T201
    except TodmError as error:
        print(f"native: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
