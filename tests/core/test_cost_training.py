"""Training costs against torch's FlopCounterMode, forward and backward."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from todm.core.config import LossConfig, PrunedConfig
from todm.core.cost_mixers import TOEPLITZ_MAX_FRAMES, mixer_cost
from todm.core.cost_training import (
    TrainingMacs,
    TrainingShape,
    forward_macs,
    step_macs,
    training_macs,
)
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, PGNSpec
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.kernels.fourier import fft_size
from todm.losses.simple_transducer import simple_transducer_loss
from todm.models.rnnt import Transducer
from todm.recipes.spaces import small_space


def spec_of(ffn=24, heads=4, modes=5, layers=2, joiner=12, lookahead=0, **form):
    blocks = tuple(
        BlockSpec(
            source_layer=i,
            ffn_dim=ffn + i,
            mixer=MHSSMSpec(
                num_heads=heads, head_dim=3, state_dim=modes + i, backward=lookahead > 0, **form
            ),
        )
        for i in range(layers)
    )
    return SubnetSpec(
        model_dim=16,
        blocks=blocks,
        predictor=PredictorSpec(embed_dim=8),
        joiner_dim=joiner,
        vocab_size=7,
        chunk_frames=lookahead + 1,
        lookahead_frames=lookahead,
    )


def run_by_torch(spec, batch, frames, labels, *, backward):
    model = Transducer(spec)
    features = torch.randn(batch, frames, 80)
    targets = torch.randint(1, spec.vocab_size, (batch, labels))
    with FlopCounterMode(display=False) as counter:
        enc = model.encoder(features, spec)
        logits = model.joiner.lattice(enc, model.predictor(targets), spec.joiner_dim)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops() / 2


def run_pruned_by_torch(spec, batch, frames, labels, width):
    model = Transducer(spec, simple=True)
    features = torch.randn(batch, frames, 80)
    targets = torch.randint(1, spec.vocab_size, (batch, labels))
    lens = torch.full((batch,), frames // 4), torch.full((batch,), labels)
    start = torch.zeros(batch, frames // 4, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        enc, pred = model.encoder(features, spec), model.predictor(targets)
        simple = simple_transducer_loss(*model.simple(enc, pred), targets, *lens)
        logits = model.joiner.kept_nodes(enc, pred, spec.joiner_dim, start, width)
        (logits.sum() + simple.loss_B.sum()).backward()
    return counter.get_total_flops() / 2


def visible_to_torch(macs: TrainingMacs, *, scan: bool) -> float:
    """Leave out what FlopCounterMode does not count; it takes a complex product for one."""
    hidden = macs.predictor + macs.taps + macs.loss + macs.distill + (0 if scan else macs.scan)
    return macs.total - hidden - macs.kernels + macs.kernels / 4


CASES = [
    (spec_of(), 2, 40, 3),
    (spec_of(heads=2, joiner=5), 3, 52, 1),
    (spec_of(layers=1), 1, 8, 0),
    (spec_of(lookahead=3), 2, 40, 3),
    (spec_of(lookahead=7), 1, 20, 2),
    (spec_of(gating="pairs", conv_frames=3), 2, 40, 3),
    (spec_of(gating="head_glu"), 2, 28, 1),
    (spec_of(gating="none", conv_frames=4), 1, 40, 3),
]


@pytest.mark.parametrize(("spec", "batch", "frames", "labels"), CASES)
def test_forward_equals_flop_counter(spec, batch, frames, labels):
    shape = TrainingShape(batch=batch, frames=frames, target_len=labels)
    ours = visible_to_torch(forward_macs(spec, shape), scan=True)
    assert ours == run_by_torch(spec, batch, frames, labels, backward=False)


@pytest.mark.parametrize(("spec", "batch", "frames", "labels"), CASES)
def test_forward_and_backward_equal_flop_counter(spec, batch, frames, labels):
    macs = training_macs(spec, TrainingShape(batch=batch, frames=frames, target_len=labels))
    ways = [visible_to_torch(way, scan=True) for way in (macs.forward, macs.backward)]
    forward = run_by_torch(spec, batch, frames, labels, backward=False)
    assert ways == [forward, run_by_torch(spec, batch, frames, labels, backward=True) - forward]


def test_parallel_gated_networks_hide_nothing_from_torch():
    """Their histories are convolutions, in mixers and predictor alike."""
    mixers = [
        PGNSpec(num_heads=heads, head_dim=3, window=window) for heads, window in ((4, 5), (2, 9))
    ]
    blocks = zip(spec_of().blocks, mixers, strict=True)
    spec = spec_of().model_copy(
        update={
            "blocks": tuple(block.model_copy(update={"mixer": mixer}) for block, mixer in blocks),
            "predictor": PredictorSpec(kind="pgn", embed_dim=8, context_size=4),
        }
    )
    macs = forward_macs(spec, TrainingShape(batch=2, frames=40, target_len=3))
    assert macs.total == run_by_torch(spec, 2, 40, 3, backward=False)
    assert macs.taps == 2 * 10 * 3 * (4 * 5 + 2 * 9)
    assert macs.predictor == 2 * 4 * (8 * 8 * 3 + 16 * 16)


@pytest.mark.parametrize("frames", [4, 8, 12, 40])
def test_linear_state_spaces_hide_nothing_from_torch(frames):
    """Not their kernels either, which are real products; a fixed Krylov matrix is made once."""
    blocks = tuple(
        block.model_copy(
            update={"mixer": LSSLSpec(num_heads=4, head_dim=3, state_dim=5, learn=learn)}
        )
        for block, learn in zip(spec_of().blocks, ("dt", "dt_a"), strict=True)
    )
    spec = spec_of().model_copy(update={"blocks": blocks})
    macs = forward_macs(spec, TrainingShape(batch=2, frames=frames, target_len=3))
    assert macs.total - macs.predictor == run_by_torch(spec, 2, frames, 3, backward=False)
    fixed = spec.blocks[0].mixer.model_copy(update={"learn": "fixed"})
    columns = frames // 4
    assert mixer_cost(fixed).kernel_macs(columns, 0) == 4 * 5 * columns


def test_the_pruned_form_equals_flop_counter():
    spec, full = spec_of(), TrainingShape(batch=2, frames=40, target_len=6)
    form = LossConfig(form="pruned", pruned=PrunedConfig(s_range=3))
    largest, smaller = (full.in_form(form, largest=which) for which in (True, False))
    assert full.in_form(LossConfig(), largest=True) == full
    macs = training_macs(spec, largest)
    counted = run_pruned_by_torch(spec, 2, 40, 6, 3)
    assert sum(visible_to_torch(way, scan=True) for way in (macs.forward, macs.backward)) == counted
    assert training_macs(spec, smaller).forward.simple == 0 < macs.forward.simple
    joiner = [training_macs(spec, shape).forward.joiner for shape in (smaller, full)]
    assert joiner[0] < joiner[1]
    wide = full.model_copy(update={"s_range": 99})
    assert training_macs(spec, wide).forward.joiner == joiner[1]


def test_long_inputs_take_the_fft_form():
    spec, frames = spec_of(layers=1), 4 * (TOEPLITZ_MAX_FRAMES + 1)
    shape = TrainingShape(batch=1, frames=frames, target_len=1)
    macs = forward_macs(spec, shape)
    counted = run_by_torch(spec, 1, frames, 1, backward=False)
    assert visible_to_torch(macs, scan=False) == counted
    size = fft_size(TOEPLITZ_MAX_FRAMES + 1)
    transform = 1.25 * size * math.log2(size)
    channels = spec.blocks[0].mixer.inner_dim
    expected = (2 * channels + 4) * transform + 4 * channels * (size // 2 + 1)
    assert macs.scan == pytest.approx(expected, abs=channels)


def test_long_inputs_look_ahead_block_by_block():
    """Beside the FFT, which torch does not count, one product a block of frames."""
    frames = 4 * (TOEPLITZ_MAX_FRAMES + 3)
    shape = TrainingShape(batch=1, frames=frames, target_len=1)
    causal, ahead = (spec_of(layers=1, lookahead=n) for n in (0, 7))
    extra = forward_macs(ahead, shape).scan - forward_macs(causal, shape).scan
    assert extra == 4 * 3 * math.ceil((TOEPLITZ_MAX_FRAMES + 3) / 8) * 8 * 8
    counted = run_by_torch(ahead, 1, frames, 1, backward=False)
    assert visible_to_torch(forward_macs(ahead, shape), scan=False) + extra == counted


def test_taps_cost_a_product_each():
    spec = spec_of(conv_frames=4)
    shape = TrainingShape(batch=2, frames=40, target_len=1)
    assert forward_macs(spec, shape).taps == 2 * (2 * 10 * 12 * 4)


def test_a_step_shares_front_and_predictor_and_distils_all_but_the_first():
    space, shape = small_space(12), TrainingShape(batch=16, frames=240, target_len=5)
    half = TrainingShape(batch=8, frames=200, target_len=4)
    nets = [(space.largest, shape), (space.smallest, shape), (space.middle, half)]
    found = list(step_macs(nets, "alpha_divergence"))
    alone = training_macs(space.largest, shape)
    assert found == [
        alone,
        training_macs(space.smallest, shape, shared=True, distill="alpha_divergence"),
        training_macs(space.middle, half, shared=True, distill="alpha_divergence"),
    ]
    assert [net.forward.front > 0 for net in found] == [True, False, False]
    assert [net.backward.predictor > 0 for net in found] == [True, False, False]
    assert [net.forward.distill > 0 for net in found] == [False, True, True]
    assert all(net.forward.distill == 0 for net in step_macs(nets, "none"))
    assert 1.0 < sum(net.total for net in found) / alone.total < 3.0


def test_distillation_costs_what_it_reads():
    spec, shape = small_space(12).largest, TrainingShape(batch=16, frames=240, target_len=9)
    paid = {
        mode: training_macs(spec, shape, distill=mode).forward.distill
        for mode in ("none", "full_sum", "encoder", "one_best", "alpha_divergence")
    }
    assert paid["none"] == paid["full_sum"] == 0
    assert paid["encoder"] == 8 * 16 * 60 * spec.model_dim
    nodes, path = 16 * 60 * 10, 16 * (60 + 9)
    assert paid["one_best"] == 12 * (3 * nodes + 24 * path) + 4 * nodes
    assert paid["alpha_divergence"] == 24 * 12 * nodes
