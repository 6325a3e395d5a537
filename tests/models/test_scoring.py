"""Scores of subnets: the same as a plain pass over each utterance alone."""

import pytest
import torch

from todm.decode.tokens import TokenTable
from todm.losses.transducer import transducer_loss
from todm.metrics.wer import word_errors
from todm.models import scoring
from todm.models.rnnt import Transducer, greedy_batch
from todm.models.scoring import Sample, score, scoring_set
from todm.models.slicing import slice_weights
from todm.recipes import recipe

TABLE = TokenTable(unit="word", symbols=("<blk>", "▁ONE", "▁TWO", "▁SIX"))


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = Transducer(recipe("tiny", TABLE.size).space.largest).eval()
        net.joiner.to_vocab.bias.data[0] = 0.3
    return net


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(5)
    found = []
    for number in range(7):
        tokens = tuple(1 + (number + i) % 3 for i in range(1 + number % 3))
        features = torch.randn(40 + 9 * number, 80, generator=generator)
        found.append(Sample(features, tokens, TABLE.decode(tokens)))
    return found


def one_by_one(model, spec, samples):
    hyps, loss = [], 0.0
    for sample in samples:
        enc_BTD = model.encoder(sample.features_TF[None], spec)
        enc_BTJ = model.joiner.from_encoder(enc_BTD, spec.joiner_dim)
        lens = torch.tensor([enc_BTD.shape[1]])
        hyps.append(TABLE.decode(greedy_batch(model, enc_BTJ, lens, spec)[0].ids))
        targets = torch.tensor([sample.tokens])
        logits = model.joiner.lattice(enc_BTD, model.predictor(targets), spec.joiner_dim)
        loss += float(transducer_loss(logits, targets, lens, torch.tensor([targets.shape[1]]))[0])
    tokens = sum(len(s.tokens) for s in samples)
    return word_errors([s.text for s in samples], hyps).wer, loss / tokens


@pytest.mark.parametrize("name", ["largest", "middle", "smallest"])
def test_batches_score_like_single_utterances(model, samples, name):
    spec = recipe("tiny", TABLE.size).space.named()[name]
    data = scoring_set(model, samples, TABLE, batch_utterances=3)
    with torch.no_grad():
        wer, nll = one_by_one(model, spec, samples)
    found = score(model, spec, data)
    assert found.wer == pytest.approx(wer)
    assert found.nll == pytest.approx(nll, rel=1e-5)
    assert found.words == sum(len(s.text.split()) for s in samples)


def test_dense_twin_scores_like_its_slice(model, samples):
    spec = recipe("tiny", TABLE.size).space.smallest
    twin = slice_weights(model, spec)
    inside = score(model, spec, scoring_set(model, samples, TABLE))
    alone = score(twin, spec, scoring_set(twin, samples, TABLE))
    assert alone.wer == inside.wer
    assert alone.nll == pytest.approx(inside.nll, rel=1e-5)


def test_a_lattice_too_large_is_taken_in_parts(model, samples, monkeypatch):
    spec = recipe("tiny", TABLE.size).space.largest
    data = scoring_set(model, samples, TABLE)
    whole = score(model, spec, data)
    monkeypatch.setattr(scoring, "MAX_LOGITS", 1)
    parts = score(model, spec, data)
    assert parts.wer == whole.wer
    assert parts.nll == pytest.approx(whole.nll, rel=1e-6)
