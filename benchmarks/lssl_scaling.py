"""What linear state-space layers cost against length and order, and which form a device should run.

Training: one layer forward and backward, CPU time and the bytes that autograd keeps, against L and
N; beside a GRU and the multi-head state-space scan of as many real state scalars a feature, all of
one width. Streaming: a chunk of the heads in ONNX Runtime in three forms: the O(N) step of LegS,
the recurrence with a dense Abar, the folded chunk that todm exports. One thread; the forms take
turns; the least time is the fairest figure on a shared machine, the median stands beside it.

    python benchmarks/lssl_scaling.py [--quick] [--out benchmarks/results/lssl_scaling.json]
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from arguments import add_quick_and_out, report_path
from measuring import in_turns, kept_bytes, least_time
from pages import everything, made_with, page, table, write
from torch import Tensor, nn

from todm.core.lssl import LSSLLayerSpec
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec
from todm.core.report import Measurement, Report, environment
from todm.core.target import target_of
from todm.export.onnx_graph import check_graph
from todm.export.quiet import quiet_exporter
from todm.kernels.hippo import legs_step
from todm.kernels.lssl import LSSLFold, lssl_chunk
from todm.kernels.ssm import ssm_conv
from todm.layers.lssl import LSSL
from todm.layers.lssl_mixer import LSSLMixer
from todm.layers.mhssm import MHSSM

SEED = 0
NAME = "lssl_scaling"
LENGTHS = (1000, 2000, 4000, 8000, 16000)
ORDERS = (16, 32, 64, 128)
LINEAR_UP_TO = 32
"""The O(N) step is one pass over the state, a dozen graph nodes an order and frame: the export of
order 64 takes more than ten minutes."""
FEATURES, BATCH = 32, 4
BASE_LENGTH, BASE_ORDER = 4000, 32
CHUNK_FRAMES = 8
MIB = 2.0**20


class Scan(nn.Module):
    """The multi-head state-space scan alone, a head for each feature."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.spec = MHSSMSpec(
            num_heads=FEATURES, head_dim=1, state_dim=order // 2, dt_min=0.001, dt_max=0.1
        )
        self.mixer = MHSSM(FEATURES, self.spec)

    def forward(self, u_BTH: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, H)."""
        return ssm_conv(u_BTH[..., None], self.mixer.modes(self.spec))[..., 0]


class Gru(nn.Module):
    """A GRU as wide as it is deep in features; it has no order to vary."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, FEATURES, batch_first=True)

    def forward(self, u_BTH: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, H)."""
        return self.gru(u_BTH)[0]


def layers(order: int, frames: int) -> dict[str, nn.Module]:
    """Return every layer that is compared at this order."""
    spec = LSSLLayerSpec(state_dim=order, dt_min=1 / frames, dt_max=100 / frames)
    made: dict[str, nn.Module] = {
        f"lssl_{learn}": LSSL(FEATURES, spec.model_copy(update={"learn": learn}))
        for learn in ("fixed", "dt", "dt_a")
    }
    return made | {"mhssm": Scan(order), "gru": Gru()}


def forward_backward(layer: nn.Module, u_BTH: Tensor) -> None:
    """Run a layer and its gradient."""
    layer(u_BTH).sum().backward()


def training(points: Iterable[tuple[int, int]], repeats: int) -> list[Measurement]:
    """Time forward and backward of every layer at each order and length."""
    found = []
    for order, frames in points:
        u = torch.randn(BATCH, frames, FEATURES, requires_grad=True)
        made, shape = layers(order, frames), f"l{frames}.n{order}"
        runs = {name: partial(forward_backward, layer, u) for name, layer in made.items()}
        times_ms = in_turns(runs, repeats)
        note = f"forward and backward, batch {BATCH}, {FEATURES} features"
        for name, layer in made.items():
            found.append(least_time(f"scaling.{name}_ms.{shape}", times_ms[name], note))
            kept = kept_bytes(layer, u) / MIB
            found.append(
                Measurement(
                    name=f"scaling.{name}_kept_mib.{shape}", value=kept, unit="MiB", low=kept,
                    high=kept, n=1, note="what autograd keeps for the backward pass",
                )
            )  # fmt: skip
        print(shape, {name: round(min(t), 1) for name, t in times_ms.items()}, flush=True)
    return found


class DeviceForm(nn.Module):
    """A chunk of the heads of a mixer: (1, L, H, P) and the state to outputs and the next state."""

    def __init__(self, mixer: LSSLMixer, spec: LSSLSpec) -> None:
        super().__init__()
        steps = mixer.dynamics.exact().steps()
        readout = mixer.readout(spec)
        for name, value in {
            "a_HNN": steps.a_HNN,
            "b_HN1": steps.b_HN[..., None],
            "c_H1N": readout.c_HMN,
            "d_H1": readout.d_HM,
            "dt_H": mixer.dynamics.dt(),
            **mixer.fold(spec, CHUNK_FRAMES, 0)._asdict(),
        }.items():
            self.register_buffer(name, value.detach().float())

    def advance(self, state_BHNP: Tensor, u_BHP: Tensor) -> Tensor:
        """Return the next frame's state."""
        raise NotImplementedError

    def forward(self, u_BLHP: Tensor, state_BHNP: Tensor) -> tuple[Tensor, Tensor]:
        """Advance the chunk frame by frame."""
        outputs = []
        for u_BHP in u_BLHP.unbind(1):
            state_BHNP = self.advance(state_BHNP, u_BHP)
            outputs.append((self.c_H1N @ state_BHNP)[:, :, 0] + self.d_H1 * u_BHP)
        return torch.stack(outputs, 1), state_BHNP


