"""What the search minimises, and the log from which a search in one process resumes.

Proposals follow from the seed and the values alone, so a search that starts again takes the values
that the log holds and goes on as if it had never stopped. A search with a storage needs no log.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from todm.core.cost import macs_per_audio_s
from todm.core.errors import ArtifactError
from todm.core.specs import SubnetSpec
from todm.models.scoring import Scores

Score = Callable[[SubnetSpec], Scores]


class EvaluationLog:
    """Scores by subnet, appended to a JSON-lines file as they come.

    The first line names what the scores depend on (supernet, corpus, utterances); a file of
    another fingerprint is begun anew. A torn last line, left by a killed run, is dropped.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        self._scores = _read(path, fingerprint)
        lines = [{"fingerprint": fingerprint}]
        lines += [{"spec": digest, **vars(scores)} for digest, scores in self._scores.items()]
        self._write("w", "".join(json.dumps(line) + "\n" for line in lines))

    def get(self, spec: SubnetSpec) -> Scores | None:
        """Return the scores of a subnet, if it has been evaluated."""
        return self._scores.get(spec.digest())

    def put(self, spec: SubnetSpec, scores: Scores) -> None:
        """Keep the scores of a subnet."""
        self._scores[spec.digest()] = scores
        self._write("a", json.dumps({"spec": spec.digest(), **vars(scores)}) + "\n")

    def remove(self) -> None:
        """Delete the file: the search is complete."""
        self._path.unlink(missing_ok=True)

    def _write(self, mode: Literal["w", "a"], text: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open(mode, encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            why = error.strerror or error
            raise ArtifactError(
                f"{self._path}: cannot write ({why}); free space or choose another --out"
            ) from error


def _read(path: Path, fingerprint: str) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
        if not lines or json.loads(lines[0]) != {"fingerprint": fingerprint}:
            return found
        for line in lines[1:]:
            row = json.loads(line)
            digest = str(row.pop("spec"))
            found[digest] = Scores(**row)
    except FileNotFoundError:
        return found
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
        return found
    return found


def logged(score: Score, log: EvaluationLog) -> Score:
    """Return a score that looks into the log first, and leaves there what it evaluated."""

    def looked_up(spec: SubnetSpec) -> Scores:
        scores = log.get(spec)
        if scores is None:
            scores = score(spec)
            log.put(spec, scores)
        return scores

    return looked_up


def minimised(spec: SubnetSpec, scores: Scores) -> tuple[float, float]:
    """Return what a search minimises: quality as one number, and MACs per second of audio.

    Quality is the WER plus a part below one word error that grows with the NLL, so that the NLL
    decides between equal WERs only.
    """
    one_error = 100.0 / max(1, scores.words)
    nll = max(0.0, scores.nll)
    return scores.wer + one_error * nll / (1.0 + nll), macs_per_audio_s(spec)
