"""Schemes of an ExecuTorch program: linears alone, by XNNPACK's quantizer or torchao's 8da4w.

XNNPACK's quantizer would also take the scan and the state where it is set globally; here it is
shown the linears that are named, so that nothing else can be taken. Layers are called as in
``onnx_quant``: part and module, ``encoder.blocks.0.ffn_in``.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from todm.core.contract import StreamContract
from todm.core.errors import ConfigError, MissingExtraError, TodmError
from todm.core.quantization import (
    Xnnpack8da4w,
    XnnpackDynamicInt8,
    XnnpackScheme,
    XnnpackStaticInt8,
)
from todm.decode.steps import TransducerSteps
from todm.export.quiet import quiet_exporter

Inputs = tuple[Tensor, ...]
Method = tuple[nn.Module, Inputs]
"""A module and inputs to trace it with."""


def layer_names(methods: Mapping[str, Method]) -> tuple[str, ...]:
    """Return the names of all linears."""
    return tuple(f"{part}.{name}" for part, (m, _) in methods.items() for name in _linears(m))


def _linears(module: nn.Module) -> dict[str, nn.Linear]:
    return {n: child for n, child in module.named_modules() if isinstance(child, nn.Linear)}


def quantise_methods(
    methods: Mapping[str, Method],
    scheme: XnnpackScheme,
    feeds: Mapping[str, Sequence[Inputs]] | None = None,
) -> tuple[dict[str, Method], dict[str, int]]:
    """Return the methods with their linears in a scheme, and how many of each were taken.

    Args:
        methods: Module and example inputs by part.
        scheme: What to make of the linears that do not fall back.
        feeds: By part, the inputs that static ranges are calibrated with.

    Raises:
        MissingExtraError: executorch (with torchao) is not installed.
        ConfigError: a linear's inputs are no multiple of the scheme's groups.
    """
    made, taken = {}, {}
    for part, (module, inputs) in methods.items():
        names = [n for n in _linears(module) if f"{part}.{n}" not in scheme.fallbacks]
        taken[part] = len(names)
        known = () if feeds is None else feeds[part]
        with quiet_exporter():
            quantised = _quantise(module, inputs, scheme, names, known) if names else module
        made[part] = (quantised, inputs)
    return made, taken


def _quantise(
    module: nn.Module,
    inputs: Inputs,
    scheme: XnnpackScheme,
    names: Sequence[str],
    feeds: Sequence[Inputs],
) -> nn.Module:
    match scheme:
        case XnnpackDynamicInt8():
            # The observers of dynamic ranges want one pass as well.
            return _pt2e(module, inputs, names, [inputs], dynamic=True)
        case XnnpackStaticInt8():
            if not feeds:
                raise TodmError("static ranges without calibration; give it speech")
            return _pt2e(module, inputs, names, feeds, dynamic=False)
        case Xnnpack8da4w():
            return _8da4w(module, scheme.group_size, names)
        case _:
            assert_never(scheme)


@torch.no_grad()
def _pt2e(
    module: nn.Module,
    inputs: Inputs,
    names: Sequence[str],
    feeds: Sequence[Inputs],
    *,
    dynamic: bool,
) -> nn.Module:
    try:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e import MinMaxObserver
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    except ImportError as error:
        raise MissingExtraError("executorch", extra="executorch") from error
    quantizer = XNNPACKQuantizer()
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    if not dynamic:
        # Least and largest value, as ONNX Runtime's calibration: no range is cut that speech had.
        observer = MinMaxObserver.with_args(eps=2**-12)
        ranges = replace(config.input_activation, observer_or_fake_quant_ctr=observer)
        config = replace(config, input_activation=ranges, output_activation=ranges)
    quantizer.set_operator_type(torch.ops.aten.linear.default, config)
    quantizer.set_filter_function(lambda node: _module_of(node) in names)
    graph = torch.export.export(module.eval().requires_grad_(False), inputs, strict=False)
    prepared = prepare_pt2e(graph.module(), quantizer)
    for feed in feeds:
        prepared(*feed)
    converted: nn.Module = convert_pt2e(prepared)
    return converted


def _module_of(node: Any) -> str:
    """Return the module that a node of an exported graph came from."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _8da4w(module: nn.Module, group_size: int, names: Sequence[str]) -> nn.Module:
    try:
        from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
        from torchao.quantization.granularity import PerGroup
    except ImportError as error:
        raise MissingExtraError("executorch", extra="executorch") from error
    linears = _linears(module)
    odd = [n for n in names if linears[n].in_features % group_size]
    if odd:
        raise ConfigError(
            f"8da4w in groups of {group_size}: {odd[0]} has {linears[odd[0]].in_features} inputs; "
            "name it among the fallbacks or take smaller groups"
        )
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]  # torch has it, its stubs not
        weight_granularity=PerGroup(group_size),
    )
    quantize_(copied, config, filter_fn=lambda _, name: name in names)
    return copied


class ModuleSteps(TransducerSteps):
    """Methods run by torch before they are lowered: the scheme's arithmetic without XNNPACK.

    N, T, F, K, J, S, C, V as in ``decode.steps``.
    """

    def __init__(self, methods: Mapping[str, Method], contract: StreamContract) -> None:
        self._modules: dict[str, Any] = {part: module for part, (module, _) in methods.items()}
        self._contract = contract

    @property
    def contract(self) -> StreamContract:
        """What the steps take and give."""
        return self._contract

    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        enc_NKJ, next_NS = self._run("encoder", x_NTF, state_NS)
        return enc_NKJ, next_NS

    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction after the last ids."""
        return self._run("decoder", context_NC)[0]

    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        return self._run("joiner", enc_NJ, pred_NJ)[0]

    @torch.no_grad()
    def _run(self, part: str, *inputs: np.ndarray) -> list[np.ndarray]:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
        found = self._modules[part](*tensors)
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return [output.numpy() for output in outputs]
