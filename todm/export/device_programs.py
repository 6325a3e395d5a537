"""Programs for accelerators that this machine does not have: Core ML and Arm's Ethos-U.

They cannot be run where they are made, so they stand beside a bundle's verified forms, each with
a label of what was done: ``exported`` (lowered and compiled by the vendor's own tools, not run).
A form that was run and compared with torch is never one of these.

Core ML computes in float32 (in float16 the state would drift). Ethos-U has integers only: linears,
convolutions, activations and the state as well are int8, calibrated on speech with the state
carried along; how that sounds is for the user to measure on the device.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from todm.core.contract import StreamContract
from todm.core.errors import MissingExtraError
from todm.core.quantization import Accelerator
from todm.core.value import Value
from todm.export.coverage import Delegation, delegation_of
from todm.export.executorch import methods_of
from todm.export.pte_contract import METHOD, contract_tensor
from todm.export.quiet import quiet_exporter
from todm.models.rnnt import Transducer

ETHOS_TARGET = "ethos-u55-128"
NUMERIC: dict[Accelerator, str] = {"coreml": "float32", "ethos_u55": "int8, state included"}
CALIBRATION_CHUNKS = 64


class DeviceProgram(Value):
    """What was made for an accelerator, and how far it was taken."""

    accelerator: Accelerator
    file: str
    label: Literal["exported"] = "exported"
    """Never more here: running it takes the device (or, for Core ML, macOS)."""
    numeric: str
    bytes: int
    delegation: dict[str, Delegation]


def program_name(accelerator: Accelerator) -> str:
    """Return the file's name inside a bundle."""
    return f"model.{accelerator}.pte"


def export_device_program(
    model: Transducer,
    contract: StreamContract,
    accelerator: Accelerator,
    speech: Sequence[Float32[np.ndarray, "R F"]],
    folder: Path,
) -> DeviceProgram:
    """Write a subnet's program for an accelerator.

    Args:
        model: The dense subnet.
        contract: Its contract.
        accelerator: Which.
        speech: Fbank frames of recordings, to calibrate integers with.
        folder: Where ``program_name`` goes.

    Raises:
        MissingExtraError: the accelerator's tools are not installed.
    """
    with quiet_exporter():
        match accelerator:
            case "coreml":
                partitioner = _coreml()
                methods = methods_of(model)
                programs = {n: _traced(m, inputs) for n, (m, inputs) in methods.items()}
            case "ethos_u55":
                partitioner = _ethos()
                programs = _quantised(model, contract, speech)
            case _:
                assert_never(accelerator)
        manager = _lower(programs, partitioner, contract)
        program = manager.to_executorch()
    path = folder / program_name(accelerator)
    path.write_bytes(program.buffer)
    return DeviceProgram(
        accelerator=accelerator,
        file=path.name,
        numeric=NUMERIC[accelerator],
        bytes=path.stat().st_size,
        delegation={n: delegation_of(manager.exported_program(n).graph_module) for n in programs},
    )


def _lower(
    programs: dict[str, Any], partitioner: Callable[[], Any], contract: StreamContract
) -> Any:
    from executorch.exir import to_edge_transform_and_lower

    return to_edge_transform_and_lower(
        programs,
        partitioner={name: [partitioner()] for name in programs},
        constant_methods={METHOD: contract_tensor(contract)},
    )


def _traced(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return torch.export.export(module.eval().requires_grad_(False), inputs, strict=False)


def _coreml() -> Callable[[], Any]:
    try:
        import coremltools
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    except ImportError as error:
        raise MissingExtraError("coremltools", extra="coreml") from error
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS17,
    )
    return lambda: CoreMLPartitioner(compile_specs=specs)


def _ethos_spec() -> Any:
    try:
        import ethosu.vela  # noqa: F401
        from executorch.backends.arm.ethosu import EthosUCompileSpec
    except ImportError as error:
        raise MissingExtraError("ethos-u-vela", extra="ethosu") from error
    return EthosUCompileSpec(ETHOS_TARGET)


def _ethos() -> Callable[[], Any]:
    spec = _ethos_spec()
    from executorch.backends.arm.ethosu import EthosUPartitioner

    return lambda: EthosUPartitioner(spec)


def _quantised(
    model: Transducer, contract: StreamContract, speech: Sequence[Float32[np.ndarray, "R F"]]
) -> dict[str, Any]:
    """Return every method in int8, calibrated by running them one after another on speech."""
    from executorch.backends.arm.quantizer import (
        EthosUQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    parts = methods_of(model)
    prepared: dict[str, Any] = {}
    for name, (module, inputs) in parts.items():
        quantizer = EthosUQuantizer(_ethos_spec())
        quantizer.set_global(get_symmetric_quantization_config())
        # The guards on shapes are calls that the quantizer cannot annotate.
        graph = _traced(module, inputs).module(check_guards=False)
        prepared[name] = prepare_pt2e(graph, quantizer)
    _calibrate(prepared, contract, speech)
    return {
        name: torch.export.export(convert_pt2e(copy.deepcopy(graph)), parts[name][1])
        for name, graph in prepared.items()
    }


@torch.no_grad()
def _calibrate(
    parts: dict[str, Any], contract: StreamContract, speech: Sequence[Float32[np.ndarray, "R F"]]
) -> None:
    """Show the observers chunks of speech with the state carried along, and every token."""
    state_1S, left = torch.zeros(1, contract.state_floats), CALIBRATION_CHUNKS
    context_1C = torch.zeros(1, contract.context_size, dtype=torch.int64)
    for features_RF in speech:
        chunks = torch.split(torch.from_numpy(features_RF), contract.input_frames)
        for number, x_TF in enumerate(chunks[: max(0, left)]):
            if x_TF.shape[0] < contract.input_frames:
                continue
            enc_1KJ, state_1S = parts["encoder"](x_TF[None], state_1S)
            context_1C = (context_1C + 1 + number) % contract.vocab_size
            pred_1J = parts["decoder"](context_1C)
            for enc_1J in enc_1KJ.unbind(1):
                parts["joiner"](enc_1J, pred_1J)
        left -= len(chunks)
