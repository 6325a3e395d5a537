"""Importance of layers: a block that does nothing has none, and leaving out is what it says."""

import pytest
import torch

from todm.models.rnnt import Transducer
from todm.models.scoring import Sample
from todm.recipes import recipe
from todm.search.importance import depth_order, layer_importance

CONFIG = recipe("tiny", 7)


def make_model() -> Transducer:
    torch.manual_seed(0)
    return Transducer(CONFIG.space.largest)


def make_samples() -> list[Sample]:
    return [Sample(torch.randn(frames, 80), (1,), "A") for frames in (40, 23)]


@torch.no_grad()
def test_leaving_out_equals_an_identity_in_place_of_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, samples, spec = make_model(), make_samples(), CONFIG.space.largest
    found = layer_importance(model, samples)
    whole = [model.encoder(s.features_TF[None], spec) for s in samples]
    for layer in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(model.encoder.block(layer), "forward", lambda x, *_: x)
            cut = [model.encoder(s.features_TF[None], spec) for s in samples]
        lost = sum(float((a - b).square().sum()) for a, b in zip(whole, cut, strict=True))
        want = lost / sum(float(a.square().sum()) for a in whole)
        assert found[layer] == pytest.approx(want, rel=1e-4)


@torch.no_grad()
def test_a_block_without_effect_goes_first() -> None:
    model = make_model()
    idle = model.encoder.block(1)
    for parameter in (*idle.ffn_out.parameters(), *idle.mixer.parameters()):
        parameter.zero_()
    importance = layer_importance(model, make_samples())
    assert importance[1] == 0.0
    assert min(importance[0], importance[2]) > 0.0
    assert depth_order(importance)[-1] == 1


def test_order_falls_and_ties_keep_the_lower_layer() -> None:
    assert depth_order([0.1, 0.5, 0.5, 0.0]) == (1, 2, 0, 3)
