"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder of the result.")]
MaybeOut = Annotated[
    Path | None, typer.Option("--out", help="Also write a report artifact to this folder.")
]
MaybeBundle = Annotated[
    Path | None, typer.Option("--out", help="Folder of the bundle [exports/NAME].")
]
MaybeForm = Annotated[
    Literal["onnx", "executorch", "both"] | None,
    typer.Option("--target", help="Form; by default the one of the device's runtime, or ONNX."),
]
Corpus = Annotated[Path, typer.Option("--corpus", help="A prepared corpus.")]
MaybeCorpus = Annotated[
    Path | None,
    typer.Option("--corpus", help="A prepared corpus; by default the one it was made with."),
]
Audio = Annotated[
    list[Path] | None,
    typer.Option("--audio", metavar="FILE", help="A recording of real speech; may be repeated."),
]
Device = Annotated[
    str, typer.Option("--device", help="A shipped profile's name (todm profiles) or a .toml file.")
]
MaybeDevice = Annotated[
    str | None,
    typer.Option("--device", help="A shipped profile's name (todm profiles) or a .toml file."),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A .json or .toml file with the configuration.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated."),
]
Precision = Annotated[
    Literal["fp32", "int8", "int8_block", "int8_static", "int4", "fp16"],
    typer.Option("--precision", help="Numeric form of the network."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a line.")]
