"""Linears that compute in float what an int8 runtime computes, for quantization-aware training.

    y = fq(x) fq(W)^T + b,    fq(v) = (clamp(round(v / s) + z, low, high) - z) s

Weights have a scale for each output; activations are unsigned with one range for each call of the
runtime, zero among its values, as ONNX's DynamicQuantizeLinear takes it. Integer products are
exact, so nothing else is rounded. The gradient passes straight through (Bengio et al. 2013, arXiv
1308.3432): ranges are those of the values themselves, so none is ever cut.

X leading axes, R rows (frames, labels or streams), G calls, I inputs, O outputs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.layers.elastic import DenseLinear

ACTIVATION_LEVELS = 255
"""Steps of an unsigned byte."""


@dataclass(frozen=True)
class IntegerGrid:
    """The integers that weights are rounded to."""

    low: int
    high: int
    symmetric: bool
    """As far below zero as above it, whatever the weights are."""


def straight_through(x_X: Tensor, rounded_X: Tensor) -> Tensor:
    """Return the rounded values, with the gradient of those that were not."""
    return x_X + (rounded_X - x_X).detach()


@torch.no_grad()
def round_weight(weight_OI: Tensor, grid: IntegerGrid) -> Tensor:
    """Return weights on a grid of their own for each output, as float."""
    low_O1 = weight_OI.amin(1, keepdim=True).clamp(max=0.0)
    high_O1 = weight_OI.amax(1, keepdim=True).clamp(min=0.0)
    if grid.symmetric:
        high_O1 = torch.maximum(high_O1, -low_O1)
        low_O1 = -high_O1
    scale_O1 = _scale(low_O1, high_O1, grid.high - grid.low)
    zero_O1 = torch.zeros_like(scale_O1) if grid.symmetric else grid.low - low_O1 / scale_O1
    return _rounded(weight_OI, scale_O1, zero_O1.round(), grid.low, grid.high)


@torch.no_grad()
def round_activation(x_XRI: Tensor, call_rows: int) -> Tensor:
    """Return activations as unsigned bytes hold them, with a range for every ``call_rows`` rows.

    A last call of fewer rows has the range of those.
    """
    low_XR1 = _of_call(x_XRI.amin(-1).clamp(max=0.0), call_rows)
    high_XR1 = -_of_call(-x_XRI.amax(-1).clamp(min=0.0), call_rows)
    scale_XR1 = _scale(low_XR1, high_XR1, ACTIVATION_LEVELS)
    zero_XR1 = (-low_XR1 / scale_XR1).round()
    return _rounded(x_XRI, scale_XR1, zero_XR1, 0, ACTIVATION_LEVELS)


def _of_call(least_XR: Tensor, call_rows: int) -> Tensor:
    """Return, for each row, the least of its call, (X, R, 1); none is above zero."""
    rows = least_XR.shape[-1]
    whole_XR = F.pad(least_XR, (0, -rows % call_rows))
    least_XG = whole_XR.reshape(*whole_XR.shape[:-1], -1, call_rows).amin(-1)
    return least_XG.repeat_interleave(call_rows, -1)[..., :rows, None]


def _scale(low_X: Tensor, high_X: Tensor, levels: int) -> Tensor:
    """Return the width of a step; 1 where all values are zero."""
    scale_X = (high_X - low_X) / levels
    return torch.where(scale_X < torch.finfo(scale_X.dtype).tiny, 1.0, scale_X)


def _rounded(x_X: Tensor, scale_X: Tensor, zero_X: Tensor, low: int, high: int) -> Tensor:
    return (((x_X / scale_X).round() + zero_X).clamp(low, high) - zero_X) * scale_X


class FakeQuantLinear(DenseLinear):
    """Another linear's very parameters, multiplied as integers would be."""

    def __init__(self, layer: nn.Linear, grid: IntegerGrid, call_rows: int) -> None:
        has_bias = layer.bias is not None
        super().__init__(layer.in_features, layer.out_features, has_bias, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.grid, self.call_rows = grid, call_rows

    def forward(self, x_XRI: Tensor, out_features: int | None = None) -> Tensor:  # noqa: ARG002
        """Map x of shape (..., R, I) to (..., R, O)."""
        x_XRI = straight_through(x_XRI, round_activation(x_XRI, self.call_rows))
        weight_OI = straight_through(self.weight, round_weight(self.weight, self.grid))
        return F.linear(x_XRI, weight_OI, self.bias)
