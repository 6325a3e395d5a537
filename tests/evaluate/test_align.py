"""Forced alignment by recognisers whose best path is known."""

import dataclasses
from itertools import combinations

import fake_runtime
import numpy as np
import pytest

from todm.core.artifact import load_artifact
from todm.core.errors import ConfigError
from todm.core.report import Report
from todm.data.manifest import open_corpus
from todm.decode.greedy import greedy
from todm.decode.tokens import BLANK, TokenTable
from todm.evaluate.align import forced_frames, with_aligned_ends
from todm.evaluate.run import REPORT, EvaluateConfig, run
from todm.evaluate.source import open_source

FAKE = EvaluateConfig(runtime="fake")


class RandomSteps(fake_runtime.FakeSteps):
    """Joins that depend on the last token, so that the context matters."""

    def __init__(self, contract):
        super().__init__(contract)
        self._table_VJ = np.random.default_rng(3).standard_normal((4, contract.joiner_dim))

    def predict(self, context_NC):
        return self._table_VJ[context_NC[:, -1]].astype(np.float32)


def score(steps, enc_KJ, tokens, frames):
    """Log-probability of a path, followed as the search follows it."""
    context_1C, total = steps.start_context(), 0.0
    emitted = dict(zip(frames, tokens, strict=True))
    for k, enc_J in enumerate(enc_KJ):
        (logits_V,) = steps.join(enc_J[None], steps.predict(context_1C)).astype(np.float64)
        token = emitted.get(k, 0)
        total += logits_V[token] - np.logaddexp.reduce(logits_V)
        if token:
            context_1C = np.concatenate([context_1C[:, 1:], [[token]]], 1)
    return total


def test_the_best_of_all_paths_by_brute_force(bundle):
    steps = RandomSteps(open_source(bundle, "fake").recogniser.contract)
    enc_KJ = np.random.default_rng(0).standard_normal((6, steps.contract.joiner_dim))
    enc_KJ, tokens = enc_KJ.astype(np.float32), (1, 2, 1)
    best = max(combinations(range(6), 3), key=lambda f: score(steps, enc_KJ, tokens, f))
    assert forced_frames(steps, enc_KJ, tokens) == best


def test_what_greedy_search_heard_is_aligned_where_it_was_heard(bundle):
    steps = open_source(bundle, "fake").recogniser.steps
    enc_KJ = np.zeros((12, steps.contract.joiner_dim), np.float32)
    enc_KJ[:, 0] = 5.0
    enc_KJ[[2, 7]] = 0.0
    enc_KJ[2, 1] = enc_KJ[7, 2] = 5.0
    found = greedy(steps, enc_KJ)
    assert found.ids == (1, 2)
    assert forced_frames(steps, enc_KJ, found.ids) == found.frames == (2, 7)


@pytest.fixture
def _fake_everywhere(monkeypatch):
    from todm.runtimes import RUNTIMES

    monkeypatch.setitem(RUNTIMES, "ort", fake_runtime.FAKES["fake"])


@pytest.mark.usefixtures("_fake_everywhere")
def test_words_are_complete_where_they_are_heard(bundle, corpus):
    opened = open_corpus(corpus)
    aligned = with_aligned_ends(open_source(bundle), opened, opened.cuts("test"))
    # u1 and u3 are heard as they are written: within two frames of each burst's start.
    for utterance, starts_s in zip(aligned, ((0.3, 1.0), None, (0.3, 0.9, 1.5)), strict=True):
        if starts_s is not None:
            assert utterance.word_ends_s == pytest.approx([s + 0.04 for s in starts_s], abs=0.05)


@pytest.mark.usefixtures("_fake_everywhere")
def test_the_report_names_whose_clock_it_is(bundle, corpus, tmp_path):
    report = run(bundle, corpus, FAKE, tmp_path / "out", aligner=bundle)
    (median,) = [m for m in report.measurements if m.name == "emission_delay_ms.median"]
    assert "bundle's forced alignment" in median.note
    assert median.value == 0.0  # its own clock
    artifact = load_artifact(tmp_path / "out", "report")
    assert artifact.manifest.parents["aligner"] == load_artifact(bundle).digest
    assert Report.read_json(artifact.file(REPORT)) == report


@pytest.mark.usefixtures("_fake_everywhere")
def test_wrong_aligners(bundle, corpus):
    other = TokenTable(unit="word", symbols=(BLANK, "\u2581ONE", "\u2581SIX"))
    opened = dataclasses.replace(open_corpus(corpus), table=other)
    with pytest.raises(ConfigError, match="has other tokens than"):
        with_aligned_ends(open_source(bundle), opened, opened.cuts("test"))


@pytest.mark.usefixtures("_fake_everywhere")
def test_more_labels_than_frames_have_no_alignment(bundle, corpus):
    opened = open_corpus(corpus)
    long = dataclasses.replace(opened.cuts("test")[0], tokens=(1, 2) * 100)
    (found,) = with_aligned_ends(open_source(bundle), opened, [long])
    assert found.word_ends_s is None
