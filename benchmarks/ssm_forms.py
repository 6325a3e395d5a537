"""Which form of the state-space scan is the fastest where: two decisions of todm, measured.

Training: the T x T product against the FFT, forward and backward, over the lengths of training
batches; ``core.cost_mixers.TOEPLITZ_MAX_FRAMES`` follows from it. Streaming: the folded chunk,
which is what todm exports, against the same recurrence unrolled frame by frame, inside a whole
encoder in ONNX Runtime and in ExecuTorch. One thread, CPU time; the forms take turns, so that the
machine's other work hits them alike; the least time is the fairest figure on a shared machine, the
median stands beside it.

    python benchmarks/ssm_forms.py [--quick] [--out benchmarks/results/ssm_forms.json]
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from arguments import add_quick_and_out, report_path
from measuring import in_turns, least_time, speed_ratio
from pages import everything, made_with, page, write
from torch import Tensor

from todm.core.contract import contract_of
from todm.core.cost_mixers import TOEPLITZ_MAX_FRAMES
from todm.core.mixer_specs import ScanForm
from todm.core.report import Measurement, Report, environment
from todm.core.rng import derive_seed
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.core.target import target_of
from todm.decode.steps import TransducerSteps
from todm.export.executorch import export_pte
from todm.export.onnx_graph import export_onnx
from todm.kernels.ssm import ssm_fft, ssm_toeplitz
from todm.models.rnnt import Transducer
from todm.recipes.spaces import small_space
from todm.runtimes.executorch import ExecutorchSteps
from todm.runtimes.ort import OrtSteps

SEED = 0
NAME = "ssm_forms"
LENGTHS = (64, 128, 192, 256, 320, 384, 448, 512, 1024)
"""Encoder frames of 40 ms: 2.6 to 41 s."""
BATCHES = (4, 16)
"""The recipes train with 16; the T x T matrices cost the same for any batch."""
TRAINING_FORMS = {"toeplitz": ssm_toeplitz, "fft": ssm_fft}
STREAMING_FORMS: dict[str, ScanForm] = {"fold": "folded", "unrolled": "unrolled"}


def forward_backward(form: Callable[..., Tensor], u_BTHP: Tensor, k_HT: Tensor) -> None:
    """Run a training form and its gradient."""
    form(u_BTHP, k_HT).sum().backward()


def training(shapes: Iterable[tuple[int, int]], repeats: int) -> list[Measurement]:
    """Time forward and backward of both training forms at each batch and length."""
    mixer = small_space(12).largest.blocks[0].mixer
    heads, width = mixer.num_heads, mixer.head_dim
    found = []
    for batch, frames in shapes:
        g = torch.Generator().manual_seed(derive_seed(SEED, frames, "ssm_forms"))
        u = torch.randn(batch, frames, heads, width, generator=g).requires_grad_()
        k = torch.randn(heads, frames, generator=g).requires_grad_()
        runs = {
            name: partial(forward_backward, form, u, k) for name, form in TRAINING_FORMS.items()
        }
        times_ms, shape = in_turns(runs, repeats), f"b{batch}.t{frames}"
        note = f"forward and backward, batch {batch}, {heads} heads of {width}"
        found += [least_time(f"ssm_forms.{n}_ms.{shape}", times_ms[n], note) for n in runs]
        found.append(
            speed_ratio(f"ssm_forms.fft_over_toeplitz.{shape}", times_ms, "fft", "toeplitz")
        )
        print(f"{shape}: fft over toeplitz {found[-1].value:.2f}", flush=True)
    return found


def net(space: SearchSpace, *, quick: bool) -> SubnetSpec:
    """Return the net whose encoder is timed: the largest, or one layer and half a chunk of it."""
    less = {"blocks": space.largest.blocks[:1], "chunk_frames": 4}
    return space.largest.model_copy(update=less if quick else {})


def open_forms(spec: SubnetSpec, folder: Path) -> dict[str, dict[str, TransducerSteps]]:
    """Export a random net in every form and open it in both runtimes: by runtime, by form."""
    contract = contract_of(spec, "char")
    found: dict[str, dict[str, TransducerSteps]] = {"ort": {}, "executorch": {}}
    with torch.random.fork_rng():
        torch.manual_seed(SEED)  # noqa: TID251 - torch's initialisers take no generator
        model = Transducer(spec).eval()
    for name, form in STREAMING_FORMS.items():
        place = folder / name
        place.mkdir()
        target = target_of("onnx").model_copy(update={"scan_form": form})
        files = export_onnx(model, contract, target, place)
        target = target_of("executorch").model_copy(update={"scan_form": form})
        export_pte(model, contract, target, place / "model.pte")
        found["ort"][name] = OrtSteps(files, contract)
        found["executorch"][name] = ExecutorchSteps(place / "model.pte", contract)
        print(f"{name}: exported", flush=True)
    return found


def streaming(spec: SubnetSpec, folder: Path, repeats: int) -> list[Measurement]:
    """Time one chunk of the encoder in both runtimes and forms."""
    found = []
    x_NTF = np.random.default_rng(SEED).standard_normal((1, 4 * spec.chunk_frames, 80))
    x_NTF = x_NTF.astype(np.float32)
    heads = spec.blocks[0].mixer
    note = (
        f"encoder of {len(spec.blocks)} layers, {heads.num_heads} heads of {heads.head_dim}, "
        f"{heads.state_dim} modes, a chunk of {spec.chunk_frames} frames"
    )
    for runtime, forms in open_forms(spec, folder).items():
        zero_NS = next(iter(forms.values())).zero_state()
        runs = {name: partial(steps.encode, x_NTF, zero_NS) for name, steps in forms.items()}
        outputs = [steps.encode(x_NTF, zero_NS)[0] for steps in forms.values()]
        np.testing.assert_allclose(*outputs, rtol=0, atol=1e-4 * np.abs(outputs[0]).max())
        times_ms = in_turns(runs, repeats)
        found += [least_time(f"ssm_forms.{runtime}.{n}_ms", times_ms[n], note) for n in runs]
        name = f"ssm_forms.{runtime}.unrolled_over_fold"
        found.append(speed_ratio(name, times_ms, "unrolled", "fold"))
        print(f"{runtime}: unrolled over fold {found[-1].value:.2f}", flush=True)
    return found


def render(report: Report) -> str:
    """Return the page."""
    where = f"{made_with(report.environment)} One thread."
    remark = f"TOEPLITZ_MAX_FRAMES = {TOEPLITZ_MAX_FRAMES}."
    figures = everything(report.measurements, ".3f")
    return page("# Forms of the state-space scan", f"{where} {remark}", figures)


def main() -> None:
    """Measure and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_quick_and_out(parser, NAME, quick="a shape or two, in under a minute")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shapes, repeats = ([(4, 64), (4, 512)], 3) if args.quick else (product(BATCHES, LENGTHS), 25)
    spec = net(small_space(12), quick=args.quick)
    with tempfile.TemporaryDirectory() as folder:
        measurements = training(shapes, repeats)
        measurements += streaming(spec, Path(folder), 20 if args.quick else 400)
    report = Report(environment=environment((SEED,)), measurements=tuple(measurements))
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    main()
