"""Word errors by Levenshtein alignment (jiwer), counted per utterance.

The WER is the errors of a whole set over its reference words, in percent (so it is not the mean
of the utterances' rates, and insertions can carry it over 100). Texts are compared as given:
both sides must have gone through ``todm.data.text.normalise``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

from todm.core.errors import DataError


@dataclass(frozen=True)
class UtteranceErrors:
    """Word errors of one utterance."""

    substitutions: int
    deletions: int
    insertions: int
    words: int
    """Words of the reference; 0 where nothing was said, and then every word is an insertion."""

    @property
    def errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WordErrors:
    """Word errors of a set, utterance by utterance in the order given."""

    per_utterance: tuple[UtteranceErrors, ...]

    @property
    def substitutions(self) -> int:
        """Words recognised as another word."""
        return sum(u.substitutions for u in self.per_utterance)

    @property
    def deletions(self) -> int:
        """Words missed."""
        return sum(u.deletions for u in self.per_utterance)

    @property
    def insertions(self) -> int:
        """Words that nobody said."""
        return sum(u.insertions for u in self.per_utterance)

    @property
    def words(self) -> int:
        """Words of the references."""
        return sum(u.words for u in self.per_utterance)

    @property
    def utterances(self) -> int:
        """Number of utterances."""
        return len(self.per_utterance)

    @property
    def errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate in percent.

        Raises:
            DataError: the references hold no word, so there is no rate; look at ``insertions``.
        """
        if self.words == 0:
            raise DataError("the references hold no word, so there is no WER; count insertions")
        return 100.0 * self.errors / self.words


def word_errors(refs: Sequence[str], hyps: Sequence[str]) -> WordErrors:
    """Align every hypothesis with its reference and count the errors.

    Args:
        refs: Normalised reference texts; a text may be empty (silence).
        hyps: Recognised texts in the same order.

    Raises:
        DataError: there are not as many hypotheses as references.
    """
    if len(refs) != len(hyps):
        raise DataError(f"{len(hyps)} hypotheses for {len(refs)} references; give one each")
    return WordErrors(tuple(_count(ref, hyp) for ref, hyp in zip(refs, hyps, strict=True)))


def _count(ref: str, hyp: str) -> UtteranceErrors:
    words = len(ref.split())
    if ref.split() == hyp.split():
        return UtteranceErrors(0, 0, 0, words)
    if not words:
        return UtteranceErrors(0, 0, len(hyp.split()), 0)
    found = jiwer.process_words(ref, hyp)
    return UtteranceErrors(found.substitutions, found.deletions, found.insertions, words)


def matched_words(ref: str, hyp: str) -> list[tuple[int, int]]:
    """Return the correctly recognised words: pairs of reference index and hypothesis index."""
    if not ref.split() or not hyp.split():
        return []
    return [
        (chunk.ref_start_idx + i, chunk.hyp_start_idx + i)
        for chunk in jiwer.process_words(ref, hyp).alignments[0]
        if chunk.type == "equal"
        for i in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


def errors_per_word(ref: str, hyp: str) -> tuple[int, ...]:
    """Return the errors charged to each reference word, for intervals over parts of utterances.

    A substitution or deletion is charged to its word, an insertion to the word before it (at
    the start to the first). The sum is the utterance's error count.

    Raises:
        DataError: the reference holds no word.
    """
    words = len(ref.split())
    if not words:
        raise DataError("an empty reference has no word to charge; count its insertions apart")
    charged = [0] * words
    if not hyp.split():
        return (1,) * words
    for chunk in jiwer.process_words(ref, hyp).alignments[0]:
        if chunk.type == "insert":
            at = max(0, chunk.ref_start_idx - 1)
            charged[at] += chunk.hyp_end_idx - chunk.hyp_start_idx
        elif chunk.type != "equal":
            for at in range(chunk.ref_start_idx, chunk.ref_end_idx):
                charged[at] += 1
    return tuple(charged)
