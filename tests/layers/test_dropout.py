"""The dropout rate follows the width as its formula says, and the masks their generator."""

import pytest
import torch

from todm.core.config import DropoutConfig
from todm.core.cost import chunk_macs
from todm.core.mixer_specs import MHSSMSpec
from todm.core.specs import BlockSpec, SubnetSpec
from todm.layers.block import Block
from todm.layers.dropout import DropoutPlan, dropout_plan
from todm.recipes.spaces import small_space

SPACE = small_space(5)  # FFN 128, 256, 384, 512; heads 4, 8, 12, 16


def make_plan(mode: str = "adaptive", rate: float = 0.2, seed: int = 0) -> DropoutPlan:
    config = DropoutConfig.model_validate({"mode": mode, "rate": rate})
    return dropout_plan(config, SPACE, SPACE.largest, torch.Generator().manual_seed(seed))


def block(ffn_dim: int = 512, num_heads: int = 16) -> BlockSpec:
    mixer = MHSSMSpec(num_heads=num_heads, head_dim=8, state_dim=16)
    return BlockSpec(source_layer=0, ffn_dim=ffn_dim, mixer=mixer)


def test_adaptive_rate_grows_from_zero_with_the_width() -> None:
    plan = make_plan()
    ffn = [plan.ffn_rate(block(ffn_dim=width)) for width in SPACE.ffn_dims]
    heads = [plan.mixer_rate(block(num_heads=width)) for width in SPACE.heads]
    assert ffn == pytest.approx([0.0, 0.2 / 3, 0.4 / 3, 0.2])
    assert heads == pytest.approx([0.0, 0.2 / 3, 0.4 / 3, 0.2])


def test_each_rate_follows_its_own_axis() -> None:
    plan = make_plan()
    uneven = block(ffn_dim=128, num_heads=16)
    assert plan.ffn_rate(uneven) == 0.0
    assert plan.mixer_rate(uneven) == pytest.approx(0.2)


def test_rate_by_macs_is_of_the_whole_net() -> None:
    def plan_of(spec: SubnetSpec, mode: str = "adaptive") -> DropoutPlan:
        values = {"mode": mode, "rate": 0.2, "adaptive_by": "macs"}
        return dropout_plan(DropoutConfig.model_validate(values), SPACE, spec, torch.Generator())

    low, middle, high = (
        chunk_macs(net).total for net in (SPACE.smallest, SPACE.middle, SPACE.largest)
    )
    for spec, share in (
        (SPACE.smallest, 0.0),
        (SPACE.middle, (middle - low) / (high - low)),
        (SPACE.largest, 1.0),
    ):
        plan = plan_of(spec)
        for width in (block(128, 4), block(512, 16)):  # whatever the layer's own
            assert plan.ffn_rate(width) == plan.mixer_rate(width) == pytest.approx(0.2 * share)
    assert plan_of(SPACE.smallest, "fixed").ffn_rate(block()) == 0.2
    assert plan_of(SPACE.largest, "none").ffn_rate(block()) == 0.0


def test_fixed_and_none_ignore_the_width() -> None:
    for spec in (block(128, 4), block(512, 16)):
        fixed, none = make_plan("fixed"), make_plan("none")
        assert (fixed.ffn_rate(spec), fixed.mixer_rate(spec)) == (0.2, 0.2)
        assert (none.ffn_rate(spec), none.mixer_rate(spec)) == (0.0, 0.0)


def test_an_axis_with_one_width_takes_the_whole_rate() -> None:
    space = SPACE.model_copy(update={"ffn_dims": (512,)})
    plan = dropout_plan(DropoutConfig(rate=0.2), space, space.largest, torch.Generator())
    assert plan.ffn_rate(block()) == 0.2


def test_masks_depend_on_the_generator_alone() -> None:
    x = torch.ones(4, 3, 50)
    first, again = make_plan(seed=1).drop(x, 0.5), make_plan(seed=1).drop(x, 0.5)
    torch.manual_seed(123)
    third = make_plan(seed=1).drop(x, 0.5)
    assert torch.equal(first, again)
    assert torch.equal(first, third)
    assert not torch.equal(first, make_plan(seed=2).drop(x, 0.5))


def test_a_mask_is_shared_by_the_frames_of_an_utterance_only() -> None:
    dropped = make_plan().drop(torch.ones(2, 6, 200), 0.5)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0, 0], dropped[1, 0])


def test_kept_channels_are_scaled_up_so_that_the_mean_stays() -> None:
    dropped = make_plan().drop(torch.ones(1, 1, 20_000), 0.25)
    kept = dropped[dropped > 0.0]
    torch.testing.assert_close(kept, torch.full_like(kept, 4.0 / 3.0))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)  # five standard deviations


def test_rate_zero_changes_nothing_and_draws_nothing() -> None:
    plan, x = make_plan(), torch.randn(2, 3, 4)
    before = plan.generator.get_state()
    assert plan.drop(x, 0.0) is x
    assert torch.equal(plan.generator.get_state(), before)


def test_a_block_drops_in_training_only_as_its_width_asks() -> None:
    torch.manual_seed(0)
    module, x = Block(128, block()), torch.randn(2, 5, 128)
    with torch.no_grad():
        quiet = module(x, block(), None)
        assert not torch.equal(module(x, block(), make_plan()), quiet)
        assert torch.equal(module(x, block(), make_plan("none")), quiet)
        least = block(128, 4)
        assert torch.equal(module(x, least, make_plan()), module(x, least, None))
        again = module(x, block(), make_plan(seed=3))
        assert torch.equal(module(x, block(), make_plan(seed=3)), again)
