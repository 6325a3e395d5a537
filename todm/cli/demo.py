"""``todm demo``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Json


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of all that the demo makes.")] = Path(
        "runs/demo"
    ),
    corpus_dir: Annotated[
        Path | None,
        typer.Option("--corpus-dir", help="Real corpora instead of synthesised [TODM_CORPORA]."),
    ] = None,
    max_wer: Annotated[
        float | None,
        typer.Option("--max-wer", help="Exit with 1 above this WER in percent."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Go from audio to measured device artifacts.

    With a table at the end. A second run reuses finished stages.

    \b
    todm demo
    todm demo --corpus-dir ~/corpora --max-wer 6
    """
    from todm.cli.output import say
    from todm.flows.demo import run

    result = run(out, corpora_dir=corpus_dir, max_wer=max_wer)
    say(result.table, result.to_json(), as_json=as_json)
    result.require()
