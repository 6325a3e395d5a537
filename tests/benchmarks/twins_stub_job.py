"""Stands in for a training: writes scores that follow from the run's configuration.

    python twins_stub_job.py RUN_FOLDER CORPUS

A folder named ``die`` beside the runs makes the first start of a run listed there end by SIGKILL.
Every start is written to ``journal.txt`` there.
"""

import json
import os
import signal
import sys
from pathlib import Path

from todm.core.artifact import write_artifact

REFS = ("ONE TWO", "TWO SIX", "SIX SIX", "ONE SIX")
BEST_LR = {"supernet": 0.04, "largest": 0.02, "smallest": 0.04}
ERRORS = {
    "supernet": {"largest": 2, "smallest": 3},
    "largest": {"largest": 1},
    "smallest": {"smallest": 4},
}
"""Substituted words on test by net and size; each one in an utterance of its own."""
LATE_S = {"supernet": 0.08, "largest": 0.0, "smallest": 0.08}
MACS = {"supernet": 130, "largest": 100, "smallest": 25}


def heard(net, size, seed):
    """The first utterances hold the errors; a second seed has one error less."""
    rows = []
    for index, ref in enumerate(REFS):
        wrong = index < ERRORS[net][size] - (seed > 1)
        words = ref.split()
        emitted = [0.5 + LATE_S[net], 1.0 + LATE_S[net]]
        hyp = " ".join(["X", words[1]] if wrong else words)
        row = {"id": f"u{index}", "speaker": f"s{index % 2}", "ref": ref, "hyp": hyp}
        rows.append(row | {"emitted_s": emitted})
    return rows


def write(folder, *, diverged=False):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    sizes = json.loads((folder / "specs.json").read_text("utf-8"))
    net = folder.name.split("-")[1]
    with write_artifact(folder / "scored", kind="report") as draft:
        rows = {} if diverged else {s: heard(net, s, config["seed"]) for s in sizes}
        (draft.path / "heard.json").write_text(json.dumps(rows), "utf-8")
        draft.body = {"of": "twins", "diverged": "stopped"} if diverged else {
            "of": "twins",
            "dev": {s: {"wer": 5.0 + (config["optim"]["lr"] != BEST_LR[net]), "nll": 1.0}
                    for s in sizes},
            "train": {"wall_s": 10.0, "cpu_s": 8.0 * MACS[net], "train_macs": MACS[net]},
        }  # fmt: skip


def main():
    folder = Path(sys.argv[1])
    journal = folder.parent / "journal.txt"
    with journal.open("a", encoding="utf-8") as stream:
        stream.write(folder.name + "\n")
    mark = folder.parent / "die" / folder.name
    if mark.exists():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder)


if __name__ == "__main__":
    main()
