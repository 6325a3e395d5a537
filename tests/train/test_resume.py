"""A training killed by SIGKILL again and again ends with the bits of one that was not.

Five kills at seeded moments, one of them while a checkpoint is written. The
uninterrupted training has an interpreter of its own, so that nothing may hang on that (such as
the hash seed). Augmentation of every kind, dropout, the sampler over several epochs,
sandwich and distillation are all on.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from todm.core.artifact import Artifact, load_artifact
from todm.core.config import SupernetConfig
from todm.core.data_config import AugmentConfig
from todm.core.errors import ArtifactError
from todm.core.ledger import TrainingLedger
from todm.data.loader import Batch
from todm.models.store import CONFIG, LEDGER
from todm.models.weights import WEIGHTS
from todm.recipes import recipe
from todm.train.log import LOG
from todm.train.run import run
from todm.train.supernet import SupernetTask

DRIVER = Path(__file__).with_name("resume_driver.py")
ROOT = Path(__file__).parents[2]


def make_config(corpus: Artifact, noise_dir: Path) -> SupernetConfig:
    """The recipe "tiny" with noise mixed in too."""
    config = recipe("tiny", int(str(corpus.body["vocab_size"])))
    augment = AugmentConfig(
        freq_masks=1,
        time_masks=1,
        noise_dir=noise_dir,
        noise_snr_db=(5.0, 20.0),
        noise_probability=0.5,
    )
    data = config.data.model_copy(update={"augment": augment})
    runs = config.run.model_copy(update={"accelerator": "cpu"})  # bits are promised there
    return config.model_copy(update={"data": data, "run": runs})


def moments(config: SupernetConfig, seed: int = 3) -> list[str]:
    """Four moments within steps, and one within the writing of a checkpoint."""
    draw = random.Random(seed)
    every, last = config.run.checkpoint_every_steps, config.schedule.steps
    steps = sorted(draw.sample(range(1, last - every), 4))
    found = [f"step:{step}:{draw.uniform(0.0, 0.02):.4f}" for step in steps]
    written = draw.choice(range(2 * every, last - every, every))
    place = sum(step < written for step in steps)  # so that it is reached
    return [*found[:place], f"write:{written}", *found[place:]]


def start(config: Path, corpus: Artifact, out: Path, *asked: str) -> "subprocess.Popen[str]":
    """Start a chain of trainings, each in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(config), str(corpus.path), str(out), *asked],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def statuses(chain: "subprocess.Popen[str]") -> list[list[int | None]]:
    """Wait for a chain; give each training's exit status and bytes of whole and cut checkpoint."""
    lines, errors = chain.communicate(timeout=400)  # ten seconds on two idle cores
    assert chain.returncode == 0, errors
    return [json.loads(line) for line in lines.splitlines()]


def test_killed_five_times_ends_with_the_same_bits(
    corpus: Artifact, noise_dir: Path, tmp_path: Path
) -> None:
    config = make_config(corpus, noise_dir)
    config.write_json(tmp_path / "config.json")
    given, whole, parts = tmp_path / "config.json", tmp_path / "whole", tmp_path / "parts"
    asked = moments(config)
    uninterrupted = start(given, corpus, whole, "end")  # beside the other: two cores
    killed = start(given, corpus, parts, *asked, "end")
    *deaths, end = statuses(killed)
    for moment, (status, written, cut) in zip(asked, deaths, strict=True):
        assert status == -signal.SIGKILL, moment
        if moment.startswith("write"):
            assert written is not None
            assert cut is not None
            assert 0 < cut < written  # and the one before is whole: the next training began there
    assert [end] == statuses(uninterrupted) == [[0, None, None]]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("parts")] == ["parts"]

    want, found = load_file(whole / WEIGHTS), load_file(parts / WEIGHTS)
    assert want.keys() == found.keys()
    different = [
        name for name, t in want.items() if found[name].numpy().tobytes() != t.numpy().tobytes()
    ]
    assert different == []
    assert (parts / LOG).read_text("utf-8") == (whole / LOG).read_text("utf-8")
    ledgers = [TrainingLedger.read_json(path / LEDGER) for path in (whole, parts)]
    assert ledgers[0].timed(0.0, 0.0) == ledgers[1].timed(0.0, 0.0)
    assert ledgers[0].steps == config.schedule.steps
    assert set(ledgers[0].nets) == {"largest", "smallest", "random0"}
    bodies = [load_artifact(path, "supernet").body for path in (whole, parts)]
    for body in bodies:
        del body["wall_s"], body["cpu_s"]
    assert bodies[0] == bodies[1]


def test_the_moments_are_five_and_one_is_a_write() -> None:
    config = recipe("tiny", 9)
    for seed in range(20):
        kinds = [moment.partition(":")[0] for moment in moments(config, seed)]
        assert sorted(kinds) == ["step"] * 4 + ["write"]


def test_a_changed_configuration_neither_goes_on_nor_touches_the_run(
    corpus: Artifact, noise_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out, work = make_config(corpus, noise_dir), tmp_path / "net", tmp_path / "net.work"
    losses = SupernetTask.losses

    def stopped(self: SupernetTask, batch: Batch, step: int) -> Iterator[Tensor]:
        if step == 6:
            raise KeyboardInterrupt
        return losses(self, batch, step)

    monkeypatch.setattr(SupernetTask, "losses", stopped)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        run(config, corpus.path, out)
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    with pytest.raises(ArtifactError, match="another configuration"):
        run(config.model_copy(update={"seed": 1}), corpus.path, out)
    torch.set_num_threads(threads)
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before
    assert SupernetConfig.read_json(work / CONFIG) == config
    assert not out.exists()
