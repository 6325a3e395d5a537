"""Configuration of corpora, tokens, augmentation and batches: frozen, checked values."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from todm.core.value import Value

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, Split, Split] = ("train", "dev", "test")


class TokenConfig(Value):
    """What a token is."""

    unit: Literal["char", "word", "bpe"] = "char"
    """Characters, whole words, or SentencePiece BPE pieces."""
    bpe_size: int = Field(default=120, ge=8, le=65536)
    """Symbols of the BPE table, the blank included; read for ``unit="bpe"`` only."""


class SourceConfig(Value):
    """Where the recordings come from: one entry of the corpus table, and its place."""

    corpus: str
    """A name in ``todm.data.corpora.CORPORA``, such as ``nemo``, ``fsdd`` or ``espeak``."""
    path: Path | None = None
    """The corpus, or its training part; None looks for a named corpus in the corpus folder."""
    dev_path: Path | None = None
    test_path: Path | None = None
    """Further parts of formats that hold one split a file or folder (nemo, kaldi, cuts)."""
    download: bool = False
    """Let lhotse download the corpus to ``path`` first (``lhotse-*`` corpora only)."""
    language: str | None = None
    """Which language of a corpus with several (lhotse-commonvoice, lhotse-voxpopuli)."""
    mix_down: bool = False
    """Average the channels of files with several; off, such a file is rejected."""

    @model_validator(mode="after")
    def _parts_need_a_path(self) -> "SourceConfig":
        if self.path is None and (self.dev_path or self.test_path):
            raise ValueError("dev_path and test_path need path, the training part")
        return self


class StringConfig(Value):
    """Word strings: of one speaker's isolated recordings, or spoken by espeak-ng."""

    min_words: int = Field(default=1, ge=1)
    max_words: int = Field(default=5, ge=1)
    num_train: int = Field(default=2000, ge=0)
    num_dev: int = Field(default=150, ge=0)
    num_test: int = Field(default=300, ge=0)
    """Strings per split; none are made of a split without recordings."""
    pause_s: tuple[float, float] = (0.05, 0.25)
    """Range of the silence before, between and after the words, in seconds (joined strings)."""
    trim_db: float | None = Field(default=None, gt=0.0)
    """Cut off what is this far below a recording's loudest 10 ms before its first and after its
    last louder part (joined strings); None keeps recordings whole. Where recordings hold silence
    around the word, the known end of a word is that of its sound only with it."""

    def count(self, split: Split) -> int:
        """Return how many strings the split gets."""
        return {"train": self.num_train, "dev": self.num_dev, "test": self.num_test}[split]

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "StringConfig":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} exceeds max_words {self.max_words}")
        if not 0.0 <= self.pause_s[0] <= self.pause_s[1]:
            raise ValueError(f"pause_s must be two ascending seconds, got {self.pause_s}")
        return self


