"""What one measurement process is asked and what it answers; both travel as JSON."""

from pathlib import Path

from pydantic import Field

from todm.core.value import Value
from todm.runtimes import Precision
from todm.runtimes.triple import Triple

PARTS = ("encoder", "predictor", "joiner", "rest")
"""Into which a chunk's time is split; ``rest`` is features and search."""


class BenchJob(Value):
    """One measurement: a recogniser, speech, and for how long."""

    model: Path
    """A bundle, or a subnet with the runtime ``torch``."""
    runtime: str
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)
    audio: tuple[Path, ...] = Field(min_length=1)
    """Speech; joined, and repeated where it is shorter than what is asked for."""
    seconds: float = Field(default=20.0, gt=0.0)
    """Audio decoded back to back."""
    paced_s: float = Field(default=4.0, ge=0.0)
    """Audio decoded at one chunk per chunk duration, as from a microphone; takes as long."""
    triple: Triple | None = None
    """A peer's recogniser in place of the artifact."""
    warmup_chunks: int = Field(default=4, ge=1)
    """Chunks decoded before the first that counts."""


class Measured(Value):
    """What a measurement process found."""

    chunk_ms: float
    """Audio of one chunk."""
    back_to_back_ms: tuple[float, ...] = Field(min_length=1)
    """Time of each chunk: features, network and search, from samples to tokens."""
    paced_ms: tuple[float, ...]
    import_s: float
    """Importing the runtime's package."""
    load_s: float
    """Opening the artifact: sha256 of every file, sessions, first state."""
    peak_ram_bytes: int | None
    ram_note: str
    split_ms: dict[str, float] | None
    """Mean time of a chunk by part, of a further pass; None where the runtime hides its parts."""
    tokens: int
    """Tokens emitted back to back: the predictor runs once for each."""

    @property
    def rtf(self) -> float:
        """Compute seconds per second of audio, back to back."""
        return sum(self.back_to_back_ms) / (self.chunk_ms * len(self.back_to_back_ms))
