"""The log gives back what it was told and survives a torn line; what a search minimises."""

import errno
from pathlib import Path

import pytest

from todm.core.errors import ArtifactError
from todm.core.front import SHIPPED, Front, FrontPoint, bundle_key, non_dominated
from todm.models.scoring import Scores
from todm.recipes import recipe
from todm.search.objectives import EvaluationLog, logged, minimised

SPACE = recipe("tiny", 5).space


def scored(spec):
    return Scores(wer=100.0 / len(spec.blocks), nll=1.0 / spec.joiner_dim, words=50)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def make(tmp_path, calls):
    def make_score(fingerprint="a"):
        def score(spec):
            calls.append(spec)
            return scored(spec)

        return logged(score, EvaluationLog(tmp_path / "log.jsonl", fingerprint))

    return make_score


def test_a_second_search_takes_values_from_the_log(make, calls):
    first = make()(SPACE.largest)
    assert first == make()(SPACE.largest) == scored(SPACE.largest)
    assert len(calls) == 1


def test_another_fingerprint_starts_anew(make, calls):
    make("a")(SPACE.largest)
    make("b")(SPACE.largest)
    assert len(calls) == 2


def test_a_torn_last_line_is_dropped(make, calls, tmp_path):
    score = make()
    score(SPACE.largest)
    score(SPACE.smallest)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = make()
    again(SPACE.largest)
    again(SPACE.smallest)
    assert calls[2:] == [SPACE.smallest]


@pytest.mark.parametrize("content", ["", "no json\n", '{"fingerprint": "a"}\n{"x": 1}\n', "\xff"])
def test_a_damaged_log_is_no_log(make, calls, tmp_path, content):
    (tmp_path / "log.jsonl").write_bytes(content.encode("latin-1"))
    make()(SPACE.largest)
    assert len(calls) == 1


def test_a_log_that_cannot_be_written_says_so(make, tmp_path, monkeypatch):
    score = make()

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", no_space)
    with pytest.raises(ArtifactError, match=r"log\.jsonl: cannot write \(No space left"):
        score(SPACE.largest)


def test_nll_decides_between_equal_wers_only():
    def value(wer, nll):
        return minimised(SPACE.largest, Scores(wer, nll, 50))[0]

    assert value(10.0, 0.5) < value(10.0, 0.6) < value(10.0, 1e9) < value(12.0, 0.0) + 1e-9


def point(spec, wer, nll=1.0):
    return FrontPoint.of(spec, wer=wer, nll=nll)


def test_front_keeps_what_nothing_dominates(tmp_path):
    small, middle, large = SPACE.smallest, SPACE.middle, SPACE.largest
    kept = non_dominated([point(large, 5.0), point(small, 9.0), point(middle, 9.0)])
    assert [p.spec for p in kept] == [small, large]
    kept = non_dominated([point(large, 5.0), point(small, 9.0), point(middle, 9.0, 0.5)])
    assert [p.spec for p in kept] == [small, middle, large]
    assert non_dominated([]) == ()
    front = Front(points=kept, words=10)
    front.write_json(tmp_path / "front.json")
    assert Front.read_json(tmp_path / "front.json") == front
    assert set(kept[0].bundle_bytes) == {bundle_key(*form) for form in SHIPPED}
