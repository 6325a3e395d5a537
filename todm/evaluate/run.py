"""``todm eval``: WER with its interval, real-time factor and emission delay on a split."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from tqdm import tqdm

from todm.core.artifact import Artifact, write_artifact
from todm.core.data_config import Split
from todm.core.errors import DataError, GateError
from todm.core.report import Measurement, Report, Verdict, environment
from todm.core.value import Value
from todm.data.manifest import Utterance, open_corpus
from todm.evaluate.source import Source, open_source
from todm.evaluate.transcribe import timed_transcript
from todm.evaluate.words import timed_words
from todm.features.wav import read_audio
from todm.metrics.bootstrap import wer_interval
from todm.metrics.delay import summarise_delays, word_delays_ms
from todm.metrics.wer import WordErrors, word_errors
from todm.runtimes import Precision

REPORT = "report.json"
HYPS = "hyps.jsonl"
_TTY_PERIOD_S, _LOG_PERIOD_S = 0.2, 5.0


class EvaluateConfig(Value):
    """What is evaluated and how."""

    split: Split = "test"
    runtime: str | None = None
    """None takes the artifact's own: ``ort`` or ``executorch`` of a bundle, torch of a subnet."""
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)
    limit: int | None = Field(default=None, ge=1)
    """Evaluate only this many utterances, spread evenly over the split."""
    interval_by: str = Field(default="utterance", pattern="^(utterance|speaker)$")
    """What the bootstrap draws; ``speaker`` is the honest one where speakers have several."""
    max_wer: float | None = Field(default=None, ge=0.0)
    """Gate in percent: above it the run ends with an error, after the report is written."""
    seed: int = 0
    """Of the bootstrap."""


@dataclass(frozen=True)
class Decoded:
    """One utterance as it was recognised."""

    utterance: Utterance
    hyp: str
    compute_s: float
    delays_ms: tuple[float, ...]


def run(
    model: Path,
    corpus: Path,
    config: EvaluateConfig,
    out: Path | None = None,
    *,
    aligner: Path | None = None,
) -> Report:
    """Evaluate a bundle or subnet on a split of a prepared corpus.

    The WER is measured as devices decode: streamed in chunks, one symbol per frame, the end
    flushed. With ``out`` a report artifact is written: ``report.json`` and ``hyps.jsonl`` (one
    ``{"id", "speaker", "ref", "hyp"}`` a line).

    Args:
        model: A bundle or subnet artifact.
        corpus: A corpus artifact.
        config: What and how.
        out: Where the report artifact goes; None writes nothing.
        aligner: A subnet or bundle whose forced alignment says when each word ends; None takes
            the word ends of the corpus, if it has any.

    Raises:
        ConfigError: the aligner has other tokens than the corpus.
        GateError: the WER is above ``config.max_wer``.
        ArtifactError: an artifact is of the wrong kind or damaged.
        DataError: the split is empty.
    """
    opened = open_corpus(corpus, verify=False)
    chosen = spread(opened.cuts(config.split), config.limit)
    if not chosen:
        raise DataError(f"{corpus}: split {config.split!r} holds no utterance; choose another")
    source = open_source(model, config.runtime, config.precision, config.threads)
    timing = None if aligner is None else open_source(aligner)
    if timing is not None:
        from todm.evaluate.align import with_aligned_ends  # torch: a device evaluates without

        chosen = with_aligned_ends(timing, opened, chosen)
    decoded = decode(source, chosen, title=f"{model.name} {source.runtime} {config.precision}")
    report = build_report(decoded, config, clock="" if aligner is None else aligner.name)
    if out is not None:
        parents = {"model": source.artifact, "corpus": opened.artifact}
        if timing is not None:
            parents["aligner"] = timing.artifact
        _write(out, report, decoded, source=source, parents=parents, config=config)
    _gate(report, model)
    return report


