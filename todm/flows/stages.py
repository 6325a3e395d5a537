"""Stages of a flow: run once, remembered by what they were made from, timed, never silent."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from todm import __version__
from todm.core.artifact import Artifact, ArtifactKind, is_complete, load_artifact

HEARTBEAT_S = 8.0


@dataclass
class StageBook:
    """The stages of one flow in a folder, with their keys and seconds in ``stages.json``."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage, in order; of a reused stage those that it took when it ran."""
    reused: set[str] = field(default_factory=set)

    def run(
        self,
        name: str,
        kind: ArtifactKind,
        made_from: object,
        make: Callable[[Path], object],
        *,
        silent: bool = True,
    ) -> Artifact:
        """Return the artifact ``folder/name``: the one there when its origin is the same.

        Args:
            name: the stage, and the folder of its artifact.
            kind: what the artifact must be.
            made_from: JSON-able value of all that decides the result (configuration, digests).
            make: writes the artifact to the path that it is given.
            silent: the stage shows no progress of its own; a line a few seconds is added.
        """
        out = self.folder / name
        key = sha256(json.dumps([__version__, made_from], sort_keys=True).encode()).hexdigest()
        book = self._read()
        known = book.get(name, {})
        if known.get("key") == key and is_complete(out, kind):
            say(f"[{name}] reused (took {known['seconds']:.1f} s)")
            self.reused.add(name)
            self.seconds[name] = float(known["seconds"])
            return load_artifact(out, kind)
        say(f"[{name}] ...")
        began = time.perf_counter()
        with heartbeat(name) if silent else contextlib.nullcontext():
            make(out)
        taken = time.perf_counter() - began
        self.seconds[name] = taken
        self._write(book | {name: {"key": key, "seconds": round(taken, 2)}})
        say(f"[{name}] done in {taken:.1f} s")
        return load_artifact(out, kind, verify=False)

    @property
    def _file(self) -> Path:
        return self.folder / "stages.json"

    def _read(self) -> dict[str, dict[str, float | str]]:
        try:
            book = json.loads(self._file.read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return book if isinstance(book, dict) else {}

    def _write(self, book: dict[str, dict[str, float | str]]) -> None:
        scratch = self._file.with_suffix(".tmp")
        scratch.write_text(json.dumps(book, indent=2) + "\n", "utf-8")
        scratch.replace(self._file)


@contextlib.contextmanager
def heartbeat(name: str, period_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Say on stderr every few seconds that a silent stage is still at work."""
    done = threading.Event()
    began = time.perf_counter()

    def beat() -> None:
        while not done.wait(period_s):
            say(f"[{name}] at work, {time.perf_counter() - began:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def say(line: str) -> None:
    """Write a line to stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
