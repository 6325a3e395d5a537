"""One training of ``supernet_vs_single.py`` in a process of its own: trained, then scored.

    python benchmarks/twins_job.py RUN_FOLDER CORPUS

The folder holds ``config.json`` and ``specs.json`` (what to score, by size). The training is the
one of ``todm train-supernet --config``, goes on where it was killed, and only one process at a
time works in the folder: another one waits and finds the work done.
"""

import fcntl
import json
import sys
from pathlib import Path

from twins_score import DevScore, Heard, dev_scores, hear

from todm.cli.train_supernet import train_supernet
from todm.core.artifact import is_complete, load_artifact, write_artifact
from todm.core.errors import ArtifactError, GateError, TodmError
from todm.core.specs import SubnetSpec
from todm.data.manifest import open_corpus
from todm.models.store import load_supernet

CONFIG, SPECS, LOCK = "config.json", "specs.json", "lock"
TRAINED, SCORED = "trained", "scored"
HEARD = "heard.json"


def main() -> int:
    """Train and score; 0 also where the training diverged, which is a result."""
    folder, corpus = map(Path, sys.argv[1:3])
    with (folder / LOCK).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete(folder / SCORED, "report"):
            return 0
        try:
            if not is_complete(folder / TRAINED, "supernet"):
                train_supernet(corpus, folder / TRAINED, recipe=None, config=folder / CONFIG)
            write_scores(folder, corpus)
        except GateError as error:
            write_divergence(folder, str(error))
        except TodmError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    return 0


def read_specs(folder: Path) -> dict[str, SubnetSpec]:
    """Read the nets to score."""
    data = json.loads((folder / SPECS).read_text("utf-8"))
    return {size: SubnetSpec.parse(spec, where=str(folder)) for size, spec in data.items()}


def write_scores(folder: Path, corpus: Path) -> None:
    """Score the trained nets on dev and test and write the report artifact."""
    net, opened, specs = load_supernet(folder / TRAINED), open_corpus(corpus), read_specs(folder)
    dev, heard = dev_scores(net, specs, opened), hear(net, specs, opened, "test")
    parents = {"model": net.artifact, "corpus": opened.artifact}
    with write_artifact(folder / SCORED, kind="report", parents=parents) as draft:
        rows = {size: [row.to_json() for row in heard[size]] for size in specs}
        (draft.path / HEARD).write_text(json.dumps(rows) + "\n", "utf-8")
        draft.body = {
            "of": "twins",
            "dev": {size: one.to_json() for size, one in dev.items()},
            "train": {k: v for k, v in net.artifact.body.items() if k != "corpus_path"},
        }


def write_divergence(folder: Path, reason: str) -> None:
    """Write the report of a training that stopped because it diverged."""
    with write_artifact(folder / SCORED, kind="report") as draft:
        (draft.path / HEARD).write_text("{}\n", "utf-8")
        draft.body = {"of": "twins", "diverged": reason}


class Scores:
    """What a run's report holds."""

    def __init__(self, folder: Path) -> None:
        artifact = load_artifact(folder / SCORED, "report")
        if artifact.body.get("of") != "twins":
            raise ArtifactError(f"{artifact.path}: is no report of a twin; delete it")
        self.diverged = str(artifact.body.get("diverged", ""))
        self.train = artifact.body.get("train", {})
        dev = artifact.body.get("dev", {})
        assert isinstance(dev, dict)
        self.dev = {k: DevScore.parse(v, where=str(folder)) for k, v in dev.items()}
        rows = json.loads(artifact.file(HEARD).read_text("utf-8"))
        self.heard = {
            size: [Heard.parse(row, where=str(folder)) for row in rows[size]] for size in rows
        }

    def choice(self) -> tuple[float, float]:
        """Return the mean dev WER and NLL over the sizes; infinite where training diverged."""
        if self.diverged:
            return float("inf"), float("inf")
        found = self.dev.values()
        return sum(d.wer for d in found) / len(found), sum(d.nll for d in found) / len(found)


if __name__ == "__main__":
    sys.exit(main())
