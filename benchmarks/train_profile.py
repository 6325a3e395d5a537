"""Where the time of a training step goes, and what ScaledAdam costs beside AdamW.

A step's parts are told apart where they meet: a hook on the front end's, the predictor's and the
encoder's output marks the time, forward and (when the gradient arrives there) backward. So the
step that is timed is the product's own. Data are read, augmented and turned into features in the
same thread here; a training does that ahead, in another one, and keeps features.

The optimizers take turns on the same gradients. One thread and its CPU time, so that the
machine's other work counts less; figures are medians over steps, low and high the quartiles.

    python benchmarks/train_profile.py [--quick] [--recipe fsdd] [--corpus runs/fsdd]
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import process_time
from typing import Any
from unittest import mock

import numpy as np
import torch
from arguments import add_quick_and_out, report_path, told
from pages import everything, made_with, page, write
from torch import Tensor, nn

from todm.core.config import OptimConfig, SupernetConfig
from todm.core.data_config import PrepareConfig, SourceConfig, TokenConfig
from todm.core.report import Measurement, Report, environment
from todm.core.rng import derive_seed
from todm.core.space import SearchSpace
from todm.data.loader import BatchLoader
from todm.data.manifest import Corpus, open_corpus
from todm.features.wav import write_wav
from todm.models.rnnt import Transducer
from todm.optim.build import StepOptimizer, build_optimizer
from todm.prepare.run import run as prepare
from todm.recipes import recipe
from todm.recipes.spaces import librispeech_space
from todm.train.distil import distillation
from todm.train.loop import seeded
from todm.train.run import new_model
from todm.train.supernet import SupernetTask

SEED = 0
NAME = "train_profile"
PARTS = ("data", "front", "encoder", "joiner_loss", "distill", "ledger", "optimizer")
WARMUP_STEPS = 3
WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
NUM_SOUNDS = 320


def sound_corpus(folder: Path) -> Corpus:
    """Write noise in the lengths of digit strings: one to five words of half a second.

    How long a step takes depends on durations and labels alone.
    """
    rng = np.random.default_rng(derive_seed(SEED, "train-profile"))
    raw = folder / "raw"
    raw.mkdir()
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for index in range(NUM_SOUNDS):
        count = 1 + index % 5
        noise_S = 0.05 * rng.standard_normal(int(16000 * (0.2 + 0.5 * count)))
        write_wav(raw / f"{index}.wav", noise_S.astype(np.float32))
        text = " ".join(WORDS[(index + place) % 10] for place in range(count))
        rows.append(f"u{index}\ts\t{text}\t{index}.wav\ttrain")
    (raw / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    source = SourceConfig(corpus="transcripts", path=raw)
    done = prepare(
        PrepareConfig(name="sounds", source=source, tokens=TokenConfig(unit="word")),
        folder / "corpus",
    )
    return open_corpus(done.path, verify=False)


class Stopwatch:
    """Gives the time since the last mark to a part, forward or backward."""

    def __init__(self) -> None:
        self.spent_s: dict[tuple[str, str], float] = defaultdict(float)
        self._last_s = process_time()
        self.reached = ""
        """The last part whose output a gradient has reached."""

    def mark(self, part: str, way: str) -> None:
        """Say that what ran since the last mark was this part."""
        now_s = process_time()
        self.spent_s[part, way] += now_s - self._last_s
        self._last_s = now_s

    def start(self) -> None:
        """Forget the time since the last mark."""
        self._last_s = process_time()

    def at_output(self, module: nn.Module, part: str, *, before: str) -> Callable[[], None]:
        """Mark when a module's output is made, and when its gradient arrives."""

        def reach(_: Tensor) -> None:
            self.mark(before, "backward")
            self.reached = part

        def made(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
            self.mark(part, "forward")
            output.register_hook(reach)

        return module.register_forward_hook(made).remove


class Profile:
    """A training whose steps are timed by part."""

    def __init__(self, config: SupernetConfig, corpus: Corpus) -> None:
        self.watch = Stopwatch()
        self._config = config
        self._loader = BatchLoader(corpus, "train", config.data, config.seed, max_cache_bytes=0)
        self._model = new_model(config, corpus).train()
        self._task = SupernetTask(config, self._model, self._loader, [], corpus.table)
        self._optimizer = build_optimizer(self._model, config.optim, config.space)

    def steps(self, count: int) -> Iterator[Mapping[tuple[str, str], float]]:
        """Run steps with all of the sandwich's nets; yield each one's seconds by part and way."""
        watch, encoder = self.watch, self._model.encoder

        def timed_distil(*args: Any) -> Tensor:
            watch.mark("joiner_loss", "forward")
            found = distillation(*args)
            watch.mark("distill", "forward")
            return found

        with ExitStack() as hooks:
            hooks.callback(watch.at_output(encoder.front, "front", before="front"))
            hooks.callback(watch.at_output(encoder.norm, "encoder", before="joiner_loss"))
            hooks.callback(
                self._model.predictor.register_forward_hook(
                    lambda *_: watch.mark("front", "forward")
                ).remove
            )
            hooks.enter_context(mock.patch("todm.train.supernet.distillation", timed_distil))
            first = self._config.schedule.steps - count
            for step in range(first, first + count):
                yield self._one(step)

    def _one(self, step: int) -> Mapping[tuple[str, str], float]:
        watch = self.watch
        watch.spent_s.clear()
        watch.start()
        batch = self._loader.batch(step)
        watch.mark("data", "run")
        for loss in self._task.losses(batch, step):
            watch.mark("joiner_loss", "forward")
            loss.backward()
            watch.mark(watch.reached, "backward")
        watch.mark("ledger", "run")
        self._optimizer.step()
        self._optimizer.zero_grad()
        watch.mark("optimizer", "run")
        return dict(watch.spent_s)


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median and quartiles."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(median), float(low), float(high)


def shares(config: SupernetConfig, corpus: Corpus, steps: int) -> list[Measurement]:
    """Measure the parts of a step: seconds each way, and shares of the whole."""
    profile = Profile(config, corpus)
    timed = list(profile.steps(steps + WARMUP_STEPS))[WARMUP_STEPS:]
    whole_s = [sum(step.values()) for step in timed]
    note = f"recipe {config.recipe}, {config.data.batch_size} utterances, all nets of the sandwich"
    median, low, high = middle(whole_s)
    found = [
        Measurement(name="step_s", value=median, unit="s", low=low, high=high, n=steps, note=note)
    ]
    for part in PARTS:
        part_s = [sum(s for (name, _), s in step.items() if name == part) for step in timed]
        ratio = [part / whole for part, whole in zip(part_s, whole_s, strict=True)]
        median, low, high = middle(ratio)
        found.append(
            Measurement(
                name=f"share.{part}", value=median, unit="", low=low, high=high, n=steps, note=note
            )
        )
        for way in ("run", "forward", "backward"):
            way_s = [step.get((part, way), 0.0) for step in timed]
            if any(way_s):
                median, low, high = middle(way_s)
                found.append(
                    Measurement(
                        name=f"{part}.{way}_s", value=median, unit="s", low=low, high=high, n=steps
                    )
                )
    return found


def optimizers(name: str, space: SearchSpace, steps: int) -> list[Measurement]:
    """Time a step of ScaledAdam over one of torch's fused AdamW, in turns."""
    models = []
    for _ in range(2):
        with seeded(SEED):
            models.append(Transducer(space.largest))
    scaled: StepOptimizer = build_optimizer(models[0], OptimConfig(), space)
    adamw = torch.optim.AdamW(models[1].parameters(), lr=1e-4, fused=True)
    for model in models:
        generator = torch.Generator().manual_seed(SEED)
        for p in model.parameters():
            p.grad = 0.01 * torch.randn(p.shape, generator=generator)
    times_ms: dict[str, list[float]] = {"scaled_adam": [], "adamw": []}
    for turn in range(steps + WARMUP_STEPS):
        for kind, step in (("scaled_adam", scaled.step), ("adamw", adamw.step)):
            begin_s = process_time()
            step()
            if turn >= WARMUP_STEPS:
                times_ms[kind].append(1000.0 * (process_time() - begin_s))
    ratio, low, high = middle(
        [s / a for s, a in zip(times_ms["scaled_adam"], times_ms["adamw"], strict=True)]
    )
    weights = sum(p.numel() for p in models[0].parameters())
    note = f"{weights} weights of {name}, one thread, in turns; every 4th step renews the sizes"
    found = [
        Measurement(
            name=f"optim.scaled_adam_over_adamw.time.{name}", value=ratio, unit="", low=low,
            high=high, n=steps, note=note,
        )
    ]  # fmt: skip
    for kind, values in times_ms.items():
        median, low, high = middle(values)
        found.append(
            Measurement(
                name=f"optim.{kind}_ms.{name}", value=median, unit="ms", low=low, high=high, n=steps
            )
        )
    return found


def render(report: Report) -> str:
    """Return the page; the largest part of a step is named."""
    parts = {m.name: m.value for m in report.measurements if m.name.startswith("share.")}
    largest = max(parts, key=lambda name: parts[name])
    where = (
        f"{made_with(report.environment)} One thread. Data are reading, augmentation and features. "
        f"Largest part: **{largest.removeprefix('share.')}**, {parts[largest]:.0%} of a step."
    )
    return page("# Profile of a training step", where, everything(report.measurements, ".4g"))


def main() -> None:
    """Measure and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", help="whose step is timed [fsdd; tiny with --quick]")
    parser.add_argument("--corpus", type=Path, help="a prepared corpus; else noise of its lengths")
    add_quick_and_out(parser, NAME, quick="small nets, in under a minute")
    args = parser.parse_args()
    torch.set_num_threads(1)
    name = args.recipe or ("tiny" if args.quick else "fsdd")
    steps, turns = (3, 4) if args.quick else (40, 60)
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_corpus(args.corpus) if args.corpus else sound_corpus(Path(folder))
        config = recipe(name, corpus.table.size)
        measurements = shares(config, corpus, steps)
    measurements += optimizers(name, config.space, turns)
    if not args.quick:
        measurements += optimizers("librispeech", librispeech_space(500), turns // 2)
    ratios = [m for m in measurements if ".time." in m.name]
    worst = max(ratios, key=lambda m: m.value)
    headline = {"name": "optim.scaled_adam_over_adamw.time"}
    measurements.append(worst.model_copy(update=headline))
    report = Report(environment=environment((SEED,)), measurements=tuple(measurements))
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    sys.exit(told(NAME, main))
