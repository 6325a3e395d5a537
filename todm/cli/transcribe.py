"""``todm transcribe``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Json, Precision


def transcribe(
    model: Annotated[Path, typer.Argument(help="A bundle, or a subnet.", show_default=False)],
    audio: Annotated[list[Path], typer.Argument(help="Recordings.", show_default=False)],
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime", help="ort, sherpa or executorch (bundles), torch (subnets); default: own."
        ),
    ] = None,
    precision: Precision = "fp32",
    threads: Annotated[int, typer.Option("--threads", help="CPU threads.")] = 1,
    mix_down: Annotated[
        bool, typer.Option("--mix-down", help="Average the channels of stereo files.")
    ] = False,
    times: Annotated[bool, typer.Option("--times", help="Show each word's start time.")] = False,
    as_json: Json = False,
) -> None:
    """Transcribe recordings as a device would.

    They are streamed in chunks and the end is flushed. Any sample rate is resampled to 16 kHz.
    One line a recording, or one object with --json.

    \b
    todm transcribe exports/rpi4 hello.wav
    todm transcribe exports/rpi4 --runtime sherpa --times *.flac
    """
    from todm.cli.output import say
    from todm.evaluate.source import open_source
    from todm.evaluate.transcribe import transcribe_files

    source = open_source(model, runtime, precision, threads)
    files = []
    for found in transcribe_files(source, audio, mix_down=mix_down):
        files.append(found.to_json())
        if not as_json:
            prefix = f"{found.path}  " if len(audio) > 1 else ""
            typer.echo(prefix + found.line(times=times))
    if as_json:
        say("", {"runtime": source.runtime, "files": files}, as_json=True)
