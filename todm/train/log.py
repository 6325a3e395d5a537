"""The log of a training: one JSON object a line, cut back to the checkpoint on resume.

The same figures go to TensorBoard where that is asked for.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from todm.core.errors import MissingExtraError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"


class TrainLog:
    """Appends lines to ``log.jsonl`` of the work folder; on ranks other than 0 it is silent.

    ``board`` is the folder of TensorBoard's event files, or None.
    """

    def __init__(self, folder: Path, *, silent: bool = False, board: Path | None = None) -> None:
        self._path = folder / LOG
        self._silent = silent
        self._board = board
        self._writer: SummaryWriter | None = None

    def begin(self, steps_done: int) -> None:
        """Start at a checkpoint: what was logged later goes, with no step done all of it."""
        if self._silent:
            return
        if steps_done == 0:
            self._path.unlink(missing_ok=True)
        elif self._path.is_file():
            _trim(self._path, steps_done)
        if self._board is not None:
            self._writer = _open_board(self._board, steps_done)

    def line(self, step: int, **fields: object) -> None:
        """Append one entry."""
        if self._silent:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **fields}) + "\n")
        if self._writer is not None:
            for name, value in _figures(fields):
                self._writer.add_scalar(name, value, step)
            self._writer.flush()


def _open_board(folder: Path, steps_done: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboard", extra="tensorboard") from error
    # what a killed run wrote after its checkpoint is hidden, since it comes again
    return SummaryWriter(str(folder), purge_step=steps_done or None)


def _figures(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of an entry by its path: ``dev/largest/wer``, ``loss/smallest``."""
    for key, value in fields.items():
        name = prefix + key.replace(".", "/")
        if isinstance(value, Mapping):
            yield from _figures(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


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
