"""Does ``features.onnx`` compute the features that the network was trained on?

Judged against kaldi's formulas in float64. kaldi-native-fbank computes in float32: in bins some
100 dB below the loudest of their frame its own rounding passes 1e-3, so the share of values that
lie further from it than that is judged, not the furthest one. S samples, T frames, F mel bins.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from todm.core.contract import StreamContract
from todm.core.report import Verdict
from todm.decode.streaming import checked_samples, tail_samples
from todm.features.fbank import fbank
from todm.features.mel import fbank_ref
from todm.runtimes.graph_fbank import FeatureGraph, GraphFbank

LIMIT = 1e-3
"""Largest error of a log mel value against the formulas, and what counts as far from kaldi's."""
FAR_SHARE = 1e-4
PUSH_SAMPLES = 3200


def check_features(
    path: Path, contract: StreamContract, audio: Sequence[Float[np.ndarray, " S"]]
) -> list[Verdict]:
    """Compare the graph, fed piece by piece, with the formulas and with kaldi-native-fbank."""
    graph = FeatureGraph(path, contract.features)
    worst, furthest, far, count = 0.0, 0.0, 0, 0
    for samples_S in audio:
        silence_S = np.zeros(tail_samples(contract), np.float32)
        signal_S = np.concatenate([checked_samples(samples_S), silence_S])
        mine_TF = streamed(graph, signal_S)
        worst = max(worst, float(np.abs(mine_TF - fbank_ref(signal_S, contract.features)).max()))
        distance_TF = np.abs(mine_TF - fbank(signal_S))
        furthest = max(furthest, float(distance_TF.max()))
        far, count = far + int((distance_TF > LIMIT).sum()), count + distance_TF.size
    return [
        _verdict("formula.max", worst, LIMIT, "log mel, against kaldi's formulas in float64"),
        _verdict(
            "kaldi.far_share",
            far / count,
            FAR_SHARE,
            f"values further than {LIMIT:g} from kaldi-native-fbank's; the furthest {furthest:.2g}",
        ),
    ]


def streamed(graph: FeatureGraph, samples_S: Float[np.ndarray, " S"]) -> np.ndarray:
    """Return the features of a signal that is pushed piece by piece."""
    fbank = GraphFbank(graph)
    for start in range(0, samples_S.size, PUSH_SAMPLES):
        fbank.accept(samples_S[start : start + PUSH_SAMPLES])
    fbank.finish()
    return fbank.frames(0, fbank.ready_frames)


def _verdict(name: str, value: float, limit: float, note: str) -> Verdict:
    status = "met" if value <= limit else "failed"
    return Verdict(
        name=f"parity.features.{name}", status=status, limit=limit, value=value, unit="", note=note
    )
