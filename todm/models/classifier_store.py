"""Classifiers on disk: weights, configuration, and what they know of their sequences."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from todm.core.artifact import Artifact, Draft, load_artifact
from todm.core.classifier_spec import ClassifierSpec
from todm.core.classify_config import ClassifyConfig, SequenceFacts
from todm.core.errors import ArtifactError
from todm.data.sequences import FACTS
from todm.models.classifier import Classifier

WEIGHTS = "model.safetensors"
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
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    (draft.path / WEIGHTS).write_bytes(save(weights))
    config.write_json(draft.path / CONFIG)
    model.spec.write_json(draft.path / SPEC)
    facts.write_json(draft.path / FACTS)


def load_classifier(path: Path) -> OpenClassifier:
    """Open a classifier artifact.

    Raises:
        ArtifactError: not a classifier, or damaged.
    """
    artifact = load_artifact(path, "classifier")
    model = Classifier(ClassifierSpec.read_json(artifact.file(SPEC)))
    source = artifact.file(WEIGHTS)
    try:
        model.load_state_dict(load_file(source))
    except (SafetensorError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(f"{source}: weights do not fit the spec ({first_line})") from error
    return OpenClassifier(
        model=model.eval(),
        config=ClassifyConfig.read_json(artifact.file(CONFIG)),
        facts=SequenceFacts.read_json(artifact.file(FACTS)),
        artifact=artifact,
    )
