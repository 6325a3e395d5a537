"""From an ``OptimConfig`` to an optimizer with its parameter groups.

State-space parameters (a_re, a_im, log_dt) get plain Adam at a rate of their own: the rms rules
of ScaledAdam pull their frequencies from an rms of 28 to 1.3 within 40 steps.
"""

from typing import Any

from torch import nn

from todm.core.config import OptimConfig
from todm.optim.scaled_adam import ScaledAdam

SSM_NAMES = ("log_neg_re", "im", "log_dt")


class StepOptimizer:
    """ScaledAdam (or plain Adam) with base rates per group and one factor for the schedule."""

    def __init__(self, optimizer: ScaledAdam, base_lrs: list[float]) -> None:
        self.inner = optimizer
        self._base_lrs = base_lrs

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
        """Go on from a saved state, bit for bit."""
        self.inner.load_state_dict(state)


def build_optimizer(model: nn.Module, config: OptimConfig) -> StepOptimizer:
    """Build the optimizer of a model; see the module's docstring for the groups."""
    ssm: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (ssm if name.rpartition(".")[2] in SSM_NAMES else rest).append(parameter)
    scaled = config.kind == "scaled_adam"
    groups: list[dict[str, Any]] = [{"params": rest, "scaling": scaled, "lr": config.lr}]
    if ssm:
        groups.append({"params": ssm, "scaling": False, "lr": config.ssm_lr})
    inner = ScaledAdam(
        groups, lr=config.lr, betas=config.betas, clipping_scale=config.clipping_scale
    )
    return StepOptimizer(inner, [config.lr, config.ssm_lr][: len(groups)])
