"""One transcript in every runtime: each decodes the same recordings, and torch offline decides.

fp32: tokens and their frames must be equal; where they are not, the first differing frame is shown
with the logit margins there. Quantized: the integer kernels round differently in every runtime and
instruction set, so the word error rate of each is shown, not its tokens. What is not installed
here, or what the bundle does not hold, was not run: ``not_judged`` with the cure, never ``met``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from todm.bench.emulated import aarch64_command, aarch64_runner
from todm.bench.runner import run_runner
from todm.bench.tokens import CHILD, TokenJob, Tokens, decode_apart, mismatches
from todm.core.artifact import load_artifact
from todm.core.errors import (
    ArtifactError,
    ConfigError,
    MissingBuildError,
    MissingExtraError,
    MissingToolError,
)
from todm.core.report import Measurement, Verdict
from todm.core.target import SCHEMES_OF_FORM, Form
from todm.decode.greedy import Hypothesis
from todm.decode.streaming import Transcript, transcript_of
from todm.features.wav import read_audio
from todm.metrics.wer import word_errors
from todm.runtimes import Precision
from todm.runtimes.bundle import FEATURES, Bundle, loaded_names
from todm.runtimes.native import SCAN_OP, STOCK, needs_library
from todm.runtimes.tools import runner

SAMPLE_S = 60.0
"""Speech for an emulated machine, which is some fifty times slower."""


@dataclass(frozen=True)
class Spoken:
    """A recording, and what was said where that is known."""

    audio: Path
    duration_s: float
    text: str | None = None


@dataclass(frozen=True)
class Place:
    """One column of the matrix."""

    runtime: str
    """The runtime that decodes there."""
    form: Form | None = "onnx"
    """What it loads of the bundle; None loads the subnet."""
    sample: bool = False
    command: Callable[[], Sequence[str]] = lambda: CHILD


PLACES: dict[str, Place] = {
    "torch_offline": Place("torch_offline", None),
    "torch": Place("torch", None),
    "ort": Place("ort"),
    "sherpa": Place("sherpa"),
    "sherpa_node": Place("sherpa_node"),
    "ort_web": Place("ort_web"),
    "executorch": Place("executorch", "executorch"),
    "pte_runner": Place("runner", "executorch", command=lambda: (str(runner()),)),
    "ort_aarch64": Place("ort", sample=True, command=lambda: aarch64_command("todm.bench.tokens")),
    "pte_runner_aarch64": Place("runner", "executorch", sample=True, command=aarch64_runner),
}
"""Where a bundle can be heard, the reference first; ``runner`` is the C++ code of devices."""


def chosen_places(names: str) -> tuple[str, ...]:
    """Return the places of a comma-separated list; ``all`` is every one.

    Raises:
        ConfigError: there is no such place.
    """
    if names == "all":
        return tuple(PLACES)
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    unknown = [name for name in chosen if name not in PLACES]
    if unknown or not chosen:
        raise ConfigError(
            f"no runtime {', '.join(unknown) or names!r}; choose all or some of {', '.join(PLACES)}"
        )
    return chosen


@dataclass(frozen=True)
class Heard:
    """What one place made of the recordings, or why it was not run."""

    tokens: Tokens | None
    spoken: tuple[Spoken, ...]
    note: str = ""
    broken: bool = False
    """It is here and failed: that is no excuse."""

    @property
    def audio_s(self) -> float:
        """Speech heard."""
        return sum(s.duration_s for s in self.spoken)


def hear(bundle: Bundle, name: str, precision: Precision, spoken: Sequence[Spoken]) -> Heard:
    """Decode recordings at one place, in a process of its own."""
    place = PLACES[name]
    try:
        model = _model(bundle, place, precision)
        taken = tuple(_sample(spoken) if place.sample else spoken)
        if place.runtime == "runner":
            return Heard(_run(bundle, place.command(), precision, taken), taken)
        job = TokenJob(
            model=model.absolute(),
            runtime=place.runtime,
            precision=precision,
            audio=tuple(s.audio.absolute() for s in taken),
        )
        return Heard(decode_apart(job, place.command()), taken)
    except (MissingExtraError, MissingToolError, MissingBuildError, _NotHeldError) as error:
        return Heard(None, (), str(error))
    except ArtifactError as error:
        return Heard(None, (), str(error), broken=True)


class _NotHeldError(Exception):
    """The bundle has nothing for that place."""


def _model(bundle: Bundle, place: Place, precision: Precision) -> Path:
    if place.form is None:
        return _subnet(bundle, precision)
    files = frozenset(bundle.artifact.manifest.files)
    if loaded_names(place.form, precision, files) is None:
        raise _NotHeldError(f"the bundle holds no {place.form} form in {precision}")
    if needs_library(bundle, place.form) and (place.sample or place.runtime in STOCK):
        where = "an emulated machine" if place.sample else place.runtime
        raise _NotHeldError(f"the bundle holds {SCAN_OP}, of which {where} has no library")
    if place.runtime == "runner":
        _runner_takes(bundle)
    if place.runtime == "ort_web" and FEATURES not in files:
        raise _NotHeldError(f"the bundle holds no {FEATURES}; export it with --features")
    return bundle.artifact.path


def _runner_takes(bundle: Bundle) -> None:
    forms = bundle.artifact.body.get("forms")
    told = forms.get("executorch") if isinstance(forms, dict) else None
    if not isinstance(told, dict) or "planned_bytes" not in told:
        raise _NotHeldError("the program holds no contract for a runner; export it anew")


def _run(
    bundle: Bundle, command: Sequence[str], precision: Precision, spoken: Sequence[Spoken]
) -> Tokens:
    """Decode by the C++ runner, a process a recording."""
    found = (run_runner(command, bundle, read_audio(s.audio), precision=precision) for s in spoken)
    return Tokens(
        transcripts=tuple(
            transcript_of(Hypothesis(r.tokens, r.frames, ()), bundle.contract, bundle.table)
            for r in found
        )
    )


def _subnet(bundle: Bundle, precision: Precision) -> Path:
    """Return the subnet of the lineage, if it still stands where it stood."""
    if precision != "fp32":
        raise _NotHeldError(f"torch has no {precision} form")
    place = bundle.artifact.body.get("subnet_path")
    digest = bundle.artifact.manifest.parents.get("subnet")
    try:
        subnet = load_artifact(Path(str(place)), "subnet", verify=False)
    except ArtifactError as error:
        raise _NotHeldError(f"the bundle's subnet is gone ({error})") from error
    if subnet.digest != digest:
        raise _NotHeldError(f"{place} is not the subnet that the bundle was exported from")
    return subnet.path


def _sample(spoken: Sequence[Spoken]) -> Iterator[Spoken]:
    have_s = 0.0
    for recording in spoken:
        if have_s >= SAMPLE_S:
            return
        have_s += recording.duration_s
        yield recording


def matrix(
    bundle: Bundle,
    spoken: Sequence[Spoken],
    places: Sequence[str],
    *,
    hear_at: Callable[[Bundle, str, Precision, Sequence[Spoken]], Heard] = hear,
) -> tuple[list[Measurement], list[Verdict]]:
    """Decode the recordings everywhere and compare.

    fp32 is judged by tokens; int8 and what else the bundle holds are measured by WER.

    Args:
        bundle: An open bundle.
        spoken: Recordings of speech; without texts there is no WER.
        places: Names of ``PLACES``; the first that was run in fp32 is the reference.
        hear_at: Decodes at one place.
    """
    measurements: list[Measurement] = []
    verdicts: list[Verdict] = []
    for precision in _precisions(bundle):
        heard = {
            name: hear_at(bundle, name, precision, spoken)
            for name in places
            if precision == "fp32" or PLACES[name].form is not None
        }
        for name, found in heard.items():
            measurements += _wer(f"runtimes.{precision}.{name}", found)
        if precision == "fp32":
            more, judged = _compare(heard, bundle.contract.blank_id)
            measurements, verdicts = measurements + more, verdicts + judged
        else:
            verdicts += [_shown(f"runtimes.{precision}.{n}", f) for n, f in heard.items()]
    return measurements, verdicts


def _precisions(bundle: Bundle) -> tuple[Precision, ...]:
    files = frozenset(bundle.artifact.manifest.files)
    every = ((form, p) for form, precisions in SCHEMES_OF_FORM.items() for p in precisions)
    held = (precision for form, precision in every if loaded_names(form, precision, files))
    return tuple(dict.fromkeys(("fp32", "int8", *held)))


def _compare(heard: Mapping[str, Heard], blank_id: int) -> tuple[list[Measurement], list[Verdict]]:
    ran = [name for name, found in heard.items() if found.tokens is not None]
    reference = heard[ran[0]] if ran else None
    measurements, verdicts = [], []
    for name, found in heard.items():
        label = f"runtimes.fp32.{name}"
        if found.tokens is None or reference is None or reference.tokens is None:
            verdicts.append(_shown(label, found))
            continue
        count = len(found.spoken)
        theirs = Tokens(transcripts=reference.tokens.transcripts[:count])
        pairs = zip(theirs.transcripts, found.tokens.transcripts, strict=True)
        total, equal = (sum(column) for column in zip(*(_tokens(*p) for p in pairs), strict=True))
        differing = mismatches(theirs, found.tokens, blank_id)
        note = f"{equal} of {total} tokens equal to {ran[0]}, {found.audio_s / 60:.1f} min"
        if differing:
            number, mismatch = differing[0]
            note += f"; {found.spoken[number].audio.name}: {mismatch}"
        if total and len(ran) > 1:
            measurements.append(
                Measurement(
                    name=f"{label}.token_match", value=equal / total, unit="", n=total, note=note
                )
            )
        judged = total and len(ran) > 1
        if total and not judged:
            note = f"{total} tokens; no second runtime was run to compare them with"
        status = "failed" if differing else "met" if judged else "not_judged"
        verdicts.append(
            Verdict(
                name=label,
                status=status,
                limit=0.0,
                value=float(len(differing)) if judged else None,
                unit="recordings",
                note=note if total else "no token was heard, so none was compared",
            )
        )
    return measurements, verdicts


def _tokens(a: Transcript, b: Transcript) -> tuple[int, int]:
    """Return the encoder frames at which either has a token, and those with the same one."""
    at_a, at_b = ({*zip(t.frames, t.ids, strict=True)} for t in (a, b))
    return len({*a.frames} | {*b.frames}), len(at_a & at_b)


def _wer(label: str, found: Heard) -> list[Measurement]:
    texts = [s.text for s in found.spoken if s.text is not None]
    if found.tokens is None or not texts or len(texts) < len(found.spoken):
        return []
    errors = word_errors(texts, [t.text for t in found.tokens.transcripts])
    note = f"{errors.errors} errors in {errors.words} words"
    return [Measurement(name=f"{label}.wer", value=errors.wer, unit="%", n=errors.words, note=note)]


def _shown(label: str, found: Heard) -> Verdict:
    """A line without a judgement on tokens: not run, broken, or a precision that WER judges."""
    verdict = Verdict(name=label, status="not_judged", limit=0.0, value=None, unit="")
    if found.broken:
        return verdict.model_copy(
            update={"status": "failed", "value": 1.0, "unit": "failure", "note": found.note}
        )
    if found.tokens is None:
        return verdict.model_copy(update={"note": f"not run: {found.note}"})
    wer = _wer(label, found)
    told = f"WER {wer[0].value:.2f} %, {wer[0].note}" if wer else "no texts, so no WER"
    note = f"{told}, {found.audio_s / 60:.1f} min; tokens are not compared"
    return verdict.model_copy(update={"note": note})
