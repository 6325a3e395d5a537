"""One worker of a shared study: python shared_worker.py '{"storage": ..., ...}'.

It evaluates by a formula and takes ``seconds`` for each net; ``hang_at`` is the net at which it
stands still until it is killed. It begins when the file ``go`` is there and leaves its own nets,
and what it saw of the whole study, in ``out``.
"""

import json
import sys
import time
from pathlib import Path

from todm.core.search_config import SearchConfig
from todm.models.scoring import Scores
from todm.recipes.spaces import small_space
from todm.search.study import Study

SPACE = small_space(12)


def formula(spec):
    """Say that width helps, early layers' most."""
    gain = sum(b.ffn_dim / (512 * (i + 1)) for i, b in enumerate(spec.blocks))
    return Scores(wer=40.0 - 8.0 * gain, nll=1.0 / spec.joiner_dim, words=300)


def told(scores):
    """Return a study's scores as builtins, in their order."""
    return [[spec.digest(), vars(found)] for spec, found in scores.items()]


def main(told_to):
    config = SearchConfig.parse(told_to["config"], where="test")
    study, mine = Study(SPACE, config, "shared"), []

    def score(spec):
        mine.append(spec.digest())
        if len(mine) == told_to.get("hang_at"):
            Path(told_to["out"]).write_text("hanging", "utf-8")
            time.sleep(600)
        time.sleep(told_to["seconds"])
        return formula(spec)

    Path(told_to["out"]).write_text("ready", "utf-8")
    while not Path(told_to["go"]).exists():
        time.sleep(0.01)
    study.search(score, lambda *_: None)
    result = {"mine": mine, "whole": told(study.scores())}
    Path(told_to["out"]).write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
