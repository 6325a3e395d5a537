import numpy as np
from fake_steps import LoudnessSteps

from todm.decode.greedy import GreedyStream, Hypothesis, first_mismatch, greedy

ENC_KJ = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], np.float32)


def test_at_most_one_token_per_frame_with_its_frame_and_margin():
    found = greedy(LoudnessSteps(), ENC_KJ)
    assert found.ids == (1, 2)
    assert found.frames == (1, 3)
    assert found.margins == (3.0, 5.0, 3.0, 4.0, 3.0)


def test_the_context_starts_with_no_token_and_the_blank():
    steps = LoudnessSteps()
    greedy(steps, ENC_KJ)
    assert steps.contexts == [[[-1, 0]], [[0, 1]], [[1, 2]]]


def test_chunks_do_not_matter():
    stream = GreedyStream(LoudnessSteps())
    for start, end in ((0, 2), (2, 3), (3, 5)):
        stream.advance(ENC_KJ[start:end])
    assert stream.hypothesis == greedy(LoudnessSteps(), ENC_KJ)


def test_reset_forgets_everything():
    stream = GreedyStream(LoudnessSteps())
    stream.advance(ENC_KJ)
    stream.reset()
    assert stream.hypothesis == Hypothesis((), (), ())
    stream.advance(ENC_KJ)
    assert stream.hypothesis.frames == (1, 3)


def test_a_mismatch_names_its_frame_tokens_and_margins():
    a = Hypothesis((1, 2), (1, 3), (9.0, 8.0, 7.0, 6.0))
    late = Hypothesis((1, 2), (1, 4), (9.0, 8.0, 7.0, 0.25, 5.0))
    found = first_mismatch(a, late)
    assert (found.frame, found.id_a, found.id_b) == (3, 2, 0)
    assert (found.margin_a, found.margin_b) == (6.0, 0.25)
    assert "frame 3" in str(found)
    assert "0.25" in str(found)


def test_a_mismatch_without_margins_says_so():
    found = first_mismatch(Hypothesis((1,), (2,), ()), Hypothesis((), (), ()))
    assert (found.frame, found.margin_a) == (2, None)
    assert "unknown" in str(found)


def test_equal_hypotheses_have_no_mismatch():
    a = Hypothesis((1,), (2,), (1.0, 1.0, 1.0))
    assert first_mismatch(a, Hypothesis((1,), (2,), ())) is None
