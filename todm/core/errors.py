"""The errors of todm, each with the exit code of the command that meets it.

    TodmError                 70  our own bug, unless a subclass says otherwise
    |-- GateError              1  a budget, parity or accuracy gate failed
    |-- InputError             2  the user's input is wrong
    |   |-- ConfigError        2  a configuration value or key
    |   |-- DataError          2  audio, transcripts, manifests
    |   `-- ArtifactError      2  a folder that is no (or a damaged) artifact
    |-- InfeasibleError        3  no subnet meets the device's budgets
    |-- MissingExtraError      4  an optional package is not installed
    |-- MissingBuildError      4  a library that the user builds, or its compiler, is not there
    |-- MissingToolError       4  a program outside Python is not installed
    `-- LostProcessError      75  another process of the same training is gone

A message says what is wrong, where, and what would be right, in one line.
"""


class TodmError(Exception):
    """Base of every error that todm raises on purpose."""

    exit_code: int = 70


class GateError(TodmError):
    """A measured figure failed its gate (parity, budget, WER)."""

    exit_code = 1


class InputError(TodmError):
    """Something the user gave is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration key or value is wrong."""


class DataError(InputError):
    """Audio, text or a manifest is wrong."""


class ArtifactError(InputError):
    """A folder is not the artifact it should be, or is damaged."""


class InfeasibleError(TodmError):
    """No subnet meets the budgets."""

    exit_code = 3


class MissingExtraError(TodmError):
    """An optional dependency is missing; the message carries the cure."""

    exit_code = 4

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(f"needs the package {package!r}: pip install 'todm[{extra}]'")


class MissingBuildError(TodmError):
    """A library that is built from source, or what builds it, is missing."""

    exit_code = 4


class MissingToolError(TodmError):
    """A program or package outside Python is missing; the message carries the cure."""

    exit_code = 4

    def __init__(self, tool: str, *, cure: str) -> None:
        super().__init__(f"needs {tool}: {cure}")


class LostProcessError(TodmError):
    """Another process of a training failed or is gone; the same command goes on later."""

    exit_code = 75
