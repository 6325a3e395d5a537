"""A training's ledger: sums over steps, exact through JSON."""

import json

import pytest

from todm.core.cost_training import TrainingShape, training_macs
from todm.core.ledger import TrainedNet, TrainingLedger
from todm.recipes.spaces import small_space

SPACE = small_space(12)
SHAPES = [TrainingShape(batch=b, frames=f, target_len=u) for b, f, u in [(4, 200, 5), (2, 96, 3)]]


def ledger() -> TrainingLedger:
    """Two steps of the largest net, the second with the smallest on half of the batch."""
    part = TrainingShape(batch=1, frames=80, target_len=2)
    largest = [TrainedNet("largest", SPACE.largest, shape, 150) for shape in SHAPES]
    small = TrainedNet("smallest", SPACE.smallest, part, 80)
    return (
        TrainingLedger()
        .after_step([largest[0]], "none")
        .after_step([largest[1], small], "alpha_divergence")
    )


def test_every_net_is_counted_with_the_shape_of_its_step() -> None:
    made = ledger()
    largest, smallest = made.nets["largest"], made.nets["smallest"]
    assert (made.steps, largest.steps, smallest.steps) == (2, 2, 1)
    assert (largest.utterances, largest.frames, largest.padded_frames) == (6, 300, 800 + 192)
    assert (smallest.utterances, smallest.frames, smallest.padded_frames) == (1, 80, 80)
    want = [training_macs(SPACE.largest, shape) for shape in SHAPES]
    assert largest.macs == want[0] + want[1]
    part = TrainingShape(batch=1, frames=80, target_len=2)
    small = training_macs(SPACE.smallest, part, shared=True, distill="alpha_divergence")
    assert smallest.macs == small
    assert made.macs == want[0].total + want[1].total + small.total


def test_the_ratio_is_over_the_largest_net_alone() -> None:
    alone = TrainingLedger().after_step(
        [TrainedNet("largest", SPACE.largest, SHAPES[0], 1)], "alpha_divergence"
    )
    assert alone.ratio_to_largest == 1.0
    made = ledger()
    assert made.ratio_to_largest == pytest.approx(
        1 + made.nets["smallest"].macs.total / made.nets["largest"].macs.total
    )


def test_json_keeps_every_count() -> None:
    made = ledger().timed(1.25, 3.0)
    again = TrainingLedger.parse(json.loads(json.dumps(made.to_json())), where="test")
    assert again == made
    assert again.macs == made.macs
