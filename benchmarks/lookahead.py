"""One net that carries several lookaheads against nets that were trained for one each.

    python benchmarks/lookahead.py --corpus runs/digits_noise --recipe fsdd --work runs/lookahead
    python benchmarks/lookahead.py --quick

A net with the backward scan sees the rest of its block of frames. ``shared`` is one net whose
training draws 0, 80, 320 or 640 ms for each batch; ``ownN`` is a net of the same architecture
trained for N ms alone, with the same steps, data and schedule (that of 0 ms is the causal net,
without the backward scan). The milliseconds are the block's length: a net of 320 ms sees up to
280 ms ahead of a frame, 140 on average, and answers once a block. The largest net of the recipe's
space is trained alone, so that lookahead is all that differs. The emission delay counts the audio
up to the end of the block that was heard.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from measuring import over_seeds
from pages import number, table
from trials import Trial, Trials, net_measurements
from trials_cli import chosen, parser, run_benchmark

from todm.core.config import SupernetConfig
from todm.core.cost import macs_per_audio_s
from todm.core.report import Measurement
from todm.core.specs import FRAME_MS, SUBSAMPLING, SubnetSpec

BLOCK_FRAMES = {0: 1, 80: 2, 320: 8, 640: 16}
"""Frames that see each other, by the milliseconds that they last; one frame alone is causal."""
CAUSAL_CHUNK_FRAMES = 8
"""A causal net computes the same in any chunk."""
ALONE = ("sandwich.num_random=0", "sandwich.smallest=0", "distill.mode=none")
SHARED = "shared"
ARMS: Mapping[str, tuple[int, ...]] = {
    SHARED: tuple(BLOCK_FRAMES),
    **{f"own.{ms}": (ms,) for ms in BLOCK_FRAMES},
}
QUICK = (SHARED, "own.0", "own.80")


@dataclass(frozen=True)
class Lookaheads:
    """The arms of one corpus."""

    trials: Trials

    def config(self, lookaheads_ms: Sequence[int], seed: int) -> SupernetConfig:
        """Return the training of the recipe's largest net alone, with these lookaheads."""
        base = self.trials.config(ALONE, seed)
        blocks = [BLOCK_FRAMES[ms] for ms in lookaheads_ms]
        space = base.space.reformed(
            lookaheads=tuple(frames - 1 for frames in blocks),
            chunk_frames=max(CAUSAL_CHUNK_FRAMES, *blocks),
            backward=blocks[-1] > 1,
        )
        return base.model_copy(update={"space": space})

    def run(self, arm: str, seeds: Sequence[int]) -> tuple[list[Trial], list[str]]:
        """Return an arm's trials, recognised at each of its lookaheads, and what diverged."""
        configs = [self.config(ARMS[arm], seed) for seed in seeds]
        largest = configs[0].space.largest
        nets = {str(ms): at_lookahead(largest, ms) for ms in ARMS[arm]}
        return self.trials.run_all(arm, configs, nets)


def at_lookahead(spec: SubnetSpec, lookahead_ms: int) -> SubnetSpec:
    """Return the net at a lookahead, in chunks of a block (of eight frames when causal)."""
    frames = BLOCK_FRAMES[lookahead_ms]
    chunk = frames if frames > 1 else CAUSAL_CHUNK_FRAMES
    return spec.model_copy(update={"lookahead_frames": frames - 1, "chunk_frames": chunk})


def described(spec: SubnetSpec) -> str:
    """Say what a lookahead means."""
    frame_ms, frames = FRAME_MS * SUBSAMPLING, spec.lookahead_frames
    if frames == 0:
        return f"causal, chunks of {spec.chunk_frames * frame_ms} ms"
    return (
        f"chunks of {spec.chunk_frames * frame_ms} ms, {frames * frame_ms} ms ahead at most, "
        f"{frames * frame_ms / 2:g} on average"
    )


def arm_measurements(
    name: str, arm: str, trials: Sequence[Trial], specs: Mapping[int, SubnetSpec]
) -> Iterator[Measurement]:
    """Yield WER, delay and MACs of an arm at each of its lookaheads."""
    kind = SHARED if arm == SHARED else "own"
    for ms in ARMS[arm]:
        yield from net_measurements(f"{name}.{{}}.{kind}.{ms}", str(ms), trials)
        if kind == "own":
            yield Measurement(
                name=f"{name}.macs_per_audio_s.{ms}",
                value=macs_per_audio_s(specs[ms]),
                unit="MAC/s",
                note=described(specs[ms]),
            )


def differences(
    name: str, shared: Sequence[Trial], own: Mapping[int, Sequence[Trial]]
) -> Iterator[Measurement]:
    """Yield the shared net's WER less its own net's, by lookahead, over the seeds of both."""
    by_seed = {trial.config.seed: trial for trial in shared}
    for ms, trials in own.items():
        pairs = [(by_seed[t.config.seed], t) for t in trials if t.config.seed in by_seed]
        if not pairs:
            continue
        wers = [trial.wer(str(ms)) for trial in trials]
        spread = max(wers) - min(wers)
        found = [a.wer(str(ms)) - b.wer(str(ms)) for a, b in pairs]
        note = f"shared minus own, seed by seed; the own nets lie {spread:.2f} points apart"
        yield over_seeds(f"{name}.wer.diff.{ms}", found, "points", note=note)


def overview(name: str, found: Sequence[Measurement]) -> str:
    """Return the table of both kinds of net by lookahead."""
    named = {m.name: m for m in found}

    def cell(figure: str) -> str:
        m = named.get(f"{name}.{figure}")
        if m is None:
            return "-"
        return f"{number(m.value, m.unit)} [{number(m.low, m.unit)}, {number(m.high, m.unit)}]"

    figures = ("wer.shared", "wer.own", "wer.diff", "delay_ms.shared", "delay_ms.own")
    rows = [[str(ms), *(cell(f"{figure}.{ms}") for figure in figures)] for ms in BLOCK_FRAMES]
    headers = ("lookahead ms", "WER shared %", "WER own %", "shared - own", "delay shared", "own")
    return table(headers, rows)


def main() -> int:
    """Read the command line and run."""
    args = parser(__doc__.partition("\n")[0], ARMS, seeds=(0, 1)).parse_args()
    names = chosen(args, QUICK)

    def measure(trials: Trials) -> tuple[list[Measurement], list[str]]:
        arms = Lookaheads(trials)
        made, lost = {}, []
        for arm in names:
            made[arm], diverged = arms.run(arm, args.seeds)
            lost += diverged
        largest = arms.config(ARMS[SHARED], 0).space.largest
        specs = {ms: at_lookahead(largest, ms) for ms in BLOCK_FRAMES}
        specs[0] = at_lookahead(arms.config([0], 0).space.largest, 0)
        found = [
            m
            for arm, got in made.items()
            if got
            for m in arm_measurements(args.name, arm, got, specs)
        ]
        own = {ARMS[arm][0]: got for arm, got in made.items() if arm != SHARED and got}
        found += differences(args.name, made.get(SHARED, []), own)
        return found, lost

    def tell(trials: Trials, found: Sequence[Measurement]) -> str:
        steps = f"{trials.base.schedule.steps} steps each, the largest net alone."
        return f"{steps}\n\n{overview(args.name, found)}"

    return run_benchmark("lookahead", args, measure, tell)


if __name__ == "__main__":
    sys.exit(main())
