"""From exceptions to one line on stderr and an exit code."""

import errno
import sys
import traceback
import warnings
from collections.abc import Callable
from urllib.error import URLError

import typer
from typer.exceptions import TyperException

from todm.core.errors import MissingExtraError, TodmError

BUG, INTERRUPTED, WRONG_INPUT = 70, 130, 2

_EXTRA_OF = {
    "espeakng_loader": "synth",
    "executorch": "executorch",
    "lhotse": "train",
    "lightning_fabric": "train",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "optuna": "train",
    "safetensors": "train",
    "sentencepiece": "train",
    "sherpa_onnx": "sherpa",
    "tensorboard": "tensorboard",
    "torch": "train",
}
"""Which extra brings a package, for imports at the top of a module."""

_CURE_OF = {
    errno.ENOSPC: "free some space or choose another --out",
    errno.EDQUOT: "free some space or choose another --out",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOTDIR: "choose a place below a folder",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
}
"""Troubles of the machine rather than of todm, and what helps."""


def guarded(call: Callable[[], object], *, debug: bool) -> int:
    """Run a command and return its exit code; a failure is told in one line.

    Args:
        call: The command line, ready to run.
        debug: Show the traceback before the line, and the warnings of other packages.
    """
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        result = call()
    except (KeyboardInterrupt, typer.Abort):
        return _tell("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the one place where every failure ends
        if debug:
            traceback.print_exc()
        return _tell(*explain_failure(error))
    if result == INTERRUPTED:  # typer turns Ctrl-C inside a command into this code
        return _tell("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def explain_failure(error: Exception) -> tuple[str, int]:
    """Return the line and the exit code of a failure."""
    match error:
        case TodmError():
            return str(error), error.exit_code
        case TyperException():
            return f"{error.format_message()} Try --help.", WRONG_INPUT
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] in _EXTRA_OF:
            package = name.partition(".")[0]
            missing = MissingExtraError(package, extra=_EXTRA_OF[package])
            return str(missing), missing.exit_code
        case URLError():
            return (
                f"download failed ({error.reason}); check the connection, run it again",
                WRONG_INPUT,
            )
        case OSError(errno=int(number)) if number in _CURE_OF:
            place = f"{error.filename}: " if error.filename else ""
            return f"{place}{error.strerror}; {_CURE_OF[number]}", WRONG_INPUT
        case _:
            kind = type(error).__name__
            return f"internal: {kind}: {error}; rerun with --debug and report it", BUG


def _tell(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"todm: error: {line}\n" if code != INTERRUPTED else f"todm: {line}\n")
    return code
