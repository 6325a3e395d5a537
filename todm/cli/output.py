"""What a command prints: one line for people or one JSON object for programs."""

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from todm.core.artifact import Artifact
    from todm.core.report import Report


def say(line: str, data: dict[str, Any], *, as_json: bool) -> None:
    """Print the line, or the object with ``--json``."""
    typer.echo(json.dumps(data, ensure_ascii=False) if as_json else line)


def say_artifact(artifact: "Artifact", figure: str, *, as_json: bool) -> None:
    """Print an artifact: kind, path, digest and its key figure; as JSON the whole body."""
    kind, digest = artifact.manifest.kind, artifact.digest
    data = {"kind": kind, "path": str(artifact.path), "digest": digest, "body": artifact.body}
    say(f"{kind}  {artifact.path}  {digest[:12]}  {figure}", data, as_json=as_json)


def say_report(report: "Report", line: str, *, as_json: bool) -> None:
    """Print a report: its key figures in a line; as JSON the whole report."""
    say(line, report.to_json(), as_json=as_json)


def note(line: str) -> None:
    """Print a remark or progress to stderr."""
    typer.echo(line, err=True)
