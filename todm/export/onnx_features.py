"""``features.onnx``: kaldi's fbank as matrix products, for runtimes without a feature extractor.

Ports: ``samples`` (N, S), S a multiple of the shift; ``overlap`` (N, O), the state: the last 280
samples of what came before and a flag, all zero at a stream's start; ``log_mel`` (N, S/160, 80);
``next_overlap``. The k-th frame of a call ends 40 samples before the end of the call's k-th
block, so the first frame of a stream is void (``todm_void_frames``): its caller drops it.

A window starts 120 samples before its block; before the signal's start kaldi mirrors it. The
flag, 0 at the start, makes the graph do so.

One window x of 400 samples (25 ms): mean removed, pre-emphasised, then the power spectrum about
the window's centre, ``(e C)^2 + (o S)^2`` with ``e_n = x_n + x_(399-n)`` and
``o_n = x_n - x_(399-n)``, ``C_nk = w_n cos(pi (2n+1-400) k / 512)`` and S alike with sin: a shift
in time changes no power, the window is symmetric, and so the product is half as long as the plain
one. C and S are written as a table of one turn and integer arithmetic that
runtimes fold when they load: the file stays at some 100 kB, most of it the mel filters.
"""

from pathlib import Path
from typing import Any

import numpy as np

from todm.core.contract import FeatureSpec
from todm.export.onnx_graph import import_onnx
from todm.features.fbank import LOG_FLOOR
from todm.features.mel import fft_size, mel_filters, povey_window, shift_samples, window_samples

OPSET, IR_VERSION = 18, 10


def overlap_samples(features: FeatureSpec) -> int:
    """Return the samples that a call carries over to the next."""
    window, shift = window_samples(features), shift_samples(features)
    return (window - shift) // 2 + shift


def feature_metadata(features: FeatureSpec) -> dict[str, str]:
    """Return what a reader must know, for the graph's metadata."""
    return {
        "todm_overlap_floats": str(overlap_samples(features) + 1),
        "todm_shift_samples": str(shift_samples(features)),
        "todm_void_frames": "1",
        "todm_features": features.model_dump_json(),
    }


