"""``todm release``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Json, Out


def release(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    out: Out,
    reports: Annotated[
        list[Path] | None,
        typer.Option("--report", help="A report of todm eval or bench; may be repeated."),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option("--language", help="ISO 639 code; may be repeated."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="The weights' licence, as the hub names it.")
    ] = None,
    data: Annotated[str, typer.Option("--data", help="Name of the training data.")] = "",
    as_json: Json = False,
) -> None:
    """Write a bundle's model card and a release tarball.

    The card holds the results of the reports. The folder can be pushed to the Hugging Face hub as
    it is. The tarball lies beside it, named as sherpa-onnx names its releases.

    \b
    todm eval exports/rpi4 --precision int8 --out runs/rpi4.wer
    todm release exports/rpi4 --report runs/rpi4.wer --language en --out hub/rpi4
    """
    from todm.cli.output import say_artifact
    from todm.export.card_facts import Facts
    from todm.export.release import run

    facts = Facts(languages=tuple(languages or ()), licence=licence, data=data)
    artifact, tarball = run(bundle, out, reports=reports or [], facts=facts)
    nothing = "no ONNX form that sherpa-onnx loads, so no tarball"
    shown = nothing if tarball is None else f"tarball {tarball}"
    say_artifact(artifact, shown, as_json=as_json)
