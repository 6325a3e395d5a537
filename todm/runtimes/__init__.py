"""Runtimes behind one interface; each is imported only when it is asked for.

To add one: a module with an ``open`` function of ``OpenFunction``'s form, and a line below.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from todm.core.errors import ConfigError
from todm.runtimes.bundle import Precision
from todm.runtimes.recogniser import Recogniser, RecogniserStream

__all__ = [
    "RUNTIMES",
    "SUBNET_RUNTIMES",
    "Precision",
    "Recogniser",
    "RecogniserStream",
    "open_recogniser",
]

OpenFunction = Callable[[Path, Precision, int], Recogniser]

RUNTIMES: dict[str, str] = {
    "ort": "todm.runtimes.ort:open_ort",
    "sherpa": "todm.runtimes.sherpa:open_sherpa",
    "executorch": "todm.runtimes.executorch:open_executorch",
    "sherpa_node": "todm.runtimes.sherpa_node:open_sherpa_node",
    "ort_web": "todm.runtimes.ort_web:open_ort_web",
    "torch": "todm.runtimes.eager:open_eager",
    "torch_offline": "todm.runtimes.eager:open_offline",
}
"""Runtime by the name that users type."""
SUBNET_RUNTIMES = frozenset({"torch", "torch_offline"})
"""Those that open a subnet; the others open a bundle."""


def open_recogniser(
    runtime: str, path: Path, precision: Precision = "fp32", threads: int = 1
) -> Recogniser:
    """Load a bundle (``torch``: a subnet) into a runtime.

    Args:
        runtime: A key of ``RUNTIMES``.
        path: The artifact's folder.
        precision: Numeric form to load.
        threads: CPU threads of the network.

    Raises:
        ConfigError: no such runtime, or fewer than one thread.
        ArtifactError: no such artifact, or it lacks that form or precision.
        MissingExtraError: the runtime's package is not installed.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}")
    if threads < 1:
        raise ConfigError(f"{threads} threads asked for; at least 1 is needed")
    return resolve(runtime)(path, precision, threads)


def resolve(runtime: str) -> OpenFunction:
    """Import a runtime's module and return its open function."""
    module, _, function = RUNTIMES[runtime].partition(":")
    return cast(OpenFunction, getattr(import_module(module), function))
