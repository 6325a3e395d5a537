"""ONNX Runtime Web (WebAssembly) in headless Chromium, fed by a server on the loopback.

The page runs ``js/todm_web.mjs``, the very reader that a web site would use: features by the
bundle's ``features.onnx``, chunk rule and search in JavaScript.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from todm.core.errors import ArtifactError
from todm.decode.greedy import Hypothesis
from todm.runtimes.bundle import FEATURES, Precision, open_bundle
from todm.runtimes.native import require_stock
from todm.runtimes.remote import LIMIT_S, Channel, RemoteRecogniser
from todm.runtimes.tools import browser, node_package

JS = Path(__file__).parent / "js"
_POLL_S = 20.0
"""How long the page waits for a request before it asks again."""
_START_S = 120.0
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".onnx": "application/octet-stream",
}
_FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--disable-dev-shm-usage", "--disable-breakpad", "--disable-background-timer-throttling",
)  # fmt: skip


class _Desk:
    """What the server's threads and the channel share: one request at a time, and its answer.

    A connection may break at any moment, so a request lies here until it is answered: whoever asks
    is handed it, again if need be, and the page answers again what it has answered before.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self.seen = threading.Event()
        """The page is there and asks."""
        self._changed = threading.Condition()
        self._number = 0
        self._open: dict[str, Any] | None = None
        self._answer: dict[str, Any] = {}

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any] | None:
        """Lay a request down and wait for its answer; None is none in time."""
        with self._changed:
            self._number += 1
            self._open = request | {"number": self._number}
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._open is None, limit_s):
                return None
            return self._answer

    def next(self) -> dict[str, Any] | None:
        """Return the open request, or None when there is none for a while."""
        self.seen.set()
        with self._changed:
            self._changed.wait_for(lambda: self._open is not None, _POLL_S)
            return self._open

    def take(self, answer: dict[str, Any]) -> None:
        """Take the answer of the open request; of an earlier one it is a repetition."""
        with self._changed:
            if self._open is not None and answer.pop("number") == self._number:
                self._open, self._answer = None, answer
                self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    """A server that is silent about connections that break."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what is an error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Serves three folders, and hands requests and answers over."""

    protocol_version = "HTTP/1.1"

    def __init__(self, desk: _Desk, *args: Any) -> None:
        self._desk = desk
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer with a file, or with the next request once there is one."""
        if self.path != "/ask":
            self._send_file()
            return
        request = self._desk.next()
        if request is None:
            self._send(HTTPStatus.NO_CONTENT, b"", "application/json")
            return
        self._send(HTTPStatus.OK, json.dumps(request).encode(), "application/json")

    def do_POST(self) -> None:
        """Take the page's answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._desk.take(json.loads(body))
        self._send(HTTPStatus.OK, b"{}", "application/json")

    def _send_file(self) -> None:
        place, _, name = self.path.lstrip("/").partition("/")
        folder = self._desk.folders.get(place) if place else JS
        file = None if folder is None else folder / (name or "ort_web.html")
        if file is None or "/" in name or not file.is_file():
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")
            return
        self._send(HTTPStatus.OK, file.read_bytes(), _TYPES.get(file.suffix, "text/plain"))

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        # Without these two a page gets no shared memory, and so one thread.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class PageChannel(Channel):
    """A page in a browser of its own."""

    def __init__(self, folders: Mapping[str, Path], program: str, subject: str) -> None:
        self._desk, self._subject = _Desk(folders), subject
        server = _Server(("127.0.0.1", 0), partial(_Handler, self._desk))
        self.address = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = tempfile.mkdtemp(prefix="todm-browser-")
        # Chromium's sandbox refuses to run as root; the page comes from this process alone.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [program, *_FLAGS, *sandbox, f"--user-data-dir={home}",
             self.address],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._ends = weakref.finalize(self, _end, process, server, home)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Hand the page a request and wait for its answer."""
        if not self._desk.seen.wait(_START_S):
            raise ArtifactError(f"{self._subject}: the browser did not load the page")
        answer = self._desk.ask(request, LIMIT_S)
        if answer is None:
            raise ArtifactError(f"{self._subject}: no answer after {LIMIT_S:.0f} s")
        return answer


def _end(process: "subprocess.Popen[bytes]", server: ThreadingHTTPServer, home: str) -> None:
    """End the browser with all of its processes, the server and the profile."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    server.shutdown()
    shutil.rmtree(home, ignore_errors=True)


def open_ort_web(path: Path, precision: Precision, threads: int) -> RemoteRecogniser:
    """Load a bundle into ONNX Runtime Web.

    Raises:
        ArtifactError: the bundle has no ``features.onnx``.
        MissingToolError: no Chromium or no ``onnxruntime-web``.
    """
    bundle = open_bundle(path)
    require_stock(bundle, "onnx", "ONNX Runtime Web")
    if FEATURES not in bundle.artifact.manifest.files:
        raise ArtifactError(
            f"{path}: holds no {FEATURES}, and a browser has no feature extractor; "
            "export it with --features"
        )
    parts = bundle.onnx_files(precision) | {"features": bundle.artifact.file(FEATURES)}
    folders = {
        "ort": node_package("onnxruntime-web") / "dist",
        "js": JS,
        "bundle": bundle.artifact.path,
    }
    channel = PageChannel(folders, browser(), f"{path} in ONNX Runtime Web")
    recogniser = RemoteRecogniser(bundle, channel, _read)
    files = {part: f"/bundle/{file.name}" for part, file in parts.items()}
    recogniser.ask(op="open", files=files, threads=threads)
    return recogniser


def _read(told: dict[str, Any]) -> Hypothesis:
    return Hypothesis(tuple(told["ids"]), tuple(told["frames"]), tuple(told["margins"]))
