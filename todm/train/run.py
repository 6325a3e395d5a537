"""``todm train-supernet``: corpus and configuration to a supernet artifact."""

import math
import os
import shutil
from pathlib import Path

import torch
from lightning_fabric import Fabric

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.config import SupernetConfig
from todm.core.errors import ConfigError
from todm.core.rng import derive_seed
from todm.core.specs import BLANK_ID, FRAME_MS, SUBSAMPLING
from todm.data.loader import BatchLoader, feature_stats
from todm.data.manifest import Corpus, open_corpus
from todm.models.rnnt import Transducer
from todm.models.scoring import corpus_samples
from todm.models.store import BPE_MODEL, CONFIG, write_model
from todm.optim.build import build_optimizer
from todm.train.checkpoint import CHECKPOINT, TrainState
from todm.train.loop import LOG, Loop, seeded
from todm.train.supernet import SupernetTask


def run(config: SupernetConfig, corpus: Path, out: Path) -> Artifact:
    """Train a supernet on a prepared corpus; a killed run goes on where it was.

    Args:
        config: everything that decides the training.
        corpus: a corpus artifact.
        out: where the supernet artifact goes; the run works in ``<out>.work`` until then.

    Raises:
        ConfigError: the configuration does not fit the corpus.
        GateError: training diverged.
    """
    opened = open_corpus(corpus, verify=False)
    if opened.table.size != config.space.largest.vocab_size:
        raise ConfigError(
            f"space.largest.vocab_size is {config.space.largest.vocab_size} but {corpus} has "
            f"{opened.table.size} tokens; set it to that"
        )
    torch.set_num_threads(config.run.threads or os.cpu_count() or 1)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    if not (work / CHECKPOINT).is_file():  # a run to go on with keeps its own
        config.write_json(work / CONFIG)
    model = new_model(config, opened)
    fabric = Fabric(accelerator=config.run.accelerator, devices=1, precision=config.run.precision)
    fabric.to_device(model)
    task = SupernetTask(
        config,
        model,
        BatchLoader(opened, "train", config.data, config.seed),
        corpus_samples(opened, opened.table, "dev", config.run.eval_utterances),
        opened.table,
    )
    loop = Loop(
        task=task,
        optimizer=build_optimizer(model, config.optim, config.space),
        schedule=config.schedule,
        run=config.run,
        fabric=fabric,
        work=work,
        fingerprint=f"{config.digest()}-{opened.artifact.digest}",
    )
    state = loop.train()
    artifact = _write(opened, task, state, work, out)
    shutil.rmtree(work)
    return artifact


def new_model(config: SupernetConfig, corpus: Corpus) -> Transducer:
    """Build the largest net, seeded, with the statistics of the training data.

    The features' mean and deviation go into the front end, and the blank's share into the
    joiner's bias: with T frames and U tokens an utterance on average, an untrained net then gives
    the blank T / U times the odds of all V - 1 tokens together. Without that the first steps
    teach nothing but the blank, and the encoder takes hundreds of steps to recover
    (docs/log.md).
    """
    with seeded(derive_seed(config.seed, "init")):
        model = Transducer(config.space.largest)
    mean_F, std_F = feature_stats(corpus)
    frames = sum(u.duration_s for u in corpus.cuts("train")) * 1000 / (FRAME_MS * SUBSAMPLING)
    tokens = max(1, sum(len(u.tokens) for u in corpus.cuts("train")))
    with torch.no_grad():
        odds = frames / tokens * (corpus.table.size - 1)
        model.joiner.to_vocab.bias[BLANK_ID] = math.log(odds)
    model.encoder.front.mean.copy_(mean_F)
    model.encoder.front.istd.copy_(1.0 / std_F)
    return model


def _write(
    corpus: Corpus,
    task: SupernetTask,
    state: TrainState,
    work: Path,
    out: Path,
) -> Artifact:
    config = task.config
    task.model.eval()
    scores = task.evaluate()
    with write_artifact(out, kind="supernet", parents={"corpus": corpus.artifact}) as draft:
        write_model(draft, task.model, corpus.table)
        config.write_json(draft.path / CONFIG)
        shutil.copyfile(work / LOG, draft.path / LOG)
        if corpus.bpe_model is not None:
            shutil.copyfile(corpus.bpe_model, draft.path / BPE_MODEL)
        draft.body = {
            "recipe": config.recipe,
            "corpus_path": str(corpus.artifact.path.absolute()),
            "steps": state.step,
            "skipped_steps": state.skipped_steps,
            "wall_s": round(state.wall_s, 1),
            "cpu_s": round(state.cpu_s, 1),
            "dev_wer": {name: figures["wer"] for name, figures in scores.items()},
        }
    return load_artifact(out, "supernet", verify=False)
