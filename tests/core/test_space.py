"""The search space: sampling, names, counting, nesting, mutation."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.core.errors import ConfigError
from todm.core.mixer_specs import MHSSMSpec, PGNSpec
from todm.core.space import SearchSpace, spread_order
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.recipes.spaces import small_space


def tiny_space(layers=2, lookaheads=(0,), **changes):
    mixer = MHSSMSpec(num_heads=4, head_dim=2, state_dim=2, backward=lookaheads[-1] > 0)
    largest = SubnetSpec(
        model_dim=8,
        blocks=tuple(BlockSpec(source_layer=i, ffn_dim=8, mixer=mixer) for i in range(layers)),
        predictor=PredictorSpec(embed_dim=4),
        joiner_dim=4,
        vocab_size=3,
        lookahead_frames=lookaheads[-1],
    )
    axes = {
        "depths": tuple(range(1, layers + 1)),
        "depth_order": spread_order(layers),
        "ffn_dims": (4, 8),
        "heads": (2, 4),
        "state_dims": (2,),
        "joiner_dims": (2, 4),
        "lookaheads": lookaheads,
    }
    return SearchSpace.parse({"largest": largest.to_json(), **axes, **changes}, where="test")


@st.composite
def nets(draw):
    ahead = tiny_space(lookaheads=(0, 1, 7))
    space = draw(st.sampled_from([tiny_space(), tiny_space(3), ahead, small_space(12)]))
    return space, space.sample(random.Random(draw(st.integers(0, 10**9))))


def test_count_is_the_number_of_different_nets():
    space = tiny_space()
    every = list(space.every())
    assert len(every) == len(set(every)) == space.count() == 2 * (4 + 16)
    assert all(space.contains(spec) for spec in every)


@settings(max_examples=50, deadline=None)
@given(nets())
def test_samples_are_members_and_have_a_genome(case):
    space, spec = case
    assert space.contains(spec)
    genome = space.encode(spec)
    assert space.decode(genome) == spec
    assert set(genome) == set(space.choices())
    other_chunk = spec.model_copy(update={"chunk_frames": 3 * spec.block_frames})
    assert space.contains(other_chunk)


@settings(max_examples=50, deadline=None)
@given(nets(), st.integers(0, 10**9), st.floats(0, 1))
def test_mutants_stay_inside(case, seed, rate):
    space, spec = case
    assert space.contains(space.mutate(spec, random.Random(seed), rate))


@settings(max_examples=20, deadline=None)
@given(nets(), st.integers(0, 10**9))
def test_no_rate_no_mutation_and_seeds_repeat(case, seed):
    space, spec = case
    assert space.mutate(spec, random.Random(seed), 0.0) == spec
    twice = [space.mutate(spec, random.Random(seed), 0.5) for _ in range(2)]
    assert twice[0] == twice[1]


@given(st.integers(1, 24))
def test_kept_layers_are_nested_and_reach_both_ends(layers):
    order = spread_order(layers)
    assert sorted(order) == list(range(layers))
    if layers > 1:
        assert {order[0], order[1]} == {0, layers - 1}
    space = small_space(12)
    sets = [set(space.kept_layers(depth)) for depth in space.depths]
    assert all(small < large for small, large in itertools.pairwise(sets))


def test_named_nets_are_inside_and_ordered():
    space = small_space(12)
    named = space.named()
    assert all(space.contains(spec) for spec in named.values())
    sizes = [len(named[name].blocks) for name in ("largest", "middle", "smallest")]
    assert sizes == [6, 4, 2]


def test_what_is_outside():
    space = tiny_space(3)
    inside = space.uniform(2, 4, 2, 2, 2)
    wider = space.largest.model_copy(update={"joiner_dim": 8})
    odd_layers = inside.model_copy(
        update={
            "blocks": tuple(
                b.model_copy(update={"source_layer": i}) for i, b in enumerate(inside.blocks)
            )
        }
    )
    assert space.contains(inside)
    assert not space.contains(wider)
    assert not space.contains(odd_layers)
    assert not space.contains(inside.model_copy(update={"vocab_size": 9}))


def test_lookahead_is_an_axis_of_its_own():
    space = tiny_space(lookaheads=(0, 1, 7))
    every = list(space.every())
    assert len(every) == len(set(every)) == space.count() == 3 * tiny_space().count()
    assert {spec.lookahead_frames for spec in every} == {0, 1, 7}
    assert all(space.contains(spec) for spec in every)
    assert not space.contains(space.at(space.largest, 3))
    generator = random.Random(0)
    assert {space.sample(generator).lookahead_frames for _ in range(30)} == {0, 1, 7}
    mutants = [space.mutate(space.largest, generator, 0.5) for _ in range(30)]
    assert {spec.lookahead_frames for spec in mutants} == {0, 1, 7}


def test_named_nets_show_every_lookahead():
    space = tiny_space(lookaheads=(0, 1, 7))
    named = space.named()
    found = {name: spec.lookahead_frames for name, spec in named.items()}
    sizes = dict.fromkeys(("largest", "middle", "smallest"), 7)
    assert found == sizes | {"largest@1": 1, "largest@0": 0}
    assert all(space.contains(spec) for spec in named.values())


def test_a_reformed_space_has_the_same_axes():
    space = small_space(12)
    found = space.reformed(
        lookaheads=(0, 1, 7), chunk_frames=16, backward=True, gating="pairs", conv_frames=4
    )
    assert found.count() == 3 * space.count()
    for block in found.largest.blocks:
        assert (block.mixer.backward, block.mixer.gating) == (True, "pairs")
        assert block.mixer.axes() == space.largest.blocks[0].mixer.axes()
    with pytest.raises(ConfigError, match="must be a multiple"):
        space.reformed(lookaheads=(0, 2), chunk_frames=8, backward=True)
    with pytest.raises(ConfigError, match="needs a mixer that looks ahead"):
        space.reformed(lookaheads=(0, 7), chunk_frames=8)


def test_one_lookahead_is_no_decision():
    assert "lookahead" not in tiny_space(lookaheads=(1,)).choices()
    assert tiny_space(lookaheads=(1,)).sample(random.Random(0)).lookahead_frames == 1
    causal, ahead = tiny_space(), tiny_space(lookaheads=(1,))
    axes = [space.sample(random.Random(3)).axes() for space in (causal, ahead)]
    assert axes[1] == axes[0] | {"lookahead": 1}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ffn_dims": (8, 4)}, "ffn_dims must ascend"),
        ({"ffn_dims": (4,)}, "ffn_dims must ascend and end with the largest net's 8"),
        ({"heads": (3, 4)}, "heads: num_heads: Input should be a multiple of 2"),
        ({"depth_order": (0, 0)}, "depth_order must name every layer once"),
        ({"depths": ()}, "depths"),
        ({"lookaheads": (1, 0)}, "lookaheads must ascend and end with the largest net's 0"),
        ({"lookaheads": (0, 4, 7)}, "chunk_frames 8 must be a multiple of each"),
        ({"colours": (1,)}, "unknown key 'colours'"),
    ],
)
def test_wrong_spaces_are_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        tiny_space(**changes)


def gated_space(**changes):
    """Of mixers with axes of their own."""
    mixer = PGNSpec(num_heads=3, head_dim=2, window=6)
    data = tiny_space().to_json() | {"state_dims": (), "heads": (1, 3), "windows": (2, 4, 6)}
    for block in data["largest"]["blocks"]:
        block["mixer"] = mixer.to_json()
    return SearchSpace.parse(data | changes, where="space")


def test_a_space_holds_values_of_its_mixers_axes():
    space = gated_space()
    assert list(space.layer_axes) == ["ffn", "heads", "window"]
    assert space.smallest.axes()["window"] == (2,) * len(space.smallest.blocks)
    nets = set(space.every())
    assert len(nets) == space.count() == len({net.digest() for net in nets})
    generator = random.Random(0)
    for _ in range(50):
        net = space.mutate(space.sample(generator), generator, rate=0.5)
        assert space.contains(net)
        assert space.decode(space.encode(net)) == net
        assert net in nets
    assert not space.contains(tiny_space().largest)
    assert SearchSpace.parse(space.to_json(), where="space") == space


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"state_dims": (2,)}, "state_dims: a mixer of kind pgn has no such axis"),
        ({"windows": ()}, "windows must ascend and end with the largest net's 6"),
        ({"heads": (2,)}, "heads must ascend and end with the largest net's 3"),
    ],
)
def test_values_of_axes_that_the_mixers_lack_are_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        gated_space(**changes)


def test_a_space_of_one_net_holds_that_net_alone():
    for space in (tiny_space(lookaheads=(0, 1)), gated_space()):
        net = space.uniform(1, *(values[0] for values in space.layer_axes.values()), 2)
        alone = SearchSpace.alone(net)
        assert list(alone.every()) == [alone.largest]
        assert alone.largest.blocks[0].mixer == net.blocks[0].mixer


def test_spaces_and_nets_written_before_there_were_other_kinds_keep_their_digests():
    """Of the recipe, by what they were called in results that are quoted."""
    data = small_space(12).to_json()
    assert "windows" not in data
    assert "kind" not in data["largest"]["predictor"]
    assert (
        small_space(12).largest.short_name
        == "L6_F512-512-512-512-512-512_H16-16-16-16-16-16_J128_6e0cbb"
    )
