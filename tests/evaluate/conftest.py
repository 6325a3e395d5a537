import gzip
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import fake_runtime

from todm.core.artifact import write_artifact
from todm.features.wav import write_wav
from todm.runtimes import RUNTIMES

BURSTS_S = {"u1": (0.3, 1.0), "u2": (0.5,), "u3": (0.3, 0.9, 1.5)}


@pytest.fixture
def bundle(tmp_path):
    return fake_runtime.write_bundle(tmp_path / "bundle")


@pytest.fixture
def corpus(tmp_path):
    """Three utterances; u2's reference says TWO where the fake hears ONE."""
    texts = {"u1": "ONE TWO", "u2": "TWO", "u3": "ONE TWO ONE"}
    with write_artifact(tmp_path / "corpus", kind="corpus") as draft:
        fake_runtime.TABLE.write_json(draft.path / "token_table.json")
        with gzip.open(draft.path / "cuts_test.jsonl.gz", "wt", encoding="utf-8") as stream:
            for name, starts_s in BURSTS_S.items():
                write_wav(draft.path / f"{name}.flac", fake_runtime.bursts(*starts_s))
                tokens = [1 + (word == "TWO") for word in texts[name].split()]
                custom = {"tokens": tokens, "word_ends_s": [start + 0.2 for start in starts_s]}
                supervision = {"speaker": name, "text": texts[name], "custom": custom}
                cut = {
                    "id": name,
                    "duration": 2.0,
                    "supervisions": [supervision],
                    "custom": {"audio": f"{name}.flac"},
                }
                stream.write(json.dumps(cut) + "\n")
        with gzip.open(draft.path / "cuts_dev.jsonl.gz", "wt", encoding="utf-8"):
            pass
    return tmp_path / "corpus"


@pytest.fixture(autouse=True)
def _fake_runtimes(monkeypatch):
    for name, where in fake_runtime.FAKES.items():
        monkeypatch.setitem(RUNTIMES, name, where)
