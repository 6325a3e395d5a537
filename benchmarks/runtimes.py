"""One transcript in every runtime: the matrix of ``todm check --runtimes all`` on long speech.

Each bundle decodes recordings of its corpus (test, dev, then train split) until they last
``--minutes``: fp32 tokens and frames against torch offline, the word error rate of int8 in each
runtime. An emulated aarch64 decodes the first minute. What is not installed is listed as not run.
Results of a place are kept in a JSONL file, so that a run that was cut off goes on.

    .venv/bin/python benchmarks/runtimes.py --bundle mcu_arm=exports/mcu_arm [--corpus CORPUS]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from arguments import add_quick_and_out, log_path, named_path, report_path, told
from kept import Kept
from pages import everything, made_with, page, table, write
from token_identity import DEFAULT_SPLITS

from todm.bench.matrix import PLACES, Heard, Spoken, chosen_places, hear, matrix
from todm.bench.tokens import Tokens
from todm.core.data_config import SPLITS, Split
from todm.core.errors import DataError
from todm.core.report import Measurement, Report, Verdict, environment
from todm.data.manifest import open_corpus
from todm.flows.lineage import corpus_of
from todm.runtimes import Precision
from todm.runtimes.bundle import Bundle, open_bundle

NAME = "runtimes"


class Ears:
    """Hears at a place what was not heard there before."""

    def __init__(self, log: Path) -> None:
        self._kept = Kept(log, "tokens")

    def hear(
        self, bundle: Bundle, name: str, precision: Precision, spoken: Sequence[Spoken]
    ) -> Heard:
        """Decode at one place, or read what was heard there before."""
        what = [bundle.artifact.digest, name, precision, *(s.audio.name for s in spoken)]
        key = json.dumps(what)
        if key in self._kept.found:
            tokens = Tokens.parse(self._kept.found[key], where=str(self._kept.path))
            return Heard(tokens, tuple(spoken[: len(tokens.transcripts)]))
        found = hear(bundle, name, precision, spoken)
        if found.tokens is not None:
            self._kept.put(key, found.tokens.to_json())
        told = found.note or f"{len(found.spoken)} recordings, {found.audio_s / 60:.1f} min"
        print(f"{bundle.artifact.path.name}, {precision}, {name}: {told}", flush=True)
        return found


def speech(corpus: Path, splits: Sequence[Split], seconds: float) -> list[Spoken]:
    """Return recordings with their texts until there is enough speech.

    Raises:
        DataError: the splits hold less.
    """
    opened, taken, have_s = open_corpus(corpus), [], 0.0
    for split in splits:
        for utterance in opened.cuts(split):
            if have_s >= seconds:
                return taken
            taken.append(Spoken(utterance.audio_path, utterance.duration_s, utterance.text))
            have_s += utterance.duration_s
    if have_s < seconds:
        raise DataError(f"{corpus}: {', '.join(splits)} hold {have_s / 60:.1f} min of speech")
    return taken


def figures(
    name: str, bundle: Path, spoken: Sequence[Spoken], places: Sequence[str], ears: Ears
) -> tuple[list[Measurement], list[Verdict]]:
    """Return the matrix of one bundle, its lines named ``runtimes.PRECISION.PLACE.NAME``."""
    opened = open_bundle(bundle)
    measurements, verdicts = matrix(opened, spoken, places, hear_at=ears.hear)
    audio_s = sum(s.duration_s for s in spoken)
    measurements.append(
        Measurement(name="runtimes.audio_s", value=audio_s, unit="s", n=len(spoken))
    )
    return (
        [m.model_copy(update={"name": f"{m.name}.{name}"}) for m in measurements],
        [v.model_copy(update={"name": f"{v.name}.{name}"}) for v in verdicts],
    )


def render(report: Report) -> str:
    """Return the page: a row a place and bundle, then every figure."""
    named = {m.name: m for m in report.measurements}
    rows = []
    for verdict in report.verdicts:
        _, precision, place, bundle = verdict.name.split(".", 3)
        wer = named.get(f"runtimes.{precision}.{place}.wer.{bundle}")
        told = {"met": "equal", "failed": "DIFFERS", "not_judged": "not judged"}[verdict.status]
        shown = "-" if wer is None else f"{wer.value:.3f}"
        rows.append((bundle, precision, place, told, shown, verdict.note))
    env = report.environment
    what = (
        "Greedy tokens and their frames against torch offline (fp32), and the word error rate in "
        "percent. int8 rounds differently in every runtime: its tokens are not compared. "
        f"{made_with(env)} Instruction sets {' '.join(env.isa)}; aarch64 by qemu-user, cortex-a76."
    )
    matrix = table(("bundle", "precision", "runtime", "tokens", "WER", "note"), rows)
    figures = everything(report.measurements, ".7g")
    return page("# One transcript in every runtime", what, matrix, figures)


def main() -> None:
    """Decode everywhere, and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--bundle", type=named_path, action="append", required=True, help="NAME=BUNDLE")
    add("--corpus", type=Path, help="[the one of each bundle's lineage]")
    add("--splits", nargs="+", choices=SPLITS, default=DEFAULT_SPLITS, help="in this order")
    add("--runtimes", default="all", help=f"all, or some of {', '.join(PLACES)}")
    add("--minutes", type=float, default=20.0, help="least speech [20]")
    add("--log", type=Path, help=f"what was heard so far [runs/{NAME}.jsonl, or beside --out]")
    add_quick_and_out(parser, NAME, quick="10 s of speech")
    args = parser.parse_args()
    ears = Ears(log_path(args, NAME))
    places = chosen_places(args.runtimes)
    seconds = 10.0 if args.quick else 60 * args.minutes
    measurements: list[Measurement] = []
    verdicts: list[Verdict] = []
    for name, bundle in args.bundle:
        spoken = speech(args.corpus or corpus_of(bundle), args.splits, seconds)
        more, judged = figures(name, bundle, spoken, places, ears)
        measurements, verdicts = measurements + more, verdicts + judged
    report = Report(
        environment=environment(), measurements=tuple(measurements), verdicts=tuple(verdicts)
    )
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    sys.exit(told(NAME, main))
