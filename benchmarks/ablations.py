"""What each part of the training is worth: arms against the default at equal compute.

    python benchmarks/ablations.py --corpus runs/digits_noise --recipe fsdd --work runs/ablations
    python benchmarks/ablations.py --quick

An arm is a set of dotted overrides of the recipe. Arms whose steps cost more or less than the
default's train fewer or more of them, so that all take the same MACs, at most ``--max-steps``; the
learning rate's clocks stay as they are. An arm that diverges is named, and so is one that was not
run. Trainings lie in ``--work`` by the digest of configuration and corpus; a run that was cut off
goes on, and several processes may share the work by ``--only``.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

from cost_curve import ONE_NET, late
from measuring import over_seeds
from trials import SIZES, Trial, Trials, trial_measurements
from trials_cli import FIGURES, chosen, numbers, parser, run_benchmark, shown, summary

from todm.core.config import SupernetConfig
from todm.core.cost_training import TrainingShape
from todm.core.errors import GateError
from todm.core.report import Measurement
from todm.data.loader import BatchLoader
from todm.search.importance import measured_order
from todm.train.sandwich import planned_ledger

DEFAULT = "default"
MIXERS = "space.largest.blocks.*.mixer."
"""``*`` stands for every layer."""
TOP_DROP = "top_drop"
"""In place of an override: a depth order that leaves out the last layers first."""
IMPORTANCE = "importance"
"""In place of an override: the depth order measured on the largest net trained alone."""
SHAPE_STEPS = 30
"""Batches that are made for their mean shape."""

ARMS: Mapping[str, tuple[str, ...]] = {
    DEFAULT: (),
    # (a) distillation; the default is gated
    "distill_none": ("distill.mode=none",),
    "distill_ungated": ("distill.gate=false",),
    "distill_encoder": ("distill.mode=encoder",),
    "distill_full_sum": ("distill.mode=full_sum",),
    "distill_one_best": ("distill.mode=one_best",),
    # (b) the sandwich's fraction and nets a step
    "sandwich_f100": late(1.0),
    "sandwich_f100_half_weight": late(1.0, 0.5),
    "sandwich_f050": late(0.5),
    "sandwich_one_net": ONE_NET,
    "sandwich_two_random": ("sandwich.num_random=2",),
    # (c) dropout; the default is adaptive by width
    "dropout_macs": ("dropout.adaptive_by=macs",),
    "dropout_fixed": ("dropout.mode=fixed",),
    "dropout_none": ("dropout.mode=none",),
    # (d) optimizer; the default is ScaledAdam with the rms of whole tensors
    "optim_adamw": ("optim.kind=adamw", "optim.lr=0.002"),
    "optim_row_rms": ("optim.rms=row_block",),
    # (e) loss
    "loss_pruned": ("loss.form=pruned", "loss.pruned.warmup_steps=100"),
    "loss_one_symbol": ("loss.topology=one_symbol",),
    "loss_delay_penalty": ("loss.delay_penalty=0.01",),
    "loss_fastemit": ("loss.fastemit=0.01",),
    # (f) forms of the mixer
    "gating_head_glu": (f"{MIXERS}gating=head_glu",),
    "gating_pairs": (f"{MIXERS}gating=pairs",),
    "gating_none": (f"{MIXERS}gating=none",),
    "conv_before_scan": (f"{MIXERS}conv_frames=4",),
    "backward_in_chunk": (
        f"{MIXERS}backward=true",
        "space.largest.lookahead_frames=7",
        "space.lookaheads=[7]",
    ),
    # (g) depth order (the default spreads) and the range of dt
    "depth_top_drop": (TOP_DROP,),
    "depth_importance": (IMPORTANCE,),
    "dt_slow": (f"{MIXERS}dt_min=0.001", f"{MIXERS}dt_max=0.1"),
}
QUICK = (DEFAULT, "distill_full_sum", "sandwich_f050", "depth_importance")


@dataclass(frozen=True)
class Ablations:
    """The arms of one corpus."""

    trials: Trials
    default_steps: int
    max_steps: int

    @cached_property
    def shape(self) -> TrainingShape:
        """The mean padded shape of the recipe's batches."""
        config = self.trials.base
        loader = BatchLoader(self.trials.corpus, "train", config.data, config.seed)
        batches = [loader.batch(step) for step in range(SHAPE_STEPS)]
        return TrainingShape(
            batch=config.data.batch_size,
            frames=round(mean(batch.features_BTF.shape[1] for batch in batches)),
            target_len=round(mean(batch.targets_BU.shape[1] for batch in batches)),
        )

    def config(self, overrides: Sequence[str], seed: int) -> SupernetConfig:
        """Return an arm's configuration, with the steps that cost what the default's do."""
        steps = f"schedule.steps={self.default_steps}"
        default = self.trials.config([steps], seed)
        arm = self.trials.config([steps, *self._written(overrides, seed)], seed)
        planned = [
            planned_ledger(config, itertools.repeat(self.shape)).macs for config in (default, arm)
        ]
        equal = min(self.max_steps, round(self.default_steps * planned[0] / planned[1]))
        schedule = arm.schedule.model_copy(update={"steps": equal})
        return arm.model_copy(update={"schedule": schedule})

    def _written(self, overrides: Sequence[str], seed: int) -> list[str]:
        """Return the overrides as the configuration takes them."""
        layers = range(len(self.trials.base.space.largest.blocks))
        found = []
        for text in overrides:
            if text == IMPORTANCE:
                found.append(f"space.depth_order={list(self.importance(seed))}")
            elif text == TOP_DROP:
                found.append(f"space.depth_order={list(layers)}")
            else:
                found.append(text)
        return found

    def importance(self, seed: int) -> tuple[int, ...]:
        """Train the largest net alone for the default's steps and measure its layers."""
        alone = ["sandwich.num_random=0", "sandwich.smallest=0"]
        config = self.trials.config([f"schedule.steps={self.default_steps}", *alone], seed)
        trial = self.trials.run("largest alone, for its layers' importance", config)
        return measured_order(trial.supernet.path, self.trials.corpus_path)


