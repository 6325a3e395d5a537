"""``todm train-supernet --dry-run``: the real net takes a real step at the extreme shapes.

On a GPU the batches are whole and the peak is the allocator's. On a CPU a step runs with 2 and
with 3 utterances of the same lengths, all else being real, and its peak is extended to the whole
batch: what a step holds grows by the same amount with each utterance (a test holds that to 2 %).
Activations are float32 there: under bf16-mixed a GPU needs less; what its allocator and its
libraries take on top is not in the figure, nor what ``run.strategy fsdp`` spreads.
"""

import contextlib
import gc
from collections.abc import Iterator, Sequence
from statistics import mean
from time import perf_counter

import torch
from lightning_fabric import Fabric

from todm.core.config import SupernetConfig
from todm.core.cost import num_parameters
from todm.core.cost_training import TrainingShape
from todm.core.rng import derive_seed
from todm.core.value import Value
from todm.data.loader import Batch, BatchLoader
from todm.data.manifest import Corpus, Utterance
from todm.losses import alpha_divergence
from todm.models.rnnt import Transducer
from todm.optim.build import build_optimizer
from todm.train.loop import backward, seeded
from todm.train.peak import PeakBytes
from todm.train.plan import TrainingPlan, make_plan, planning_corpus, planning_loader, shape_of
from todm.train.sandwich import nets_of_step
from todm.train.supernet import SupernetTask

TRIED_UTTERANCES = (2, 3)
"""With one alone the peak can lie elsewhere in the step than with many."""
FP32_BYTES = 4
LAST_STEPS = 64
"""Among so many steps at the end the one with the most work is tried."""


class ShapeTrial(Value):
    """A step on one shape of batch."""

    what: str
    shape: TrainingShape
    """The whole share of one GPU."""
    tried_utterances: tuple[int, ...]
    """How many utterances the steps that were run had."""
    step_bytes: int
    """Peak of gradients and activations at the whole shape."""
    step_s: float | None
    """Seconds of a whole step, where it was run."""


class DryRun(Value):
    """What a training would take."""

    plan: TrainingPlan
    device: str
    gpus: int
    weights_bytes: int
    optimizer_bytes: int
    """Two moments of each weight."""
    average_bytes: int
    """The averaged weights; pairs of averages are kept in float64."""
    trials: tuple[ShapeTrial, ...]
    bytes_per_gpu: int
    """The most that one GPU holds."""
    gpu_hours_measured: float | None
    """From the step on a mean batch, where a GPU ran it."""


def dry_run(config: SupernetConfig, corpus: Corpus | None, *, gpus: int = 1) -> DryRun:
    """Plan a training and try its extreme steps on the device at hand.

    Args:
        config: everything that decides the training.
        corpus: its corpus; None takes LibriSpeech's published durations.
        gpus: processes that share each batch.

    Raises:
        ConfigError: the configuration does not fit the corpus.
    """
    vocab_size = config.space.largest.vocab_size
    corpus = corpus or planning_corpus(config.recipe, vocab_size)
    loader = planning_loader(config, corpus)
    plan = make_plan(config, corpus, loader)
    trier = _Trier(config, corpus, loader)
    trials = tuple(
        trier.run(what, shape)
        for what, shape in _shapes(config, loader, gpus, with_mean=trier.on_gpu).items()
    )
    mean_s = next((trial.step_s for trial in trials if trial.what == "mean batch"), None)
    weights = trier.weights_bytes
    average = weights if config.schedule.averaging == "window" else 2 * weights
    return DryRun(
        plan=plan,
        device=trier.device_name,
        gpus=gpus,
        weights_bytes=weights,
        optimizer_bytes=2 * weights,
        average_bytes=average,
        trials=trials,
        bytes_per_gpu=3 * weights + average + max(trial.step_bytes for trial in trials),
        gpu_hours_measured=None if mean_s is None else plan.steps * gpus * mean_s / 3600,
    )


