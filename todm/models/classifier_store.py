"""Classifiers on disk: weights, configuration, and what they know of their sequences."""

from dataclasses import dataclass
from pathlib import Path

from todm.core.artifact import Artifact, Draft, load_artifact
from todm.core.classifier_spec import ClassifierSpec
from todm.core.classify_config import FACTS, ClassifyConfig, SequenceFacts
from todm.models.classifier import Classifier
from todm.models.weights import load_weights, write_weights

CONFIG = "config.json"
SPEC = "spec.json"


@dataclass(frozen=True)
class OpenClassifier:
    """A trained classifier, opened."""

    model: Classifier
    config: ClassifyConfig
    facts: SequenceFacts
    artifact: Artifact

    @property
    def spec(self) -> ClassifierSpec:
        """The network."""
        return self.model.spec


def write_classifier(
    draft: Draft, model: Classifier, config: ClassifyConfig, facts: SequenceFacts
) -> None:
    """Write everything into a draft."""
    write_weights(draft.path, model.state_dict())
    config.write_json(draft.path / CONFIG)
    model.spec.write_json(draft.path / SPEC)
    facts.write_json(draft.path / FACTS)


def load_classifier(path: Path) -> OpenClassifier:
    """Open a classifier artifact.

    Raises:
        ArtifactError: not a classifier, or damaged.
    """
    artifact = load_artifact(path, "classifier")
    spec = ClassifierSpec.read_json(artifact.file(SPEC))
    return OpenClassifier(
        model=load_weights(artifact, Classifier(spec)),
        config=ClassifyConfig.read_json(artifact.file(CONFIG)),
        facts=SequenceFacts.read_json(artifact.file(FACTS)),
        artifact=artifact,
    )
