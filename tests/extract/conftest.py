"""A tiny chain up to the front: tones as speech, an untrained supernet, a search of six nets."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from todm.core.artifact import write_artifact
from todm.core.data_config import PrepareConfig, SourceConfig
from todm.core.search_config import SearchConfig
from todm.data.manifest import open_corpus
from todm.features.wav import write_wav
from todm.models.rnnt import Transducer
from todm.models.store import CONFIG, write_model
from todm.prepare.run import run as prepare
from todm.recipes import recipe
from todm.search.run import run as search

WORDS = ("one", "two", "six")
SEARCH = SearchConfig(trials=6, population=4, eval_utterances=5)


def write_speech(folder):
    generator = np.random.default_rng(0)
    folder.mkdir()
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for split, count in (("train", 4), ("dev", 8), ("test", 2)):
        for number in range(count):
            name = f"{split}{number}"
            samples = 0.1 * generator.standard_normal(12000 + 1000 * number)
            write_wav(folder / f"{name}.wav", samples.astype(np.float32))
            text = f"{WORDS[number % 3]} {WORDS[(number + 1) % 3]}"
            rows.append(f"{name}\ts{number % 2}\t{text}\t{name}.wav\t{split}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")


def write_supernet(corpus, out, seed):
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
    root = tmp_path_factory.mktemp("extract-chain")
    made = SimpleNamespace(**{n: root / n for n in ("speech", "corpus", "supernet", "front")})
    write_speech(made.speech)
    source = SourceConfig(corpus="transcripts", path=made.speech)
    prepare(PrepareConfig(name="noise", source=source), made.corpus)
    write_supernet(made.corpus, made.supernet, seed=0)
    made.space = recipe("tiny", open_corpus(made.corpus).table.size).space
    search(SEARCH, made.supernet, made.corpus, made.front, progress=lambda *_: None)
    return made
