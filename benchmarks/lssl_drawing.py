"""Draw ``docs/lssl.svg``: one linear state-space layer as kernel, step response and state.

Each panel holds the three views of the same layer (LegS, order 8, bilinear steps): the differential
equation by the matrix exponential, the convolution, and the recurrence (or chunks with a carried
state), so that they lie on each other where they agree.

    python benchmarks/lssl_drawing.py [--out docs/lssl.svg]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from todm.kernels.hippo import legs
from todm.kernels.lssl import (
    Readout,
    discretise_ref,
    krylov,
    lssl_chunks,
    lssl_conv,
    lssl_kernel,
    lssl_scan_ref,
)

OUT = Path(__file__).parents[1] / "docs" / "lssl.svg"
ORDER, FRAMES, CHUNK, DT, SHOWN = 8, 60, 12, 0.05, 4
WIDTH, HEIGHT, LEFT, TOP, GAP = 270, 180, 46, 34, 52
COLOURS = ("#0b5cad", "#b34700", "#1a7f37", "#8250df")
Curve = tuple[str, Tensor, str, str]
"""Label, values, colour, and how it is drawn: line, dashes or dots."""


def panels() -> list[tuple[str, list[Curve]]]:
    """Return the title and the curves of each panel."""
    a_NN, b_N = legs(ORDER)
    generator = torch.Generator().manual_seed(4)
    c_N = torch.randn(ORDER, generator=generator, dtype=torch.float64)
    steps = discretise_ref(a_NN[None], b_N[None], torch.tensor([DT], dtype=torch.float64), 0.5)
    readout = Readout(c_N[None, None], torch.zeros(1, 1, dtype=torch.float64))
    state = torch.zeros(1, 1, ORDER, 1, dtype=torch.float64)

    def scan(u_T: Tensor) -> Tensor:
        return lssl_scan_ref(u_T[None, :, None, None], steps, readout, state)[0].flatten()

    impulse_T, ones_T = torch.eye(FRAMES, dtype=torch.float64)[0], torch.ones(FRAMES).double()
    columns_NT = krylov(steps, FRAMES)[0]
    kernel_HMT = lssl_kernel(readout, columns_NT[None])
    # frame t of the bilinear rule stands for the middle of its step
    middle_T = (torch.arange(FRAMES, dtype=torch.float64) + 0.5) * DT
    flow_TNN = torch.linalg.matrix_exp(middle_T[:, None, None] * a_NN)
    exact_T = DT * flow_TNN @ b_N @ c_N
    ends_T = middle_T + 0.5 * DT
    grown_TNN = torch.linalg.matrix_exp(ends_T[:, None, None] * a_NN) - torch.eye(ORDER)
    state_TN = torch.linalg.solve(a_NN, (grown_TNN @ b_N).T).T
    convolved_T = lssl_conv(ones_T[None, :, None], kernel_HMT).flatten()
    chunks = lssl_chunks(ones_T[None, :, None, None], steps, readout, state, CHUNK)[0].flatten()
    summed_NT = columns_NT.cumsum(1)
    states: list[Curve] = []
    for n in range(SHOWN):
        states.append((f"x{n}", state_TN[:, n], COLOURS[n], "line"))
        states.append(("", summed_NT[n], COLOURS[n], "dots"))
    return [
        (
            "Kernel",
            [
                ("C exp(tA) B dt", exact_T, COLOURS[0], "line"),
                ("convolution", kernel_HMT.flatten(), COLOURS[1], "dashes"),
                ("recurrence", scan(impulse_T), COLOURS[2], "dots"),
            ],
        ),
        (
            "Step response",
            [
                ("equation", state_TN @ c_N, COLOURS[0], "line"),
                ("convolution", convolved_T, COLOURS[1], "dashes"),
                (f"chunks of {CHUNK}", chunks, COLOURS[2], "dots"),
            ],
        ),
        ("State under a step (lines: equation)", states),
    ]


def draw() -> str:
    """Return the drawing."""
    parts = []
    for number, (title, curves) in enumerate(panels()):
        parts.append(_panel(LEFT + number * (WIDTH + GAP), title, curves))
    size = f"{LEFT + 3 * (WIDTH + GAP)} {TOP + HEIGHT + 62}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
        'font-family="system-ui,sans-serif" font-size="12" fill="#1b1f24">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(left: float, title: str, curves: Sequence[Curve]) -> str:
    values = torch.stack([curve[1] for curve in curves])
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))

    def place(index: int, value: float) -> tuple[float, float]:
        return (
            left + WIDTH * index / (FRAMES - 1),
            TOP + HEIGHT * (1.0 - (value - low) / (high - low)),
        )

    zero = place(0, 0.0)[1]
    lines = [
        f'<text x="{left}" y="{TOP - 14}" font-weight="600">{title}</text>',
        f'<path d="M{left} {zero:.1f}h{WIDTH}M{left} {TOP}v{HEIGHT}" stroke="#8c959f" '
        'fill="none"/>',
        *(
            f'<text x="{left - 5}" y="{place(0, v)[1] + 4:.1f}" text-anchor="end">{v:.2g}</text>'
            for v in (low, high)
        ),
        f'<text x="{left + WIDTH}" y="{TOP + HEIGHT + 16}" text-anchor="end">frame {FRAMES}</text>',
    ]
    at = left
    for label, values_T, colour, kind in curves:
        points = [place(index, float(value)) for index, value in enumerate(values_T)]
        lines.append(_curve(points, colour, kind))
        if label:
            lines.append(f'<text x="{at}" y="{TOP + HEIGHT + 38}" fill="{colour}">{label}</text>')
            at += 20 + 6.6 * len(label)
    return "\n".join(lines)


def _curve(points: Sequence[tuple[float, float]], colour: str, kind: str) -> str:
    if kind == "dots":
        dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>' for x, y in points[::2]]
        return f'<g fill="{colour}">{"".join(dots)}</g>'
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    width, dash = (4, "") if kind == "line" else (2, ' stroke-dasharray="7 4"')
    opacity = ' stroke-opacity=".45"' if kind == "line" else ""
    return (
        f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"'
        f"{opacity}{dash}/>"
    )


def main() -> None:
    """Read the command line and draw."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--out", type=Path, default=OUT, help="[docs/lssl.svg]")
    args = made.parse_args()
    args.out.write_text(draw(), "utf-8")
    print(args.out)


if __name__ == "__main__":
    main()
