"""A forecaster of any kind: normalisation of the window around a network.

B batch, T window, H horizon, C variates, M marks.
"""

from typing import assert_never

import torch
from torch import Tensor, nn

from todm.core.forecaster_spec import DLinearSpec, ForecasterSpec, GRUSpec, TPGNSpec
from todm.models.forecast_baselines import DLinear, GRUForecaster
from todm.models.tpgn import TPGN

EPSILON = 1e-5
"""Added to the window's variance: a constant window is divided by its root, not by zero."""


def _net(spec: ForecasterSpec) -> nn.Module:
    match spec.net:
        case TPGNSpec():
            return TPGN(spec, spec.net)
        case DLinearSpec():
            return DLinear(spec, spec.net)
        case GRUSpec():
            return GRUForecaster(spec, spec.net)
        case _:
            assert_never(spec.net)


class Forecaster(nn.Module):
    """Standardised windows to the standardised steps that follow them."""

    def __init__(self, spec: ForecasterSpec) -> None:
        super().__init__()
        self.spec = spec
        self.net = _net(spec)

    def forward(self, x_BTC: Tensor, marks_BTM: Tensor) -> Tensor:
        """Return the forecast, (B, H, C)."""
        if not self.spec.norm:
            return self.net(x_BTC, marks_BTM)
        mean_B1C = x_BTC.mean(1, keepdim=True)
        centred_BTC = x_BTC - mean_B1C
        std_B1C = torch.sqrt(centred_BTC.square().mean(1, keepdim=True) + EPSILON)
        return self.net(centred_BTC / std_B1C, marks_BTM) * std_B1C + mean_B1C
