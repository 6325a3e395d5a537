"""``todm train-supernet``: corpus and configuration to a supernet artifact."""

import os
import shutil
from pathlib import Path

import torch
from lightning_fabric import Fabric

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.config import SupernetConfig
from todm.core.errors import ConfigError
from todm.core.rng import derive_seed
from todm.data.loader import BatchLoader, dev_features, feature_stats
from todm.data.manifest import Corpus, open_corpus
from todm.models.rnnt import Transducer
from todm.models.store import BPE_MODEL, CONFIG, write_model
from todm.optim.build import build_optimizer
from todm.train.checkpoint import TrainState
from todm.train.loop import LOG, Loop, seeded
from todm.train.supernet import SupernetTask

STD_FLOOR = 0.1


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
    config.write_json(work / CONFIG)
    model = new_model(config, opened)
    fabric = Fabric(
        accelerator=config.run.accelerator, devices=1, precision=config.run.precision
    )
    fabric.to_device(model)
    task = SupernetTask(
        config,
        model,
        BatchLoader(opened, "train", config.data, config.seed),
        [
            (u, torch.as_tensor(f))
            for u, f in dev_features(opened, "dev", config.run.eval_utterances)
        ],
        opened.table,
    )
    loop = Loop(
        task=task,
        optimizer=build_optimizer(model, config.optim),
        schedule=config.schedule,
        run=config.run,
        fabric=fabric,
        work=work,
        fingerprint=f"{config.digest()}-{opened.artifact.digest}",
    )
    state = loop.train()
    artifact = _write(config, opened, task, state, work, out)
    shutil.rmtree(work)
    return artifact


def new_model(config: SupernetConfig, corpus: Corpus) -> Transducer:
    """Build the largest net, seeded, with the feature statistics of the training data."""
    with seeded(derive_seed(config.seed, "init")):
        model = Transducer(config.space.largest)
    mean_F, std_F = feature_stats(corpus)
    model.encoder.front.mean.copy_(torch.as_tensor(mean_F))
    model.encoder.front.istd.copy_(1.0 / torch.as_tensor(std_F).clamp(min=STD_FLOOR))
    return model


def _write(
    config: SupernetConfig,
    corpus: Corpus,
    task: SupernetTask,
    state: TrainState,
    work: Path,
    out: Path,
) -> Artifact:
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