class SynthesisConfig(Value):
    """How synthesised speech varies; each utterance draws uniformly from the ranges."""

    speed_wpm: tuple[int, int] = (140, 230)
    """Words per minute asked of espeak-ng (80 to 450)."""
    pitch: tuple[int, int] = (30, 70)
    """Base pitch asked of espeak-ng (0 to 100, 50 is the voice's own)."""
    snr_db: tuple[float, float] = (15.0, 40.0)
    """Speech power over noise power; the noise is white or pink."""
    peak_db: tuple[float, float] = (-20.0, -1.0)
    """Peak of the utterance in dB of full scale."""
    edge_s: tuple[float, float] = (0.1, 0.3)
    """Noise before and after the speech, in seconds."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "SynthesisConfig":
        for name in ("speed_wpm", "pitch", "snr_db", "peak_db", "edge_s"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: lower end {low} exceeds upper end {high}")
        if not (self.speed_wpm[0] >= 80 and self.speed_wpm[1] <= 450):
            raise ValueError(f"speed_wpm must lie in 80..450, got {self.speed_wpm}")
        if not (self.pitch[0] >= 0 and self.pitch[1] <= 100):
            raise ValueError(f"pitch must lie in 0..100, got {self.pitch}")
        if self.peak_db[1] > 0.0 or self.edge_s[0] < 0.0:
            raise ValueError("peak_db must be at most 0 and edge_s at least 0")
        return self


class NoiseConfig(Value):
    """Recorded noise, mixed into every utterance once: the noise of dev and test stays fixed."""

    path: Path | None = None
    """A folder with ``noise.tsv``; None takes ``noise`` in the corpus folder."""
    snr_db: tuple[float, float]
    """Signal power over noise power; each utterance draws uniformly."""

    @model_validator(mode="after")
    def _range_ascends(self) -> "NoiseConfig":
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db must ascend, got {self.snr_db}")
        return self


class PrepareConfig(Value):
    """One run of ``todm prepare``, in full."""

    name: str = Field(min_length=1)
    """A name for people; it goes into the manifest."""
    source: SourceConfig
    tokens: TokenConfig = TokenConfig()
    strings: StringConfig | None = None
    """Make word strings: required by ``espeak``, optional for isolated-word corpora."""
    synthesis: SynthesisConfig | None = None
    """Read by ``espeak`` only; None takes its defaults."""
    noise: NoiseConfig | None = None
    """Mix noise into all splits, each with recordings of its own; None leaves the audio alone."""
    dev_fraction: float = Field(default=0.05, ge=0.0, lt=0.5)
    test_fraction: float = Field(default=0.05, ge=0.0, lt=0.5)
    """Shares of the utterances that a corpus without splits gives to dev and test."""
    token_table: Path | None = None
    """A prepared corpus whose token table is used instead of a new one."""
    shard_size: int | None = Field(default=None, ge=1)
    """Pack the training audio into Lhotse Shar with so many utterances a shard, for corpora that
    are read from disk in every epoch; None keeps a file for each utterance."""
    seed: int = 0
    strict: bool = False
    """Stop at the first rejected line instead of counting it."""


class AugmentConfig(Value):
    """Augmentation of training batches (SpecAugment: Park et al. 2019, arXiv 1904.08779)."""

    time_masks: int = Field(default=2, ge=0)
    time_mask_max_frames: int = Field(default=20, ge=2)
    """A mask is shorter than this, and all masks together than the fraction below."""
    time_mask_fraction: float = Field(default=0.2, gt=0.0, le=1.0)
    freq_masks: int = Field(default=2, ge=0)
    freq_mask_max_bins: int = Field(default=12, ge=2, le=80)
    speed_factors: tuple[float, ...] = Field(default=(0.9, 1.0, 1.1), min_length=1)
    """Each utterance is played at one of these speeds, drawn uniformly."""
    noise_snr_db: tuple[float, float] | None = None
    noise_probability: float = Field(default=0.0, ge=0.0, le=1.0)
    noise_dir: Path | None = None
    """A folder of noise recordings; with a ``noise.tsv`` only its train split is used."""

    @classmethod
    def off(cls) -> "AugmentConfig":
        """Return the configuration that changes nothing."""
        return cls(time_masks=0, freq_masks=0, speed_factors=(1.0,))

    @model_validator(mode="after")
    def _noise_is_whole(self) -> "AugmentConfig":
        wanted = self.noise_probability > 0.0
        given = (self.noise_snr_db is not None, self.noise_dir is not None)
        if given != (wanted, wanted):
            raise ValueError(
                "noise needs noise_probability > 0, noise_snr_db and noise_dir together"
            )
        if self.noise_snr_db is not None and self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError(f"noise_snr_db must ascend, got {self.noise_snr_db}")
        if min(self.speed_factors) < 0.5 or max(self.speed_factors) > 2.0:
            raise ValueError(f"speed_factors must lie in 0.5..2, got {self.speed_factors}")
        return self


class LoaderConfig(Value):
    """How training batches are formed."""

    batch_size: int = Field(default=16, ge=1)
    """Utterances per batch; with ``max_duration_s``, at most so many."""
    max_audio_s: float = Field(default=20.0, gt=0.0)
    """Longer training utterances are left out."""
    bucket: bool = True
    """Put utterances of similar duration into one batch."""
    max_duration_s: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Fill each batch up to so much audio, padding and slowest speed included, from buckets of
    similar duration; None gives all batches ``batch_size`` utterances."""
    num_buckets: int = Field(default=30, ge=1)
    """Buckets of ``max_duration_s``; small corpora get fewer."""
    shuffle_shards: int = Field(default=4, ge=1)
    """Shards whose utterances are shuffled together, where the corpus is in Lhotse Shar."""
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _dynamic_batches_are_bucketed(self) -> "LoaderConfig":
        if self.max_duration_s is not None and not self.bucket:
            raise ValueError("max_duration_s fills batches from buckets; remove bucket=false")
        return self
