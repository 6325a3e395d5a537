"""What the parallel gated network claims, measured: path length, and cost against length.

    python benchmarks/pgn_scaling.py [--quick] [--out benchmarks/results/pgn_scaling.json]

Gradient: the norm of an output's gradient by an input so many steps before it, at birth, over
random weights. A recurrence multiplies a step's Jacobian once a lag; PGN (Jia et al. 2024, arXiv
2409.17703) has one step from any input. Cost: processor time forward and backward, bytes kept for
the backward pass and MACs for lengths of 168 to 2688, with the exponent that a straight line
through the logarithms has. ``pgn`` is the layer over the whole sequence, window L - 1; ``rows_p24``
the same layer along rows of 24 steps (the published period, fixed) and ``rows_sqrt`` along rows of
about sqrt(L); beside a GRU and self-attention of the same width. The paper calls PGN O(L) and
TPGN O(sqrt L), which counts steps that nothing else can run beside; the MACs here are not linear.
One thread; the layers take turns and the least time counts.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from arguments import add_quick_and_out, report_path
from measuring import in_turns, kept_bytes
from pages import everything, made_with, number, page, table, write
from torch import Tensor, nn

from todm.core.report import Measurement, Report, environment
from todm.core.rng import derive_seed
from todm.layers.pgn import PGN
from todm.train.loop import seeded

SEED = 0
NAME = "pgn_scaling"
LENGTHS = (168, 336, 672, 1344, 2688)
QUICK_LENGTHS = (42, 84)
LAGS = (1, 4, 16, 64, 160, 640, 2560)
PERIOD = 24
FEATURES, WIDTH, HEADS, BATCH = 5, 32, 4, 4
"""Five inputs a step, as a forecast of one hourly series has."""


class Rows(nn.Module):
    """PGN along rows: each column of a period is a sequence of its own."""

    def __init__(self, length: int, period: int) -> None:
        super().__init__()
        self.period = period
        self.pgn = PGN(FEATURES, WIDTH, max(1, length // period - 1))

    def forward(self, x_BLF: Tensor) -> Tensor:
        """Run the columns; the steps that fill no row are left out."""
        rows = x_BLF.shape[1] // self.period
        grid = x_BLF[:, : rows * self.period].unflatten(1, (rows, self.period))
        return self.pgn(grid.transpose(1, 2).flatten(0, 1))


class Recurrent(nn.GRU):
    """A GRU's outputs alone."""

    def forward(self, x_BLF: Tensor) -> Tensor:
        """Run from the zero state."""
        return super().forward(x_BLF)[0]


class Attention(nn.Module):
    """Causal self-attention with its four maps."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Linear(FEATURES, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x_BLF: Tensor) -> Tensor:
        """Attend to this step and those before it."""
        heads = self.maps(x_BLF).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads.unbind(0), is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


def square_period(length: int) -> int:
    """Return the rows' length that makes as many rows as columns, nearly."""
    return round(math.sqrt(length))


