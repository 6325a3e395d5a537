"""Forecasting recipes, as functions of the horizon.

Those of the paper's five sets (Jia et al. 2024, arXiv 2409.17703) have its settings; the tables
themselves are a user's own files. The others are starting points for series of their kind.
"""

from collections.abc import Callable

from todm.core.errors import ConfigError
from todm.core.forecast_config import ForecastConfig, ForecastTraining, SeriesConfig
from todm.core.forecaster_spec import TPGNSpec

PAPER_WINDOW_STEPS = 168
PAPER_PERIOD_STEPS = 24
PAPER_HORIZONS = (168, 336, 720, 1440)
PAPER_SEED = 2023
LONG_HORIZON = 720
"""From the horizon above it ETTh1 has more units, from this one on Traffic has."""

ForecastRecipe = Callable[[int | None], ForecastConfig]


def _paper(
    name: str, target: str, horizon: int | None, hidden_dim: int, *, norm: bool
) -> ForecastConfig:
    return ForecastConfig(
        recipe=name,
        seed=PAPER_SEED,
        series=SeriesConfig(targets=(target,)),
        window_steps=PAPER_WINDOW_STEPS,
        horizon_steps=horizon or PAPER_HORIZONS[0],
        norm=norm,
        net=TPGNSpec(period_steps=PAPER_PERIOD_STEPS, hidden_dim=hidden_dim),
    )


def etth1(horizon: int | None) -> ForecastConfig:
    """Oil temperature of a transformer, hourly."""
    large = horizon is not None and horizon > LONG_HORIZON
    return _paper("etth1", "OT", horizon, 8 if large else 2, norm=True)


def etth2(horizon: int | None) -> ForecastConfig:
    """Oil temperature of another transformer, hourly."""
    return _paper("etth2", "OT", horizon, 8, norm=False)


def ecl(horizon: int | None) -> ForecastConfig:
    """Electricity load of a client, hourly."""
    return _paper("ecl", "MT_320", horizon, 32, norm=False)


def traffic(horizon: int | None) -> ForecastConfig:
    """Occupancy of a road, hourly."""
    large = horizon is not None and horizon >= LONG_HORIZON
    return _paper("traffic", "Node_862", horizon, 256 if large else 128, norm=True)


def weather(horizon: int | None) -> ForecastConfig:
    """Wet bulb temperature, hourly; the paper does not name its column: this is our reading."""
    return _paper("weather", "WetBulbCelsius", horizon, 4, norm=False)


def _small(name: str, window_steps: int, horizon_steps: int, period_steps: int) -> ForecastConfig:
    """Hundreds of rows rather than thousands: more epochs, at a rate that does not fall."""
    return ForecastConfig(
        recipe=name,
        window_steps=window_steps,
        horizon_steps=horizon_steps,
        net=TPGNSpec(period_steps=period_steps, hidden_dim=2),
        train=ForecastTraining(epochs=300, patience=30, lr=3e-3, epoch_factor=1.0),
    )


def sunspots(horizon: int | None) -> ForecastConfig:
    """Yearly counts; a cycle takes about eleven years."""
    return _small("sunspots", 44, horizon or 11, 11)


def weekly(horizon: int | None) -> ForecastConfig:
    """A year of weeks is the period, three are the window."""
    return _small("weekly", 156, horizon or 52, 52)


def monthly(horizon: int | None) -> ForecastConfig:
    """A year of months is the period."""
    return _small("monthly", 48, horizon or 12, 12)


def quarterly(horizon: int | None) -> ForecastConfig:
    """A year of quarters is the period."""
    return _small("quarterly", 16, horizon or 8, 4)


def daily(horizon: int | None) -> ForecastConfig:
    """A week of days is the period."""
    return _small("daily", 56, horizon or 28, 7)


def hourly(horizon: int | None) -> ForecastConfig:
    """A day of hours is the period; the paper's window and training."""
    config = _paper("hourly", "value", horizon, 8, norm=True)
    return config.model_copy(update={"series": SeriesConfig()})


FORECAST_RECIPES: dict[str, ForecastRecipe] = {
    "etth1": etth1,
    "etth2": etth2,
    "ecl": ecl,
    "traffic": traffic,
    "weather": weather,
    "sunspots": sunspots,
    "hourly": hourly,
    "daily": daily,
    "weekly": weekly,
    "monthly": monthly,
    "quarterly": quarterly,
}


def forecast_recipe(name: str, horizon: int | None = None) -> ForecastConfig:
    """Return a recipe's configuration; None is the recipe's own horizon.

    Raises:
        ConfigError: no such recipe.
    """
    if name not in FORECAST_RECIPES:
        known = ", ".join(sorted(FORECAST_RECIPES))
        raise ConfigError(f"no forecasting recipe {name!r}; there are {known}")
    return FORECAST_RECIPES[name](horizon)
