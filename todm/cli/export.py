"""``todm export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from todm.cli.options import Audio, Json, MaybeCorpus, MaybeDevice


def export(
    subnet: Annotated[Path, typer.Argument(help="A subnet artifact.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the bundle [exports/NAME]."),
    ] = None,
    target: Annotated[
        Literal["onnx", "executorch", "both"] | None,
        typer.Option("--target", help="Form; by default the one of the device's runtime."),
    ] = None,
    features: Annotated[
        bool | None,
        typer.Option(
            "--features/--no-features",
            help="Write features.onnx (samples to log mel) too; by default for browsers.",
        ),
    ] = None,
    device: MaybeDevice = None,
    audio: Audio = None,
    corpus: MaybeCorpus = None,
    as_json: Json = False,
) -> None:
    """Export a subnet to ONNX or ExecuTorch.

    Every form must hear the same tokens as torch (parity), on at least 60 s of speech: the dev
    split of the subnet's corpus, or --audio. When it fails no bundle is left and the exit code
    is 1.

    \b
    todm export runs/rpi4 --out exports/rpi4
    todm export runs/rpi4 --target both --audio talk1.wav --audio talk2.wav --out exports/rpi4
    """
    from todm.cli.output import say_artifact
    from todm.core.profile import load_profile

    profile = None if device is None else load_profile(device)

    from todm.flows.export import export_subnet

    place = out or Path("exports") / subnet.resolve().name
    artifact = export_subnet(
        subnet,
        place,
        target=target,
        features=features,
        profile=profile,
        audio=audio or [],
        corpus=corpus,
    )
    size = sum(artifact.file(name).stat().st_size for name in artifact.manifest.files)
    say_artifact(
        artifact, f"{size / 1e6:.2f} MB in {len(artifact.manifest.files)} files", as_json=as_json
    )
