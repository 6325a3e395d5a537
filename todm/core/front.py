"""What a search hands to an extraction: evaluated subnets and the Pareto front among them."""

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from todm.core.cost import macs_per_audio_s, num_parameters
from todm.core.cost_bytes import GraphForm, bundle_bytes
from todm.core.quantization import PrecisionName
from todm.core.specs import SubnetSpec
from todm.core.value import Value

FRONT_FILE = "front.json"
"""The non-dominated points, in the front artifact."""
TRIALS_FILE = "trials.json"
"""Every evaluated point, in the order of evaluation."""
SHIPPED: tuple[tuple[GraphForm, PrecisionName], ...] = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("executorch", "fp32"),
    ("executorch", "int8"),
)
"""What a device profile may ask for."""


class FrontPoint(Value):
    """One evaluated subnet."""

    spec: SubnetSpec
    wer: float = Field(ge=0.0)
    """Percent, on the search's split, greedy with at most one symbol a frame."""
    nll: float
    """Negative log-likelihood per token in nats, on the same utterances."""
    macs_per_audio_s: float
    bundle_bytes: dict[str, int]
    """Estimated bytes by ``form.precision``, such as ``onnx.int8``."""
    num_parameters: int

    @property
    def quality(self) -> tuple[float, float]:
        """WER, then NLL: what a smaller value of is better."""
        return self.wer, self.nll

    @classmethod
    def of(cls, spec: SubnetSpec, *, wer: float, nll: float) -> Self:
        """Return the point of a subnet with its costs."""
        return cls(
            spec=spec,
            wer=wer,
            nll=nll,
            macs_per_audio_s=macs_per_audio_s(spec),
            bundle_bytes={
                bundle_key(form, precision): bundle_bytes(spec, precision, form)
                for form, precision in SHIPPED
            },
            num_parameters=num_parameters(spec),
        )


class Front(Value):
    """A set of evaluated subnets."""

    points: tuple[FrontPoint, ...]
    words: int = Field(ge=1)
    """Reference words that the WERs were counted over."""


def bundle_key(form: GraphForm, precision: PrecisionName) -> str:
    """Return the key of ``FrontPoint.bundle_bytes``."""
    return f"{form}.{precision}"


def non_dominated(points: Iterable[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Return the Pareto front of quality against MACs, cheapest first.

    A point is left out when another costs no more MACs and has a lower WER, or the same WER and
    no higher NLL.
    """
    front: list[FrontPoint] = []
    for point in sorted(points, key=lambda p: (p.macs_per_audio_s, p.quality)):
        if not front or point.quality < front[-1].quality:
            front.append(point)
    return tuple(front)
