"""What each kind of predictor costs, for ``core.cost`` (inference) and ``core.cost_training``.

Its projection to the joiner's width is not here. Legend: E embedding, V symbols, C context,
W = C - 1 window.
"""

from dataclasses import dataclass
from typing import assert_never

from todm.core.cost_mixers import ACTIVATION_OPS
from todm.core.specs import SubnetSpec


@dataclass(frozen=True, kw_only=True)
class PredictorCost:
    """Closed forms of one predictor."""

    linears: tuple[tuple[int, int], ...] = ()
    """Inputs and outputs of every linear map with bias."""
    parameters: int
    """Trainable scalars beside the linears'."""
    scalars: int
    """Scalars that a graph holds beside the linears'."""
    unread_scalars: int
    """Those of its tables that one step does not look up."""
    step_ops: int
    """Elementwise operations of one step."""
    history_macs: int
    """MACs a label in training, forward, beside the linears'."""


def predictor_cost(spec: SubnetSpec) -> PredictorCost:
    """Return the costs of the predictor that a spec names."""
    width, context, symbols = spec.predictor.embed_dim, spec.predictor.context_size, spec.vocab_size
    match spec.predictor.kind:
        case "stateless":
            scalars = (symbols + context) * width
            return PredictorCost(
                parameters=scalars,
                scalars=scalars,
                unread_scalars=width * max(0, symbols - context),
                step_ops=width * (3 * context - 1 + ACTIVATION_OPS),
                history_macs=width * context,
            )
        case "pgn":
            window = spec.predictor.window
            return PredictorCost(
                linears=((2 * width, 2 * width),),
                parameters=width * (symbols + width * window + 1),
                scalars=width * (symbols * context + 1),  # tabulated: V rows for each token read
                unread_scalars=width * context * (symbols - 1),
                step_ops=width * (context + window + 5),
                history_macs=width * width * window,
            )
        case _:
            assert_never(spec.predictor.kind)
