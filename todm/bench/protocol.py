"""How a measurement process is asked and answers: one JSON on stdin, one JSON on stdout."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import todm
from todm.core import errors
from todm.core.errors import ArtifactError, TodmError
from todm.core.value import Value


def serve(handle: Callable[[object], Value]) -> int:
    """Answer one request and return the exit code; a ``TodmError`` is an answer too.

    Only the answer goes to stdout: file descriptor 1 points at stderr meanwhile, since the
    C++ of runtimes prints there.
    """
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    try:
        answer, code = handle(json.loads(sys.stdin.read())).to_json(), 0
    except TodmError as error:
        answer, code = {"error": type(error).__name__, "message": str(error)}, error.exit_code
    with os.fdopen(answer_fd, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(answer) + "\n")
    return code


def ask(
    command: Sequence[str], request: Value, *, subject: str, threads: int, limit_s: float
) -> object:
    """Start a process, hand it a request and return its answer.

    Args:
        command: The process.
        request: What it reads.
        subject: What is measured, for messages: path and runtime.
        threads: Of the numeric libraries in the process.
        limit_s: After so long the process is stopped.

    Raises:
        TodmError: what the process met, of the same class as there.
        ArtifactError: it died, as sherpa-onnx does on graphs that it does not know, or took
            too long.
    """
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request.to_json()),
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=_environment(threads),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            f"{subject}: no result after {limit_s:.0f} s; give it less audio or a smaller net"
        ) from error
    return _answer(subject, done)


def _environment(threads: int) -> dict[str, str]:
    root = str(Path(todm.__file__).resolve().parents[1])
    paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _answer(subject: str, done: "subprocess.CompletedProcess[str]") -> object:
    try:
        answer: Any = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        lines = done.stderr.strip().splitlines() or ["nothing on stderr"]
        raise ArtifactError(
            f"{subject}: the measurement process ended with code {done.returncode} and no "
            f"result ({lines[-1][:300]})"
        ) from error
    if isinstance(answer, dict) and "error" in answer:
        raise _same_error(str(answer["error"]), str(answer.get("message", "")))
    return answer


def _same_error(name: str, message: str) -> TodmError:
    """Return an error of that class (and so with its exit code) with that line."""
    kind = getattr(errors, name, TodmError)
    if not (isinstance(kind, type) and issubclass(kind, TodmError)):
        return TodmError(message)
    error = kind.__new__(kind)
    error.args = (message,)
    return error
