"""The history of the parallel gated network (Jia et al. 2024, arXiv 2409.17703), and its gate.

    H_t = b + sum_{j=1..W} taps[:, :, j - 1] x_{t-j},     x_{<0} = 0

Strictly past: frame t itself is not in its window. ``taps[..., j - 1]`` belongs to lag j, so a
prefix of the taps keeps the most recent ones. With W = T - 1 this is the paper's layer over a
sequence of T frames; a shorter W is our streaming form, whose only state is the last W inputs.

B batch, T frames, F inputs of a frame, D outputs, W taps, G groups of inputs and outputs that do
not mix (f = F / G inputs each), X channels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def history_ref(
    x_BTF: Float[Tensor, "B T F"],
    taps_DfW: Float[Tensor, "D f W"],
    bias_D: Float[Tensor, " D"],
) -> Float[Tensor, "B T D"]:
    """Return the history frame by frame and lag by lag, as the equation reads."""
    batch, frames, inputs = x_BTF.shape
    groups = inputs // taps_DfW.shape[1]
    x_BTGf = x_BTF.reshape(batch, frames, groups, -1)
    taps_GdfW = taps_DfW.reshape(groups, -1, *taps_DfW.shape[1:])
    rows = []
    for frame in range(frames):
        h_BD = bias_D.expand(batch, -1)
        for lag in range(1, taps_DfW.shape[2] + 1):
            if frame - lag >= 0:
                seen_BGf, tap_Gdf = x_BTGf[:, frame - lag], taps_GdfW[..., lag - 1]
                h_BD = h_BD + torch.einsum("bgf,gdf->bgd", seen_BGf, tap_Gdf).flatten(1)
        rows.append(h_BD)
    return torch.stack(rows, 1)


def history_kernel(taps_DfW: Float[Tensor, "D f W"]) -> Float[Tensor, "D f W"]:
    """Return the taps as a convolution has them: the oldest lag first."""
    return taps_DfW.flip(2)


def history(
    x_BTF: Float[Tensor, "B T F"],
    kernel_DfW: Float[Tensor, "D f W"],
    bias_D: Float[Tensor, " D"] | None = None,
    past_BWF: Float[Tensor, "B W F"] | None = None,
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B W F"]]:
    """Return the history of all frames at once, and the last W inputs.

    One convolution over the past and the frames but the last; without a past there were zeros.
    ``kernel_DfW`` is ``history_kernel`` of the taps; there are as many groups as the frame has
    times its inputs.
    """
    frames, inputs = x_BTF.shape[1:]
    window = kernel_DfW.shape[2]
    if past_BWF is None:
        past_BWF = x_BTF.new_zeros(x_BTF.shape[0], window, inputs)
    seen_BSF = torch.cat([past_BWF, x_BTF], 1)
    h_BDT = F.conv1d(
        seen_BSF[:, :-1].transpose(1, 2),
        kernel_DfW,
        bias_D,
        groups=inputs // kernel_DfW.shape[1],
    )
    return h_BDT.transpose(1, 2), seen_BSF[:, frames:]


def gated(
    h_XD: Float[Tensor, "*X D"], gate_XD: Float[Tensor, "*X D"], candidate_XD: Float[Tensor, "*X D"]
) -> Float[Tensor, "*X D"]:
    """Return G * H + (1 - G) * H~ of what sigmoid and tanh act on.

    H goes to the output as it is, not squashed.
    """
    squashed_XD = torch.tanh(candidate_XD)
    return squashed_XD + torch.sigmoid(gate_XD) * (h_XD - squashed_XD)
