"""Word errors against counts made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todm.core.errors import DataError
from todm.metrics.wer import errors_per_word, matched_words, word_errors

TEXTS = st.lists(st.sampled_from(["A", "B", "C"]), max_size=6).map(" ".join)


def test_hand_counts():
    refs = ["ONE TWO THREE", "FOUR", "FIVE SIX", ""]
    hyps = ["ONE TOO THREE FOUR", "", "FIVE SIX", "UH OH"]
    found = word_errors(refs, hyps)
    assert (found.substitutions, found.deletions, found.insertions) == (1, 1, 1 + 2)
    assert (found.words, found.utterances) == (6, 4)
    assert found.wer == pytest.approx(100 * 5 / 6)
    assert [u.errors for u in found.per_utterance] == [2, 1, 0, 2]
    assert [u.words for u in found.per_utterance] == [3, 1, 2, 0]


def test_insertions_carry_it_over_100():
    assert word_errors(["A"], ["B C D"]).wer == pytest.approx(300.0)


def test_spacing_does_not_count():
    assert word_errors(["A  B "], [" A B"]).wer == 0.0


def test_silence_has_no_rate():
    found = word_errors(["", ""], ["A", ""])
    assert found.insertions == 1
    with pytest.raises(DataError, match="hold no word"):
        _ = found.wer


def test_unequal_lists():
    with pytest.raises(DataError, match="1 hypotheses for 2 references"):
        word_errors(["A", "B"], ["A"])


@given(TEXTS, TEXTS)
def test_charges_sum_to_the_errors(ref, hyp):
    errors = word_errors([ref], [hyp]).errors
    if ref:
        assert sum(errors_per_word(ref, hyp)) == errors
    slow = edit_distance(ref.split(), hyp.split())
    assert errors == slow


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_charges_by_hand():
    assert errors_per_word("A B C", "A X C") == (0, 1, 0)
    assert errors_per_word("A B", "Z A B Y") == (1, 1)
    assert errors_per_word("A B", "") == (1, 1)


def test_matches():
    assert matched_words("A B C D", "A C C D") == [(0, 0), (2, 2), (3, 3)]
    assert matched_words("A B", "X A B") == [(0, 1), (1, 2)]
    assert matched_words("", "A") == []
