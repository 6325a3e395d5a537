"""The log of a training: one JSON object a line, cut back to the checkpoint on resume."""

import json
from pathlib import Path

LOG = "log.jsonl"


class TrainLog:
    """Appends lines to ``log.jsonl`` of the work folder; on ranks other than 0 it is silent."""

    def __init__(self, folder: Path, *, silent: bool = False) -> None:
        self._path = folder / LOG
        self._silent = silent

    def begin(self, steps_done: int) -> None:
        """Start at a checkpoint: what was logged later goes, with no step done all of it."""
        if self._silent:
            return
        if steps_done == 0:
            self._path.unlink(missing_ok=True)
        elif self._path.is_file():
            _trim(self._path, steps_done)

    def line(self, **fields: object) -> None:
        """Append one entry."""
        if not self._silent:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(fields) + "\n")


def _trim(log: Path, steps_done: int) -> None:
    """Drop what was logged after the checkpoint, and a line cut short by a kill."""
    kept = []
    for line in log.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        limit = steps_done if "dev" in entry else steps_done - 1
        if entry["step"] <= limit:
            kept.append(line)
    scratch = log.with_suffix(".tmp")
    scratch.write_text("".join(line + "\n" for line in kept), "utf-8")
    scratch.replace(log)
