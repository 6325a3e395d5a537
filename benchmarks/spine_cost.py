"""What a supernet costs to train, over its largest net alone: in MACs and in wall time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
import torch

from todm.core.artifact import Artifact
from todm.core.config import SandwichConfig, SupernetConfig
from todm.core.ledger import LARGEST, TrainingLedger
from todm.core.report import Measurement
from todm.data.loader import Batch, BatchLoader
from todm.data.manifest import Corpus
from todm.models.rnnt import Transducer
from todm.models.store import LEDGER
from todm.optim.build import StepOptimizer, build_optimizer
from todm.train.run import new_model
from todm.train.sandwich import nets_of_step
from todm.train.supernet import SupernetTask

WARMUP_ROUNDS = 3
NUM_DRAWS = 2000


def spread(items: Sequence[int], count: int) -> list[int]:
    """Return at most that many items, evenly spread."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def macs_ratio(supernet: Artifact) -> Measurement:
    """Return the MACs of every net that a training ran over those of its largest net alone."""
    ledger = TrainingLedger.read_json(supernet.file(LEDGER))
    largest = ledger.nets[LARGEST]
    return Measurement(
        name="cost.ratio_to_largest",
        value=ledger.ratio_to_largest,
        unit="",
        n=ledger.steps,
        note=f"{ledger.macs / 1e12:.2f} TMAC over {largest.macs.total / 1e12:.2f}, forward and "
        f"backward, from the ledger: the nets of all {ledger.steps} steps with the shape of each "
        f"batch; {largest.utterances} utterances, {largest.frames} of {largest.padded_frames} "
        "padded frames are speech",
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


def steps_by_nets(config: SupernetConfig) -> dict[int, list[int]]:
    """Return the steps of a run by how many nets they train."""
    found: dict[int, list[int]] = {}
    total = config.schedule.steps
    for step in range(total):
        nets = nets_of_step(
            config.space, config.sandwich, seed=config.seed, step=step, total_steps=total
        )
        found.setdefault(len(nets), []).append(step)
    return found


def step_times_s(
    config: SupernetConfig, corpus: Corpus, steps: Sequence[int], *, threads: int
) -> Mapping[str, Sequence[float]]:
    """Time steps of the sandwich and of the largest net alone, in turns on the same batches."""
    torch.set_num_threads(threads)
    alone = SandwichConfig(num_random=0, smallest=0.0)
    loader = BatchLoader(corpus, "train", config.data, config.seed)
    contenders = {
        "sandwich": Contender.of(config, corpus, loader),
        "largest": Contender.of(config.model_copy(update={"sandwich": alone}), corpus, loader),
    }
    times_s: dict[str, list[float]] = {name: [] for name in contenders}
    warmup = steps[:WARMUP_ROUNDS]
    for turn, step in enumerate([*warmup, *steps]):
        batch = loader.batch(step)
        for name in sorted(contenders, reverse=bool(turn % 2)):
            taken_s = contenders[name].step_s(batch, step)
            if turn >= len(warmup):
                times_s[name].append(taken_s)
    return times_s


def wall_ratio(config: SupernetConfig, corpus: Corpus, *, rounds: int, threads: int) -> Measurement:
    """Measure the time of a step over that of the largest net alone, as ratios of medians.

    Steps with as many nets form a group of their own, weighed by its share of the run; steps that
    train the largest net alone count as a ratio of 1.
    """
    groups = {n: steps for n, steps in steps_by_nets(config).items() if n > 1}
    total = config.schedule.steps
    alone = 1 - sum(len(steps) for steps in groups.values()) / total
    value, timed, drawn_B, notes = alone, 0, np.full(NUM_DRAWS, alone), []
    for nets, steps in sorted(groups.items()):
        chosen, share = spread(steps, rounds), len(steps) / total
        times_s = step_times_s(config, corpus, chosen, threads=threads)
        pairs_R2 = np.array([times_s["sandwich"], times_s["largest"]]).T
        draws = np.random.default_rng(0).integers(0, len(pairs_R2), (NUM_DRAWS, len(pairs_R2)))
        medians_B2 = np.median(pairs_R2[draws], axis=1)
        drawn_B += share * medians_B2[:, 0] / medians_B2[:, 1]
        sandwich_s, largest_s = (median(times_s[name]) for name in ("sandwich", "largest"))
        value += share * sandwich_s / largest_s
        timed += len(pairs_R2)
        notes.append(
            f"median step of {nets} nets {1000 * sandwich_s:.0f} ms over {1000 * largest_s:.0f} ms"
            + (f" in {share:.0%} of the steps" if share < 1 else "")
        )
    low, high = np.quantile(drawn_B, [0.025, 0.975])
    return Measurement(
        name="cost.wall_ratio_to_largest",
        value=value,
        unit="",
        low=float(low),
        high=float(high),
        n=max(1, timed),
        note=f"{'; '.join(notes) or 'the largest net alone'}; {threads} threads, in turns on the "
        "same batches, without loading; bootstrap over steps",
    )
