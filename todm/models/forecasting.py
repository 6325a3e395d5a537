"""Forecasts of many windows by one network. B windows, H horizon, C variates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32

from todm.data.windows import WindowBatch, Windows
from todm.models.forecaster import Forecaster

if TYPE_CHECKING:
    import pandas as pd

BATCH = 256
"""Windows at once: memory stays small and every figure is the same."""


@dataclass(frozen=True)
class Prediction:
    """What follows one window, in the series's own units, with its interval."""

    past_times: "pd.DatetimeIndex"
    past_TC: Float[np.ndarray, "T C"]
    times: "pd.DatetimeIndex"
    y_HC: Float[np.ndarray, "H C"]
    low_HC: Float[np.ndarray, "H C"]
    high_HC: Float[np.ndarray, "H C"]
    truth_HC: Float[np.ndarray, "H C"] | None = None
    """What came, where it is known."""


def batches_of(windows: Windows, chosen: torch.Tensor | None = None) -> Iterator[WindowBatch]:
    """Yield windows in order; all of them, or those chosen by number."""
    numbers = torch.arange(len(windows)) if chosen is None else chosen
    for part in torch.split(numbers, BATCH):
        yield windows.batch(part)


@torch.inference_mode()
def forecast_windows(
    model: Forecaster, windows: Windows, chosen: torch.Tensor | None = None
) -> tuple[Float32[np.ndarray, "B H C"], Float32[np.ndarray, "B H C"]]:
    """Return the forecasts and the truth, standardised."""
    device = next(model.parameters()).device
    found, truth = [], []
    for batch in batches_of(windows, chosen):
        found.append(model(batch.x_BWC.to(device), batch.marks_BWM.to(device)).cpu().numpy())
        truth.append(batch.y_BHC.numpy())
    return np.concatenate(found), np.concatenate(truth)


def covered(predictions: Sequence[Prediction]) -> float | None:
    """Return the share of what came that lies in its interval; None where nothing is known."""
    held = [
        (one.low_HC <= one.truth_HC) & (one.truth_HC <= one.high_HC)
        for one in predictions
        if one.truth_HC is not None
    ]
    return float(np.concatenate(held).mean()) if held else None
