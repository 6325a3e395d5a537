"""Figures of recognised test sets: WER and its deltas with honest intervals, emission delays.

What the bootstrap draws is what is independent. Strings of FSDD share recordings, so each word's
errors are charged to the recording that was said there, and recordings are drawn; utterances of
AN4 share speakers, so speakers are drawn.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from todm.core.artifact import Artifact
from todm.core.data_config import PrepareConfig, Split
from todm.core.errors import ArtifactError
from todm.core.report import Measurement, Report
from todm.data.corpora.strings import make_strings
from todm.data.manifest import open_corpus
from todm.data.rows import Rejects
from todm.evaluate.run import HYPS, REPORT
from todm.metrics.bootstrap import difference_interval, ratio_interval
from todm.metrics.wer import errors_per_word, word_errors
from todm.prepare.source import read_rows

Recordings = Mapping[str, tuple[str, ...]]
"""The recording behind each word of a string, by the string's id."""


@dataclass(frozen=True)
class ErrorRows:
    """Errors and words of the rows that a WER is of, with what each belongs to."""

    errors: tuple[float, ...]
    words: tuple[float, ...]
    groups: tuple[str, ...]
    group_kind: str

    @property
    def num_words(self) -> int:
        """Reference words."""
        return int(sum(self.words))


def error_rows(evaluation: Artifact, recordings: Recordings | None) -> ErrorRows:
    """Return a row per word, of its recording, or (without recordings) per utterance."""
    lines = evaluation.file(HYPS).read_text("utf-8").splitlines()
    heard = [json.loads(line) for line in lines]
    if recordings is None:
        counted = word_errors([h["ref"] for h in heard], [h["hyp"] for h in heard])
        return ErrorRows(
            errors=tuple(float(u.errors) for u in counted.per_utterance),
            words=tuple(float(u.words) for u in counted.per_utterance),
            groups=tuple(h["speaker"] for h in heard),
            group_kind="speakers",
        )
    charged = [(h["id"], errors_per_word(h["ref"], h["hyp"])) for h in heard]
    return ErrorRows(
        errors=tuple(float(count) for _, counts in charged for count in counts),
        words=tuple(1.0 for _, counts in charged for _ in counts),
        groups=tuple(name for string, _ in charged for name in recordings[string]),
        group_kind="recordings",
    )


def wer_measurement(name: str, rows: ErrorRows, note: str) -> Measurement:
    """Return a WER in percent with its 95 % interval."""
    percent = [100.0 * count for count in rows.errors]
    found = ratio_interval(percent, rows.words, groups=rows.groups)
    return Measurement(
        name=name,
        value=found.value,
        unit="%",
        low=found.low,
        high=found.high,
        n=rows.num_words,
        note=f"{note}; 95 % bootstrap over {found.units} {rows.group_kind}",
    )


def delta_measurement(name: str, before: ErrorRows, after: ErrorRows, note: str) -> Measurement:
    """Return how many points the WER rises, paired over the same references."""
    a, b = ([100.0 * count for count in rows.errors] for rows in (before, after))
    found = difference_interval(a, b, before.words, groups=before.groups)
    return Measurement(
        name=name,
        value=found.value,
        unit="points",
        low=found.low,
        high=found.high,
        n=before.num_words,
        note=f"{note}; paired 95 % bootstrap over {found.units} {before.group_kind}",
    )


def delay_measurements(net: str, evaluation: Artifact, note: str) -> list[Measurement]:
    """Return the emission delays of a net; none when it had no word right."""
    report = Report.read_json(evaluation.file(REPORT))
    found = []
    for measurement in report.measurements:
        kind, _, figure = measurement.name.partition(".")
        if kind == "emission_delay_ms":
            named = {"name": f"{kind}.{net}.{figure}", "note": f"{measurement.note}; {note}"}
            found.append(measurement.model_copy(update=named))
    return found


def string_recordings(corpus: Path, corpora_dir: Path | None, split: Split) -> Recordings:
    """Replay how a corpus of strings was joined and return the recording behind each word.

    A prepared corpus does not keep it, but the joining is a function of the configuration, the
    source and the seed, each split apart from the others.

    Raises:
        ArtifactError: the source is no longer what the corpus was made of.
    """
    opened = open_corpus(corpus, verify=False)
    config = PrepareConfig.parse(opened.artifact.body["config"], where=f"{corpus} config")
    if config.strings is None:
        raise ArtifactError(f"{corpus}: is no corpus of strings")
    rejects = Rejects(report=lambda _line: None)
    words = read_rows(
        config.model_copy(update={"strings": None}), corpora_dir, rejects, lambda _line: None
    )
    chosen = [row for row in words if row.split == split]
    joined = {
        row.id: (row.text, _parts(row.load))
        for row in make_strings(chosen, config.strings, config.seed, rejects)
    }
    for utterance in opened.cuts(split):
        text, parts = joined.get(utterance.id, ("", ()))
        if text != utterance.text or len(parts) != len(text.split()):
            raise ArtifactError(
                f"{corpus}: {utterance.id} was joined from other recordings than those in "
                f"{corpora_dir}; prepare it anew"
            )
    return {name: parts for name, (_, parts) in joined.items()}


def _parts(load: object) -> tuple[str, ...]:
    """Return the recordings that a string's loader would append."""
    if not isinstance(load, partial):
        raise ArtifactError("strings are joined in another way; string_recordings must follow")
    cuts, _pauses = load.args
    return tuple(cut.recording.id for cut in cuts)
