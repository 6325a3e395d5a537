"""``todm check``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Audio, Json, MaybeDevice, MaybeOut, Sets


def check(
    bundle: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    device: MaybeDevice = None,
    audio: Audio = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus",
            help="A prepared corpus; with --runtimes by default the one it was made with.",
        ),
    ] = None,
    runtimes: Annotated[
        str | None,
        typer.Option(
            "--runtimes",
            metavar="all|NAME,...",
            help="Also decode the speech in every runtime and compare tokens (int8: WER).",
        ),
    ] = None,
    sets: Sets = None,
    out: MaybeOut = None,
    as_json: Json = False,
) -> None:
    """Judge a bundle's budgets, parity and drift, for CI.

    And the accuracy that its export measured. Exits with 1 and the lines that fail. Without --audio
    or --corpus the lines that need speech are not judged. The device is by default the one that the
    bundle was exported for.

    With --runtimes the speech must give the same tokens in torch, ONNX Runtime, sherpa-onnx
    (Python and Node), ONNX Runtime Web, ExecuTorch and on an emulated aarch64; what is not
    installed here is shown as not run, with what to install.

    \b
    todm check exports/rpi4 --corpus runs/fsdd
    todm check exports/rpi4 --corpus runs/fsdd --set drift_s=60
    todm check exports/rpi4 --runtimes all --set seconds=300
    todm check exports/rpi4 --device my_board.toml --audio talk.wav --json
    """
    from todm.bench.check import CheckConfig, lines, require, run
    from todm.cli.output import note, say_report
    from todm.core.overrides import apply_overrides
    from todm.core.profile import load_profile
    from todm.flows.speech import heard_everywhere, speech_for

    chosen = apply_overrides(CheckConfig(), sets or [])
    profile = None if device is None else load_profile(device)
    given = bool(audio) or corpus is not None or runtimes is not None
    seconds = max(chosen.seconds, chosen.drift_s)
    speech = speech_for(bundle, audio or [], corpus, seconds) if given else []
    heard = None if runtimes is None else heard_everywhere(bundle, runtimes, speech, corpus)
    report = run(bundle, profile=profile, audio=speech, config=chosen, heard=heard, out=out)
    say_report(report, "\n".join(lines(report)), as_json=as_json)
    for verdict in report.verdicts:
        if verdict.name.startswith("isa.") and verdict.status != "met":
            note(f"{verdict.name}: {verdict.note}")
    require(report, bundle)
