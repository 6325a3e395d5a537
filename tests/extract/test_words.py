"""An extracted net hears exactly what its supernet hears with the same spec."""

import json
from types import SimpleNamespace

import pytest
import torch

from todm.core.artifact import load_artifact, write_artifact
from todm.core.contract import contract_of
from todm.core.front import TRIALS_FILE, Front
from todm.core.profile import Budget, load_profile
from todm.core.search_config import SearchConfig
from todm.data.manifest import open_corpus
from todm.evaluate.run import HYPS, EvaluateConfig
from todm.evaluate.run import run as evaluate
from todm.evaluate.source import open_source
from todm.evaluate.transcribe import timed_transcript
from todm.extract.run import run as extract
from todm.features.wav import read_audio
from todm.metrics.wer import word_errors
from todm.models.scoring import corpus_samples, score, scoring_set
from todm.models.store import CONFIG, load_subnet, load_supernet, write_model
from todm.runtimes.eager import EagerSteps
from todm.runtimes.recogniser import StepsRecogniser
from todm.search.run import run as search


@torch.no_grad()
def make_loud(model):
    """Scale random weights so that many different tokens come out."""
    model.encoder.front.mean.fill_(-8.0)
    model.encoder.front.istd.fill_(0.25)
    for layer in (model.joiner.from_encoder, model.joiner.from_predictor, model.joiner.to_vocab):
        layer.weight.mul_(4.0)
    model.joiner.to_vocab.bias[0] += 1.0


@pytest.fixture(scope="module")
def loud(chain, tmp_path_factory):
    """A supernet that hears something, searched, and two nets extracted from it."""
    root = tmp_path_factory.mktemp("loud")
    made = SimpleNamespace(supernet=root / "supernet", front=root / "front", corpus=chain.corpus)
    source = load_supernet(chain.supernet)
    make_loud(source.model)
    with write_artifact(made.supernet, kind="supernet") as draft:
        write_model(draft, source.model, source.table)
        source.config.write_json(draft.path / CONFIG)
    config = SearchConfig(trials=6, population=4)
    search(config, made.supernet, made.corpus, made.front, lambda *_: None)
    made.subnets = {}
    for name, limit in (("all", 1e9), ("half", None)):
        trials = Front.read_json(load_artifact(made.front).file(TRIALS_FILE))
        macs = sorted(point.macs_per_audio_s for point in trials.points)
        budget = Budget(limit=limit or macs[len(macs) // 2], origin="chosen", source="a test")
        profile = load_profile("raspberry_pi_4")
        profile = profile.model_copy(update={"budgets": {"macs_per_audio_s": budget}})
        made.subnets[name] = root / name
        extract(made.supernet, made.front, profile, made.corpus, made.subnets[name])
    return made


def heard_by(recogniser, corpus):
    """Return tokens with their frames, and the text, of every test utterance."""
    found = []
    for utterance in open_corpus(corpus).cuts("test"):
        transcript, _ = timed_transcript(recogniser, read_audio(utterance.audio_path))
        hypothesis = transcript.hypothesis
        found.append((hypothesis.ids, hypothesis.frames, transcript.text))
    return found


@pytest.mark.parametrize("name", ["all", "half"])
def test_test_words_of_an_extracted_net_are_the_supernet_s(loud, name):
    subnet, supernet = load_subnet(loud.subnets[name]), load_supernet(loud.supernet)
    contract = contract_of(subnet.spec, supernet.table.unit)
    steps = EagerSteps(supernet.model, subnet.spec, contract)
    inside = heard_by(StepsRecogniser(steps, supernet.table), loud.corpus)
    assert heard_by(open_source(loud.subnets[name]).recogniser, loud.corpus) == inside
    assert sum(len(ids) for ids, _, _ in inside) > 10  # else equal tokens would show little

    out = loud.subnets[name].with_name(f"{name}.eval")
    report = evaluate(loud.subnets[name], loud.corpus, EvaluateConfig(), out)
    lines = [json.loads(line) for line in (out / HYPS).read_text("utf-8").splitlines()]
    assert [line["hyp"] for line in lines] == [text for _, _, text in inside]
    refs = [utterance.text for utterance in open_corpus(loud.corpus).cuts("test")]
    assert report.value("wer") == word_errors(refs, [text for _, _, text in inside]).wer


@pytest.mark.parametrize("name", ["all", "half"])
def test_dev_wer_of_an_extracted_net_is_the_search_s(loud, name):
    artifact = load_artifact(loud.subnets[name])
    spec, supernet = load_subnet(artifact.path).spec, load_supernet(loud.supernet)
    samples = corpus_samples(open_corpus(loud.corpus), supernet.table, "dev", None)
    data = scoring_set(supernet.model, samples, supernet.table)
    own = score(supernet.model, spec, data).wer
    assert artifact.body["wer"] == artifact.body["search_wer"] == own


def test_the_two_nets_differ(loud):
    specs = [load_subnet(path).spec for path in loud.subnets.values()]
    assert specs[0].axes() != specs[1].axes()
