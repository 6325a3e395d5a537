"""``todm eval``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from todm.cli.options import Json, MaybeCorpus, MaybeOut, Precision, Sets


def evaluate(
    model: Annotated[Path, typer.Argument(help="A bundle, or a subnet.", show_default=False)],
    corpus: MaybeCorpus = None,
    split: Annotated[
        Literal["train", "dev", "test"], typer.Option("--split", help="Part of the corpus.")
    ] = "test",
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="ort, sherpa, executorch or torch.")
    ] = None,
    precision: Precision = "fp32",
    max_wer: Annotated[
        float | None, typer.Option("--max-wer", help="Exit with 1 above this WER in percent.")
    ] = None,
    align: Annotated[
        Path | None,
        typer.Option(
            "--align",
            help="Subnet or bundle whose forced alignment the emission delay counts from "
            "[the word ends of the corpus, if it has any].",
        ),
    ] = None,
    sets: Sets = None,
    out: MaybeOut = None,
    as_json: Json = False,
) -> None:
    """Measure the word error rate on a corpus.

    With its parts, a bootstrap interval, the real-time factor and, where word ends are known, the
    emission delay.

    \b
    todm eval exports/rpi4 --corpus runs/fsdd
    todm eval exports/rpi4 --precision int8 --set limit=100 --set interval_by=speaker
    todm eval exports/rpi4 --max-wer 5 --out runs/rpi4_wer
    todm eval runs/small --align runs/largest --json
    """
    from todm.cli.output import say_report
    from todm.core.overrides import apply_overrides
    from todm.evaluate.run import EvaluateConfig, run
    from todm.flows.lineage import corpus_of

    told = {"split": split, "runtime": runtime, "precision": precision, "max_wer": max_wer}
    default = EvaluateConfig.parse(told, where="eval")
    chosen = apply_overrides(default, sets or [])
    report = run(model, corpus or corpus_of(model), chosen, out, aligner=align)
    found = {m.name: m for m in report.measurements}
    wer = found["wer"]
    figure = (
        f"report  {model}  WER {wer.value:.2f} % ({wer.low:.2f} to {wer.high:.2f}), "
        f"{found['substitutions'].value:.0f} sub, {found['deletions'].value:.0f} del, "
        f"{found['insertions'].value:.0f} ins of {found['words'].value:.0f} words, "
        f"RTF {found['rtf'].value:.4f}"
    )
    say_report(report, figure, as_json=as_json)
