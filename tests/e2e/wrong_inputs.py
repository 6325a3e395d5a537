"""Wrong inputs: what a case says, and ways to make an input wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from todm.core.artifact import write_artifact

ROOT = Path(__file__).resolve().parents[2]
TONE_S = 0.3 * np.sin(np.arange(16000) * 0.1)
PROFILE = (ROOT / "hardware_profiles/raspberry_pi_4.toml").read_text("utf-8")
PREPARE = "prepare transcripts --path {speech} --out new"
TRAIN = "train-supernet --corpus {corpus} --out new"
SEARCH = "search {supernet} --corpus {corpus} --set trials=2 --out new"
EXTRACT = "extract {supernet} --front {front} --corpus {corpus} --out new"
HEAR = "transcribe {subnet}"


@dataclass(frozen=True)
class Case:
    """One wrong input; ``{corpus}`` and so on in arguments name the chain's artifacts."""

    name: str
    arguments: str
    code: int
    says: str
    """A pattern in the line on stderr."""
    arrange: Callable[..., None] = lambda _: None
    """Makes the input wrong; given a copy of the chain, in the working directory."""
    remarks: int = 0
    """Lines before the error: a rejected recording is told when it is met."""


def text(path, content):
    return lambda _: Path(path).write_text(content, "utf-8")


def audio(path, samples, rate_hz=16000):
    return lambda _: soundfile.write(path, samples, rate_hz, subtype="FLOAT")


def recording(samples):
    """Replace one recording of the corpus's source."""
    return lambda chain: soundfile.write(
        chain.speech / "train0.wav", samples, 16000, subtype="FLOAT"
    )


def flip_byte(artifact, name):
    def arrange(chain):
        path = getattr(chain, artifact) / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return arrange


def manifest(artifact, **changes):
    def arrange(chain):
        path = getattr(chain, artifact) / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")

    return arrange


def other_supernet(chain):
    from todm.models.store import CONFIG, load_supernet, write_model

    opened = load_supernet(chain.supernet)
    with write_artifact(Path("other"), kind="supernet") as draft:
        write_model(draft, opened.model, opened.table)
        opened.config.write_json(draft.path / CONFIG)
        draft.body = {"recipe": "another"}


def profile(name, old, new):
    assert old in PROFILE, old
    return text(name, PROFILE.replace(old, new))
