"""A tiny chain of real artifacts: corpus, supernet (untrained), front and subnet."""

import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import torch

from todm.core.artifact import write_artifact
from todm.core.data_config import PrepareConfig, SourceConfig
from todm.core.profile import load_profile
from todm.core.search_config import SearchConfig
from todm.data.manifest import open_corpus
from todm.features.wav import write_wav
from todm.models.rnnt import Transducer
from todm.models.store import CONFIG, write_model
from todm.recipes import recipe

sys.path.insert(0, str(Path(__file__).parent))  # for the tables of wrong inputs

WORDS = ("one", "two", "three")
UTTERANCES = {"train": 6, "dev": 12, "test": 3}
UTTERANCE_S = 1.5


@dataclass(frozen=True)
class Chain:
    """Where the artifacts of one chain are."""

    speech: Path
    corpus: Path
    supernet: Path
    front: Path
    subnet: Path
    bundle: Path

    def copy_to(self, folder: Path) -> "Chain":
        """Copy every artifact, so that a test may damage them."""
        places = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, place in places.items():
            shutil.copytree(place, folder / name)
        return Chain(**{name: folder / name for name in places})


def write_speech(folder, utterances):
    """Write tones in noise with transcripts; nothing can be learned from them."""
    generator = np.random.default_rng(0)
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    folder.mkdir()
    times_S = np.arange(int(16000 * UTTERANCE_S)) / 16000
    for split, count in utterances.items():
        for number in range(count):
            name = f"{split}{number}"
            tone_S = 0.3 * np.sin(2 * np.pi * (200 + 100 * (number % 3)) * times_S)
            noise_S = 0.01 * generator.standard_normal(times_S.size)
            write_wav(folder / f"{name}.wav", (tone_S + noise_S).astype(np.float32))
            text = f"{WORDS[number % 3]} {WORDS[(number + 1) % 3]}"
            rows.append(f"{name}\ts{number % 3}\t{text}\t{name}.wav\t{split}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")


def write_supernet(corpus, out, seed=0):
    """Write a supernet artifact as training does, with the weights of its birth."""
    opened = open_corpus(corpus)
    config = recipe("tiny", opened.table.size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Transducer(config.space.largest)
    with write_artifact(out, kind="supernet", parents={"corpus": opened.artifact}) as draft:
        write_model(draft, model, opened.table)
        config.write_json(draft.path / CONFIG)
        draft.body = {"recipe": "tiny", "corpus_path": str(corpus), "dev_wer": {}}


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """Make the chain once; tests must not change it (``Chain.copy_to`` is for that)."""
    from todm.extract.run import run as extract
    from todm.flows.extract import candidate_bundle
    from todm.prepare.run import run as prepare
    from todm.search.run import run as search

    root = tmp_path_factory.mktemp("chain")
    made = Chain(**{field.name: root / field.name for field in fields(Chain)})
    write_speech(made.speech, UTTERANCES)
    source = SourceConfig(corpus="transcripts", path=made.speech)
    prepare(PrepareConfig(name="tones", source=source), made.corpus)
    write_supernet(made.corpus, made.supernet)
    config = SearchConfig(trials=4, population=2, eval_utterances=4)
    search(config, made.supernet, made.corpus, made.front, progress=lambda *_: None)
    device = load_profile("raspberry_pi_4")
    extract(made.supernet, made.front, device, made.corpus, made.subnet)
    candidate_bundle(made.subnet, device, made.bundle)
    return made


@pytest.fixture(scope="session")
def speech_writer():
    """Return the function that writes a folder of recordings with transcripts."""
    return write_speech
