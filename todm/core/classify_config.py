"""Configuration of labelled sequences and of the training of a classifier: frozen values."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from todm.core.classifier_spec import ClassifierSpec, SequenceMap
from todm.core.value import Value


class AudioForm(Value):
    """How a recording becomes a sequence."""

    rate_hz: int
    duration_s: float
    form: Literal["raw", "mfcc"]
    unit_rms: bool


class AudioSource(Value):
    """Isolated words of a corpus of transcribed recordings; a word is a class."""

    kind: Literal["audio"] = "audio"
    corpus: str
    """A name of the corpus table, such as ``fsdd``."""
    path: Path | None = None
    """Its place; None looks for the name in the corpus folder."""
    words: tuple[str, ...] = ()
    """The classes; none takes every word of the training part."""
    rate_hz: int = Field(default=4000, ge=1000, le=16000)
    """Sampling rate; recordings are resampled to it once, by soxr in high quality."""
    duration_s: float = Field(gt=0.0)
    """Recordings are cut or padded with zeros to this, about their middle."""
    form: Literal["raw", "mfcc"] = "raw"
    """Samples, or 20 cepstra every 10 ms computed from the same samples."""
    unit_rms: bool = True
    """Scale each recording to a root mean square of 1."""

    @property
    def audio_form(self) -> AudioForm:
        """How its recordings become sequences."""
        return AudioForm.model_validate({k: getattr(self, k) for k in AudioForm.model_fields})


class ImageSource(Value):
    """Images read row by row, a pixel a frame: the file ``mnist/mnist.npz`` of the corpus folder.

    It holds x_train, y_train, x_test and y_test.
    """

    kind: Literal["images"] = "images"
    corpus: str = "mnist"
    path: Path | None = None
    """The .npz file; None looks for ``CORPUS/CORPUS.npz`` in the corpus folder."""
    shrink: int = Field(default=1, ge=1)
    """Pixels are means over squares of this side: 2 makes 14 x 14 of 28 x 28."""
    permuted: bool = False
    """Read the pixels in one random order, drawn from the seed."""
    num_dev: int = Field(default=2000, ge=1)
    """Last training images that are dev."""
    num_train: int | None = Field(default=None, ge=1)
    """Take only the first so many of the others."""


class TableSource(Value):
    """A user's own sequences, all of one length.

    A .npz file with ``x_SPLIT`` (examples, frames[, inputs]) and ``y_SPLIT`` for train, dev and
    test; or a .csv whose lines are ``split,target,value,value,...``.
    """

    kind: Literal["table"] = "table"
    path: Path
    head: Literal["auto", "classes", "regression"] = "auto"
    """What the targets are: ``auto`` takes whole numbers for classes, others for figures."""
    frame_rate_hz: float | None = Field(default=None, gt=0.0)


class SequencesConfig(Value):
    """One preparation of labelled sequences."""

    name: str = Field(min_length=1)
    source: AudioSource | ImageSource | TableSource = Field(discriminator="kind")
    seed: int = 0
    """Of the permutation."""


FACTS = "facts.json"
"""Where an artifact holds its ``SequenceFacts``."""


class SequenceFacts(Value):
    """What a classifier must know of its sequences."""

    name: str
    num_frames: int
    input_dim: int
    frame_rate_hz: float | None = None
    classes: tuple[str, ...] = ()
    """Names of the classes in order; none where figures are estimated."""
    targets: tuple[str, ...] = ()
    """Names of the figures."""
    audio: AudioForm | None = None
    """How recordings become such sequences; None where they are something else."""

    @property
    def head(self) -> Literal["classes", "regression"]:
        """What is learned."""
        return "classes" if self.classes else "regression"

    @property
    def outputs(self) -> int:
        """Classes or figures."""
        return len(self.classes) or len(self.targets)


class SequenceAugment(Value):
    """Changes of training sequences; each is drawn anew for each sequence and step."""

    shift_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Shift in time by up to this share of the length, zeros coming in."""
    gain_db: float = Field(default=0.0, ge=0.0)
    """Gain of up to so much, up or down."""
    noise_db: float | None = None
    """White noise at this level relative to 1, in dB; None adds none."""


class ClassifyTraining(Value):
    """AdamW under a rise and a cosine fall of the rate."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=32, ge=1)
    lr: float = Field(default=4e-3, gt=0.0)
    ssm_lr: float = Field(default=1e-3, gt=0.0)
    """Rate of step sizes, A and B."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    warmup_fraction: float = Field(default=0.05, ge=0.0, lt=1.0)
    eval_every_epochs: int = Field(default=1, ge=1)
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all cores."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"


class ClassifyConfig(Value):
    """Everything that decides a classifier's training, given its sequences."""

    recipe: str
    seed: int = 0
    depth: int = Field(default=3, ge=1)
    width: int = Field(default=64, ge=1)
    map: SequenceMap
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    augment: SequenceAugment = SequenceAugment()
    train: ClassifyTraining = ClassifyTraining()

    def spec(self, facts: SequenceFacts) -> ClassifierSpec:
        """Return the network for these sequences."""
        return ClassifierSpec(
            input_dim=facts.input_dim,
            num_frames=facts.num_frames,
            outputs=facts.outputs,
            head=facts.head,
            depth=self.depth,
            width=self.width,
            map=self.map,
            dropout=self.dropout,
        )

    def deciding(self) -> "ClassifyConfig":
        """Return the configuration without what says only where the run takes place."""
        where = {"threads": 0, "accelerator": "auto"}
        return self.model_copy(update={"train": self.train.model_copy(update=where)})


class ClassifyEvalConfig(Value):
    """What an evaluation measures."""

    split: Literal["train", "dev", "test"] = "test"
    rate: int = Field(default=1, ge=1)
    """Keep every so many-th frame of the sequences."""
    rule: bool = True
    """Whether the model is told (its step sizes become ``rate`` times as long)."""
    decimate: Literal["filtered", "plain"] = "filtered"
    """``filtered``: by soxr in high quality, what the lower rate cannot hold taken out first.
    ``plain``: frames are dropped, and higher frequencies fold down."""
    batch_size: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "ClassifyEvalConfig":
        if self.rate == 1 and (not self.rule or self.decimate == "plain"):
            raise ValueError("rule and decimate are read with a rate of at least 2")
        return self