class LinearForm(DeviceForm):
    """O(N) a frame, for the fixed A of LegS."""

    def advance(self, state_BHNP: Tensor, u_BHP: Tensor) -> Tensor:
        """Return the next frame's state."""
        return legs_step(state_BHNP, u_BHP, self.dt_H)


class DenseForm(DeviceForm):
    """O(N^2) a frame, for any A."""

    def advance(self, state_BHNP: Tensor, u_BHP: Tensor) -> Tensor:
        """Return the next frame's state."""
        return self.a_HNN @ state_BHNP + self.b_HN1 * u_BHP[:, :, None]


class FoldForm(DeviceForm):
    """Products over the whole chunk: what todm exports."""

    def forward(self, u_BLHP: Tensor, state_BHNP: Tensor) -> tuple[Tensor, Tensor]:
        """Advance the chunk at once."""
        fold = LSSLFold(*(getattr(self, name) for name in LSSLFold._fields))
        y_BHLP, state_BHNP = lssl_chunk(u_BLHP, state_BHNP, fold)
        return y_BHLP.transpose(1, 2), state_BHNP


DEVICE_FORMS = {"linear": LinearForm, "dense": DenseForm, "fold": FoldForm}


def session(form: nn.Module, inputs: tuple[Tensor, Tensor], path: Path) -> Callable[[], object]:
    """Export a form, check it as every export is, and return a run of it in ONNX Runtime."""
    opset = target_of("onnx").opset
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            form.eval(), inputs, dynamo=True, opset_version=opset,
            input_names=["u", "state"], output_names=["y", "next"], verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(str(path), external_data=False)
    check_graph(path, opset)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {"u": inputs[0].numpy(), "state": inputs[1].numpy()}
    return partial(opened.run, None, feeds)


def streaming(orders: Iterable[int], folder: Path, repeats: int) -> list[Measurement]:
    """Time one chunk of the heads in ONNX Runtime in every form."""
    found = []
    for order in orders:
        spec = LSSLSpec(num_heads=16, head_dim=8, state_dim=order, learn="fixed")
        mixer = LSSLMixer(128, spec)
        inputs = torch.randn(1, CHUNK_FRAMES, 16, 8), torch.randn(1, 16, order, 8)
        runs = {
            name: session(form(mixer, spec), inputs, folder / f"{name}{order}.onnx")
            for name, form in DEVICE_FORMS.items()
            if form is not LinearForm or order <= LINEAR_UP_TO
        }
        first, *others = (run()[0] for run in runs.values())
        for other in others:
            np.testing.assert_allclose(other, first, rtol=0, atol=1e-4 * np.abs(first).max())
        times_ms = in_turns(runs, repeats)
        note = f"16 heads of 8, a chunk of {CHUNK_FRAMES} frames"
        for name, times in times_ms.items():
            found.append(least_time(f"scaling.stream.{name}_ms.n{order}", times, note))
        print(order, {name: round(min(t), 3) for name, t in times_ms.items()}, flush=True)
    return found


def overview(report: Report) -> str:
    """Return tables of training by length and of the device forms by order."""
    named = {m.name: m for m in report.measurements}
    shapes = [n.partition("_ms.")[2] for n in named if n.startswith("scaling.lssl_dt_a_ms.")]
    titled = {shape: f"L {shape[1:].replace('.n', ', N ')}" for shape in shapes}

    def cell(name: str) -> str:
        return f"{named[name].value:.1f}" if name in named else "-"

    trained = [
        [layer, *(cell(f"scaling.{layer}_ms.{s}") for s in shapes)]
        for layer in ("lssl_fixed", "lssl_dt", "lssl_dt_a", "mhssm", "gru")
    ]
    orders = sorted({int(n.rpartition(".n")[2]) for n in named if ".stream.fold_ms." in n})
    streamed = [
        [
            form,
            *(
                f"{named[name].value:.3f}" if name in named else "-"
                for name in (f"scaling.stream.{form}_ms.n{order}" for order in orders)
            ),
        ]
        for form in DEVICE_FORMS
    ]
    return "\n\n".join((
        table(["training, ms", *titled.values()], trained),
        table(["a chunk, ms", *(f"N {order}" for order in orders)], streamed),
    ))  # fmt: skip


def render(report: Report) -> str:
    """Return the page."""
    where = f"{made_with(report.environment)} One thread."
    remark = f"{FEATURES} features, batch {BATCH}; the multi-head scan has N / 2 complex modes."
    title = "# Linear state-space layers against length and order"
    shown = overview(report)
    return page(title, f"{where} {remark}", shown, everything(report.measurements, ".3f"))


def main() -> None:
    """Measure and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_quick_and_out(parser, NAME, quick="two lengths, one order of streaming")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)  # noqa: TID251 - torch's initialisers take no generator
    if args.quick:
        points, orders = [(8, 100), (8, 200)], (8,)
    else:
        points = [*product((BASE_ORDER,), LENGTHS), *((n, BASE_LENGTH) for n in ORDERS)]
        points, orders = list(dict.fromkeys(points)), ORDERS
    with tempfile.TemporaryDirectory() as folder:
        measurements = training(points, 2 if args.quick else 7)
        measurements += streaming(orders, Path(folder), 20 if args.quick else 400)
    report = Report(environment=environment((SEED,)), measurements=tuple(measurements))
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    main()
