"""Forecasters on disk: weights, the series's scale and the intervals, and windows to try them on.

C variates, H horizon, B windows.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save

from todm.core.artifact import Artifact, Draft, load_artifact
from todm.core.errors import DataError
from todm.core.forecast_config import ForecastConfig
from todm.core.forecaster_spec import ForecasterSpec
from todm.data.windows import WindowBatch
from todm.features.series_facts import FACTS, INTERVALS, PROBE, SeriesFacts
from todm.models.forecaster import Forecaster
from todm.models.weights import load_weights, write_weights

CONFIG = "config.json"
SPEC = "spec.json"


@dataclass(frozen=True)
class OpenForecaster:
    """A trained forecaster, opened."""

    model: Forecaster
    config: ForecastConfig
    facts: SeriesFacts
    half_widths_HC: Float[np.ndarray, "H C"]
    """Of the intervals, standardised."""
    artifact: Artifact

    @property
    def spec(self) -> ForecasterSpec:
        """The network."""
        return self.model.spec

    def probe(self) -> WindowBatch:
        """Return the held-out windows."""
        return read_probe(self.artifact)


def write_forecaster(
    draft: Draft,
    model: Forecaster,
    config: ForecastConfig,
    facts: SeriesFacts,
    *,
    half_widths_HC: Float[np.ndarray, "H C"],
    probe: WindowBatch,
) -> None:
    """Write everything into a draft."""
    write_weights(draft.path, model.state_dict())
    config.write_json(draft.path / CONFIG)
    model.spec.write_json(draft.path / SPEC)
    facts.write_json(draft.path / FACTS)
    half = {"half_widths": torch.from_numpy(half_widths_HC).contiguous()}
    (draft.path / INTERVALS).write_bytes(save(half))
    write_probe(draft.path, probe)


def write_probe(folder: Path, probe: WindowBatch) -> None:
    """Write windows into a folder."""
    tensors = {name: tensor.contiguous() for name, tensor in probe._asdict().items()}
    (folder / PROBE).write_bytes(save(tensors))


def read_probe(artifact: Artifact) -> WindowBatch:
    """Return the windows of an artifact."""
    return WindowBatch(**load_file(artifact.file(PROBE)))


def load_forecaster(path: Path) -> OpenForecaster:
    """Open a forecaster artifact.

    Raises:
        ArtifactError: not a forecaster, or damaged.
    """
    artifact = load_artifact(path, "forecaster")
    spec = ForecasterSpec.read_json(artifact.file(SPEC))
    return OpenForecaster(
        model=load_weights(artifact, Forecaster(spec)),
        config=ForecastConfig.read_json(artifact.file(CONFIG)),
        facts=SeriesFacts.read_json(artifact.file(FACTS)),
        half_widths_HC=load_file(artifact.file(INTERVALS))["half_widths"].numpy(),
        artifact=artifact,
    )


def check_same_series(opened: OpenForecaster, names: tuple[str, ...], frequency: str) -> None:
    """Do nothing where a series is of the kind that the forecaster was trained on.

    Raises:
        DataError: it has other variates or another frequency.
    """
    wanted = opened.facts
    if names != wanted.names or frequency != wanted.frequency:
        raise DataError(
            f"{opened.artifact.path} forecasts {', '.join(wanted.names)} at frequency "
            f"{wanted.frequency!r}; this series has {', '.join(names)} at {frequency!r}"
        )
