"""``todm extract``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Device, Json, MaybeCorpus, Out


def extract(
    supernet: Annotated[Path, typer.Argument(help="A supernet artifact.", show_default=False)],
    front: Annotated[Path, typer.Option("--front", help="The front that todm search found in it.")],
    device: Device,
    out: Out,
    corpus: MaybeCorpus = None,
    allow_unjudged: Annotated[
        bool,
        typer.Option("--allow-unjudged", help="Go on when no budget can be judged here."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Cut out the best subnet for a device.

    The result is a dense network that meets the device's budgets. Exits with 3 when no subnet
    meets them, and says what each budget line would have to be.

    \b
    todm extract runs/supernet --front runs/front --device raspberry_pi_4 --out runs/rpi4
    todm extract runs/supernet --front runs/front --device my_board.toml --out runs/board
    """
    from todm.cli.output import say_artifact
    from todm.core.profile import load_profile

    profile = load_profile(device)

    from todm.flows.extract import extract_for_device

    artifact = extract_for_device(
        supernet, front, profile, out, corpus=corpus, allow_unjudged=allow_unjudged
    )
    say_artifact(artifact, f"dev WER {artifact.body['wer']:.2f} %", as_json=as_json)