def difference(name: str, arm: Sequence[Trial], default: Sequence[Trial]) -> list[Measurement]:
    """Return an arm's WER less the default's, the mean over the nets, where seeds are in both."""
    by_seed = {trial.config.seed: trial for trial in default}
    found = [
        mean_wer(trial) - mean_wer(by_seed[trial.config.seed])
        for trial in arm
        if trial.config.seed in by_seed
    ]
    note = "arm minus default, mean over the nets, seed by seed; below 0 the arm is better"
    return [over_seeds(f"{name}.wer.diff", found, "points", note=note)] if found else []


def mean_wer(trial: Trial) -> float:
    """Return the mean WER of a trial's nets."""
    return mean(trial.wer(size) for size in SIZES)


def spread(name: str, default: Sequence[Trial]) -> list[Measurement]:
    """Return the default's WER, the mean over the nets, over all of its seeds."""
    note = "mean over the nets, then over seeds; the least and the largest seed"
    found = [mean_wer(trial) for trial in default]
    return [over_seeds(f"{name}.wer.seeds", found, "%", note=note)] if found else []


def overview(args: argparse.Namespace, found: Sequence[Measurement]) -> str:
    """Return a table with a row for each arm, and how to read it."""
    text = (
        f"Equal MACs: {args.steps} steps of the default; at most {args.max_steps} of any. "
        f"Beside the differences look at {args.name}.{DEFAULT}.wer.seeds: a difference smaller "
        "than what lies between the default's own seeds says little."
    )
    if any("ablations.json, commit" in m.note for m in found):
        text += (
            " Arms whose figures name a commit are of an earlier run, perhaps on another machine: "
            "they differ by that much from the default of that run."
        )
    figures = {"- default": "wer.diff", **FIGURES}
    return f"{text}\n\n{summary(args.name, shown(args, found), found, figures)}"


def main() -> int:
    """Read the command line and run."""
    options = parser(__doc__.partition("\n")[0], ARMS, seeds=(0, 1))
    options.add_argument("--steps", type=int, default=800, help="of the default [800]")
    options.add_argument(
        "--default-seeds",
        type=numbers,
        default=(0, 1, 2, 3),
        help="of the default alone: how far seeds lie apart [0,1,2,3]",
    )
    options.add_argument("--max-steps", type=int, default=1000, help="of any arm [1000]")
    args = options.parse_args()
    if any(text.startswith("schedule.steps=") for text in args.set):
        options.error("give --steps instead of --set schedule.steps: each arm has its own")
    names = chosen(args, QUICK)
    if args.quick:
        args.steps, args.max_steps, args.default_seeds = 8, 14, args.seeds

    def run(trials: Trials) -> tuple[list[Measurement], list[str]]:
        ablations = Ablations(trials, args.steps, args.max_steps)
        found: list[Measurement] = []
        lost: list[str] = []
        default: list[Trial] = []
        for name in names:
            try:
                configs = [ablations.config(ARMS[name], seed) for seed in args.seeds]
            except GateError as error:  # of the net whose layers are measured
                lost.append(f"{name}: {error}")
                continue
            made, diverged = trials.run_all(name, configs)
            lost += diverged
            if made:
                found += trial_measurements(f"{args.name}.{name}", made)
            if name == DEFAULT:
                default = made
                others = [seed for seed in args.default_seeds if seed not in args.seeds]
                more, diverged = trials.run_all(name, [ablations.config((), s) for s in others])
                lost += diverged
                found += spread(f"{args.name}.{name}", [*made, *more])
            else:
                found += difference(f"{args.name}.{name}", made, default)
        return found, lost

    return run_benchmark("ablations", args, run, lambda _, found: overview(args, found))


if __name__ == "__main__":
    sys.exit(main())
