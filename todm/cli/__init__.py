"""The command ``todm``: one file a command, each imported light and heavy only when it runs.

``todm --help`` imports neither torch nor numpy. Every failure is one line on stderr and an exit
code (``todm.core.errors`` draws the tree); ``--debug`` shows the traceback.
"""

import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from todm import __version__
from todm.cli.bench import bench
from todm.cli.check import check
from todm.cli.classify import app as classify_app
from todm.cli.demo import demo
from todm.cli.eval import evaluate
from todm.cli.export import export
from todm.cli.extract import extract
from todm.cli.failures import guarded
from todm.cli.finetune import finetune
from todm.cli.forecast import app as forecast_app
from todm.cli.prepare import prepare
from todm.cli.profiles import profiles
from todm.cli.release import release
from todm.cli.report import report
from todm.cli.search import search
from todm.cli.train_supernet import train_supernet
from todm.cli.transcribe import transcribe

DEBUG_FLAG = "--debug"
_COMMANDS: dict[str, Callable[..., None]] = {
    "prepare": prepare,
    "train-supernet": train_supernet,
    "search": search,
    "extract": extract,
    "finetune": finetune,
    "export": export,
    "transcribe": transcribe,
    "eval": evaluate,
    "bench": bench,
    "check": check,
    "release": release,
    "report": report,
    "demo": demo,
    "profiles": profiles,
}
"""In the order of the flow, as the help shows them."""

app = typer.Typer(
    name="todm",
    help="Train one elastic streaming recogniser, ship it to every device.",
    epilog="Exit codes: 0 done, 1 a gate failed, 2 wrong input, 3 no net meets the budgets, "
    "4 an optional package is missing, 70 our own bug, 75 another process of the training is gone, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _name, _function in _COMMANDS.items():
    app.command(_name)(_function)
_GROUPS: dict[str, typer.Typer] = {"forecast": forecast_app, "classify": classify_app}
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"todm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG_FLAG, help="Show tracebacks; may stand after the command too.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:]
    debug = DEBUG_FLAG in arguments
    rest = [argument for argument in arguments if argument != DEBUG_FLAG]
    sys.exit(guarded(lambda: app(args=rest, prog_name="todm", standalone_mode=False), debug=debug))