def spread(utterances: Sequence[Utterance], limit: int | None) -> tuple[Utterance, ...]:
    """Return at most ``limit`` utterances, evenly spread, so that every speaker has a part."""
    if limit is None or limit >= len(utterances):
        return tuple(utterances)
    return tuple(utterances[i * len(utterances) // limit] for i in range(limit))


def decode(source: Source, utterances: Sequence[Utterance], *, title: str) -> list[Decoded]:
    """Recognise utterances one after the other, with a progress bar on stderr."""
    period_s = _TTY_PERIOD_S if sys.stderr.isatty() else _LOG_PERIOD_S
    bar = tqdm(utterances, desc=title, unit="utt", mininterval=period_s, file=sys.stderr)
    return [_decode_one(source, utterance) for utterance in bar]


def _decode_one(source: Source, utterance: Utterance) -> Decoded:
    samples_S = read_audio(utterance.audio_path)
    transcript, compute_s = timed_transcript(source.recogniser, samples_S)
    delays_ms: list[float] = []
    if utterance.word_ends_s is not None:
        words = timed_words(transcript, source.table, source.recogniser.contract)
        delays_ms = word_delays_ms(
            utterance.text,
            " ".join(word.text for word in words),
            utterance.word_ends_s,
            [word.complete_s for word in words],
        )
    return Decoded(utterance, transcript.text, compute_s, tuple(delays_ms))


def build_report(decoded: Sequence[Decoded], config: EvaluateConfig, *, clock: str = "") -> Report:
    """Return the figures of recognised utterances, and the verdict of the gate if there is one.

    Args:
        decoded: The utterances.
        config: What the gate asks.
        clock: Name of the recogniser whose alignment the delays are counted from, if any is.
    """
    errors = word_errors([d.utterance.text for d in decoded], [d.hyp for d in decoded])
    by_speaker = config.interval_by == "speaker"
    groups = [d.utterance.speaker for d in decoded] if by_speaker else None
    interval = wer_interval(errors, groups=groups, seed=config.seed)
    wer = Measurement(
        name="wer",
        value=errors.wer,
        unit="%",
        low=interval.low,
        high=interval.high,
        n=errors.words,
        note=f"95 % bootstrap over {interval.units} {config.interval_by}s, {config.split} split",
    )
    measurements = [wer, *_counts(errors), *_speed(decoded, config), *_delays(decoded, clock)]
    verdicts: tuple[Verdict, ...] = ()
    if config.max_wer is not None:
        met = errors.wer <= config.max_wer
        verdicts = (
            Verdict(
                name="wer",
                status="met" if met else "failed",
                limit=config.max_wer,
                value=errors.wer,
                unit="%",
                note=f"{config.split} split",
            ),
        )
    return Report(
        environment=environment((config.seed,)),
        measurements=tuple(measurements),
        verdicts=verdicts,
    )


def _counts(errors: WordErrors) -> list[Measurement]:
    kinds = {
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
    }
    return [
        *(Measurement(name=k, value=v, unit="words", n=errors.words) for k, v in kinds.items()),
        Measurement(name="words", value=errors.words, unit="words", n=errors.utterances),
    ]


def _speed(decoded: Sequence[Decoded], config: EvaluateConfig) -> list[Measurement]:
    audio_s = sum(d.utterance.duration_s for d in decoded)
    compute_s = sum(d.compute_s for d in decoded)
    note = f"features, network and search, {config.threads} thread(s), back to back"
    return [
        Measurement(name="rtf", value=compute_s / audio_s, unit="s/s", n=len(decoded), note=note),
        Measurement(name="audio_s", value=audio_s, unit="s", n=len(decoded)),
    ]


def _delays(decoded: Sequence[Decoded], clock: str) -> list[Measurement]:
    delays_ms = [delay for d in decoded for delay in d.delays_ms]
    if not delays_ms:
        return []
    found = summarise_delays(delays_ms)
    after = f"that of {clock}'s forced alignment" if clock else "the spoken word's end"
    note = f"end of the last token's frame after {after}; correct words only"
    return [
        Measurement(name=f"emission_delay_ms.{name}", value=value, unit="ms", n=found.n, note=note)
        for name, value in (("median", found.median_ms), ("p95", found.p95_ms))
    ]


def _write(
    out: Path,
    report: Report,
    decoded: Sequence[Decoded],
    *,
    source: Source,
    parents: Mapping[str, Artifact],
    config: EvaluateConfig,
) -> None:
    with write_artifact(out, kind="report", parents=parents) as draft:
        report.write_json(draft.path / REPORT)
        with (draft.path / HYPS).open("w", encoding="utf-8") as stream:
            for d in decoded:
                row = {
                    "id": d.utterance.id,
                    "speaker": d.utterance.speaker,
                    "ref": d.utterance.text,
                    "hyp": d.hyp,
                }
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        draft.body = {
            "of": "evaluate",
            "runtime": source.runtime,
            "precision": source.precision,
            "split": config.split,
            "utterances": len(decoded),
            "wer": report.value("wer"),
            "isa": list(report.environment.isa),
        }


def _gate(report: Report, model: Path) -> None:
    for verdict in report.verdicts:
        if verdict.status == "failed":
            raise GateError(
                f"{model}: WER {verdict.value:.2f} % on the {verdict.note} is above the gate of "
                f"{verdict.limit:g} %; train longer or raise --max-wer"
            )
