"""How much of a program a delegate runs, and whether that is enough to ship it.

What a delegate does not take runs in portable code, which is many times slower. The work lies in
products and convolutions: one of them left out is refused. Of the rest a share is recorded, and a
small one is warned of; a reshape costs little wherever it runs.
"""

from typing import Any

from pydantic import Field

from todm.core.errors import GateError
from todm.core.value import Value

HEAVY_OPS = ("linear", "addmm", "mm", "bmm", "matmul", "convolution", "conv1d", "conv2d")
MIN_FRACTION = 0.3
"""Least share of delegated operators: below, a method is many small pieces and slow whatever."""
WARN_FRACTION = 0.5
OWN_KERNELS = ("todm_ssm_scan",)
"""Operators that come with a kernel of todm's own; no delegate is wanted for them."""


class Delegation(Value):
    """How much of a method its delegate runs."""

    delegated_ops: int
    portable_ops: int
    delegates: int
    """Connected pieces handed over; each costs a call."""
    portable: dict[str, int] = Field(default_factory=dict)
    """Operators left to portable code, by name, most first."""

    @property
    def fraction(self) -> float:
        """Delegated operators over all."""
        return self.delegated_ops / max(1, self.delegated_ops + self.portable_ops)

    @property
    def heavy(self) -> dict[str, int]:
        """Products and convolutions among the portable operators."""
        return {name: n for name, n in self.portable.items() if _op(name) in HEAVY_OPS}


def _op(name: str) -> str:
    """``aten_addmm_default`` to ``addmm``."""
    parts = name.removeprefix("aten_").split("_default")[0]
    return parts.strip("_")


def delegation_of(graph_module: Any) -> Delegation:
    """Count a lowered method's operators; calls and the unpacking of results are none."""
    from executorch.devtools.backend_debug import get_delegation_info

    info = get_delegation_info(graph_module)
    counts = {
        name: found.non_delegated
        for name, found in info.delegation_by_operator.items()
        if found.non_delegated and name not in OWN_KERNELS and "getitem" not in name
    }
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return Delegation(
        delegated_ops=info.num_delegated_nodes,
        portable_ops=sum(ordered.values()),
        delegates=info.num_delegated_subgraphs,
        portable=ordered,
    )


def require_coverage(
    coverage: dict[str, Delegation], backend: str, *, paced: bool = True
) -> list[str]:
    """Judge every method; return what is to be warned of, a line each.

    Args:
        coverage: What was counted, by method.
        backend: The delegate's name.
        paced: It must keep up with a microphone: slow is then refused, and else warned of.

    Raises:
        GateError: nothing of a method is delegated; or, paced, its products run in portable code
            or too little of it is delegated.
    """
    refused: list[str] = []
    warnings: list[str] = []
    for method, found in coverage.items():
        left = ", ".join(f"{n} {_op(name)}" for name, n in found.heavy.items())
        shown = f"{backend} takes {found.fraction:.0%} of {method!r} ({found.portable_ops} left)"
        slow = f"method {method!r}: {backend} leaves {left or 'everything'} to portable code"
        if found.delegates == 0:
            refused.append(slow)
        elif found.heavy:
            (refused if paced else warnings).append(slow)
        elif found.fraction < MIN_FRACTION:
            (refused if paced else warnings).append(
                f"{shown}; at least {MIN_FRACTION:.0%} is needed"
            )
        elif found.fraction < WARN_FRACTION:
            warnings.append(f"{shown}; {WARN_FRACTION:.0%} is usual")
    if refused:
        raise GateError(
            f"{'; '.join(refused)}: portable code is many times slower; export another scan form "
            "or another scheme"
        )
    return warnings
