"""Forecasts of a maintained library, statsforecast, to stand beside a network's.

A model is fitted anew to every window, so they are made for some evenly spaced windows only; it
sees what the network sees, the window. T window, H horizon, C variates, B windows.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from todm.core.errors import MissingExtraError

LARGEST_ETS_SEASON = 24
"""statsforecast's ETS takes no longer seasons; there a decomposition goes before it."""


def have_library() -> bool:
    """Tell whether statsforecast is installed."""
    return importlib.util.find_spec("statsforecast") is not None


def import_statsforecast() -> Any:
    """Import statsforecast's models.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import statsforecast.models
    except ImportError as error:
        raise MissingExtraError("statsforecast", extra="baselines") from error
    return statsforecast.models


def library_models(period: int) -> dict[str, Callable[[], Any]]:
    """Return what makes each model of a seasonal series, by the name that tables show."""
    models = import_statsforecast()
    if period <= LARGEST_ETS_SEASON:
        return {
            "seasonal_naive": lambda: models.SeasonalNaive(season_length=period),
            "auto_ets": lambda: models.AutoETS(season_length=period),
        }
    return {
        "seasonal_naive": lambda: models.SeasonalNaive(season_length=period),
        "mstl_ets": lambda: models.MSTL(
            season_length=period, trend_forecaster=models.AutoETS(model="ZZN")
        ),
    }


def library_forecast(
    make: Callable[[], Any], x_BTC: Float[np.ndarray, "B T C"], horizon: int
) -> Float[np.ndarray, "B H C"]:
    """Return the forecast of every window and variate, each by a model of its own."""
    found_BHC = np.empty((x_BTC.shape[0], horizon, x_BTC.shape[2]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on windows that hold no season or do not change
        for window, x_TC in enumerate(x_BTC):
            for variate, x_T in enumerate(x_TC.T):
                y = np.ascontiguousarray(x_T, np.float64)
                found_BHC[window, :, variate] = make().forecast(y=y, h=horizon)["mean"]
    return found_BHC
