"""What a supernet costs to train, over its largest net alone: in MACs and in wall time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from time import perf_counter

import numpy as np
import torch

from todm.core.config import SupernetConfig
from todm.core.cost_training import TrainingShape, step_macs, training_macs
from todm.core.report import Measurement
from todm.data.loader import Batch, BatchLoader
from todm.data.manifest import Corpus
from todm.models.rnnt import Transducer
from todm.optim.build import StepOptimizer, build_optimizer
from todm.train.run import new_model
from todm.train.sandwich import nets_of_step
from todm.train.supernet import SupernetTask

SHAPE_STEPS = 150
"""Steps whose batches are made for their mean shape."""
WARMUP_ROUNDS = 3
NUM_DRAWS = 2000


def spread_steps(first: int, total: int, count: int) -> list[int]:
    """Return at most that many steps of ``first .. total - 1``, evenly spread."""
    count = min(count, total - first)
    return [first + index * (total - first) // count for index in range(count)]


def mean_shape(config: SupernetConfig, corpus: Corpus) -> TrainingShape:
    """Return the mean padded shape of the run's batches, speed perturbation included."""
    loader = BatchLoader(corpus, "train", config.data, config.seed)
    steps = spread_steps(0, config.schedule.steps, SHAPE_STEPS)
    batches = [loader.batch(step) for step in steps]
    return TrainingShape(
        batch=config.data.batch_size,
        frames=round(mean(batch.features_BTF.shape[1] for batch in batches)),
        target_len=round(mean(batch.targets_BU.shape[1] for batch in batches)),
    )


def macs_ratio(config: SupernetConfig, corpus: Corpus) -> Measurement:
    """Count the MACs of every net that the run trained over those of its largest net alone."""
    shape = mean_shape(config, corpus)
    sizes = shape.model_dump()
    total, distill = config.schedule.steps, config.distill.mode != "none"
    macs = 0
    for step in range(total):
        nets = nets_of_step(
            config.space, config.sandwich, seed=config.seed, step=step, total_steps=total
        )
        macs += step_macs([spec for _, spec in nets], distill=distill, **sizes).total
    alone = training_macs(config.space.largest, **sizes).total * total
    return Measurement(
        name="cost.ratio_to_largest",
        value=macs / alone,
        unit="",
        n=total,
        note=f"{macs / 1e12:.2f} TMAC over {alone / 1e12:.2f}: the nets of all {total} steps, "
        f"batches of {shape.batch} x {shape.frames} frames x {shape.target_len} labels (mean)",
    )


@dataclass(frozen=True)
class Contender:
    """One way to train: its task, with a model and an optimizer of its own."""

    task: SupernetTask
    model: Transducer
    optimizer: StepOptimizer

    @classmethod
    def of(cls, config: SupernetConfig, corpus: Corpus, loader: BatchLoader) -> "Contender":
        """Return an untrained contender; how long a step takes does not depend on the weights."""
        model = new_model(config, corpus).train()
        task = SupernetTask(config, model, loader, [], corpus.table)
        return cls(task, model, build_optimizer(model, config.optim, config.space))

    def step_s(self, batch: Batch, step: int) -> float:
        """Train one step and return its seconds: forward, backward and update, no loading."""
        begin_s = perf_counter()
        for loss in self.task.losses(batch, step):
            loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return perf_counter() - begin_s


def step_times_s(
    config: SupernetConfig, corpus: Corpus, *, rounds: int, threads: int
) -> Mapping[str, Sequence[float]]:
    """Time steps of the sandwich and of the largest net alone, in turns on the same batches."""
    torch.set_num_threads(threads)
    alone = config.sandwich.model_copy(update={"num_random": 0, "smallest": False})
    loader = BatchLoader(corpus, "train", config.data, config.seed)
    contenders = {
        "sandwich": Contender.of(config, corpus, loader),
        "largest": Contender.of(config.model_copy(update={"sandwich": alone}), corpus, loader),
    }
    times_s: dict[str, list[float]] = {name: [] for name in contenders}
    total = config.schedule.steps
    first = int(np.ceil(config.sandwich.start_fraction * total))
    steps = spread_steps(first, total, rounds)
    warmup = steps[:WARMUP_ROUNDS]
    for turn, step in enumerate([*warmup, *steps]):
        batch = loader.batch(step)
        for name in sorted(contenders, reverse=bool(turn % 2)):
            taken_s = contenders[name].step_s(batch, step)
            if turn >= len(warmup):
                times_s[name].append(taken_s)
    return times_s


def wall_ratio(config: SupernetConfig, corpus: Corpus, *, rounds: int, threads: int) -> Measurement:
    """Measure the time of a step over that of the largest net alone, as a ratio of medians.

    Steps before the sandwich starts train the largest net alone and count as a ratio of 1.
    """
    times_s = step_times_s(config, corpus, rounds=rounds, threads=threads)
    start = config.sandwich.start_fraction
    pairs_R2 = np.array([times_s["sandwich"], times_s["largest"]]).T
    drawn = np.random.default_rng(0).integers(0, len(pairs_R2), (NUM_DRAWS, len(pairs_R2)))
    medians_B2 = np.median(pairs_R2[drawn], axis=1)
    low, high = np.quantile(medians_B2[:, 0] / medians_B2[:, 1], [0.025, 0.975])
    sandwich_s, largest_s = (median(times_s[name]) for name in ("sandwich", "largest"))
    early = f", the first {start:.0%} of the steps counted as 1" if start else ""
    return Measurement(
        name="cost.wall_ratio_to_largest",
        value=start + (1 - start) * sandwich_s / largest_s,
        unit="",
        low=start + (1 - start) * float(low),
        high=start + (1 - start) * float(high),
        n=len(pairs_R2),
        note=f"median step {1000 * sandwich_s:.0f} ms over {1000 * largest_s:.0f} ms, {threads} "
        f"threads, in turns on the same batches, without loading{early}; bootstrap over steps",
    )
