"""What the search minimises, each subnet evaluated once and kept in a log.

The log is how a search resumes: proposals follow from the seed and the values alone, so a search
that starts again takes the values that the log holds and goes on where it was.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from todm.core.errors import ArtifactError
from todm.core.front import FrontPoint
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


class Objective:
    """Evaluates subnets, each once; counts how many different ones there were."""

    def __init__(self, score: Score, log: EvaluationLog) -> None:
        self._score = score
        self._log = log
        self._points: dict[SubnetSpec, FrontPoint] = {}
        self.words = 0

    @property
    def points(self) -> tuple[FrontPoint, ...]:
        """Every evaluated subnet, in the order of evaluation."""
        return tuple(self._points.values())

    def __call__(self, spec: SubnetSpec) -> FrontPoint:
        """Return the point of a subnet."""
        if spec not in self._points:
            scores = self._log.get(spec)
            if scores is None:
                scores = self._score(spec)
                self._log.put(spec, scores)
            self.words = scores.words
            self._points[spec] = FrontPoint.of(spec, wer=scores.wer, nll=scores.nll)
        return self._points[spec]

    def values(self, spec: SubnetSpec) -> tuple[float, float]:
        """Return what is minimised: quality as one number, and MACs per second of audio.

        Quality is the WER plus a part below one word error that grows with the NLL, so that the
        NLL decides between equal WERs only.
        """
        point = self(spec)
        one_error = 100.0 / max(1, self.words)
        nll = max(0.0, point.nll)
        return point.wer + one_error * nll / (1.0 + nll), point.macs_per_audio_s