def layers(length: int) -> dict[str, nn.Module]:
    """Return what is compared at a length."""
    return {
        "pgn": PGN(FEATURES, WIDTH, length - 1),
        "rows_p24": Rows(length, min(PERIOD, length // 2)),
        "rows_sqrt": Rows(length, square_period(length)),
        "gru": Recurrent(FEATURES, WIDTH, batch_first=True),
        "attention": Attention(),
    }


def macs(name: str, length: int) -> int:
    """Return the MACs of one sequence forward, products with the zeros of padding included."""
    gate = 2 * WIDTH * (FEATURES + WIDTH)

    def along(steps: int, columns: int) -> int:
        return columns * steps * ((steps - 1) * FEATURES * WIDTH + gate)

    match name:
        case "pgn":
            return along(length, 1)
        case "rows_p24" | "rows_sqrt":
            period = min(PERIOD, length // 2) if name == "rows_p24" else square_period(length)
            return along(length // period, period)
        case "gru":
            return length * 3 * WIDTH * (FEATURES + WIDTH)
        case "attention":
            return length * WIDTH * (3 * FEATURES + WIDTH) + 2 * length * length * WIDTH
        case _:
            raise ValueError(name)


def forward_backward(layer: nn.Module, x_BLF: Tensor) -> None:
    """Run a layer and its gradient."""
    layer(x_BLF).square().mean().backward()


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope of the logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def costs(lengths: Sequence[int], rounds: int) -> list[Measurement]:
    """Return time, memory and MACs by length, and their exponents."""
    by_figure: dict[str, dict[str, list[float]]] = {}
    found = []
    for length in lengths:
        with seeded(derive_seed(SEED, length, "scaling")):
            made, x_BLF = layers(length), torch.randn(BATCH, length, FEATURES)
        runs = {name: partial(forward_backward, layer, x_BLF) for name, layer in made.items()}
        times_ms = in_turns(runs, rounds)
        for name, layer in made.items():
            values = {
                "time_ms": (min(times_ms[name]), "ms"),
                "kept_bytes": (float(kept_bytes(layer, x_BLF)), "bytes"),
                "macs": (float(macs(name, length)), "MAC"),
            }
            for figure, (value, unit) in values.items():
                by_figure.setdefault(figure, {}).setdefault(name, []).append(value)
                title = f"scaling.{figure}.{name}.{length}"
                found.append(Measurement(name=title, value=value, unit=unit, n=rounds + 1))
    for figure, by_name in by_figure.items():
        for name, values in by_name.items():
            title = f"scaling.exponent.{figure}.{name}"
            note = f"of L from {lengths[0]} to {lengths[-1]}"
            slope = exponent(lengths, values)
            found.append(Measurement(name=title, value=slope, unit="", n=len(values), note=note))
    return found


def gradient_norms(layer: nn.Module, length: int, lags: Sequence[int], seed: int) -> list[float]:
    """Return the norm of the last output's gradient by the inputs of some lags."""
    g = torch.Generator().manual_seed(seed)
    x_1LF = torch.randn(1, length, FEATURES, generator=g).requires_grad_()
    weight_D = torch.randn(WIDTH, generator=g)
    (grad_1LF,) = torch.autograd.grad((layer(x_1LF)[0, -1] * weight_D).sum(), x_1LF)
    return [float(grad_1LF[0, length - 1 - lag].norm()) for lag in lags]


def gradients(length: int, seeds: int) -> list[Measurement]:
    """Return gradient norms by lag of PGN and GRU at birth: medians over random weights."""
    lags = [lag for lag in LAGS if lag < length]
    kinds: dict[str, Callable[[], nn.Module]] = {
        "pgn": lambda: PGN(FEATURES, WIDTH, length - 1),
        "gru": lambda: Recurrent(FEATURES, WIDTH, batch_first=True),
    }
    found = []
    for name, make in kinds.items():
        rows = []
        for seed in range(seeds):
            with seeded(derive_seed(seed, length, "gradient")):
                layer = make()
            rows.append(gradient_norms(layer, length, lags, seed))
        for lag, values in zip(lags, zip(*rows, strict=True), strict=True):
            found.append(
                Measurement(
                    name=f"gradient.{name}.{length}.lag_{lag}",
                    value=float(np.median(values)),
                    unit="",
                    low=min(values),
                    high=max(values),
                    n=seeds,
                    note="at birth; the least and the largest over random weights",
                )
            )
    return found


def overview(named: Mapping[str, Measurement], lengths: Sequence[int]) -> str:
    """Return a table of time by length and of all exponents."""
    rows = []
    for name in layers(lengths[0]):
        times = (named[f"scaling.time_ms.{name}.{length}"] for length in lengths)
        figures = ("time_ms", "kept_bytes", "macs")
        slopes = (named[f"scaling.exponent.{figure}.{name}"].value for figure in figures)
        rows.append([name, *(number(m.value, "ms") for m in times), *(f"{s:.2f}" for s in slopes)])
    headers = ["layer", *(f"ms at {n}" for n in lengths), "time ~ L^", "memory ~ L^", "MACs ~ L^"]
    return table(headers, rows)


def gradient_table(named: Mapping[str, Measurement], length: int) -> str:
    """Return a table of gradient norms by lag at a length."""
    lags = [lag for lag in LAGS if f"gradient.pgn.{length}.lag_{lag}" in named]
    rows = [
        [name, *(number(named[f"gradient.{name}.{length}.lag_{lag}"].value, "") for lag in lags)]
        for name in ("pgn", "gru")
    ]
    return table([f"gradient norm, L = {length}", *(f"lag {lag}" for lag in lags)], rows)


def render(report: Report) -> str:
    """Return the page."""
    found = report.measurements
    named = {m.name: m for m in found}
    lengths = sorted({int(n.rpartition(".")[2]) for n in named if n.startswith("scaling.time_ms")})
    where = f"{made_with(report.environment)} One thread, batch {BATCH}, {WIDTH} units."
    costs, norms = overview(named, lengths), gradient_table(named, lengths[-1])
    return page("# pgn_scaling", where, costs, norms, everything(found))


def main() -> None:
    """Measure and write the report and its table."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_quick_and_out(options, NAME, quick="two short lengths, in seconds")
    args = options.parse_args()
    torch.set_num_threads(1)
    lengths, rounds, seeds = (QUICK_LENGTHS, 2, 2) if args.quick else (LENGTHS, 7, 10)
    found = costs(lengths, rounds)
    for length in lengths[:: max(1, len(lengths) - 1)]:
        found += gradients(length, seeds)
    report = Report(environment=environment(tuple(range(seeds))), measurements=tuple(found))
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    main()
