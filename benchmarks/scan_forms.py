"""The same head-shared recurrence in every form that ONNX Runtime can run, one thread, in turns.

Eight layers of distinct weights in a chain, a chunk each, ports bound once, caches warm (and once
in a turn cold). Scan and Loop are ONNX's own; unrolled writes every frame out; the folds are
matrix products, with constants of a channel's own or of a head's; the convolution truncates the
impulse response at 128 taps (the poles here decay within it, so that it computes the same);
custom is todm's operator, built for each instruction set that this machine has. The roofline is
what the recurrence's and the fold's arithmetic would take at the rate of this core's matrix
products, measured in the same turns.

CPU time of the process: other work on a shared machine takes turns with it, not shares. The least
time is the fairest figure, the median stands beside it.

    python benchmarks/scan_forms.py [--quick] [--out benchmarks/results/scan_forms.json]
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from arguments import add_quick_and_out, report_path
from measuring import least_time, speed_ratio
from pages import everything, made_with, page, write
from scan_graphs import Size, reference, state_shape, write_graphs

from todm.core.report import Measurement, Report, Verdict, environment
from todm.export.native import compile_library
from todm.runtimes.ort import import_onnxruntime, open_session

NAME = "scan_forms"
ISAS = {"avx512f": ("avx512", "x86-64-v4"), "avx2": ("avx2", "x86-64-v3")}
"""By the processor's flag: the name of a build, and the compiler's name of its instruction set."""
BARS = {"fold": 4.5, "avx512": 14.0, "avx2": 11.0}
"""Least speed over Scan at the default size: of the fold, and of the operator by its build."""
WARM, BLOCK = 5, 20
"""Runs of a form in a turn: those that fill the caches, and those that count."""
GEMM = 384
"""Rows of the square product that the core's rate is measured with: three of them fit its L2."""


def build(folder: Path) -> dict[str, Path]:
    """Build the operator for each instruction set of this machine, the widest first."""
    names = [built for flag, built in ISAS.items() if flag in environment().isa]
    return {
        name: compile_library("onnx", folder / name, arch)
        for name, arch in names or [("native", "native")]
    }


def bound_run(path: Path, size: Size, form: str, library: Path | None) -> tuple[Any, list[Any]]:
    """Open a graph with its ports bound: a function that runs it, and the bound outputs."""
    ort, session = import_onnxruntime(), open_session(path, 1, library)
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal((1, size.frames, size.channels))]
    arrays += [np.zeros(state_shape(size, form)) for _ in range(size.layers)]
    binding = session.io_binding()
    for port, array in zip(session.get_inputs(), arrays, strict=True):
        value = ort.OrtValue.ortvalue_from_numpy(array.astype(np.float32))
        binding.bind_ortvalue_input(port.name, value)
    outputs = []
    for port in session.get_outputs():
        value = ort.OrtValue.ortvalue_from_shape_and_type(port.shape, np.float32)
        binding.bind_ortvalue_output(port.name, value)
        outputs.append(value)
    return lambda: session.run_with_iobinding(binding), outputs


def open_forms(size: Size, folder: Path) -> dict[str, Callable[[], object]]:
    """Write, open and check every form: each must compute what the definition says."""
    libraries = build(folder)
    u = torch.from_numpy(np.random.default_rng(0).standard_normal((1, size.frames, size.channels)))
    zeros = [torch.zeros(state_shape(size, "scan"), dtype=torch.float64)] * size.layers
    u_BLHP = u.reshape(1, size.frames, size.heads, size.width)
    want = reference(size, u_BLHP, zeros).flatten(2).numpy()
    runs = {}
    for form, path in write_graphs(size, folder).items():
        builds = {f"custom_{isa}": lib for isa, lib in libraries.items()}
        for name, library in builds.items() if form == "custom" else [(form, None)]:
            runs[name], outputs = bound_run(path, size, form, library)
            runs[name]()
            got = outputs[0].numpy()
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())
    return runs


