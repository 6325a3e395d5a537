"""Commands as users type them, in this process."""

from todm.cli import app
from todm.cli.failures import guarded


def todm(*arguments: object) -> int:
    """Run a command; return its exit code."""
    return guarded(
        lambda: app(args=list(map(str, arguments)), prog_name="todm", standalone_mode=False),
        debug=False,
    )
