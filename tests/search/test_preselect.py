"""The surrogate: right where quality is additive, and modest where it knows nothing."""

import random

import pytest

from todm.core.cost import macs_per_audio_s
from todm.core.search_config import SearchConfig
from todm.metrics.hypervolume import hypervolume
from todm.models.scoring import Scores
from todm.recipes.asr import small_space
from todm.search.preselect import BEYOND, Surrogate
from todm.search.study import Study

CHOICES = {"a": (1, 2, 4), "b": (10, 20), "only": (7,)}
GENOMES = [{"a": a, "b": b, "only": 7} for a in CHOICES["a"] for b in CHOICES["b"]]


def quality(genome):
    return {1: 30.0, 2: 12.0, 4: 11.0}[genome["a"]] * {10: 1.0, 20: 0.5}[genome["b"]]


def test_it_learns_what_each_value_gives():
    model = Surrogate(CHOICES, GENOMES, [(quality(g), 1.0) for g in GENOMES])
    predicted = [model.quality(genome) for genome in GENOMES]
    assert predicted == pytest.approx([quality(g) for g in GENOMES], rel=0.15)
    assert sorted(GENOMES, key=model.quality) == sorted(GENOMES, key=quality)
    unseen = Surrogate(CHOICES, GENOMES[:-1], [(quality(g), 1.0) for g in GENOMES[:-1]])
    assert unseen.quality(GENOMES[-1]) == pytest.approx(quality(GENOMES[-1]), rel=0.2)


def test_gain_is_the_hypervolume_of_what_is_expected():
    values = [(quality(g), 100.0 * g["a"] + g["b"]) for g in GENOMES[:4]]
    model = Surrogate(CHOICES, GENOMES[:4], values)
    child, macs = GENOMES[5], 150.0
    reference = (BEYOND * max(v[0] for v in values), BEYOND * max(v[1] for v in values))
    expected = [*values, (model.quality(child), macs)]
    gain = hypervolume(expected, reference) - hypervolume(values, reference)
    assert model.gain(child, macs) == pytest.approx(gain)
    assert gain > 0
    assert model.gain(child, 1e9) == 0.0


def test_one_net_is_enough_to_say_nothing():
    model = Surrogate(CHOICES, GENOMES[:1], [(20.0, 5.0)])
    assert model.quality(GENOMES[-1]) == pytest.approx(20.0)


def test_preselection_finds_a_better_front_than_nsga2_alone():
    """On an additive landscape with noise; the mean of several seeds."""
    space = small_space(12)

    def score(spec):
        noise = random.Random(spec.digest()).uniform(0.97, 1.03)
        gain = sum(0.2 * b.mixer.num_heads / 16 + 0.02 * b.ffn_dim / 512 for b in spec.blocks)
        return Scores(wer=noise * 30.0 / (1.0 + gain), nll=1.0, words=10**6)

    def volume(preselect, seed):
        config = SearchConfig(trials=48, population=12, preselect=preselect, seed=seed)
        study = Study(space, config)
        study.search(score, lambda *_: None)
        points = [(found.wer, macs_per_audio_s(spec)) for spec, found in study.scores().items()]
        return hypervolume(points, (30.0, macs_per_audio_s(space.largest)))

    better = [volume(8, seed) - volume(1, seed) for seed in range(4)]
    assert sum(better) > 0
