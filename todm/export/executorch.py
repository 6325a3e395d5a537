"""Write a subnet as one ExecuTorch program for XNNPACK: methods encoder, decoder and joiner.

Shapes are static, one stream; the state row goes in and comes out, nothing is mutable. An
operator that XNNPACK does not take runs in portable code; ``export.coverage`` judges how many may.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from todm.core.contract import StreamContract
from todm.core.errors import MissingExtraError
from todm.core.target import ExportTarget
from todm.core.value import Value
from todm.export.coverage import Delegation, delegation_of, require_coverage
from todm.export.executorch_quant import Method
from todm.export.fold import (
    GraphForm,
    JoinerStep,
    PredictorStep,
    StreamingEncoder,
    example_features,
    example_state,
)
from todm.export.pte_contract import METHOD, contract_tensor
from todm.export.quiet import quiet_exporter
from todm.models.rnnt import Transducer


class ProgramFigures(Value):
    """What lowering told of a program."""

    delegation: dict[str, Delegation]
    planned_bytes: dict[str, int]
    """The arena of each method: activations and outputs, without the delegate's own memory."""
    warnings: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """Return it as a bundle's manifest tells it."""
        found = {
            name: d.to_json() | {"fraction": round(d.fraction, 4)}
            for name, d in self.delegation.items()
        }
        told = {"delegation": found, "planned_bytes": self.planned_bytes}
        return told | ({"warnings": list(self.warnings)} if self.warnings else {})


Traced = Mapping[str, Method]
"""Modules by the name of their method, with example inputs of its static shapes."""


def export_pte(
    model: Transducer, contract: StreamContract, target: ExportTarget, out: Path
) -> ProgramFigures:
    """Write the float32 program, its contract inside, and return what lowering told of it.

    Raises:
        MissingExtraError: executorch is not installed.
        GateError: XNNPACK leaves products to portable code.
    """
    methods = methods_of(model, GraphForm(target.scan_form))
    return write_program(methods, out, contract_constant(contract))


def contract_constant(contract: StreamContract) -> dict[str, torch.Tensor]:
    """Return the further method of a program that gives its contract."""
    return {METHOD: contract_tensor(contract)}


def methods_of(model: Transducer, form: GraphForm | None = None) -> dict[str, Method]:
    """Return the three methods of one stream: module and inputs to trace it with."""
    spec = model.spec
    row_1J = torch.zeros(1, spec.joiner_dim)
    context_1C = torch.zeros(1, spec.predictor.context_size, dtype=torch.int64)
    encoder = StreamingEncoder(model, form)
    return {
        "encoder": (encoder.eval(), (example_features(spec, 1), example_state(spec, 1))),
        "decoder": (PredictorStep(model).eval(), (context_1C,)),
        "joiner": (JoinerStep(model).eval(), (row_1J, row_1J.clone())),
    }


def write_program(
    methods: Traced,
    out: Path,
    constants: Mapping[str, torch.Tensor] | None = None,
    *,
    paced: bool = True,
) -> ProgramFigures:
    """Write a program of named methods.

    Args:
        methods: Its methods.
        out: The file.
        constants: Further methods, which return a constant each.
        paced: It must keep up with a microphone, so that slow is refused.

    Raises:
        MissingExtraError: executorch is not installed.
        GateError: XNNPACK leaves products to portable code.
    """
    try:
        with quiet_exporter():  # torchao, which both bring, tells what of CUDA it lacks
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
                XnnpackPartitioner,
            )
            from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise MissingExtraError("executorch", extra="executorch") from error
    with quiet_exporter(), torch.no_grad():
        manager = to_edge_transform_and_lower(
            {
                name: torch.export.export(_fixed(module), inputs, strict=False)
                for name, (module, inputs) in methods.items()
            },
            partitioner={name: [XnnpackPartitioner()] for name in methods},
            constant_methods=dict(constants or {}),
        )
        found = {n: delegation_of(manager.exported_program(n).graph_module) for n in methods}
        warnings = require_coverage(found, "XNNPACK", paced=paced)
        program = manager.to_executorch()
        out.write_bytes(program.buffer)
    planned = planned_bytes(program)
    return ProgramFigures(
        delegation=found,
        planned_bytes={name: planned[name] for name in found},
        warnings=tuple(warnings),
    )


def _fixed(module: nn.Module) -> nn.Module:
    """Return a module without dropout and gradients; an exported graph has no modes to choose."""
    module = module if isinstance(module, torch.fx.GraphModule) else module.eval()
    return module.requires_grad_(False)


def planned_bytes(program: Any) -> dict[str, int]:
    """Return the arena that each method of an emitted program plans."""
    return {
        plan.name: sum(plan.non_const_buffer_sizes)
        for plan in program.executorch_program.execution_plan
    }
