"""``todm finetune``: a subnet and its corpus to a subnet that int8 costs less."""

import shutil
from pathlib import Path
from typing import Any

import torch

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.errors import ConfigError
from todm.core.finetune_config import FinetuneConfig
from todm.data.loader import BatchLoader
from todm.data.manifest import Corpus, open_corpus
from todm.losses.backends import open_backend
from todm.models.scoring import corpus_samples
from todm.models.simulate import simulated
from todm.models.store import CONFIG, Subnet, load_subnet, write_model
from todm.models.weights import WEIGHTS
from todm.optim.build import build_optimizer
from todm.train.checkpoint import TrainState
from todm.train.finetune import FinetuneTask, scores_of
from todm.train.log import LOG
from todm.train.loop import Loop
from todm.train.ranks import launch, threads_each
from todm.train.start import work_folder

FOUND_WITH_OTHER_WEIGHTS = ("values", "measured", "measured_candidates", "verdicts", "search_wer")
"""What extraction measured of the parent, and judged by it: untrue of weights that trained on."""


def run(config: FinetuneConfig, subnet: Path, corpus: Path, out: Path) -> Artifact:
    """Fine-tune a subnet; a killed run goes on where it was.

    The result is a subnet as extraction writes them: plain float32 weights of the same sizes.

    Args:
        config: everything that decides the training.
        subnet: a subnet artifact, whose weights are the start.
        corpus: a prepared corpus of the same tokens.
        out: where the new subnet goes; the run works in ``<out>.work`` until then.

    Raises:
        ArtifactError: an input is not what it should be, or ``<out>.work`` holds an unfinished
            run of something else.
        ConfigError: the corpus has other tokens, a fallback is no linear, or there are several
            processes.
        GateError: training diverged.
    """
    open_backend(config.loss.backend)  # told before anything is written
    parent, opened = load_subnet(subnet), open_corpus(corpus, verify=False)
    simulated(parent.model, config.scheme)
    watched = corpus_samples(opened, parent.table, "dev", config.run.eval_utterances)
    settings = config.run.as_run()
    torch.set_num_threads(threads_each(settings))
    fabric = launch(settings)
    if fabric.world_size > 1:
        raise ConfigError("fine-tuning runs in one process; start it without torchrun")
    loader = BatchLoader(opened, "train", config.data, config.seed)
    out = out.absolute()
    with work_folder(config, out, "subnet") as work:
        model = load_subnet(subnet).model
        fabric.to_device(model)
        task = FinetuneTask(config, model, loader, watched, parent.table)
        loop = Loop(
            task=task,
            optimizer=build_optimizer(model, config.optim),
            schedule=config.schedule,
            run=settings,
            fabric=fabric,
            work=work,
            fingerprint="-".join(
                [config.deciding().digest(), parent.artifact.digest, opened.artifact.digest]
            ),
        )
        state = loop.train()
        return _write(parent, opened, task, state, work=work, out=out)


def _write(
    parent: Subnet,
    corpus: Corpus,
    task: FinetuneTask,
    state: TrainState,
    *,
    work: Path,
    out: Path,
) -> Artifact:
    """Write the subnet; what its parent holds beside weights goes along."""
    config, table = task.config, parent.table
    parents = {"subnet": parent.artifact, "corpus": corpus.artifact}
    body = _body(parent, corpus, task, state)
    with write_artifact(out, kind="subnet", parents=parents) as draft:
        for name in parent.artifact.manifest.files:
            if name != WEIGHTS:
                shutil.copyfile(parent.artifact.file(name), draft.path / name)
        write_model(draft, task.model, table)
        config.write_json(draft.path / CONFIG)
        shutil.copyfile(work / LOG, draft.path / LOG)
        draft.body = body
    return load_artifact(out, "subnet", verify=False)


def _body(parent: Subnet, corpus: Corpus, task: FinetuneTask, state: TrainState) -> dict[str, Any]:
    """Return what holds of the parent still, the new figures, and what the training did to them."""
    config = task.config
    samples = corpus_samples(corpus, parent.table, "dev", None)
    twin = simulated(parent.model, config.scheme)
    before = scores_of(config, parent.model, twin, samples, parent.table)
    task.model.eval()
    task.twin.eval()
    after = scores_of(config, task.model, task.twin, samples, parent.table)
    body = parent.artifact.body
    return {
        **{key: body[key] for key in body if key not in FOUND_WITH_OTHER_WEIGHTS},
        "corpus_path": str(corpus.artifact.path.absolute()),
        "corpus_digest": corpus.artifact.digest,
        "split": "dev",
        "wer": after["fp32"]["wer"],
        "nll": after["fp32"]["loss"],
        "words": int(after["fp32"]["words"]),
        "finetuned": {
            "scheme": config.scheme.to_json(),
            "steps": state.step,
            "skipped_steps": state.skipped_steps,
            "wall_s": round(state.wall_s, 1),
            "cpu_s": round(state.cpu_s, 1),
            "before": before,
            "after": after,
        },
    }
