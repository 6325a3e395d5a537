"""Write a subnet as one ExecuTorch program for XNNPACK: methods encoder, decoder and joiner.

Shapes are static, one stream; the state row goes in and comes out, nothing is mutable. An
operator that XNNPACK does not take runs in portable code, 68 to 98 times slower when all do
(measured), so the delegated share is recorded and a method of linears or convolutions without any
delegate is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from todm.core.errors import MissingExtraError, TodmError
from todm.core.value import Value
from todm.export.executorch_quant import Method
from todm.export.fold import (
    JoinerStep,
    PredictorStep,
    StreamingEncoder,
    example_features,
    example_state,
)
from todm.export.quiet import quiet_exporter
from todm.models.rnnt import Transducer


class Delegation(Value):
    """How much of a method XNNPACK runs."""

    delegated_ops: int
    portable_ops: int
    delegates: int
    """Connected pieces handed to XNNPACK; each costs a call."""

    @property
    def fraction(self) -> float:
        """Delegated operators over all."""
        return self.delegated_ops / max(1, self.delegated_ops + self.portable_ops)


def methods_of(model: Transducer) -> dict[str, Method]:
    """Return the three methods of a network: module and inputs to trace it with."""
    spec = model.spec
    row_1J = torch.zeros(1, spec.joiner_dim)
    context_1C = torch.zeros(1, spec.predictor.context_size, dtype=torch.int64)
    encoder = StreamingEncoder(model)
    return {
        "encoder": (encoder.eval(), (example_features(spec, 1), example_state(spec, 1))),
        "decoder": (PredictorStep(model).eval(), (context_1C,)),
        "joiner": (JoinerStep(model).eval(), (row_1J, row_1J.clone())),
    }


def export_pte(model: Transducer, out: Path) -> dict[str, Delegation]:
    """Write the float32 program of a network and return each method's delegation.

    Raises:
        MissingExtraError: executorch is not installed.
        TodmError: a method came out without any delegate.
    """
    return write_program(methods_of(model), out)


def write_program(methods: Mapping[str, Method], out: Path) -> dict[str, Delegation]:
    """Write a program of named methods, each a module with example inputs of its static shapes.

    Raises:
        MissingExtraError: executorch is not installed.
        TodmError: a method came out without any delegate.
    """
    with quiet_exporter(), torch.no_grad():
        programs = {
            name: torch.export.export(_fixed(module), inputs, strict=False)
            for name, (module, inputs) in methods.items()
        }
        manager, coverage = _lower(programs)
        for name, delegation in coverage.items():
            if delegation.delegates == 0:
                raise TodmError(f"{out}: XNNPACK takes nothing of the method {name!r}; not shipped")
        out.write_bytes(manager.to_executorch().buffer)
    return coverage


def _fixed(module: nn.Module) -> nn.Module:
    """Return a module without dropout and gradients; an exported graph has no modes to choose."""
    module = module if isinstance(module, torch.fx.GraphModule) else module.eval()
    return module.requires_grad_(False)


def _lower(programs: dict[str, Any]) -> tuple[Any, dict[str, Delegation]]:
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.devtools.backend_debug import get_delegation_info
        from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise MissingExtraError("executorch", extra="executorch") from error
    manager = to_edge_transform_and_lower(
        programs, partitioner={name: [XnnpackPartitioner()] for name in programs}
    )
    coverage = {}
    for name in programs:
        info = get_delegation_info(manager.exported_program(name).graph_module)
        coverage[name] = Delegation(
            delegated_ops=info.num_delegated_nodes,
            portable_ops=info.num_non_delegated_nodes,
            delegates=info.num_delegated_subgraphs,
        )
    return manager, coverage
