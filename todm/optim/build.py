"""From an ``OptimConfig`` to an optimizer with its parameter groups.

State-space parameters (the poles or the factors of A, B, log_dt) get plain Adam at a rate of their
own: the rms rules of ScaledAdam pull their frequencies from an rms of 28 to 1.3 within 40 steps.
Weight decay (AdamW) is for matrices and kernels: not for these, nor for biases and norms.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from todm.core.config import OptimConfig
from todm.core.errors import ArtifactError, ConfigError
from todm.core.space import SearchSpace
from todm.optim.adamw import ClippedAdamW
from todm.optim.scaled_adam import ScaledAdam

SSM_NAMES = (
    *("log_neg_re", "im", "log_dt"),
    *("log_p", "log_q", "raw_s", "t_diag", "t_lower", "t_upper", "b"),
)
"""Of poles and step sizes, and of the factors of a linear state-space layer's A and B."""

NEVER_CLIPPED = 1e9
"""A ``clipping_scale`` that no gradient exceeds: plain Adam."""


class StepOptimizer:
    """An optimizer with base rates per group and one factor for the schedule."""

    def __init__(self, optimizer: ScaledAdam | ClippedAdamW) -> None:
        self.inner = optimizer
        self._base_lrs = [group["lr"] for group in optimizer.param_groups]

    def set_factor(self, factor: float) -> None:
        """Set every group's rate to its base rate times ``factor``."""
        for group, base in zip(self.inner.param_groups, self._base_lrs, strict=True):
            group["lr"] = base * factor

    def step(self) -> None:
        """Clip and update; a step with a non-finite gradient norm changes nothing."""
        self.inner.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.inner.zero_grad(set_to_none=True)

    @property
    def skipped(self) -> bool:
        """Whether the last step was not finite and was skipped."""
        return self.inner.last_step_skipped

    @property
    def grad_norm(self) -> float:
        """The last gradient norm before clipping (scaled by parameter size under ScaledAdam)."""
        return self.inner.last_grad_norm

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, clipping history included."""
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, bit for bit.

        Raises:
            ArtifactError: it is of a spread net, whose processes each hold a part.
        """
        if "ranks" in state:
            raise ArtifactError(
                f"the checkpoint is of {len(state['ranks'])} processes with run.strategy fsdp; go "
                "on with that strategy and number, or begin anew"
            )
        self.inner.load_state_dict(state)


def build_optimizer(
    model: nn.Module, config: OptimConfig, space: SearchSpace | None = None
) -> StepOptimizer:
    """Build the optimizer of a model; see the module's docstring for the groups.

    Args:
        model: the network.
        config: which optimizer.
        space: the widths that subnets may have; ``rms="row_block"`` cuts rows there.

    Raises:
        ConfigError: rows are to be cut, and there is no space.
    """
    ssm: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        (ssm if name.rpartition(".")[2] in SSM_NAMES else rest)[name] = parameter
    match config.kind:
        case "scaled_adam":
            return StepOptimizer(_scaled_adam(rest, ssm, config, space))
        case "adamw":
            return StepOptimizer(_adamw(rest, ssm, config))


def _scaled_adam(
    rest: dict[str, Tensor],
    ssm: dict[str, Tensor],
    config: OptimConfig,
    space: SearchSpace | None,
) -> ScaledAdam:
    scaled: dict[str, Any] = {"params": list(rest.values()), "lr": config.lr}
    if config.rms == "row_block":
        if space is None:
            raise ConfigError("optim.rms row_block needs a search space; use tensor")
        scaled["row_cuts"] = [row_cuts(name, space) for name in rest]
    plain = {"params": list(ssm.values()), "scaling": False, "lr": config.ssm_lr}
    groups = [group for group in (scaled, plain) if group["params"]]
    return ScaledAdam(groups, betas=config.betas, clipping_scale=config.clipping_scale)


def _adamw(rest: dict[str, Tensor], ssm: dict[str, Tensor], config: OptimConfig) -> ClippedAdamW:
    decayed = [p for p in rest.values() if p.dim() > 1]
    plain = [p for p in rest.values() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "lr": config.lr},
        {"params": plain, "lr": config.lr, "weight_decay": 0.0},
        {"params": list(ssm.values()), "lr": config.ssm_lr, "weight_decay": 0.0},
    ]
    return ClippedAdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        clipping_scale=config.clipping_scale,
    )


def row_cuts(name: str, space: SearchSpace) -> Sequence[int]:
    """Return the rows of a parameter at which some subnet's prefix ends; none if rows are fixed.

    The last row that all nets have comes first: each block of rows is in the same nets.
    """
    module, _, leaf = name.rpartition(".")
    owner = module.rpartition(".")[2]
    mixer = space.largest.blocks[0].mixer
    inner = tuple(heads * mixer.head_dim for heads in space.heads)
    match (owner, leaf):
        case ("ffn_in", _):
            widths = space.ffn_dims
        case ("w_in", _) | ("mixer", "taps" | "bias"):
            widths = inner
        case ("w_gate" | "w_candidate", _) if mixer.kind == "pgn":
            widths = inner
        case ("w_value" | "w_gate", _) if mixer.kind == "mhssm" and mixer.gating == "head_glu":
            widths = tuple(width // 2 for width in inner)
        case ("pair_gate", _):
            widths = tuple(heads // 2 for heads in space.heads)
        case ("mixer" | "ahead", "c" | "d"):
            widths = space.heads
        case ("from_encoder" | "from_predictor", _):
            widths = space.joiner_dims
        case _:
            return ()
    return widths[:-1]
