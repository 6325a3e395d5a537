"""``todm search`` by two processes with one journal: one search, one front."""

import json
import os
import subprocess
import sys

from todm.core.front import FRONT_FILE, TRIALS_FILE, Front, non_dominated
from todm.core.search_config import SearchConfig
from todm.search.run import run as search

TIMEOUT_S = 300.0


def command(chain, out, journal):
    settings = ("trials=8", "population=4", "eval_utterances=3", f"storage={journal}")
    changed = [part for setting in settings for part in ("--set", setting)]
    return [
        *(sys.executable, "-m", "todm", "search", str(chain.supernet), "--out", str(out)),
        *(*changed, "--json"),
    ]


def test_two_processes_share_one_search_and_one_place(chain, tmp_path):
    out, journal = tmp_path / "front", tmp_path / "journal"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            command(chain, out, journal),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [worker.communicate(timeout=TIMEOUT_S) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], answers
    first, second = (json.loads(stdout) for stdout, _ in answers)
    assert first == second
    trials, front = (Front.read_json(out / name) for name in (TRIALS_FILE, FRONT_FILE))
    digests = [point.spec.digest() for point in trials.points]
    assert len(set(digests)) == len(digests) == 8
    assert front.points == non_dominated(trials.points)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["front"]
    config = SearchConfig(trials=4, population=4, eval_utterances=3)
    search(config, chain.supernet, chain.corpus, tmp_path / "alone", progress=lambda *_: None)
    alone = Front.read_json(tmp_path / "alone" / TRIALS_FILE)  # the generation both begin with
    shared = {point.spec.digest(): point for point in trials.points}
    assert all(shared[point.spec.digest()] == point for point in alone.points)
