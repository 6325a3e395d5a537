"""Parity's verdicts: equal tokens are met, no token at all is not judged."""

import pytest
import torch
from tiny_bundle import SYMBOLS, babble, random_model

from todm.core.contract import contract_of
from todm.export.parity import check_parity
from todm.runtimes.eager import EagerSteps

TOKENS = ("parity.tokens.torch_stream_vs_torch_offline", "parity.tokens.ort_vs_torch_offline")


@pytest.fixture(scope="module")
def audio():
    return [babble(1.5, seed) for seed in range(3)]


def steps_of(model):
    assert model.spec.vocab_size == len(SYMBOLS)
    return EagerSteps(model, model.spec, contract_of(model.spec, "char"))


@torch.no_grad()
def silent_model():
    """A net that says blank at every frame."""
    model = random_model()
    model.joiner.to_vocab.bias[0] += 1e4
    return model


def judged(report):
    return {v.name: v for v in report.verdicts}


def test_no_token_is_not_judged_though_outputs_agree(audio):
    steps = steps_of(silent_model())
    report = check_parity(steps, {"ort": steps}, audio)
    found = judged(report)
    for name in TOKENS:
        assert (found[name].status, found[name].value) == ("not_judged", None)
        assert found[name].note == "no token was heard, so none was compared"
    others = {v.status for name, v in found.items() if name not in TOKENS}
    assert others == {"met"}
    assert report.value("parity.tokens") == 0


def test_equal_tokens_are_met(audio):
    steps = steps_of(random_model())
    found = judged(check_parity(steps, {"ort": steps}, audio))
    assert [(found[name].status, found[name].value) for name in TOKENS] == [("met", 0.0)] * 2


def test_tokens_where_the_reference_hears_none_are_a_failure(audio):
    loud = random_model()
    found = judged(check_parity(steps_of(silent_model()), {"ort": steps_of(loud)}, audio))
    assert found[TOKENS[0]].status == "not_judged"
    assert found[TOKENS[1]].status == "failed"
    assert found[TOKENS[1]].value == 4.0  # three recordings and all of them joined
