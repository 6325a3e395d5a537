"""``todm classify train``: labelled sequences and a configuration to a classifier artifact."""

import shutil
from pathlib import Path

import torch

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.classify_config import ClassifyConfig
from todm.core.config import OptimConfig, RunConfig, ScheduleConfig
from todm.core.rng import derive_seed
from todm.data.sequences import SequenceBatch, Sequences, open_sequences
from todm.models.classifier import Classifier
from todm.models.classifier_store import write_classifier
from todm.optim.build import NEVER_CLIPPED, build_optimizer
from todm.train.checkpoint import TrainState
from todm.train.classify import NET, ClassifyTask
from todm.train.log import LOG
from todm.train.loop import Loop, seeded
from todm.train.ranks import launch, threads_each
from todm.train.start import work_folder

LEAST_STD = 1e-5


def run(config: ClassifyConfig, corpus: Path, out: Path) -> Artifact:
    """Train a classifier; a killed run goes on where it was.

    Args:
        config: everything that decides the training.
        corpus: a ``sequences`` artifact.
        out: where the artifact goes; the run works in ``<out>.work`` until then.

    Raises:
        ArtifactError: no sequences, or ``<out>.work`` holds an unfinished run of something else.
        GateError: training diverged.
    """
    sequences = open_sequences(corpus)
    out = out.absolute()
    with work_folder(config, out, "classifier") as work:
        task, state = train(config, sequences, work)
        return _write(config, sequences, task, state, work=work, out=out)


def new_model(config: ClassifyConfig, sequences: Sequences, train: SequenceBatch) -> Classifier:
    """Build a seeded model with the statistics of its training data."""
    with seeded(derive_seed(config.seed, "init")):
        model = Classifier(config.spec(sequences.facts))
    values_XI = train.x_BLI.flatten(0, 1)
    model.mean.copy_(values_XI.mean(0))
    model.istd.copy_(1.0 / values_XI.std(0).clamp(min=LEAST_STD))
    if model.spec.head == "regression":
        model.target_mean.copy_(train.y.mean(0))
        model.target_std.copy_(train.y.std(0).clamp(min=LEAST_STD))
    return model


def train(
    config: ClassifyConfig, sequences: Sequences, work: Path
) -> tuple[ClassifyTask, TrainState]:
    """Train in a work folder; the last weights are in the task's model afterwards."""
    settings, data = config.train, sequences.split("train")
    model = new_model(config, sequences, data)
    task = ClassifyTask(
        model,
        data,
        sequences.split("dev"),
        batch_size=settings.batch_size,
        augment=config.augment,
        seed=config.seed,
    )
    steps = settings.epochs * task.steps_per_epoch
    place = RunConfig(
        accelerator=settings.accelerator,
        threads=settings.threads,
        eval_every_steps=settings.eval_every_epochs * task.steps_per_epoch,
        checkpoint_every_steps=task.steps_per_epoch,
    )
    torch.set_num_threads(threads_each(place))
    fabric = launch(place)
    fabric.to_device(model)
    loop = Loop(
        task=task,
        optimizer=build_optimizer(
            model,
            OptimConfig(
                kind="adamw",
                lr=settings.lr,
                ssm_lr=settings.ssm_lr,
                betas=(0.9, 0.999),
                weight_decay=settings.weight_decay,
                clipping_scale=NEVER_CLIPPED,
            ),
        ),
        schedule=ScheduleConfig(
            kind="one_cycle",
            steps=steps,
            warmup_steps=min(round(settings.warmup_fraction * steps), steps - 1),
            average_fraction=0.0,
        ),
        run=place,
        fabric=fabric,
        work=work,
        fingerprint=f"{config.deciding().digest()}-{sequences.artifact.digest}",
    )
    state = loop.train()
    model.eval()
    return task, state


def _write(
    config: ClassifyConfig,
    sequences: Sequences,
    task: ClassifyTask,
    state: TrainState,
    *,
    work: Path,
    out: Path,
) -> Artifact:
    scores = task.evaluate()[NET]
    with write_artifact(out, kind="classifier", parents={"sequences": sequences.artifact}) as draft:
        write_classifier(draft, task.model, config, sequences.facts)
        shutil.copyfile(work / LOG, draft.path / LOG)
        draft.body = {
            "recipe": config.recipe,
            "name": task.model.spec.short_name,
            "sequences_path": str(sequences.artifact.path.absolute()),
            "params": sum(p.numel() for p in task.model.parameters()),
            "steps": state.step,
            "skipped_steps": state.skipped_steps,
            "wall_s": round(state.wall_s, 1),
            "cpu_s": round(state.cpu_s, 1),
            "dev": dict(scores),
        }
    return load_artifact(out, "classifier", verify=False)
