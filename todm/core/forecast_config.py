"""The configuration of a forecaster's training: one frozen value, written out in full."""

from typing import Literal

from pydantic import Field, model_validator

from todm.core.forecaster_spec import ForecasterSpec, ForecastNet
from todm.core.value import Value

MissingRule = Literal["refuse", "interpolate", "ffill"]


class SeriesConfig(Value):
    """How a table becomes a series."""

    time: str | None = None
    """Column with the time; None is the first column."""
    time_format: str | None = None
    """As of strptime; None tells years, yyyymm and yyyymmdd by their digits, else pandas parses."""
    start: str | None = None
    """Time of the first row, for a table without a column of time; wants ``frequency``."""
    frequency: str | None = None
    """A pandas frequency (h, 15min, D, W, MS, QS, YS, ...); None infers it."""
    targets: tuple[str, ...] = ()
    """Columns to forecast; none takes the only one there is, ``*`` all but the time."""
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """Of columns; None finds it in the first lines."""
    decimal: Literal[".", ","] | None = None
    """Mark of decimals; None finds it in the values."""
    missing: MissingRule = "refuse"
    """Values that are missing, gaps in time among them: ``interpolate`` is linear in time and looks
    ahead of the gap; ``ffill`` repeats the last value."""
    duplicates: Literal["refuse", "first", "mean"] = "refuse"
    """Rows of one time."""
    train_fraction: float = Field(default=0.6, gt=0.0, lt=1.0)
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    """First and last share of the rows; the rest between them is validation."""

    @model_validator(mode="after")
    def _parts_leave_a_validation(self) -> "SeriesConfig":
        if self.train_fraction + self.test_fraction >= 1.0:
            raise ValueError("train_fraction and test_fraction must leave rows for validation")
        return self

    @model_validator(mode="after")
    def _start_has_a_frequency(self) -> "SeriesConfig":
        if self.start is not None and (self.frequency is None or self.time is not None):
            raise ValueError("start wants a frequency and excludes a time column")
        return self


class EpochSchedule(Value):
    """A rate that is held for some epochs and then falls by a factor every epoch."""

    steps: int = Field(gt=0)
    held_epochs: int = Field(default=2, ge=1)
    epoch_factor: float = Field(default=0.9, gt=0.0, le=1.0)


class ForecastTraining(Value):
    """Adam on the mean squared error, stopped by the validation windows."""

    batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=25, ge=1)
    patience: int = Field(default=5, ge=1)
    """Epochs without a lower validation error after which training stops; the best is kept."""
    lr: float = Field(default=1e-3, gt=0.0)
    held_epochs: int = Field(default=2, ge=1)
    """Epochs at ``lr``; then every epoch has ``epoch_factor`` times the rate of the one before."""
    epoch_factor: float = Field(default=0.9, gt=0.0, le=1.0)
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all cores."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"


class ForecastConfig(Value):
    """Everything that decides a forecaster's training, given its table."""

    recipe: str
    seed: int = 0
    series: SeriesConfig = SeriesConfig()
    window_steps: int = Field(ge=2)
    horizon_steps: int = Field(ge=1)
    norm: bool = True
    marks: bool = True
    """Whether the network sees the calendar."""
    net: ForecastNet
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Share of the truth that the conformal intervals are to hold."""
    train: ForecastTraining = ForecastTraining()

    @model_validator(mode="after")
    def _the_net_can_be_built(self) -> "ForecastConfig":
        self.spec(1, 0)
        return self

    def spec(self, variates: int, marks: int) -> ForecasterSpec:
        """Return the network for so many variates and, where it sees any, calendar marks."""
        return ForecasterSpec(
            window_steps=self.window_steps,
            horizon_steps=self.horizon_steps,
            variates=variates,
            marks=marks if self.marks else 0,
            norm=self.norm,
            net=self.net,
        )

    def deciding(self) -> "ForecastConfig":
        """Return the configuration without what says only where the run takes place."""
        where = {"threads": 0, "accelerator": "auto"}
        return self.model_copy(update={"train": self.train.model_copy(update=where)})
