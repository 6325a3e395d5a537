"""TPGN: a series folded into rows of one period (Jia et al. 2024, arXiv 2409.17703).

The long branch runs a parallel gated network over the rows of each column and pools them with a
linear map; the short branch maps each row, then all rows, and is the same for every column. A
linear head gives each column its value in every row of the horizon. There is no nonlinearity
outside the gate, and variates share no weights (every map is grouped by variate).

Deviation: a horizon that ends inside a row is cut there (the paper's are multiples of the period).

B batch, T window, H horizon, C variates, M marks, F = 1 + M inputs, P period, R and Q rows of the
window and the horizon, D units.
"""

import torch
from torch import Tensor, nn

from todm.core.forecaster_spec import ForecasterSpec, TPGNSpec, horizon_rows, window_rows
from todm.layers.pgn import PGN


class TPGN(nn.Module):
    """The network between normalisation and its undoing."""

    def __init__(self, spec: ForecasterSpec, net: TPGNSpec) -> None:
        super().__init__()
        self.variates, self.period = spec.variates, net.period_steps
        self.rows, self.horizon = window_rows(spec, net), spec.horizon_steps
        inputs, units = (n * spec.variates for n in (1 + spec.marks, net.hidden_dim))

        def grouped(inside: int, outside: int, kernel: int = 1) -> nn.Conv1d:
            return nn.Conv1d(inside, outside, kernel, groups=spec.variates)

        self.pgn = self.row_pool = self.patch = self.patch_pool = None
        if net.branches != "short":
            self.pgn = PGN(inputs, units, self.rows - 1, groups=spec.variates)
            self.row_pool = grouped(units, units, self.rows)
        if net.branches != "long":
            self.patch = grouped(inputs, units, net.period_steps)
            self.patch_pool = grouped(units, units, self.rows)
        width = units * (2 if net.branches == "both" else 1)
        self.head = grouped(width, spec.variates * horizon_rows(spec, net))

    def forward(self, x_BTC: Tensor, marks_BTM: Tensor) -> Tensor:
        """Return the forecast, (B, H, C)."""
        x_BRPE = self._fold(x_BTC, marks_BTM)
        branches = [part for part in (self._short(x_BRPE), self._long(x_BRPE)) if part is not None]
        parts = [b.reshape(b.shape[0], self.variates, -1, self.period) for b in branches]
        y_BGP = self.head(torch.cat(parts, 2).flatten(1, 2))
        y_BCH = y_BGP.unflatten(1, (self.variates, -1)).flatten(2)
        return y_BCH[:, :, : self.horizon].transpose(1, 2)

    def _fold(self, x_BTC: Tensor, marks_BTM: Tensor) -> Tensor:
        """Return (B, R, P, C F): each variate's value, then the marks."""
        marks_BTCM = marks_BTM[:, :, None].expand(-1, -1, self.variates, -1)
        x_BTCF = torch.cat([x_BTC[..., None], marks_BTCM], 3)
        return x_BTCF.reshape(x_BTC.shape[0], self.rows, self.period, -1)

    def _long(self, x_BRPE: Tensor) -> Tensor | None:
        """Return (B, C D, P)."""
        if self.pgn is None or self.row_pool is None:
            return None
        x_XRE = x_BRPE.transpose(1, 2).flatten(0, 1)
        out_XRD = self.pgn(x_XRE)
        pooled_XD1 = self.row_pool(out_XRD.transpose(1, 2))
        return pooled_XD1.squeeze(2).unflatten(0, (-1, self.period)).transpose(1, 2)

    def _short(self, x_BRPE: Tensor) -> Tensor | None:
        """Return (B, C D, P), the same for every column."""
        if self.patch is None or self.patch_pool is None:
            return None
        rows_XD1 = self.patch(x_BRPE.flatten(0, 1).transpose(1, 2))
        rows_BRD = rows_XD1.squeeze(2).unflatten(0, (-1, self.rows))
        return self.patch_pool(rows_BRD.transpose(1, 2)).expand(-1, -1, self.period)
