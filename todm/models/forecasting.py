"""Forecasts of many windows by one network. B windows, H horizon, C variates."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32

from todm.data.windows import WindowBatch, Windows
from todm.models.forecaster import Forecaster

BATCH = 256
"""Windows at once: memory stays small and every figure is the same."""


def batches_of(windows: Windows, chosen: torch.Tensor | None = None) -> Iterator[WindowBatch]:
    """Yield windows in order; all of them, or those chosen by number."""
    numbers = torch.arange(len(windows)) if chosen is None else chosen
    for part in numbers.split(BATCH):
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