def in_blocks(runs: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of every run; the forms take turns in blocks of runs.

    Under the form's name those with warm caches; the first of each block, which finds the caches
    full of the other forms' data, under ``cold NAME``: what a chunk now and then meets.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in (*runs, *(f"cold {n}" for n in runs))}
    for _ in range(turns):
        for name, run in runs.items():
            block_ms = []
            for _ in range(WARM + BLOCK):
                begin_s = process_time()
                run()
                block_ms.append(1000.0 * (process_time() - begin_s))
            times_ms[f"cold {name}"].append(block_ms[0])
            times_ms[name] += block_ms[WARM:]
    return times_ms


def flops(size: Size) -> dict[str, int]:
    """Return the operations of a layer's chunk, as recurrence and as fold."""
    fold = 2 * size.frames * (size.frames + 4 * size.modes) + 6 * size.modes
    return {
        "recurrence": size.channels * size.frames * (11 * size.modes + 2),
        "fold": size.channels * fold,
    }


def measure(size: Size, folder: Path, turns: int) -> Report:
    """Time every form and the core's matrix products in turns."""
    runs = open_forms(size, folder)
    square = np.random.default_rng(1).standard_normal((GEMM, GEMM)).astype(np.float32)
    product = np.empty_like(square)
    products = {"gemm": lambda: np.matmul(square, square, out=product)}
    times_ms = in_blocks(runs | products, turns)
    shape = f"d {size.channels}, {size.heads} heads, N {size.modes}, chunk {size.frames}"
    found = []
    for form in runs:
        layer_us = [1000.0 * t / size.layers for t in times_ms[form]]
        note = f"{shape}, {size.layers} layers"
        found.append(least_time(f"{form}.layer_us", layer_us, note, unit="us"))
    best = next(name for name in runs if name.startswith("custom"))
    times_ms |= {"custom": times_ms[best], "cold custom": times_ms[f"cold {best}"]}
    found += [
        speed_ratio(f"{form}.speedup_over_scan", times_ms, "scan", form)
        for form in [*runs, "custom"]
        if form != "scan"
    ]
    found += [
        speed_ratio(f"{form}.cold_speedup_over_scan", times_ms, "cold scan", f"cold {form}")
        for form in ("fold", "custom")
    ]
    gemm_s = min(times_ms["gemm"]) / 1000.0
    rate = 2 * GEMM**3 / gemm_s
    found.append(one("roofline.gemm_gflops", rate / 1e9, "GFLOP/s", "float32, numpy, one thread"))
    for name, count in flops(size).items():
        found.append(one(f"roofline.{name}_us", 1e6 * count / rate, "us", f"{count} operations"))
    least = {m.name: m.value for m in found}
    for form, bound in (("fold", "fold"), (best, "recurrence")):
        part = least[f"roofline.{bound}_us"] / least[f"{form}.layer_us"]
        found.append(one(f"{form}.fraction_of_roofline", part, "", "of the products' rate"))
    verdicts = judged(least, best.removeprefix("custom_")) if size == Size() else []
    return Report(
        environment=environment((0,)), measurements=tuple(found), verdicts=tuple(verdicts)
    )


def one(name: str, value: float, unit: str, note: str) -> Measurement:
    """Return a figure without an interval."""
    return Measurement(name=name, value=value, unit=unit, low=value, high=value, note=note)


def judged(values: Mapping[str, float], isa: str) -> list[Verdict]:
    """Judge the fold, and the operator where a bar stands for its instruction set."""
    bars = {"fold": BARS["fold"]} | ({"custom": BARS[isa]} if isa in BARS else {})
    return [
        Verdict(
            name=f"{form}.speedup_over_scan",
            status="met" if (value := values[f"{form}.speedup_over_scan"]) >= bar else "failed",
            limit=bar,
            value=value,
            unit="",
            note="at least" if form == "fold" else f"at least, {isa}",
        )
        for form, bar in bars.items()
    ]


def render(report: Report) -> str:
    """Return the page."""
    verdicts = "".join(
        f" {v.name} {v.value:.1f}, at least {v.limit:g}: {v.status}." for v in report.verdicts
    )
    where = f"{made_with(report.environment)} One thread.{verdicts}"
    title = "# The scan in ONNX Runtime, form by form"
    return page(title, where, everything(report.measurements, ".3f"))


def main() -> None:
    """Measure and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_quick_and_out(parser, NAME, quick="a small chain, in under a minute")
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = Size(heads=2, width=16, modes=4, layers=2, taps=64) if args.quick else Size()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(size, Path(folder), 2 if args.quick else 100)
    for verdict in report.verdicts:
        print(f"{verdict.name} {verdict.value:.2f} (at least {verdict.limit:g}): {verdict.status}")
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    main()
