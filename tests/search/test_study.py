"""A study alone: all of a small space, else NSGA-II from fixed starts, the same for a seed."""

import pytest

from todm.core.search_config import SearchConfig
from todm.models.scoring import Scores
from todm.recipes import recipe
from todm.recipes.spaces import small_space
from todm.search.objectives import EvaluationLog, logged
from todm.search.run import explore, trials_of
from todm.search.sampler import starts
from todm.search.study import Study

SPACE = small_space(12)


def score(spec):
    """Say that wide first layers help, other layers hardly."""
    gain = spec.blocks[0].ffn_dim / 512 + spec.blocks[0].mixer.num_heads / 32
    return Scores(wer=40.0 - 10.0 * gain - 0.1 * len(spec.blocks), nll=1.0, words=300)


def search(config, space=SPACE, scorer=score, progress=lambda *_: None):
    study = Study(space, config)
    explore(study, scorer, progress)
    return trials_of(study).points


def test_small_spaces_are_evaluated_whole():
    space = recipe("tiny", 5).space.model_copy(update={"depths": (1, 3), "ffn_dims": (32,)})
    space = space.model_copy(update={"heads": (4,), "state_dims": (2, 4)})
    config = SearchConfig(trials=space.count())
    points = search(config, space)
    assert [p.spec for p in points] == list(space.every())


def test_starts_hold_the_named_nets_and_every_axis_alone():
    found = starts(SPACE, 16)
    assert found[:3] == list(SPACE.named().values())
    assert len(found) == len(set(found)) == 3 + 2 * 5
    for base in (SPACE.largest, SPACE.smallest):
        genes = SPACE.encode(base)
        kept = set(map(str, SPACE.kept_layers(SPACE.depths[0])))
        changed = [
            {name.rstrip("012345") for name, value in SPACE.encode(spec).items()
             if value != genes[name] and (name.isalpha() or name[-1] in kept)}
            for spec in found[3:]
        ]  # fmt: skip
        alone = [axes.pop() for axes in changed if len(axes) == 1]
        assert sorted(alone) == ["depth", "ffn", "heads", "joiner", "state"]
    assert starts(SPACE, 1) == found[:3]


def test_trials_are_different_nets_and_the_first_are_the_starts():
    told = []
    config = SearchConfig(trials=30, population=8)
    points = search(config, progress=lambda *args: told.append(args))
    specs = [p.spec for p in points]
    assert len(specs) == len(set(specs)) == 30
    assert specs[:8] == starts(SPACE, 8)
    assert all(SPACE.contains(spec) for spec in specs)
    assert [(done, total) for done, total, _ in told] == [(i, 30) for i in range(1, 31)]


def test_same_seed_same_nets():
    config = SearchConfig(trials=24, population=6, seed=4)
    first, second = (search(config) for _ in range(2))
    assert first == second
    other = search(config.model_copy(update={"seed": 5}))
    assert other != first


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path):
    config = SearchConfig(trials=26, population=6)
    whole = search(config)
    calls = []

    def dies(spec):
        calls.append(spec)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return score(spec)

    def logging():
        return logged(dies, EvaluationLog(tmp_path / "log", "x"))

    with pytest.raises(KeyboardInterrupt):
        search(config, scorer=logging())
    resumed = search(config, scorer=logging())
    assert resumed == whole
    assert len(calls) == 26 + 1


def test_evolution_beats_its_starts():
    """On a landscape where one layer's width is worth more than all others'."""

    def favours_layer_5(spec):
        width = sum(b.ffn_dim for b in spec.blocks if b.source_layer == 5)
        return Scores(wer=40.0 - width / 20, nll=1.0, words=300)

    points = search(SearchConfig(trials=60, population=10), scorer=favours_layer_5)
    first = points[:10]
    best = min(p.wer for p in points)
    assert [p.spec for p in first] == starts(SPACE, 10)
    cheapest = [min(p.macs_per_audio_s for p in part if p.wer == best) for part in (points, first)]
    assert cheapest[0] < cheapest[1]


def test_a_space_that_is_nearly_used_up_gives_every_net_that_is_wanted():
    space = recipe("tiny", 5).space.model_copy(update={"depths": (3,), "ffn_dims": (32,)})
    config = SearchConfig(trials=space.count() - 1, population=2)
    found = search(config, space, lambda spec: Scores(1.0, float(spec.joiner_dim), 9))
    assert len({point.spec for point in found}) == config.trials


def test_starts_are_parents():
    """The second generation is made of the first's values, up to a mutation here and there."""
    config = SearchConfig(trials=40, population=8)
    first = starts(SPACE, 8)
    points = search(config)
    assert [p.spec for p in points[:8]] == first
    children = [p.spec for p in points[8:16]]
    genes = {name: {SPACE.encode(s)[name] for s in first} for name in SPACE.choices()}
    inherited = [
        all(SPACE.encode(s)[name] in values for name, values in genes.items()) for s in children
    ]
    assert sum(inherited) >= 4  # a mutation of one gene in twenty may bring a new value
