"""The accuracy gate on the tiny net, whose own greedy transcripts are its references."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from int8_cpu import INT8
from tiny_bundle import SYMBOLS, babble, random_model

from todm.core.contract import contract_of
from todm.core.errors import ConfigError, GateError
from todm.core.quality import Quality
from todm.core.quantization import GateConfig, OnnxDynamicInt8
from todm.core.target import target_of
from todm.decode.greedy import greedy
from todm.decode.streaming import padded_features
from todm.decode.tokens import TokenTable
from todm.export import gate as gate_module
from todm.export.card_quality import quality_section
from todm.export.evidence import Spoken
from todm.export.gate import AccuracyGate, fewest
from todm.export.likelihood import form_nll, score_form, wer_rise_bound
from todm.export.onnx_graph import export_onnx
from todm.export.schemes import Workshop
from todm.losses.transducer import transducer_loss
from todm.metrics.wer import word_errors
from todm.runtimes.eager import EagerSteps

TABLE = TokenTable(unit="char", symbols=SYMBOLS)
BAD = "encoder.blocks.1.ffn_in"


@torch.no_grad()
def outlier_model():
    """The same function as ``random_model``, but one input of a linear is 3000 times the others.

    The range of its int8 activations is spent on that input.
    """
    model = random_model()
    block = model.encoder.blocks["2"]
    block.ffn_norm.weight[3] *= 3000.0
    block.ffn_norm.bias[3] *= 3000.0
    block.ffn_in.weight[:, 3] /= 3000.0
    return model


def said(steps, samples_S):
    enc_KJ = steps.encode_offline(padded_features(samples_S, steps.contract)[None])[0]
    ids = greedy(steps, enc_KJ[: len(samples_S) // 640]).ids
    return Spoken(samples_S, ids, TABLE.decode(ids))


@pytest.fixture(scope="module")
def dev():
    model = random_model()
    steps = EagerSteps(model, model.spec, contract_of(model.spec, "char"))
    return tuple(said(steps, babble(2.0, 100 + seed)) for seed in range(6))


def gate_of(folder, model, dev, **limits):
    contract = contract_of(model.spec, "char")
    export_onnx(model, contract, target_of("onnx"), folder)
    workshop = Workshop(model, contract, folder)
    config = GateConfig(ranking_utterances=2, **limits)
    return AccuracyGate(workshop, dev, TABLE, config)


@pytest.fixture(scope="module")
def outlier_gate(tmp_path_factory, dev):
    folder = tmp_path_factory.mktemp("outlier")
    return gate_of(folder, outlier_model(), dev, max_nll_rise=0.02, max_wer_rise=1e3)


def test_the_worst_layer_falls_back_and_no_more_than_needed(outlier_gate):
    record = outlier_gate.ship(INT8)
    assert record.status == "met"
    assert record.ranking[0].layer == BAD
    assert record.ranking[0].nll_rise > 3 * record.ranking[1].nll_rise
    assert record.scheme.fallbacks[0] == BAD
    assert len(record.scheme.fallbacks) < 5
    assert record.nll_rise <= 0.02
    assert record.linears["encoder"] == 17 - sum("encoder" in f for f in record.scheme.fallbacks)
    assert record.tried >= 2
    # what lies in the folder is what was judged
    steps = outlier_gate.workshop.open("onnx", "int8")
    assert form_nll(steps, outlier_gate.dev) == pytest.approx(record.nll)
    assert [v.status for v in record.verdicts()] == ["met", "met"]
    # one less fails
    fewer = INT8.model_copy(update={"fallbacks": record.scheme.fallbacks[:-1]})
    outlier_gate.workshop.write(fewer)
    steps = outlier_gate.workshop.open("onnx", "int8")
    assert form_nll(steps, outlier_gate.dev) / record.nll_fp32 - 1.0 > 0.02


def test_the_card_names_the_layers(outlier_gate):
    record = outlier_gate.ship(INT8)
    text = quality_section(Quality(gate=(record,)))
    assert f"keeps in float32: {BAD}" in text
    assert "worst first" in text
    assert "+".join(record.isa) in text


@pytest.mark.parametrize(
    "isa", [("avx2",), ("avx2", "avx512_vnni"), ("avx2", "avx_vnni"), ("asimd",)]
)
def test_seven_bits_come_before_fallbacks_where_eight_saturate(outlier_gate, monkeypatch, isa):
    judge = AccuracyGate._try

    def narrow_holds(self, scheme, *rest):
        trial = judge(self, scheme, *rest)
        status = "met" if scheme.reduce_range else "failed"
        return replace(trial, record=trial.record.model_copy(update={"status": status}))

    def ranked(self, scheme):
        raise LookupError("ranked")

    monkeypatch.setattr(AccuracyGate, "_try", narrow_holds)
    monkeypatch.setattr(AccuracyGate, "rank", ranked)
    monkeypatch.setattr(gate_module, "_saturates", lambda s: s.saturates(isa))
    if isa != ("avx2",):
        with pytest.raises(LookupError, match="ranked"):
            outlier_gate.ship(OnnxDynamicInt8())
        return
    record = outlier_gate.ship(OnnxDynamicInt8())
    assert record.scheme == OnnxDynamicInt8(reduce_range=True)
    assert (record.tried, record.ranking) == (2, ())
    assert "weights of seven bits" in quality_section(Quality(gate=(record,)))
    with pytest.raises(LookupError, match="ranked"):  # unsigned weights do not saturate
        outlier_gate.ship(OnnxDynamicInt8(weight_type="QUInt8"))


def test_a_scheme_that_holds_at_once_is_not_ranked(tmp_path, dev):
    gate = gate_of(tmp_path, random_model(), dev, max_nll_rise=10.0, max_wer_rise=1e3)
    record = gate.ship(OnnxDynamicInt8(fallbacks=("joiner.to_vocab",)))
    assert record.ranking == ()
    assert record.tried == 1
    assert record.scheme.fallbacks == ("joiner.to_vocab",)
    assert record.linears == {"encoder": 17, "decoder": 1, "joiner": 0}


def test_a_gate_that_cannot_hold_says_what_it_found(tmp_path, dev, monkeypatch):
    monkeypatch.setattr("todm.export.gate.wer_rise_bound", lambda *_: 9.0)
    gate = gate_of(tmp_path, random_model(), dev[:1])
    with pytest.raises(GateError, match=r"onnx\.int8: the likelihood rises by .* leave this"):
        gate.ship(OnnxDynamicInt8())


def test_a_gate_with_one_linear_left_to_choose_says_so_too(tmp_path, dev, monkeypatch):
    monkeypatch.setattr("todm.export.gate.wer_rise_bound", lambda *_: 9.0)
    gate = gate_of(tmp_path, random_model(), dev[:1])
    fallbacks = tuple(gate.workshop.layers(OnnxDynamicInt8()))[1:]
    with pytest.raises(GateError, match=rf"with {len(fallbacks)} of {len(fallbacks) + 1} linears"):
        gate.ship(OnnxDynamicInt8(fallbacks=fallbacks))


def test_a_fallback_that_is_no_linear_is_refused(tmp_path, dev):
    gate = gate_of(tmp_path, random_model(), dev[:1])
    with pytest.raises(ConfigError, match=r"no linear 'joiner\.to_vocap'; there are .*to_vocab"):
        gate.ship(OnnxDynamicInt8(fallbacks=("joiner.to_vocap",)))


def test_the_likelihood_is_the_training_loss_of_the_training_form(dev):
    model = random_model()
    steps = EagerSteps(model, model.spec, contract_of(model.spec, "char"))
    spoken = dev[0]
    with torch.no_grad():
        x_1TF = torch.from_numpy(padded_features(spoken.samples_S, steps.contract))[None]
        frames = len(spoken.samples_S) // 640
        enc_1TD = model.encoder(x_1TF, model.spec)[:, :frames]
        targets_1U = torch.tensor([spoken.tokens])
        logits = model.joiner.lattice(enc_1TD, model.predictor(targets_1U), model.spec.joiner_dim)
        loss = transducer_loss(
            logits,
            targets_1U,
            torch.tensor([frames]),
            torch.tensor([len(spoken.tokens)]),
            topology="one_symbol",
        ).loss_B.item()
    assert form_nll(steps, [spoken]) == pytest.approx(loss / len(spoken.tokens), rel=1e-4)
    assert score_form(steps, [spoken], TABLE).nll == form_nll(steps, [spoken])


def test_the_bound_is_one_sided():
    refs = ["a b c d e"] * 50
    exact, other = word_errors(refs, refs), word_errors(refs, ["a b c d e", "a b c d x"] * 25)
    bound = wer_rise_bound(exact, other, seed=0)
    assert 10.0 < bound < 13.0  # 10 points, plus 1.64 standard errors of 1.4
    assert wer_rise_bound(exact, exact, seed=0) == 0.0
    assert wer_rise_bound(other, exact, seed=0) < 0.0


@given(st.integers(1, 60), st.integers(1, 80))
def test_the_search_finds_the_least_count_where_more_is_better(most, least):
    asked = []

    def holds(count):
        assert 1 <= count <= most
        asked.append(count)
        return count >= least

    assert fewest(holds, most) == (least if least <= most else None)
    assert len(set(asked)) == len(asked)
    assert len(asked) <= 2 * most.bit_length() + 1
