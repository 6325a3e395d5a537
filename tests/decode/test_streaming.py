import numpy as np
import pytest
from fake_steps import LoudnessSteps
from hypothesis import given
from hypothesis import strategies as st

from todm.core.contract import contract_of
from todm.core.errors import DataError, InputError
from todm.core.mixer_specs import MHSSMSpec
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.decode.streaming import (
    StreamingDecoder,
    encode_chunks,
    padded_features,
    tail_samples,
    whole_chunks,
)
from todm.decode.tokens import TokenTable
from todm.features.fbank import num_frames

TABLE = TokenTable(unit="char", symbols=("<blk>", "A", "B", "C"))


def noise(seconds, seed=0):
    draw = np.random.default_rng(seed)
    return (0.1 * draw.standard_normal(int(seconds * 16000))).astype(np.float32)


def silence(seconds):
    return np.zeros(int(seconds * 16000), np.float32)


def test_a_chunk_waits_for_one_frame_more_than_it_needs():
    assert whole_chunks(16, 16) == 0
    assert whole_chunks(17, 16) == 1
    assert whole_chunks(32, 16) == 1
    assert whole_chunks(33, 16) == 2
    assert whole_chunks(0, 16) == 0


def test_the_decoder_keeps_the_strict_rule_while_samples_come():
    steps = LoudnessSteps()
    decoder = StreamingDecoder(steps, TABLE)
    decoder.accept(silence(0.170))  # the window reaches 12.5 ms beyond: 16 frames are ready
    assert steps.chunk_shapes == []
    decoder.accept(silence(0.010))
    assert steps.chunk_shapes == [(1, 16, 80)]


@pytest.mark.parametrize("push", [160, 777, 3200, 10**6])
def test_pushes_do_not_matter(push):
    samples = np.concatenate([silence(0.4), noise(0.5), silence(0.6), noise(0.3)])
    decoder = StreamingDecoder(LoudnessSteps(), TABLE)
    for start in range(0, samples.size, push):
        decoder.accept(samples[start : start + push])
    found = decoder.finish()
    assert found.text == "ABAB"
    assert found.times_s == tuple(round(0.04 * frame, 2) for frame in found.frames)
    np.testing.assert_allclose(found.times_s, (0.4, 0.92, 1.5, 1.8), atol=0.05)


@given(st.integers(min_value=0, max_value=20_000))
def test_the_last_sound_is_never_cut(num_silent):
    samples = np.concatenate([np.zeros(num_silent, np.float32), noise(0.1)])
    decoder = StreamingDecoder(LoudnessSteps(), TABLE)
    decoder.accept(samples)
    assert decoder.finish().text == "AB"


def test_without_the_tail_the_last_sound_is_cut():
    decoder = StreamingDecoder(LoudnessSteps(tail_padding_ms=0), TABLE)
    decoder.accept(np.concatenate([silence(0.2), noise(0.1)]))
    assert decoder.finish().text != "AB"


@given(st.integers(0, 10**6), st.integers(1, 32))
def test_the_contracts_tail_leaves_time_for_late_words(num_samples, chunk_frames):
    mixer = MHSSMSpec(num_heads=2, head_dim=1, state_dim=1)
    spec = SubnetSpec(
        model_dim=4,
        blocks=(BlockSpec(source_layer=0, ffn_dim=4, mixer=mixer),),
        predictor=PredictorSpec(embed_dim=2),
        joiner_dim=2,
        vocab_size=2,
        chunk_frames=chunk_frames,
    )
    contract = contract_of(spec, "char")
    ready = num_frames(num_samples + tail_samples(contract))
    decoded_ms = whole_chunks(ready, contract.input_frames) * contract.chunk_ms
    assert decoded_ms - num_samples / 16 >= 300


def test_streaming_decodes_just_the_padded_features():
    samples = np.concatenate([silence(0.33), noise(0.21)])
    streamed, offline = LoudnessSteps(), LoudnessSteps()
    decoder = StreamingDecoder(streamed, TABLE)
    decoder.accept(samples)
    frames = len(decoder.finish().margins)
    features = padded_features(samples, offline.contract)
    assert features.shape[0] == 4 * frames
    assert encode_chunks(offline, features).shape == (frames, 2)


def test_reset_begins_anew():
    decoder = StreamingDecoder(LoudnessSteps(), TABLE)
    samples = np.concatenate([silence(0.2), noise(0.2)])
    decoder.accept(samples)
    first = decoder.finish()
    assert decoder.finish() == first
    decoder.reset()
    assert decoder.transcript.ids == ()
    decoder.accept(samples)
    assert decoder.finish() == first


def test_a_finished_stream_takes_no_samples():
    decoder = StreamingDecoder(LoudnessSteps(), TABLE)
    decoder.finish()
    with pytest.raises(InputError, match="reset"):
        decoder.accept(noise(0.1))


@pytest.mark.parametrize("bad", [np.array([0.0, np.nan]), np.zeros((2, 5))])
def test_bad_samples_are_refused(bad):
    with pytest.raises(DataError):
        StreamingDecoder(LoudnessSteps(), TABLE).accept(bad)
