"""Train a supernet, die by SIGKILL at asked moments, and start again each time.

    python resume_driver.py CONFIG CORPUS OUT MOMENT...

Every MOMENT is a training in a process of its own, forked before torch has computed anything, so
that Python and torch are imported once. ``step:N:SECONDS`` kills that long after step N (or the
first one later than N) began, from another thread, wherever the training then is. ``write:N``
kills while the checkpoint after N steps or more is written: half of it is in the file. ``end``
lets the training end. Prints each process's exit status (negative: the signal), and the sizes of
the checkpoint and of one cut short, as a line of JSON.
"""

import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from todm.core.config import SupernetConfig
from todm.train.checkpoint import CHECKPOINT
from todm.train.run import run
from todm.train.supernet import SupernetTask


def die(after_s: float = 0.0) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_step(step: int, after_s: float) -> None:
    losses = SupernetTask.losses
    killer = threading.Thread(target=die, args=(after_s,), daemon=True)

    def armed(self: SupernetTask, batch: Any, at: int) -> Any:
        if at >= step and killer.ident is None:
            killer.start()
        return losses(self, batch, at)

    SupernetTask.losses = armed  # type: ignore[method-assign]


def die_while_writing(step: int) -> None:
    save = torch.save

    def cut(content: dict[str, Any], stream: Any) -> None:
        if content["state"]["step"] < step:
            return save(content, stream)
        whole = io.BytesIO()
        save(content, whole)
        stream.write(whole.getvalue()[: whole.tell() // 2])
        stream.flush()
        return die()

    torch.save = cut


def train(config: Path, corpus: Path, out: Path, moment: str) -> None:
    match moment.split(":"):
        case ["step", step, after_s]:
            die_in_step(int(step), float(after_s))
        case ["write", step]:
            die_while_writing(int(step))
    run(SupernetConfig.read_json(config), corpus, out)


def forked(config: Path, corpus: Path, out: Path, moment: str) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        train(config, corpus, out, moment)
    except BaseException:  # noqa: BLE001 - a forked child must not return
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def file_bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def main() -> None:
    config, corpus, out = map(Path, sys.argv[1:4])
    work = out.with_name(f"{out.name}.work")
    for moment in sys.argv[4:]:
        status = forked(config, corpus, out, moment)
        sizes = [file_bytes(work / name) for name in (CHECKPOINT, f".{CHECKPOINT}.tmp")]
        sys.stdout.write(json.dumps([status, *sizes]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
