"""One head-shared recurrence as ONNX graphs of every form, eight layers in a chain.

Every layer has weights of its own; its output is the next one's input, its state a port of its
own. Legend as in ``todm.kernels.ssm``; K frames that a truncated convolution sees.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from todm.core.mixer_specs import ScanForm
from todm.export.onnx_graph import strip_notes
from todm.export.quiet import quiet_exporter
from todm.kernels.ssm import Modes, kernel, ssm_scan_ref
from todm.kernels.ssm_recurrent import recurrence, ssm_step, step_constants

OPSET = 18
LOOPED = ("scan", "loop")


class Size(NamedTuple):
    """Of the recurrence, and of the chain."""

    heads: int = 4
    width: int = 64
    modes: int = 16
    frames: int = 8
    layers: int = 8
    taps: int = 128
    """Of the truncated convolution."""

    @property
    def channels(self) -> int:
        """Channels of a layer."""
        return self.heads * self.width


def layer_modes(size: Size, layer: int) -> Modes:
    """Return a layer's modes; they decay within the truncated convolution's taps."""
    g = torch.Generator().manual_seed(layer)
    shape = (size.heads, size.modes)
    radius = 0.6 + 0.3 * torch.rand(shape, generator=g, dtype=torch.float64)
    angle = np.pi * torch.rand(shape, generator=g, dtype=torch.float64)
    weights = torch.randn(*shape, 2, generator=g, dtype=torch.float64) / (4 * size.modes)
    skip = torch.ones(size.heads, dtype=torch.float64)
    return Modes(torch.polar(radius, angle), torch.view_as_complex(weights), skip)


def per_channel(modes: Modes, width: int) -> Modes:
    """Return the same modes as heads of one channel."""
    return Modes(*(part.repeat_interleave(width, 0) for part in modes))


def reference(size: Size, u: Tensor, states: list[Tensor]) -> Tensor:
    """Run the chain by the definition, in float64."""
    for layer, state in enumerate(states):
        u, _ = ssm_scan_ref(u, layer_modes(size, layer), state)
    return u


class Chain(nn.Module):
    """Layers of one of todm's streaming forms."""

    def __init__(self, size: Size, form: ScanForm, *, alone: bool = False) -> None:
        super().__init__()
        self.size, self.heads = size, size.channels if alone else size.heads
        self.width = 1 if alone else size.width
        self.kinds: list[Any] = []
        for layer in range(size.layers):
            modes = layer_modes(size, layer)
            modes = per_channel(modes, size.width) if alone else modes
            constants = step_constants(form, modes, size.frames)
            self.kinds.append(type(constants))
            for name, constant in constants._asdict().items():
                value = None if constant is None else constant.float()
                self.register_buffer(f"{name}_{layer}", value)

    def forward(self, u_BLX: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Advance one chunk."""
        out = []
        for layer, (kind, state) in enumerate(zip(self.kinds, states, strict=True)):
            constants = kind(*(getattr(self, f"{name}_{layer}") for name in kind._fields))
            u_BLHP = u_BLX.reshape(1, self.size.frames, self.heads, self.width)
            y_BLHP, next_state = ssm_step(u_BLHP, state, constants)
            u_BLX = y_BLHP.flatten(2)
            out.append(next_state)
        return (u_BLX, *out)


class ConvChain(nn.Module):
    """Layers that convolve with the truncated impulse response; the state is past input."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        for layer in range(size.layers):
            k_HK = kernel(layer_modes(size, layer), size.taps).flip(1)
            k_X1K = k_HK.repeat_interleave(size.width, 0)[:, None]
            self.register_buffer(f"kernel_{layer}", k_X1K.float().contiguous())

    def forward(self, u_BLX: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Advance one chunk; channels lie first between the layers."""
        u_BXL, out = u_BLX.transpose(1, 2), []
        for layer, past_BXJ in enumerate(states):
            seen = torch.cat([past_BXJ, u_BXL], 2)
            weight = getattr(self, f"kernel_{layer}")
            u_BXL = nn.functional.conv1d(seen, weight, groups=self.size.channels)
            out.append(seen[:, :, self.size.frames :])
        return (u_BXL.transpose(1, 2), *out)


def state_shape(size: Size, form: str) -> tuple[int, ...]:
    """Return the shape of a layer's state port."""
    if form == "convolution":
        return (1, size.channels, size.taps - 1)
    if form == "per_channel_fold":
        return (1, size.channels, 2 * size.modes, 1)
    return (1, size.heads, 2 * size.modes, size.width)


def export_chain(module: nn.Module, size: Size, form: str, path: Path) -> None:
    """Trace a chain with the product's exporter."""
    inputs = (torch.zeros(1, size.frames, size.channels),)
    states = tuple(torch.zeros(state_shape(size, form)) for _ in range(size.layers))
    with quiet_exporter(), torch.no_grad():
        program: Any = torch.onnx.export(
            module.eval(), inputs + states, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["u", *(f"s{n}" for n in range(size.layers))],
        )  # fmt: skip
    strip_notes(program.model)
    program.save(str(path), external_data=False)


def step_nodes(constants: list[str], u: str, re: str, im: str) -> list[Any]:
    """Return one frame of the recurrence: u (1, H, 1, P), re and im (1, H, N, P) to y (1, H, P)."""
    pole_re, pole_im, read_re, read_im, axes = constants
    node = helper.make_node
    return [
        node("Mul", [pole_re, re], ["a"]),
        node("Mul", [pole_im, im], ["b"]),
        node("Sub", ["a", "b"], ["c"]),
        node("Add", ["c", u], ["next_re"]),
        node("Mul", [pole_im, re], ["d"]),
        node("Mul", [pole_re, im], ["e"]),
        node("Add", ["d", "e"], ["next_im"]),
        node("Mul", [read_re, "next_re"], ["f"]),
        node("Mul", [read_im, "next_im"], ["g"]),
        node("Add", ["f", "g"], ["h"]),
        node("ReduceSum", ["h", axes], ["y"], keepdims=0),
    ]


def loop_body(form: str, size: Size, constants: list[str], u: str) -> Any:
    """Return the body of a Scan (its slice is handed in) or of a Loop (it gathers its own)."""
    value, node = helper.make_tensor_value_info, helper.make_node
    part = [1, size.heads, size.modes, size.width]
    states = [value("re", 1, part), value("im", 1, part)]
    out = [value("next_re", 1, part), value("next_im", 1, part)]
    y = value("y", 1, [1, size.heads, size.width])
    if form == "scan":
        frame = value("u_t", 1, [1, size.heads, 1, size.width])
        nodes = step_nodes(constants, "u_t", "re", "im")
        return helper.make_graph(nodes, "body", [*states, frame], [*out, y])
    first = [value("t", 7, []), value("go", 9, [])]
    nodes = [node("Gather", [u, "t"], ["u_t"], axis=0), node("Identity", ["go"], ["go_on"])]
    nodes += step_nodes(constants, "u_t", "re", "im")
    return helper.make_graph(nodes, "body", [*first, *states], [value("go_on", 9, []), *out, y])


def looped_chain(size: Size, form: str, path: Path) -> None:
    """Write the chain with ONNX's own Scan or Loop around a frame."""
    node, nodes, held = helper.make_node, [], {}
    held["axes"] = np.array([2], np.int64)
    held["frames"], held["go"] = np.array(size.frames, np.int64), np.array(True)
    held["by_time"] = np.array([size.frames, 1, size.heads, 1, size.width], np.int64)
    held["rows"] = np.array([1, size.frames, size.channels], np.int64)
    held["halves"] = np.array([size.modes, size.modes], np.int64)
    u = "u"
    for n in range(size.layers):
        constants = recurrence(layer_modes(size, n), size.frames)
        names = [f"{name}{n}" for name in constants._fields[:4]]
        for name, part in zip(names, constants[:4], strict=True):
            held[name] = part.float()[None, :, :, None].numpy()
        skip_X = constants.skip_H.repeat_interleave(size.width)
        held[f"skip{n}"] = skip_X.float().numpy()
        body = loop_body(form, size, [*names, "axes"], f"frames{n}")
        nodes.append(node("Reshape", [u, "by_time"], [f"frames{n}"]))
        nodes.append(node("Split", [f"s{n}", "halves"], [f"re{n}", f"im{n}"], axis=2))
        outputs = [f"end_re{n}", f"end_im{n}", f"seen{n}"]
        state = [f"re{n}", f"im{n}"]
        if form == "scan":
            inputs = [*state, f"frames{n}"]
            nodes.append(node("Scan", inputs, outputs, body=body, num_scan_inputs=1))
        else:
            nodes.append(node("Loop", ["frames", "go", *state], outputs, body=body))
        nodes.append(node("Concat", outputs[:2], [f"next{n}"], axis=2))
        nodes.append(node("Reshape", [f"seen{n}", "rows"], [f"flat{n}"]))
        nodes.append(node("Mul", [u, f"skip{n}"], [f"skipped{n}"]))
        nodes.append(node("Add", [f"flat{n}", f"skipped{n}"], [f"y{n}"]))
        u = f"y{n}"
    value, row = helper.make_tensor_value_info, [1, size.frames, size.channels]
    shape, layers = state_shape(size, form), range(size.layers)
    graph = helper.make_graph(
        nodes, form,
        [value("u", 1, row), *(value(f"s{n}", 1, shape) for n in layers)],
        [value(u, 1, row), *(value(f"next{n}", 1, shape) for n in layers)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_graphs(size: Size, folder: Path) -> dict[str, Path]:
    """Write every form's graph: its path by the form's name."""
    traced: dict[str, Callable[[], nn.Module]] = {
        "unrolled": lambda: Chain(size, "unrolled"),
        "per_channel_fold": lambda: Chain(size, "folded", alone=True),
        "convolution": lambda: ConvChain(size),
        "fold": lambda: Chain(size, "folded"),
        "custom": lambda: Chain(size, "custom"),
    }
    paths = {}
    for form in (*LOOPED, *traced):
        paths[form] = folder / f"{form}.onnx"
        if form in LOOPED:
            looped_chain(size, form, paths[form])
        else:
            export_chain(traced[form](), size, form, paths[form])
    return paths
