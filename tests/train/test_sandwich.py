"""Which nets a step trains: a pure function of seed and step, each part switchable."""

import itertools
import random
from collections import Counter

import pytest

from todm.core.config import SandwichConfig
from todm.core.cost_training import TrainingShape
from todm.core.ledger import TrainingLedger
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.recipes import recipe
from todm.train.sandwich import nets_of_step, planned_ledger, rows_of_net

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


def test_smaller_nets_on_every_kth_step_from_the_start() -> None:
    config = SandwichConfig(start_fraction=0.25, every=4)
    with_smaller = [step for step in range(100) if len(draw(config, step)) > 1]
    assert with_smaller == list(range(25, 100, 4))
    assert draw(config, 29) == draw(SandwichConfig(), 29)  # the draws are those of every step


def test_the_smallest_is_drawn_with_its_probability() -> None:
    def names(config: SandwichConfig, step: int) -> list[str]:
        return [name for name, _ in nets_of_step(SPACE, config, seed=2, step=step, total_steps=400)]

    config = SandwichConfig(smallest=0.25)
    drawn = [names(config, step) for step in range(400)]
    assert all("random0" in found for found in drawn)
    assert sum("smallest" in found for found in drawn) == pytest.approx(100, abs=35)  # 4 sigma
    swapped = config.model_copy(update={"smallest_replaces": True})
    for step in range(400):
        want = ["largest", "smallest"] if "smallest" in drawn[step] else ["largest", "random0"]
        assert names(swapped, step) == want


def test_replacing_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="num_random of at least 1"):
        SandwichConfig(num_random=0, smallest_replaces=True)


def test_rows_are_a_part_of_the_batch_for_all_but_the_largest() -> None:
    config = SandwichConfig(batch_fraction=0.25)

    def rows(name: str, step: int, fraction: float = 0.25) -> list[int] | None:
        part = config.model_copy(update={"batch_fraction": fraction})
        return rows_of_net(part, 16, seed=0, step=step, name=name)

    assert rows("largest", 3) is None
    assert rows("smallest", 3, 1.0) is None
    drawn = [rows("smallest", step) for step in range(200)]
    assert drawn == [rows("smallest", step) for step in range(200)]
    assert all(r is not None and len(set(r)) == 4 and r == sorted(r) for r in drawn)
    counts = Counter(index for r in drawn for index in r or [])
    assert set(counts) == set(range(16))
    assert max(counts.values()) < 90  # 50 expected
    assert rows("random0", 3) != rows("smallest", 3)
    assert rows_of_net(config, 1, seed=0, step=0, name="smallest") is None
    assert len(rows_of_net(config, 3, seed=0, step=0, name="smallest") or []) == 1


SHAPE = TrainingShape(batch=4, frames=120, target_len=3)


def planned(**sandwich: object) -> TrainingLedger:
    config = recipe("tiny", 7)
    part = SandwichConfig.model_validate(sandwich)
    return planned_ledger(config.model_copy(update={"sandwich": part}), itertools.repeat(SHAPE))


@pytest.mark.parametrize(
    ("sandwich", "share"),
    [({"start_fraction": 0.5}, 0.5), ({"every": 3}, 1 / 3), ({"batch_fraction": 0.5}, 0.5)],
)
def test_what_is_left_out_is_not_paid(sandwich: dict[str, float], share: float) -> None:
    """Of the smallest net alone, which costs the same in every step."""
    everything = planned(num_random=0).ratio_to_largest - 1
    found = planned(num_random=0, **sandwich).ratio_to_largest - 1
    tolerance = 0.02 if "batch_fraction" in sandwich else 1e-9  # kernels do not shrink with it
    assert found == pytest.approx(share * everything, rel=tolerance)


def test_one_smaller_net_costs_less_than_two() -> None:
    two = planned().ratio_to_largest
    one = planned(smallest=0.3, smallest_replaces=True).ratio_to_largest
    assert 1 < one < two
    assert planned(num_random=0, smallest=0).ratio_to_largest == 1.0


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
