"""Proposals: all of a small space, else NSGA-II from fixed starts, the same for the same seed."""

import pytest

from todm.core.cost import macs_per_audio_s
from todm.core.search_config import SearchConfig
from todm.models.scoring import Scores
from todm.recipes import recipe
from todm.recipes.asr import small_space
from todm.search.objectives import EvaluationLog, Objective
from todm.search.propose import proposals, starts
from todm.search.run import explore

SPACE = small_space(12)


def score(spec):
    """Say that wide first layers help, other layers hardly."""
    gain = spec.blocks[0].ffn_dim / 512 + spec.blocks[0].mixer.num_heads / 32
    return Scores(wer=40.0 - 10.0 * gain - 0.1 * len(spec.blocks), nll=1.0, words=300)


def search(log_path, config, space=SPACE, scorer=score, progress=lambda *_: None):
    objective = Objective(scorer, EvaluationLog(log_path, "x"))
    explore(space, config, objective, progress)
    return objective.points


def test_small_spaces_are_evaluated_whole(tmp_path):
    space = recipe("tiny", 5).space.model_copy(update={"depths": (1, 3), "ffn_dims": (32,)})
    space = space.model_copy(update={"heads": (4,), "state_dims": (2, 4)})
    config = SearchConfig(trials=space.count())
    points = search(tmp_path / "log", config, space)
    assert {p.spec for p in points} == set(space.every())


def test_starts_hold_the_named_nets_first():
    found = starts(SPACE, 16)
    assert found[:3] == list(SPACE.named().values())
    assert len(found) == len(set(found)) == 15
    assert len({len(spec.blocks) for spec in found}) == len(SPACE.depths)
    assert starts(SPACE, 1) == found[:3]


def test_trials_are_different_nets_and_the_first_are_the_starts(tmp_path):
    told = []
    config = SearchConfig(trials=30, population=8)
    points = search(tmp_path / "log", config, progress=lambda *args: told.append(args))
    specs = [p.spec for p in points]
    assert len(specs) == len(set(specs)) == 30
    assert specs[:8] == starts(SPACE, 8)
    assert all(SPACE.contains(spec) for spec in specs)
    assert [(done, total) for done, total, _ in told] == [(i, 30) for i in range(1, 31)]


def test_same_seed_same_nets(tmp_path):
    config = SearchConfig(trials=24, population=6, seed=4)
    first, second = (search(tmp_path / name, config) for name in "ab")
    assert first == second
    other = search(tmp_path / "c", config.model_copy(update={"seed": 5}))
    assert other != first


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path):
    config = SearchConfig(trials=26, population=6)
    whole = search(tmp_path / "whole", config)
    calls = []

    def dies(spec):
        calls.append(spec)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return score(spec)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed", config, scorer=dies)
    resumed = search(tmp_path / "killed", config, scorer=dies)
    assert resumed == whole
    assert len(calls) == 26 + 1


def test_evolution_beats_its_starts(tmp_path):
    config = SearchConfig(trials=60, population=10)
    points = search(tmp_path / "log", config)
    bar = macs_per_audio_s(SPACE.middle)
    cheap = [p for p in points if p.macs_per_audio_s <= bar]
    at_start = min(p.wer for p in cheap if p.spec in starts(SPACE, 10))
    assert min(p.wer for p in cheap) < at_start


def test_a_space_that_is_used_up_ends_the_search():
    space = recipe("tiny", 5).space.model_copy(update={"depths": (3,), "ffn_dims": (32,)})
    config = SearchConfig(trials=space.count() - 1, population=2)
    found = list(proposals(space, config, lambda spec: (1.0, float(spec.joiner_dim))))
    assert len(found) == len(set(found)) <= config.trials
