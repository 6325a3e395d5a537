"""``todm train-supernet``: corpus and configuration to a supernet artifact."""

import contextlib
import copy
import math
import shutil
from collections.abc import Mapping
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
from todm.losses.backends import open_backend
from todm.models.rnnt import Transducer
from todm.models.scoring import corpus_samples
from todm.models.store import (
    BPE_MODEL,
    CONFIG,
    LEDGER,
    Supernet,
    load_supernet,
    write_model,
)
from todm.optim.build import build_optimizer
from todm.train.checkpoint import TrainState
from todm.train.early_stop import FrontStopper
from todm.train.log import LOG
from todm.train.loop import Loop, seeded
from todm.train.ranks import Ranks, launch, threads_each
from todm.train.sharding import OwnedOptimizer, shard
from todm.train.start import start_from, work_folder
from todm.train.supernet import SupernetTask


def run(config: SupernetConfig, corpus: Path, out: Path, init: Path | None = None) -> Artifact:
    """Train a supernet on a prepared corpus; a killed run goes on where it was.

    Under torchrun all processes call this alike and get the same artifact.

    Args:
        config: everything that decides the training.
        corpus: a corpus artifact.
        out: where the supernet artifact goes; the run works in ``<out>.work`` until then.
        init: a supernet artifact whose weights are the start.

    Raises:
        ArtifactError: another process trains in ``<out>.work``, or it holds an unfinished run of
            something else.
        ConfigError: the configuration does not fit the corpus, or ``init``.
        GateError: training diverged.
        MissingExtraError: the loss backend is not installed.
        LostProcessError: another process of the training is gone.
    """
    opened, old = open_inputs(config, corpus, init)
    torch.set_num_threads(threads_each(config.run))
    fabric = launch(config.run)
    ranks = Ranks(fabric)
    out = out.absolute()
    with contextlib.ExitStack() as stack:
        held = work_folder(config, out, "supernet")
        work = ranks.first(lambda: stack.enter_context(held))
        task = build_task(config, opened, fabric, old)
        whole = spread(task, fabric) if config.run.strategy == "fsdp" else None
        parents = {"corpus": opened.artifact} | ({"init": old.artifact} if old else {})
        loop = Loop(
            task=task,
            optimizer=(
                build_optimizer(task.model, config.optim, config.space)
                if whole is None
                else OwnedOptimizer(task.model, config.optim, config.space, ranks)
            ),
            schedule=config.schedule,
            run=config.run,
            fabric=fabric,
            work=work,
            fingerprint="-".join(
                [config.deciding().digest(), *(a.digest for a in parents.values())]
            ),
            spread_from=whole,
            stopper=FrontStopper.of(config),
            board=out.with_name(out.name + ".tensorboard") if config.run.tensorboard else None,
        )
        state = loop.train()
        if whole is not None:
            task.model = whole.model
        return ranks.first(lambda: _write(opened, parents, task, state, work=work, out=out))


def spread(task: SupernetTask, fabric: Fabric) -> SupernetTask:
    """Spread the task's model over the processes; return the task with a whole copy of it."""
    ranks = Ranks(fabric)
    ranks.align(task.model)
    whole = copy.copy(task)
    whole.model = shard(task.model, fabric.device)
    if ranks.is_first:
        fabric.to_device(whole.model)
    return whole


def open_inputs(
    config: SupernetConfig, corpus: Path, init: Path | None
) -> tuple[Corpus, Supernet | None]:
    """Open what a training reads.

    Raises:
        ArtifactError: one of them is not what it should be.
        ConfigError: the configuration is of another vocabulary than the corpus.
    """
    open_backend(config.loss.backend)  # told before anything is written
    opened = open_corpus(corpus, verify=False)
    if opened.table.size != config.space.largest.vocab_size:
        raise ConfigError(
            f"space.largest.vocab_size is {config.space.largest.vocab_size} but {corpus} has "
            f"{opened.table.size} tokens; set it to that"
        )
    return opened, load_supernet(init) if init is not None else None


def build_task(
    config: SupernetConfig, opened: Corpus, fabric: Fabric, old: Supernet | None
) -> SupernetTask:
    """Return the task of this process, its model on its device, started from ``old`` if given."""
    ranks = Ranks(fabric)
    model = new_model(config, opened)
    if old is not None:
        start_from(model, config, opened.table, old, silent=not ranks.is_first)
    if config.run.strategy != "fsdp":  # block by block, otherwise
        fabric.to_device(model)
    return SupernetTask(
        config,
        model,
        BatchLoader(opened, "train", config.data, config.seed, rank=ranks.rank, world=ranks.world),
        corpus_samples(opened, opened.table, "dev", config.run.eval_utterances),
        opened.table,
    )


def new_model(config: SupernetConfig, corpus: Corpus) -> Transducer:
    """Build the largest net, seeded, with the statistics of the training data.

    The features' mean and deviation go into the front end, and the blank's share into the
    joiner's bias: with T frames and U tokens an utterance on average, an untrained net then gives
    the blank T / U times the odds of all V - 1 tokens together. Without that the first steps
    teach nothing but the blank, and the encoder takes hundreds of steps to recover
    (docs/log.md).
    """
    with seeded(derive_seed(config.seed, "init")):
        model = Transducer(config.space.largest, simple=config.loss.form == "pruned")
    mean_F, std_F = feature_stats(corpus)
    frames = sum(u.duration_s for u in corpus.cuts("train")) * 1000 / (FRAME_MS * SUBSAMPLING)
    tokens = max(1, sum(len(u.tokens) for u in corpus.cuts("train")))
    with torch.no_grad():
        odds = frames / tokens * (corpus.table.size - 1)
        model.joiner.to_vocab.bias[BLANK_ID] = math.log(odds)
        if model.simple is not None:
            model.simple.from_encoder.bias[BLANK_ID] = math.log(odds)
    model.encoder.front.mean.copy_(mean_F)
    model.encoder.front.istd.copy_(1.0 / std_F)
    return model


def _write(
    corpus: Corpus,
    parents: Mapping[str, Artifact],
    task: SupernetTask,
    state: TrainState,
    *,
    work: Path,
    out: Path,
) -> Artifact:
    config = task.config
    task.model.eval()
    scores = task.evaluate()
    ledger = task.ledger.timed(state.wall_s, state.cpu_s)
    with write_artifact(out, kind="supernet", parents=parents) as draft:
        write_model(draft, task.model, corpus.table)
        config.write_json(draft.path / CONFIG)
        shutil.copyfile(work / LOG, draft.path / LOG)
        ledger.write_json(draft.path / LEDGER)
        if corpus.bpe_model is not None:
            shutil.copyfile(corpus.bpe_model, draft.path / BPE_MODEL)
        draft.body = {
            "recipe": config.recipe,
            "corpus_path": str(corpus.artifact.path.absolute()),
            "steps": state.step,
            "skipped_steps": state.skipped_steps,
            "wall_s": round(state.wall_s, 1),
            "cpu_s": round(state.cpu_s, 1),
            "train_macs": ledger.macs,
            "train_macs_over_largest": round(ledger.ratio_to_largest, 4),
            "stopped_early": state.stopped,
            "dev_wer": {name: scores[name]["wer"] for name in config.space.named()},
        }
    return load_artifact(out, "supernet", verify=False)
