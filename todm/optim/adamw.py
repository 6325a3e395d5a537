"""torch's fused AdamW with ScaledAdam's clipping: the same rules for steps that go wrong."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from todm.optim.clipping import MedianClip


class ClippedAdamW(torch.optim.AdamW):
    """Loshchilov and Hutter 2019 (arXiv 1711.05101), clipped by the history of gradient norms.

    A step whose gradient norm is not finite changes nothing.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        clipping_scale: float,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        self.clip = MedianClip(clipping_scale)
        self.combine_norm: Callable[[float], float] = lambda norm: norm
        """From the norm of these tensors to that of the whole net, where others hold the rest."""
        self.last_step_skipped = False
        self.last_grad_norm = 0.0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Clip and update every parameter that has a gradient."""
        grads = [
            p.grad for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        self.last_grad_norm = self.combine_norm(float(torch.nn.utils.get_total_norm(grads)))
        self.last_step_skipped = not math.isfinite(self.last_grad_norm)
        if self.last_step_skipped:
            return None
        factor = self.clip.factor(self.last_grad_norm)
        if factor < 1.0:
            torch._foreach_mul_(grads, factor)
        return super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Return state and clipping history; plain tensors, lists and numbers only."""
        return {**super().state_dict(), "clipping": self.clip.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, bit for bit."""
        content = dict(state_dict)
        self.clip.load_state_dict(content.pop("clipping"))
        super().load_state_dict(content)
