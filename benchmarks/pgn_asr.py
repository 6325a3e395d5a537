"""Parallel gated networks in a recogniser: as predictor and as mixer, at equal cost.

    python benchmarks/pgn_asr.py --corpus runs/an4 --recipe an4 --align SUBNET --split test
    python benchmarks/pgn_asr.py --quick

The recipe's largest net is trained alone, once an arm and seed. ``reference`` is the recipe's own:
the stateless predictor and MH-SSM. ``predictor_wN`` takes a PGN predictor that reads N tokens
before the last one, as wide as leaves the whole net the same parameters. ``mixer_wN`` takes PGN
mixers with a history of N frames, as many channels as leave the same MACs a second of audio. Arms
differ from the reference in that alone. Where a corpus has no word ends the emission delay counts
from the forced alignment of --align.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from measuring import over_seeds
from pages import number, table
from trials import Trial, Trials, net_measurements
from trials_cli import chosen, parser, run_benchmark, shown

from todm.core.config import SupernetConfig
from todm.core.cost import chunk_macs, macs_per_audio_s, num_parameters, state_bytes
from todm.core.mixer_specs import PGNSpec
from todm.core.report import Measurement
from todm.core.space import SearchSpace
from todm.core.specs import PredictorSpec, SubnetSpec

REFERENCE = "reference"
ALONE = ("sandwich.num_random=0", "sandwich.smallest=0", "distill.mode=none")
PREDICTOR_WINDOWS = (1, 2, 4)
MIXER_WINDOWS = (4, 8, 16, 32)
MOST_WIDTH = 1024
"""Of what is searched for equal cost."""
NET = "net"


def with_predictor(spec: SubnetSpec, window: int) -> SubnetSpec:
    """Return the net with a PGN predictor and as many parameters, as nearly as a width can."""

    def sized(width: int) -> SubnetSpec:
        predictor = PredictorSpec(kind="pgn", embed_dim=width, context_size=window + 1)
        return spec.model_copy(update={"predictor": predictor})

    return nearest(sized, num_parameters, num_parameters(spec))


def with_mixers(spec: SubnetSpec, window: int) -> SubnetSpec:
    """Return the net with PGN mixers and as many MACs, as nearly as a number of channels can."""

    def sized(channels: int) -> SubnetSpec:
        mixer = PGNSpec(num_heads=channels, head_dim=1, window=window)
        blocks = tuple(block.model_copy(update={"mixer": mixer}) for block in spec.blocks)
        return spec.model_copy(update={"blocks": blocks})

    return nearest(sized, macs_per_audio_s, macs_per_audio_s(spec))


def nearest(
    sized: Callable[[int], SubnetSpec], cost: Callable[[SubnetSpec], float], wanted: float
) -> SubnetSpec:
    """Return the net of the size whose cost is nearest to what is wanted."""
    return min(map(sized, range(1, MOST_WIDTH + 1)), key=lambda spec: abs(cost(spec) - wanted))


ARMS: Mapping[str, Callable[[SubnetSpec], SubnetSpec]] = {
    REFERENCE: lambda spec: spec,
    **{f"predictor_w{w}": lambda spec, w=w: with_predictor(spec, w) for w in PREDICTOR_WINDOWS},
    **{f"mixer_w{w}": lambda spec, w=w: with_mixers(spec, w) for w in MIXER_WINDOWS},
}
QUICK = (REFERENCE, "predictor_w2", "mixer_w4")


def config_of(trials: Trials, arm: str, seed: int) -> SupernetConfig:
    """Return the training of an arm's net alone."""
    base = trials.config(ALONE, seed)
    space = SearchSpace.alone(ARMS[arm](base.space.largest))
    return base.model_copy(update={"space": space})


def arm_measurements(name: str, arm: str, trials: Sequence[Trial]) -> Iterator[Measurement]:
    """Yield WER, delay and cost of an arm."""
    yield from net_measurements(f"{name}.{{}}.{arm}", NET, trials)
    spec = trials[0].config.space.largest
    costs = {
        "params": (num_parameters(spec), "parameters"),
        "macs_per_audio_s": (macs_per_audio_s(spec), "MAC/s"),
        "predictor_macs": (chunk_macs(spec).predictor / spec.chunk_frames, "MAC"),
        "state_bytes": (state_bytes(spec), "bytes"),
    }
    for figure, (value, unit) in costs.items():
        yield Measurement(name=f"{name}.{figure}.{arm}", value=value, unit=unit)


def differences(name: str, made: Mapping[str, Sequence[Trial]]) -> Iterator[Measurement]:
    """Yield each arm's WER less the reference's, seed by seed."""
    reference = {trial.config.seed: trial.wer(NET) for trial in made.get(REFERENCE, ())}
    for arm, trials in made.items():
        found = [
            t.wer(NET) - reference[t.config.seed] for t in trials if t.config.seed in reference
        ]
        if arm != REFERENCE and found:
            note = "arm minus reference, seed by seed"
            yield over_seeds(f"{name}.wer_diff.{arm}", found, "points", note=note)


COLUMNS = {
    "WER %": "wer",
    "- reference": "wer_diff",
    "delay ms": "delay_ms",
    "p95 ms": "delay_p95_ms",
    "parameters": "params",
    "MAC/s": "macs_per_audio_s",
    "state bytes": "state_bytes",
}


def overview(name: str, arms: Sequence[str], found: Sequence[Measurement]) -> str:
    """Return a table with a row for each arm."""
    named = {m.name: m for m in found}

    def cell(arm: str, figure: str) -> str:
        m = named.get(f"{name}.{figure}.{arm}")
        if m is None:
            return "-"
        spread = f" [{number(m.low, m.unit)}, {number(m.high, m.unit)}]" if m.low != m.high else ""
        return number(m.value, m.unit) + spread

    rows = [[arm, *(cell(arm, figure) for figure in COLUMNS.values())] for arm in arms]
    return table(["arm", *COLUMNS], rows)


def main() -> int:
    """Read the command line and run."""
    args = parser(__doc__.partition("\n")[0], ARMS, seeds=(0, 1, 2)).parse_args()
    names = chosen(args, QUICK)

    def measure(trials: Trials) -> tuple[list[Measurement], list[str]]:
        made: dict[str, list[Trial]] = {}
        lost: list[str] = []
        for arm in names:
            configs = [config_of(trials, arm, seed) for seed in args.seeds]
            nets = {NET: configs[0].space.largest}
            made[arm], diverged = trials.run_all(arm, configs, nets)
            lost += diverged
        found = [
            m for arm, got in made.items() if got for m in arm_measurements(args.name, arm, got)
        ]
        found += differences(args.name, made)
        return found, lost

    def tell(trials: Trials, found: Sequence[Measurement]) -> str:
        steps = f"{trials.base.schedule.steps} steps each, the largest net alone."
        return f"{steps}\n\n{overview(args.name, shown(args, found), found)}"

    return run_benchmark("pgn_asr", args, measure, tell)


if __name__ == "__main__":
    sys.exit(main())
