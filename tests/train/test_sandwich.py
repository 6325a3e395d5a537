"""Which nets a step trains: a pure function of seed and step, each part switchable."""

import random

import pytest

from todm.core.config import SandwichConfig
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.recipes import recipe
from todm.train.sandwich import nets_of_step

SPACE = recipe("tiny", 7).space


def draw(config: SandwichConfig, step: int, seed: int = 0) -> list[tuple[str, SubnetSpec]]:
    return list(nets_of_step(SPACE, config, seed=seed, step=step, total_steps=100))


def test_the_largest_then_the_smallest_then_random_ones() -> None:
    nets = draw(SandwichConfig(num_random=2), 5)
    assert [name for name, _ in nets] == ["largest", "smallest", "random0", "random1"]
    assert nets[0][1] == SPACE.largest
    assert nets[1][1] == SPACE.smallest
    assert all(SPACE.contains(spec) for _, spec in nets)


def test_nets_depend_on_seed_and_step_alone() -> None:
    config = SandwichConfig(num_random=2)
    forwards = [draw(config, step) for step in range(20)]
    random.seed(99)  # the global generator has no say
    backwards = [draw(config, step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert forwards != [draw(config, step, seed=1) for step in range(20)]
    assert len({nets[2][1] for nets in forwards}) > 10


def test_random_nets_come_from_the_whole_space() -> None:
    drawn = [draw(SandwichConfig(), step)[2][1] for step in range(60)]
    assert {len(spec.blocks) for spec in drawn} == set(SPACE.depths)
    assert {spec.joiner_dim for spec in drawn} == set(SPACE.joiner_dims)
    assert any(len({b.ffn_dim for b in spec.blocks}) > 1 for spec in drawn)


@pytest.mark.parametrize(("step", "names"), [(0, 1), (24, 1), (25, 3), (99, 3)])
def test_the_largest_alone_until_the_start(step: int, names: int) -> None:
    assert len(draw(SandwichConfig(start_fraction=0.25), step)) == names


def test_a_later_start_does_not_change_the_draws() -> None:
    assert draw(SandwichConfig(start_fraction=0.25), 50) == draw(SandwichConfig(), 50)


def test_the_parts_are_switchable() -> None:
    def names(config: SandwichConfig) -> list[str]:
        return [name for name, _ in draw(config, 3)]

    assert names(SandwichConfig(smallest=False)) == ["largest", "random0"]
    assert names(SandwichConfig(num_random=0)) == ["largest", "smallest"]
    assert names(SandwichConfig(smallest=False, num_random=0)) == ["largest"]
    with_smallest, without = draw(SandwichConfig(), 3), draw(SandwichConfig(smallest=False), 3)
    assert with_smallest[2] == without[1]  # the switch leaves the random nets alone


def with_lookaheads() -> SearchSpace:
    return SPACE.reformed(lookaheads=(0, 1, 7), chunk_frames=8, backward=True)


def test_all_nets_of_a_step_look_equally_far_ahead() -> None:
    space = with_lookaheads()
    drawn = []
    for step in range(40):
        config = SandwichConfig(start_fraction=0.1)
        nets = nets_of_step(space, config, seed=0, step=step, total_steps=100)
        ahead = {spec.lookahead_frames for _, spec in nets}
        assert len(ahead) == 1
        assert all(space.contains(spec) for _, spec in nets)
        drawn += ahead
    assert set(drawn) == {0, 1, 7}
    assert set(drawn[:10]) != {7}  # also while the largest net trains alone
