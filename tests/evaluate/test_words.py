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


def test_a_word_is_complete_when_what_its_last_frame_sees_was_heard():
    """With a lookahead of 3 frames, at the end of its block of 4."""
    table = TokenTable(unit="word", symbols=(BLANK, SPACE + "A", SPACE + "B"))
    transcript = Transcript(text="A B", ids=(1, 2), frames=(0, 6), times_s=())
    contract = contract_of(SPEC, "word")
    found = []
    for frames in (0, 3):
        ahead = contract.model_copy(update={"lookahead_frames": frames})
        found.append([word.complete_s for word in timed_words(transcript, table, ahead)])
    assert found == [pytest.approx([0.04, 0.28]), pytest.approx([0.16, 0.32])]
