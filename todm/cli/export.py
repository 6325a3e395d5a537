"""``todm export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from todm.cli.options import Audio, Json, MaybeCorpus, MaybeDevice, Sets


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
    scan: Annotated[
        Literal["folded", "unrolled", "custom"] | None,
        typer.Option(
            "--scan",
            help="How the graphs hold the scan; custom needs `make native` [by the device].",
        ),
    ] = None,
    also: Annotated[
        Literal["coreml", "ethos_u55"] | None,
        typer.Option("--also", help="Add a program for an accelerator; it is exported, not run."),
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
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="fp32, int8, int8_block, int8_static, int4 or fp16, beside fp32; may be repeated "
            "[int8 of ONNX, none of ExecuTorch].",
        ),
    ] = None,
    ungated: Annotated[
        bool,
        typer.Option("--ungated", help="Ship quantized forms unmeasured; the card says so."),
    ] = False,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Export a subnet to ONNX or ExecuTorch.

    Every form must hear the same tokens as torch (parity), on at least 60 s of speech: the dev
    split of the subnet's corpus, or --audio. Quantized forms must keep the accuracy of float32 on
    transcribed dev speech: the layers that cost most stay in float32 until they do. No form may
    grow worse over minutes of one stream. When a gate fails no bundle is left and the exit code
    is 1.

    \b
    todm export runs/rpi4 --out exports/rpi4
    todm export runs/rpi4 --target both --audio talk1.wav --audio talk2.wav --out exports/rpi4
    todm export runs/rpi4 --precision int8 --precision int4 --set schemes.onnx_int4.block_size=64
    """
    from todm.cli.output import say_artifact
    from todm.core.overrides import apply_overrides
    from todm.core.profile import load_profile
    from todm.core.quantization import ExportConfig

    profile = None if device is None else load_profile(device)
    asked = ExportConfig.parse(
        {
            "precisions": precision or None,
            "ungated": ungated,
            "scan_form": scan,
            "features": features,
            "accelerators": [] if also is None else [also],
        },
        where="--precision",
    )
    config = apply_overrides(asked, sets or [])

    from todm.flows.export import export_subnet

    place = out or Path("exports") / subnet.resolve().name
    artifact = export_subnet(
        subnet,
        place,
        target=target,
        profile=profile,
        audio=audio or [],
        corpus=corpus,
        config=config,
    )
    size = sum(artifact.file(name).stat().st_size for name in artifact.manifest.files)
    say_artifact(
        artifact, f"{size / 1e6:.2f} MB in {len(artifact.manifest.files)} files", as_json=as_json
    )
