"""``todm classify predict``: what a trained or exported classifier says of recordings.

B sequences, T frames, I inputs, Y outputs.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from todm.core.artifact import Artifact, load_artifact
from todm.core.classify_config import FACTS, SequenceFacts
from todm.core.errors import ArtifactError, ConfigError, DataError
from todm.core.value import Value
from todm.features.decimate import decimated
from todm.features.sequence import sequence_of
from todm.features.wav import read_audio
from todm.runtimes.bundle import CONTRACT
from todm.runtimes.classifier import FILES, ClassifierContract, classify, open_classifier
from todm.runtimes.forms import first_runtime

Model = Callable[[Float32[np.ndarray, "B T I"]], Float32[np.ndarray, "B Y"]]
"""Whole sequences to logits, or to figures in their own unit."""
SHOWN = 3
"""Classes in the line of an answer."""


class Answer(Value):
    """What is said of one sequence; ``to_json`` is the form of ``--json``."""

    path: str
    row: int | None
    """Of a .npz file; None for a recording."""
    best: str | None
    """The most probable class; None where figures are estimated."""
    outputs: dict[str, float]
    """Probability by class, or the figures."""

    def line(self) -> str:
        """Return the answer for people."""
        if self.best is None:
            return ", ".join(f"{name} {value:.5g}" for name, value in self.outputs.items())
        ranked = sorted(self.outputs.items(), key=lambda item: -item[1])[:SHOWN]
        return ", ".join(f"{name} {100.0 * value:.1f} %" for name, value in ranked)


def predict(model: Path, files: Sequence[Path], runtime: str | None = None) -> Iterator[Answer]:
    """Yield an answer for each recording, and for each row of ``x`` of a .npz file.

    Args:
        model: A classifier or its bundle.
        files: Recordings of any format and rate, or .npz files with ``x`` (rows, frames[, inputs]).
        runtime: ``ort`` or ``executorch`` (bundles); None takes the form that is there.

    Raises:
        ArtifactError: another artifact, or the bundle lacks the runtime's form.
        ConfigError: a runtime for a classifier, which torch runs.
        DataError: a file is missing, unreadable, or no sequence of the model's kind.
    """
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: no such file; correct the path")
    artifact = load_artifact(model)
    match artifact.manifest.kind:
        case "classifier" if runtime is None:
            run, rate = _trained(artifact), 1
        case "classifier":
            raise ConfigError(f"{model}: a classifier runs in torch; --runtime is for bundles")
        case "bundle" if (artifact.path / FACTS).is_file():
            run, rate = _exported(artifact, runtime)
        case kind:
            raise ArtifactError(f"{model}: holds a {kind}; give a classifier or its bundle")
    facts = SequenceFacts.read_json(artifact.file(FACTS))
    for path in files:
        x_BTI = _rows(path) if path.suffix == ".npz" else _recording(path, facts, rate)
        if x_BTI.shape[1:] != (facts.num_frames, facts.input_dim):
            raise DataError(
                f"{path}: sequences of {x_BTI.shape[1:]} (frames, inputs); the model takes "
                f"{(facts.num_frames, facts.input_dim)}"
            )
        for row, outputs_Y in enumerate(run(x_BTI)):
            yield _answer(str(path), row if path.suffix == ".npz" else None, outputs_Y, facts)


def _trained(artifact: Artifact) -> Model:
    import torch

    from todm.models.classifier_store import load_classifier

    model = load_classifier(artifact.path).model.eval()

    @torch.inference_mode()
    def run(x_BTI: np.ndarray) -> np.ndarray:
        outputs_BY = model(torch.from_numpy(x_BTI))
        found: np.ndarray = (outputs_BY * model.target_std + model.target_mean).numpy()
        return found

    return run


def _exported(artifact: Artifact, runtime: str | None) -> tuple[Model, int]:
    contract = ClassifierContract.read_json(artifact.file(CONTRACT))
    loaded = open_classifier(artifact, runtime or first_runtime(artifact, FILES, "ort"))
    return lambda x_BTI: classify(loaded, contract, x_BTI), contract.rate


def _rows(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as content:
            if "x" not in content:
                raise DataError(f"{path}: has no array 'x' (rows, frames[, inputs])")
            x = content["x"].astype(np.float32)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not readable as .npz ({error})") from error
    rows: np.ndarray = x[..., None] if x.ndim == 2 else x
    if rows.ndim != 3:
        raise DataError(f"{path}: x has shape {x.shape}; it is (rows, frames[, inputs])")
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all((1, 2))))
        raise DataError(f"{path}: x[{row}] holds values that are not finite; correct or remove it")
    return rows


def _recording(path: Path, facts: SequenceFacts, rate: int) -> np.ndarray:
    if facts.audio is None:
        raise DataError(
            f"{path}: the model does not say how its sequences were made of recordings; give a "
            ".npz with x, or prepare and train anew where they were"
        )
    x_TI = sequence_of(read_audio(path), facts.audio)
    return decimated(x_TI[None], rate, filtered=True)


def _answer(path: str, row: int | None, outputs_Y: np.ndarray, facts: SequenceFacts) -> Answer:
    if not facts.classes:
        figures = zip(facts.targets, map(float, outputs_Y), strict=True)
        return Answer(path=path, row=row, best=None, outputs=dict(figures))
    shares_Y = np.exp(outputs_Y - outputs_Y.max())
    shares_Y = shares_Y / shares_Y.sum()
    named = dict(zip(facts.classes, map(float, shares_Y), strict=True))
    return Answer(path=path, row=row, best=facts.classes[int(shares_Y.argmax())], outputs=named)
