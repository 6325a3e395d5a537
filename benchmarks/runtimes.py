"""One transcript in every runtime: the matrix of ``todm check --runtimes all`` on long speech.

Each bundle decodes recordings of its corpus (test, dev, then train split) until they last
``--minutes``: fp32 tokens and frames against torch offline, the word error rate of int8 in each
runtime. An emulated aarch64 decodes the first minute. What is not installed is listed as not run.
Results of a place are kept in a JSONL file, so that a run that was cut off goes on.

    .venv/bin/python benchmarks/runtimes.py --bundle mcu_arm=exports/mcu_arm [--corpus CORPUS]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from token_identity import named_path

from todm.bench.matrix import PLACES, Heard, Spoken, chosen_places, hear, matrix
from todm.bench.tokens import Tokens
from todm.core.data_config import SPLITS, Split
from todm.core.errors import DataError
from todm.core.report import Measurement, Report, Verdict, environment
from todm.data.manifest import open_corpus
from todm.flows.lineage import corpus_of
from todm.runtimes import Precision
from todm.runtimes.bundle import Bundle, open_bundle

RESULT = Path(__file__).parent / "results" / "runtimes.json"
DEFAULT_SPLITS: tuple[Split, ...] = ("test", "dev", "train")


class Kept:
    """The JSONL file of what was heard so far; a line that was cut off does not count."""

    def __init__(self, path: Path) -> None:
        self._path, self._lines = path, {}
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._lines[entry["key"]] = entry["tokens"]

    def hear(
        self, bundle: Bundle, name: str, precision: Precision, spoken: Sequence[Spoken]
    ) -> Heard:
        """Decode at one place, or read what was heard there before."""
        what = [bundle.artifact.digest, name, precision, *(s.audio.name for s in spoken)]
        key = json.dumps(what)
        if key in self._lines:
            tokens = Tokens.parse(self._lines[key], where=str(self._path))
            return Heard(tokens, tuple(spoken[: len(tokens.transcripts)]))
        found = hear(bundle, name, precision, spoken)
        if found.tokens is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                # A cut-off line before this one ends here.
                entry = {"key": key, "tokens": found.tokens.to_json()}
                stream.write("\n" + json.dumps(entry) + "\n")
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
    name: str, bundle: Path, spoken: Sequence[Spoken], places: Sequence[str], kept: Kept
) -> tuple[list[Measurement], list[Verdict]]:
    """Return the matrix of one bundle, its lines named ``runtimes.PRECISION.PLACE.NAME``."""
    opened = open_bundle(bundle)
    measurements, verdicts = matrix(opened, spoken, places, hear_at=kept.hear)
    audio_s = sum(s.duration_s for s in spoken)
    measurements.append(
        Measurement(name="runtimes.audio_s", value=audio_s, unit="s", n=len(spoken))
    )
    return (
        [m.model_copy(update={"name": f"{m.name}.{name}"}) for m in measurements],
        [v.model_copy(update={"name": f"{v.name}.{name}"}) for v in verdicts],
    )


def table(report: Report) -> str:
    """Return the matrix as Markdown: a row a place, a column a bundle."""
    verdicts = {v.name: v for v in report.verdicts}
    matches = {m.name: m for m in report.measurements}
    rows = []
    for verdict in verdicts.values():
        _, precision, place, bundle = verdict.name.split(".", 3)
        wer = matches.get(f"runtimes.{precision}.{place}.wer.{bundle}")
        told = {"met": "equal", "failed": "DIFFERS", "not_judged": "not judged"}[verdict.status]
        shown = "-" if wer is None else f"{wer.value:.3f}"
        rows.append(f"| {bundle} | {precision} | {place} | {told} | {shown} | {verdict.note} |")
    env = report.environment
    return (
        "# One transcript in every runtime\n\nGreedy tokens and their frames against torch offline "
        "(fp32), and the word error rate in percent. int8 rounds differently in every runtime: its "
        f"tokens are not compared. `{env.command}` on {env.cpu} ({' '.join(env.isa)}), {env.date}; "
        "aarch64 by qemu-user, cortex-a76.\n\n"
        "| bundle | precision | runtime | tokens | WER | note |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n| figure | value | unit | n |\n|---|---|---|---|\n"
        + "\n".join(f"| {m.name} | {m.value:.7g} | {m.unit} | {m.n} |" for m in report.measurements)
        + "\n"
    )


def main() -> None:
    """Decode everywhere, and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=named_path, action="append", required=True)
    parser.add_argument("--corpus", type=Path, help="[the one of each bundle's lineage]")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=DEFAULT_SPLITS)
    parser.add_argument("--runtimes", default="all", help=f"all, or some of {', '.join(PLACES)}")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--quick", action="store_true", help="10 s of speech")
    parser.add_argument("--log", type=Path, help="what was heard so far [OUT with .jsonl]")
    parser.add_argument("--out", type=Path, help=f"the report [{RESULT.name} in results]")
    args = parser.parse_args()
    out: Path = args.out or (Path("runs/quick") / RESULT.name if args.quick else RESULT)
    kept = Kept(args.log or out.with_suffix(".jsonl"))
    places = chosen_places(args.runtimes)
    measurements: list[Measurement] = []
    verdicts: list[Verdict] = []
    for name, bundle in args.bundle:
        spoken = speech(
            args.corpus or corpus_of(bundle), args.splits, 10.0 if args.quick else 60 * args.minutes
        )
        more, judged = figures(name, bundle, spoken, places, kept)
        measurements, verdicts = measurements + more, verdicts + judged
    report = Report(
        environment=environment(), measurements=tuple(measurements), verdicts=tuple(verdicts)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    report.write_json(out)
    out.with_suffix(".md").write_text(table(report), "utf-8")
    print(f"{out} and {out.with_suffix('.md').name}")


if __name__ == "__main__":
    main()
