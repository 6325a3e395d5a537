"""Stock sherpa-onnx compiled to WebAssembly, in Node (npm package ``sherpa-onnx``)."""

import json
import queue
import subprocess
import threading
import weakref
from pathlib import Path
from typing import Any

from todm.core.errors import ArtifactError, ConfigError
from todm.runtimes.bundle import TOKENS, Precision, open_bundle
from todm.runtimes.native import require_stock
from todm.runtimes.remote import LIMIT_S, Channel, RemoteRecogniser
from todm.runtimes.sherpa import check_metadata, sherpa_hypothesis, sherpa_ids
from todm.runtimes.tools import node, node_package

SCRIPT = Path(__file__).parent / "js" / "sherpa_node.js"
MARK = "\x1e"
"""Begins a line that is an answer: sherpa's C++ prints to the same place."""


class NodeChannel(Channel):
    """A Node process: one JSON a line in, one out."""

    def __init__(self, command: list[str], subject: str) -> None:
        self._subject, self._last = subject, ""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._ends = weakref.finalize(self, self._process.kill)

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            if line.startswith(MARK):
                self._answers.put(line[len(MARK) :])
            elif line.strip():
                self._last = line.strip()
        self._answers.put(None)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the next."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            answer = self._answers.get(timeout=LIMIT_S)
        except (OSError, queue.Empty):
            answer = None
        if answer is None:
            told = self._last[:300] or "it said nothing"
            raise ArtifactError(f"{self._subject}: sherpa-onnx's process is gone ({told})")
        found: dict[str, Any] = json.loads(answer)
        return found


def open_sherpa_node(path: Path, precision: Precision, threads: int) -> RemoteRecogniser:
    """Load a bundle into sherpa-onnx's WebAssembly in Node.

    Raises:
        ConfigError: more than one thread; the package is built without.
        MissingToolError: Node or the package is not installed.
    """
    if threads != 1:
        raise ConfigError(f"sherpa-onnx's Node package has one thread, not {threads}")
    bundle = open_bundle(path)
    check_metadata(bundle)
    require_stock(bundle, "onnx", "sherpa-onnx for Node")
    files = {part: str(file.absolute()) for part, file in bundle.onnx_files(precision).items()}
    job = {
        "package": str(node_package("sherpa-onnx").absolute()),
        "files": files,
        "tokens": str(bundle.artifact.file(TOKENS).absolute()),
        "contract": bundle.contract.to_json(),
    }
    channel = NodeChannel([node(), str(SCRIPT)], f"{path} in sherpa-onnx for Node")
    ids = sherpa_ids(bundle.table.symbols)
    recogniser = RemoteRecogniser(
        bundle,
        channel,
        lambda told: sherpa_hypothesis(told["tokens"], told["timestamps"], bundle.contract, ids),
    )
    recogniser.ask(op="open", job=job)
    return recogniser