class _Builder:
    """Collects nodes and constants; ``op`` returns the name of a node's output."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.single, self.double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"k{len(self.constants)}"
        value = np.asarray(array, dtype)
        self.constants.append(self._onnx.numpy_helper.from_array(value, name))
        return name

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"v{len(self.nodes)}"
        node = self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def cut(self, value: str, start: int, end: int, *, axis: int, step: int = 1) -> str:
        bounds = (self.const([number], np.int64) for number in (start, end, axis, step))
        return self.op("Slice", value, *bounds)


def _signal(build: _Builder, features: FeatureSpec) -> str:
    """Return the overlap and the new samples in a row, the start mirrored; write the state."""
    overlap = overlap_samples(features)
    mirrored = overlap - shift_samples(features)
    carried = build.cut("overlap", 0, overlap, axis=1)
    flag = build.cut("overlap", overlap, overlap + 1, axis=1)
    first = build.cut("samples", mirrored - 1, -(2**31), axis=1, step=-1)
    blank = build.op("Sub", build.const([[1.0]]), flag)
    zeros = build.op("Mul", build.cut(carried, 0, overlap - mirrored, axis=1), flag)
    before = build.op(
        "Add",
        build.op("Mul", carried, flag),
        build.op("Mul", build.op("Concat", zeros, first, axis=1), blank),
    )
    row = build.op("Concat", before, "samples", axis=1)
    last = build.cut(row, -overlap, 2**31, axis=1)
    started = build.op("Add", build.op("Mul", flag, build.const([[0.0]])), build.const([[1.0]]))
    build.op("Concat", last, started, out="next_overlap", axis=1)
    return row


def _windows(build: _Builder, row: str, features: FeatureSpec) -> str:
    """Return the windows (N, T, 400): whole blocks side by side, and a rest from the last block."""
    window, shift, overlap = (
        window_samples(features),
        shift_samples(features),
        overlap_samples(features),
    )
    shape = build.const([0, -1, shift], np.int64)
    whole, rest = divmod(window, shift)
    parts = [
        build.op("Reshape", build.cut(row, n * shift, n * shift - overlap, axis=1), shape)
        for n in range(whole)
    ]
    if rest:
        start = window - shift
        last = build.op("Reshape", build.cut(row, start, start - overlap, axis=1), shape)
        parts.append(build.cut(last, shift - rest, shift, axis=2))
    return build.op("Concat", *parts, axis=2)


def _spectrum(build: _Builder, windows: str, features: FeatureSpec, num_bins: int) -> str:
    """Return the power of each bin (N, T, B), computed in float64.

    In float32 the rounding of the loudest bins would show in those near the floor, 100 dB below.
    """
    double = np.float64
    size, length = fft_size(features), window_samples(features)
    half = length // 2
    windows = build.op("Cast", windows, to=build.double)
    mean = build.op("ReduceMean", windows, build.const([2], np.int64), keepdims=1)
    level = build.op("Sub", windows, mean)
    first = build.cut(level, 0, 1, axis=2)
    earlier = build.op("Concat", first, build.cut(level, 0, length - 1, axis=2), axis=2)
    sharp = build.op(
        "Sub", level, build.op("Mul", earlier, build.const(features.preemphasis, double))
    )
    left = build.cut(sharp, 0, half, axis=2)
    right = build.cut(sharp, length - 1, half - 1, axis=2, step=-1)
    angle_H1 = build.const((2 * np.arange(half) + 1 - length)[:, None], np.int64)
    bins_1B = build.const(np.arange(num_bins)[None], np.int64)
    turn = build.const(2 * size, np.int64)
    index_HB = build.op("Mod", build.op("Mul", angle_H1, bins_1B), turn)
    window_H1 = build.const(povey_window(features)[:half, None], double)
    around = np.pi * np.arange(2 * size) / size
    powers = []
    for kind, table in (("Add", np.cos(around)), ("Sub", np.sin(around))):
        wave_HB = build.op("Gather", build.const(table, double), index_HB, axis=0)
        basis_HB = build.op("Mul", wave_HB, window_H1)
        part = build.op("MatMul", build.op(kind, left, right), basis_HB)
        powers.append(build.op("Mul", part, part))
    return build.op("Cast", build.op("Add", *powers), to=build.single)


def feature_model(features: FeatureSpec) -> Any:
    """Return the graph as an ``onnx.ModelProto``."""
    onnx = import_onnx()
    build = _Builder(onnx)
    filters_BF = mel_filters(features)
    # Bins above the last triangle give nothing.
    num_bins = 1 + int(np.flatnonzero(filters_BF.any(axis=1)).max())
    power = _spectrum(
        build, _windows(build, _signal(build, features), features), features, num_bins
    )
    energy = build.op("MatMul", power, build.const(filters_BF[:num_bins]))
    floor = build.const(np.exp(LOG_FLOOR))
    build.op("Log", build.op("Max", energy, floor), out="log_mel")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    state = ["N", overlap_samples(features) + 1]
    graph = helper.make_graph(
        build.nodes,
        "features",
        [
            helper.make_tensor_value_info("samples", real, ["N", "S"]),
            helper.make_tensor_value_info("overlap", real, state),
        ],
        [
            helper.make_tensor_value_info("log_mel", real, ["N", "T", features.num_bins]),
            helper.make_tensor_value_info("next_overlap", real, state),
        ],
        build.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    helper.set_model_props(model, feature_metadata(features))
    onnx.checker.check_model(model)
    return model


def export_features(features: FeatureSpec, path: Path) -> None:
    """Write ``features.onnx``."""
    path.write_bytes(feature_model(features).SerializeToString())
