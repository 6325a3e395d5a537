"""Comparing tokens decoded by different processes."""

from todm.bench.tokens import Tokens, mismatches
from todm.decode.streaming import Transcript


def transcript(ids, frames):
    times_s = tuple(0.04 * f for f in frames)
    return Transcript(text="", ids=ids, frames=frames, times_s=times_s)


def test_mismatch_names_recording_and_frame():
    a = Tokens(transcripts=(transcript((1,), (3,)), transcript((1, 2), (3, 9))))
    b = Tokens(transcripts=(transcript((1,), (3,)), transcript((1, 1), (3, 9))))
    assert mismatches(a, a, 0) == []
    ((number, mismatch),) = mismatches(a, b, 0)
    assert number == 1
    assert (mismatch.frame, mismatch.id_a, mismatch.id_b) == (9, 2, 1)
