"""What one step of a forecaster or classifier is, costs and how often it is due."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from todm.core.artifact import Artifact
from todm.core.classifier_spec import ClassifierSpec
from todm.core.classify_config import FACTS, SequenceFacts
from todm.core.cost_forecast import forecast_macs, forecaster_parameters
from todm.core.errors import ArtifactError
from todm.core.forecaster_spec import ForecasterSpec
from todm.core.model_spec import read_model_spec
from todm.core.report import Measurement
from todm.core.target import Form
from todm.features import series_facts
from todm.features.series_facts import SeriesFacts
from todm.runtimes import classifier, forecaster
from todm.runtimes.bundle import CONTRACT, SPEC
from todm.runtimes.classifier import ClassifierContract


@dataclass(frozen=True)
class StepFacts:
    """A model's step."""

    step: str
    """``forecast`` or ``chunk``."""
    params: float
    macs: float
    """Of one step."""
    period_s: float | None
    """Every how many seconds a step is due; None where that is not known."""
    due: str
    files: Mapping[Form, str]
    """What the bundle's forms are called."""

    def measurements(self) -> Iterator[Measurement]:
        """Yield what needs no clock."""
        yield Measurement(name="params", value=self.params, unit="scalars")
        yield Measurement(name=f"macs_per_{self.step}", value=self.macs, unit="MAC")
        if self.period_s is not None:
            per_s = self.macs / self.period_s
            yield Measurement(name="macs_per_series_s", value=per_s, unit="MAC/s", note=self.due)


def facts_of(bundle: Artifact) -> StepFacts:
    """Return what a step of a bundle's model is.

    Raises:
        ArtifactError: it is a recogniser's, or its export is too old to tell.
    """
    match read_model_spec(bundle.file(SPEC)):
        case ForecasterSpec() as spec:
            step_s = SeriesFacts.read_json(bundle.file(series_facts.FACTS)).step_s
            return StepFacts(
                step="forecast",
                params=forecaster_parameters(spec),
                macs=forecast_macs(spec),
                period_s=step_s,
                due=f"a forecast with every step of {step_s:g} s",
                files=forecaster.FILES,
            )
        case ClassifierSpec():
            return _classifier(bundle)
        case _:
            raise ArtifactError(f"{bundle.path}: is measured with speech")


def _classifier(bundle: Artifact) -> StepFacts:
    params, macs = (bundle.body.get(name) for name in ("params", "macs_per_chunk"))
    if not (isinstance(params, int) and isinstance(macs, int)):
        raise ArtifactError(f"{bundle.path}: does not say its MACs; export it anew")
    frames = ClassifierContract.read_json(bundle.file(CONTRACT)).chunk_frames
    rate_hz = SequenceFacts.read_json(bundle.file(FACTS)).frame_rate_hz
    return StepFacts(
        step="chunk",
        params=params,
        macs=macs,
        period_s=None if rate_hz is None else frames / rate_hz,
        due="" if rate_hz is None else f"a chunk of {frames} frames at {rate_hz:g} Hz",
        files=classifier.FILES,
    )
