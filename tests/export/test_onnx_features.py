import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import babble

from todm.core.contract import FeatureSpec
from todm.core.errors import ArtifactError
from todm.export.onnx_features import export_features
from todm.export.onnx_graph import check_graph
from todm.export.parity_features import check_features, streamed
from todm.features.fbank import LOG_FLOOR, OnlineFbank, fbank
from todm.features.mel import fbank_ref
from todm.runtimes.graph_fbank import FeatureGraph, GraphFbank

TAIL_S = np.zeros(1600, np.float32)


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "features.onnx"
    export_features(FeatureSpec(), path)
    return path


@pytest.fixture(scope="module")
def graph(graph_file):
    return FeatureGraph(graph_file, FeatureSpec())


def test_only_plain_operators_and_few_bytes(graph_file):
    check_graph(graph_file, 18)
    assert graph_file.stat().st_size < 110_000


@pytest.mark.parametrize("seed", range(3))
def test_equals_kaldi(graph, seed):
    signal_S = np.concatenate([babble(5.0 + 0.0137 * seed, seed), TAIL_S])
    mine_TF = streamed(graph, signal_S)
    assert mine_TF.shape == fbank(signal_S).shape
    np.testing.assert_allclose(mine_TF, fbank(signal_S), rtol=0, atol=1e-3)
    np.testing.assert_allclose(mine_TF, fbank_ref(signal_S, FeatureSpec()), rtol=0, atol=1e-3)


def test_the_formulas_are_kaldis():
    signal_S = babble(3.0, 7)
    np.testing.assert_allclose(
        fbank(signal_S), fbank_ref(signal_S, FeatureSpec()), rtol=0, atol=1e-3
    )


def test_silence_is_the_floor(graph):
    np.testing.assert_allclose(streamed(graph, np.zeros(8000, np.float32)), LOG_FLOOR, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=12))
def test_any_chunking_is_the_whole_and_ready_when_kaldi_is(graph, sizes):
    signal_S = np.concatenate([babble(1.5, 3), TAIL_S])
    mine, kaldis, start = GraphFbank(graph), OnlineFbank(), 0
    for size in [*sizes, signal_S.size]:
        part_S = signal_S[start : start + size]
        start += size
        mine.accept(part_S)
        kaldis.accept(part_S)
        # whole blocks of 10 ms: at most one frame later than kaldi, which waits for none
        assert 0 <= kaldis.ready_frames - mine.ready_frames <= 1
    mine.finish()
    kaldis.finish()
    assert mine.ready_frames == kaldis.ready_frames
    whole = GraphFbank(graph)
    whole.accept(signal_S)
    whole.finish()
    np.testing.assert_allclose(
        mine.frames(0, mine.ready_frames), whole.frames(0, whole.ready_frames), atol=1e-5
    )


def test_streams_share_no_state(graph):
    one, other = babble(1.0, 1), babble(1.0, 2)
    first, second = GraphFbank(graph), GraphFbank(graph)
    for start in range(0, 16000, 1600):
        first.accept(one[start : start + 1600])
        second.accept(other[start : start + 1600])
    alone = GraphFbank(graph)
    alone.accept(other)
    count = alone.ready_frames
    np.testing.assert_allclose(second.frames(0, count), alone.frames(0, count), atol=1e-5)


def test_a_batch_is_its_streams(graph):
    samples_NS = np.stack([babble(0.5, seed) for seed in range(3)])
    state_NO = np.zeros((3, graph.overlap_floats), np.float32)
    both = graph._session.run(None, {"samples": samples_NS, "overlap": state_NO})
    for number in range(3):
        alone = graph.step(samples_NS[number], state_NO[:1])
        np.testing.assert_allclose(both[0][number], alone[0], atol=1e-5)
        np.testing.assert_array_equal(both[1][number], alone[1][0])


def test_other_features_than_the_contracts_are_refused(graph_file):
    with pytest.raises(ArtifactError, match="other features"):
        FeatureGraph(graph_file, FeatureSpec(num_bins=40))


def test_parity_judges_the_graph(tiny, graph_file, tmp_path):
    verdicts = check_features(graph_file, tiny.contract, tiny.audio[:2])
    assert [v.status for v in verdicts] == ["met", "met"]