def _shapes(
    config: SupernetConfig, loader: BatchLoader, gpus: int, *, with_mean: bool
) -> dict[str, TrainingShape]:
    """Return the batches that take the most, at the slowest speed, as one GPU sees them."""
    stretch = 1.0 / min(config.data.augment.speed_factors)
    batches: Sequence[Sequence[Utterance]] = [
        [loader.utterances[i] for i in indices] for indices in loader.epoch_batches(0)
    ]
    shapes = [shape_of(batch, stretch) for batch in batches]
    found = {
        "largest lattices": max(shapes, key=lambda shape: shape.nodes),
        "most utterances": max(shapes, key=lambda shape: shape.batch),
    }
    if with_mean:
        found["mean batch"] = TrainingShape(
            batch=round(mean(shape.batch for shape in shapes)),
            frames=round(mean(shape.frames for shape in shapes)),
            target_len=round(mean(shape.target_len for shape in shapes)),
        )
    return {
        what: shape.model_copy(update={"batch": -(-shape.batch // gpus)})
        for what, shape in found.items()
    }


def _busiest_step(config: SupernetConfig) -> int:
    """Return that of the last steps whose nets have the most weights together."""
    total = config.schedule.steps

    def weights(step: int) -> int:
        nets = nets_of_step(
            config.space, config.sandwich, seed=config.seed, step=step, total_steps=total
        )
        return sum(num_parameters(spec) for _, spec in nets)

    return max(range(max(0, total - LAST_STEPS), total), key=weights)


class _Trier:
    """The training's net, task and optimizer, on synthetic batches."""

    def __init__(self, config: SupernetConfig, corpus: Corpus, loader: BatchLoader) -> None:
        self._config = config
        self.on_gpu = config.run.accelerator != "cpu" and torch.cuda.is_available()
        self._fabric = Fabric(
            accelerator="cuda" if self.on_gpu else "cpu",
            devices=1,
            precision=config.run.precision if self.on_gpu else "32-true",
        )
        with seeded(derive_seed(config.seed, "init")):
            model = Transducer(config.space.largest, simple=config.loss.form == "pruned").train()
        self._fabric.to_device(model)
        self._task = SupernetTask(config, model, loader, [], corpus.table)
        self._optimizer = build_optimizer(model, config.optim, config.space)
        self._busy_step = _busiest_step(config)
        self.weights_bytes = FP32_BYTES * sum(p.numel() for p in model.parameters())

    @property
    def device_name(self) -> str:
        """What the steps ran on."""
        return torch.cuda.get_device_name(self._fabric.device) if self.on_gpu else "cpu"

    def run(self, what: str, shape: TrainingShape) -> ShapeTrial:
        """Measure a shape's step: whole on a GPU, from a few utterances on a CPU."""
        self._step(shape.model_copy(update={"batch": 1}))  # moments exist from the first step on
        if self.on_gpu:
            step_bytes, step_s = self._measure_whole(shape)
            return ShapeTrial(
                what=what, shape=shape, tried_utterances=(shape.batch,), step_bytes=step_bytes,
                step_s=step_s,
            )  # fmt: skip
        tried = TRIED_UTTERANCES if shape.batch > max(TRIED_UTTERANCES) else (shape.batch,)
        peaks = [self._peak(shape.model_copy(update={"batch": count})) for count in tried]
        slope = (peaks[-1] - peaks[0]) / max(1, tried[-1] - tried[0])
        step_bytes = round(peaks[-1] + slope * (shape.batch - tried[-1]))
        return ShapeTrial(
            what=what, shape=shape, tried_utterances=tried, step_bytes=step_bytes, step_s=None
        )

    def _peak(self, shape: TrainingShape) -> int:
        batch = self._batch(shape)
        gc.collect()
        with _whole_lattices(), PeakBytes() as counted:
            self._step(shape, batch)
        return counted.peak

    def _measure_whole(self, shape: TrainingShape) -> tuple[int, float]:
        batch = self._fabric.to_device(self._batch(shape))
        device = self._fabric.device
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        self._step(shape, batch)
        torch.cuda.synchronize(device)
        begin_s = perf_counter()
        self._step(shape, batch)
        torch.cuda.synchronize(device)
        taken_s = perf_counter() - begin_s
        return torch.cuda.max_memory_allocated(device) - before, taken_s

    def _step(self, shape: TrainingShape, batch: Batch | None = None) -> None:
        batch = self._batch(shape) if batch is None else batch
        backward(self._fabric, self._task, batch, self._busy_step)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _batch(self, shape: TrainingShape) -> Batch:
        """Return noise with random labels."""
        spec, generator = self._config.space.largest, torch.Generator()
        generator.manual_seed(derive_seed(self._config.seed, "dry-run"))
        size, labels = shape.batch, (shape.batch, shape.target_len)
        return Batch(
            features_BTF=torch.randn(
                size, shape.frames, spec.front.feature_dim, generator=generator
            ),
            frame_lens_B=torch.full((size,), shape.frames),
            targets_BU=torch.randint(1, spec.vocab_size, labels, generator=generator),
            target_lens_B=torch.full((size,), shape.target_len),
            ids=("synthetic",) * size,
            speakers=("synthetic",) * size,
        )


@contextlib.contextmanager
def _whole_lattices() -> Iterator[None]:
    """Distil whole lattices at once, as on a GPU; a CPU takes pieces that suit its cache."""
    pieces = alpha_divergence.CHUNK_ELEMENTS
    alpha_divergence.CHUNK_ELEMENTS = 1 << 62
    try:
        yield
    finally:
        alpha_divergence.CHUNK_ELEMENTS = pieces
