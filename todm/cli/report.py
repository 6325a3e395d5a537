"""``todm report``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Json, Out


def report(
    artifacts: Annotated[
        list[Path],
        typer.Argument(
            help="Artifacts: a supernet, a front, subnets, bundles, reports.", show_default=False
        ),
    ],
    out: Out,
    as_json: Json = False,
) -> None:
    """Draw one self-contained HTML page.

    Pareto plot, where the devices sit, training curves.

    \b
    todm report runs/supernet runs/front runs/rpi4 exports/rpi4 --out runs/page
    """
    from todm.cli.output import say_artifact
    from todm.flows.page import page_sources
    from todm.report.run import PAGE, run

    artifact = run(page_sources(artifacts), out)
    say_artifact(artifact, str(artifact.file(PAGE)), as_json=as_json)
