"""Grouping tokens into words, for each unit."""

import pytest
from fake_runtime import SPEC

from todm.core.contract import contract_of
from todm.decode.streaming import Transcript
from todm.decode.tokens import BLANK, SPACE, TokenTable
from todm.evaluate.words import timed_words


@pytest.mark.parametrize(
    ("unit", "symbols", "ids", "starts"),
    [
        ("char", ("A", "B", SPACE), (1, 2, 3, 2), (0.0, 0.12)),
        ("char", ("A", "B", SPACE), (3, 1, 3, 2, 3), (0.04, 0.12)),
        ("word", (SPACE + "AB", SPACE + "B"), (1, 2), (0.0, 0.04)),
        ("bpe", (SPACE + "A", "B", SPACE + "B"), (1, 2, 3), (0.0, 0.08)),
        ("bpe", (SPACE, "A", "B"), (1, 2, 3, 1, 3), (0.04, 0.16)),
    ],
)
def test_words_and_starts(unit, symbols, ids, starts):
    table = TokenTable(unit=unit, symbols=(BLANK, *symbols))
    frames = tuple(range(len(ids)))
    text = table.decode(ids)
    transcript = Transcript(text=text, ids=ids, frames=frames, times_s=())
    words = timed_words(transcript, table, contract_of(SPEC, unit))
    assert " ".join(word.text for word in words) == text
    assert [word.start_s for word in words] == pytest.approx(list(starts))
