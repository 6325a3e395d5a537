"""A short causal depthwise convolution, over whole sequences and chunk by chunk.

B batch, T frames, X channels, K taps, J = K - 1 frames of the past.

    y_t = sum_k taps[k] x_{t - K + 1 + k}          (the last tap is the frame itself)

Written as K products and sums: depthwise, a convolution operator gains nothing from so few taps.
In an ONNX graph it may be ONNX Runtime's own operator with the state in it, one node instead of
a dozen.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def causal_taps(
    x_BTX: Float[Tensor, "B T X"],
    taps_XK: Float[Tensor, "X K"],
    past_BJX: Float[Tensor, "B J X"] | None = None,
) -> tuple[Float[Tensor, "B T X"], Float[Tensor, "B J X"]]:
    """Return the convolution and the last J frames; without a past there were zeros."""
    frames, num_taps = x_BTX.shape[1], taps_XK.shape[1]
    if past_BJX is None:
        past_BJX = x_BTX.new_zeros(x_BTX.shape[0], num_taps - 1, x_BTX.shape[2])
    seen = torch.cat([past_BJX, x_BTX], 1)
    y_BTX = taps_XK[:, 0] * seen[:, :frames]
    for tap in range(1, num_taps):
        y_BTX = y_BTX + taps_XK[:, tap] * seen[:, tap : tap + frames]
    return y_BTX, seen[:, frames:]


ONNX_OP = "com.microsoft::CausalConvWithState"


def causal_taps_onnx(
    x_BTX: Float[Tensor, "B T X"],
    taps_XK: Float[Tensor, "X K"],
    past_BJX: Float[Tensor, "B J X"],
) -> tuple[Float[Tensor, "B T X"], Float[Tensor, "B J X"]]:
    """Trace the convolution as the operator, which has its channels first; for ONNX only."""
    zeros_X = torch.zeros_like(taps_XK[:, 0])
    x_BXT, past_BXJ = x_BTX.transpose(1, 2), past_BJX.transpose(1, 2)
    y_BXT, next_BXJ = torch.onnx.ops.symbolic_multi_out(
        ONNX_OP,
        (x_BXT, taps_XK[:, None], zeros_X, past_BXJ),
        dtypes=(x_BXT.dtype, past_BXJ.dtype),
        shapes=(x_BXT.shape, past_BXJ.shape),
        version=1,
    )
    return y_BXT.transpose(1, 2), next_BXJ.transpose(1, 2)
