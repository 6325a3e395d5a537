"""The parallel gated network (Jia et al. 2024, arXiv 2409.17703).

    H   = history of the last W inputs, strictly past (kernels.history)
    G   = sigmoid(W_g [x; H] + b_g)
    H~  = tanh(W_t [x; H] + b_t)
    out = G * H + (1 - G) * H~

One gate and no recurrence: every output is one step away from every input of its window. The
gate's two maps are one, its sigmoid half first.

B batch, T frames, F inputs of a frame, D hidden units, W window, G groups (f = F / G, d = D / G).
"""

import torch
from torch import Tensor, nn

from todm.kernels.history import gated, history, history_kernel


class PGN(nn.Module):
    """The paper's layer: (B, T, F) to (B, T, D).

    ``window`` is T - 1 in the paper. With ``groups`` every group of inputs has a layer of its own,
    as every variate of a forecast has. Weights are born as those of torch's convolutions.
    """

    def __init__(self, features: int, hidden: int, window: int, groups: int = 1) -> None:
        super().__init__()
        if features % groups or hidden % groups or window < 1:
            raise ValueError(
                f"PGN of {features} inputs, {hidden} units, {groups} groups, window {window}: "
                "groups must divide inputs and units, and the window hold at least one frame"
            )
        self.groups = groups
        inputs, units = features // groups, hidden // groups
        self.taps = nn.Parameter(_uniform(inputs * window, hidden, inputs, window))
        self.bias = nn.Parameter(_uniform(inputs * window, hidden))
        both = inputs + units
        self.gate_weight = nn.Parameter(_uniform(both, groups, both, 2 * units))
        self.gate_bias = nn.Parameter(_uniform(both, groups, 2 * units))

    def step(self, x_BTF: Tensor, past_BWF: Tensor | None) -> tuple[Tensor, Tensor]:
        """Advance one chunk; return its outputs and the last W inputs. No past: zeros."""
        h_BTD, next_BWF = history(x_BTF, history_kernel(self.taps), self.bias, past_BWF)
        x_BTGf, h_BTGd = (part.reshape(*part.shape[:2], self.groups, -1) for part in (x_BTF, h_BTD))
        both_BTGC = torch.cat([x_BTGf, h_BTGd], -1)
        # a product a group; broadcast over frames it would be a tiny product a frame
        gates_GXC = both_BTGC.flatten(0, 1).transpose(0, 1) @ self.gate_weight
        gates_BTGC = gates_GXC.transpose(0, 1).reshape(*x_BTF.shape[:2], self.groups, -1)
        gates_BTGC = gates_BTGC + self.gate_bias
        return gated(h_BTGd, *gates_BTGC.chunk(2, -1)).flatten(-2), next_BWF

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Run whole sequences from the zero state."""
        return self.step(x_BTF, None)[0]


def _uniform(fan_in: int, *shape: int) -> Tensor:
    return nn.init.uniform_(torch.empty(shape), -(fan_in**-0.5), fan_in**-0.5)
