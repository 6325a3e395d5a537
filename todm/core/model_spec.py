"""The spec of a model of any kind, and how it is read."""

from pathlib import Path

from pydantic import ConfigDict

from todm.core.classifier_spec import ClassifierSpec
from todm.core.errors import ConfigError
from todm.core.forecaster_spec import ForecasterSpec
from todm.core.specs import SubnetSpec
from todm.core.value import Value

ModelSpec = SubnetSpec | ForecasterSpec | ClassifierSpec
"""What cost, export and bench take; further kinds join this union."""


def read_model_spec(path: Path) -> ModelSpec:
    """Read the spec of a model of any kind.

    Raises:
        ConfigError: no spec, or of a kind that this todm does not know.
    """
    kinds: dict[str, type[ModelSpec]] = {
        "rnnt": SubnetSpec,
        "forecaster": ForecasterSpec,
        "classifier": ClassifierSpec,
    }
    kind = _Tag.read_json(path).kind
    if kind not in kinds:
        raise ConfigError(f"{path}: no model of kind {kind!r}; known: {', '.join(kinds)}")
    return kinds[kind].read_json(path)


class _Tag(Value):
    """The kind of a spec, whatever else it says."""

    model_config = ConfigDict(extra="ignore")

    kind: str
