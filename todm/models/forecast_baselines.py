"""Two baselines of forecasting in the same loop. B batch, T window, H horizon, C variates, M marks.

DLinear sees no calendar; the GRU sees the variates together with it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.forecaster_spec import DLinearSpec, ForecasterSpec, GRUSpec


class DLinear(nn.Module):
    """Zeng et al. 2023 (arXiv 2205.13504): linear maps of the moving average and of the rest."""

    def __init__(self, spec: ForecasterSpec, net: DLinearSpec) -> None:
        super().__init__()
        self.width = net.average_steps
        self.trend = nn.Linear(spec.window_steps, spec.horizon_steps)
        self.rest = nn.Linear(spec.window_steps, spec.horizon_steps)

    def forward(self, x_BTC: Tensor, _marks_BTM: Tensor) -> Tensor:
        """Return the forecast, (B, H, C)."""
        x_BCT = x_BTC.transpose(1, 2)
        side = self.width // 2
        # repeated ends, as slices: exporters know them better than F.pad's "replicate"
        first_BCS = x_BCT[:, :, :1].expand(-1, -1, side)
        last_BCS = x_BCT[:, :, -1:].expand(-1, -1, side)
        padded_BCS = torch.cat([first_BCS, x_BCT, last_BCS], 2)
        trend_BCT = F.avg_pool1d(padded_BCS, self.width, 1)
        y_BCH = self.trend(trend_BCT) + self.rest(x_BCT - trend_BCT)
        return y_BCH.transpose(1, 2)


class GRUForecaster(nn.Module):
    """A GRU over the window; its last state is mapped to the horizon of all variates."""

    def __init__(self, spec: ForecasterSpec, net: GRUSpec) -> None:
        super().__init__()
        self.shape = (spec.horizon_steps, spec.variates)
        self.gru = nn.GRU(spec.variates + spec.marks, net.hidden_dim, batch_first=True)
        self.head = nn.Linear(net.hidden_dim, spec.horizon_steps * spec.variates)

    def forward(self, x_BTC: Tensor, marks_BTM: Tensor) -> Tensor:
        """Return the forecast, (B, H, C)."""
        out_BTD, _ = self.gru(torch.cat([x_BTC, marks_BTM], 2))
        return self.head(out_BTD[:, -1]).unflatten(1, self.shape)
