"""ScaledAdam: Adam whose updates scale with each tensor's size, and which learns the size.

With beta1, beta2 = b1, b2, rate lr, for a tensor p with gradient g at update k = 0, 1, ...:

    v = b2 v + (1 - b2) g^2,  vhat = v / (1 - b2^(k+1)) while that correction is < 0.99
    d = -lr g / (sqrt(vhat) + eps) * max(rms(p), rms_min)             rms renewed every 4 updates
    every 4th update, with s = <p, g> of the last 4 updates and u their mean square:
        d += p * clamp(-lr s_lr sqrt(1 - (b2^4)^j) sum(s) / (sqrt(u) + eps), -0.1, 0.1)
        (0 where it would shrink a tensor below rms_min, and not beyond rms_max)
    m = b1 m + (1 - b1) d;  p += m

Single scalars take an Adam step without rms rules, at lr s_lr, and stay within [-10, 10]. Groups
with ``scaling=False`` take it at lr, without bound. Gradients are clipped when the norm of
g * rms(p) (single scalars: s_lr g; groups without scaling: g) exceeds ``clipping_scale`` times the
median of the last 100 norms, estimated anew at every 100th norm, and at the 10th, 20th and 40th
with twice that threshold; none before. A step whose norm is not finite changes nothing.

Source: icefall's optimiser (Yao et al. 2023, Zipformer, arXiv 2310.11230, section 3.4).
Deviations: moments of tensors of one shape are kept stacked per group in one state entry; a
missing gradient counts as zero, so that the stacks never change; where size does not matter the
momentum is on the update too (no beta1 bias correction), unlike Kingma and Ba's Adam.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

SIZE_PERIOD = 4
NORM_HISTORY = 100
FIRST_ESTIMATES = (10, 20, 40)
SCALAR_MAX = 10.0


class ScaledAdam(torch.optim.Optimizer):
    """See the module's docstring. The caller sets ``group["lr"]`` before each step."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.03,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        scalar_lr_scale: float = 0.1,
        rms_limits: tuple[float, float] = (1e-5, 3.0),
        clipping_scale: float = 2.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "scalar_lr_scale": scalar_lr_scale,
            "rms_limits": tuple(rms_limits),
            "scaling": True,
        }
        super().__init__(params, defaults)
        self.clipping_scale = clipping_scale
        self.combine_norm: Callable[[float], float] = lambda norm: norm
        """From the norm of these tensors to that of the whole net, where others hold the rest."""
        self.last_step_skipped = False
        self.last_grad_norm = 0.0
        self.last_clip_factor = 1.0
        self._norms: list[float] = []
        self._num_norms = 0
        self._threshold = 0.0

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clip and update every parameter; change nothing where the norm is not finite."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        batches = [
            (group, stack) for group in self.param_groups for stack in _stacks(group["params"])
        ]
        for group, stack in batches:
            self._prepare(group, stack)
        norm = self.combine_norm(self._global_norm(batches))
        self.last_grad_norm = norm
        self.last_step_skipped = not math.isfinite(norm)
        if self.last_step_skipped:
            return loss
        self.last_clip_factor = self._clip_factor(norm)
        for group, stack in batches:
            self._update(group, stack, _grads(stack).mul_(self.last_clip_factor))
        return loss

    def _prepare(self, group: dict[str, Any], stack: list[Tensor]) -> None:
        """Create the state of a stack of same-shape tensors at its first step."""
        state = self.state[stack[0]]
        if state:
            return
        p = torch.stack(list(stack))
        state["step"] = 0
        state["delta"] = torch.zeros_like(p)
        state["second"] = torch.zeros_like(p)
        if group["scaling"] and p[0].numel() > 1:
            state["rms"] = _rms(p)
            state["scale_second"] = torch.zeros_like(state["rms"])
            state["scale_grads"] = torch.zeros(SIZE_PERIOD, *state["rms"].shape, dtype=p.dtype)
            state["scale_grads"] = state["scale_grads"].to(p.device)

    def _global_norm(self, batches: list[tuple[dict[str, Any], list[Tensor]]]) -> float:
        total = None
        for group, stack in batches:
            grad = _grads(stack)
            state = self.state[stack[0]]
            if "rms" in state:
                part = (grad * state["rms"]).square().sum()
            else:
                weight = group["scalar_lr_scale"] if grad[0].numel() == 1 else 1.0
                part = (grad * weight).square().sum()
            total = part if total is None else total + part.to(total.device)
        return 0.0 if total is None else math.sqrt(float(total)) if float(total) >= 0 else math.nan

    def _clip_factor(self, norm: float) -> float:
        """Return the factor on the gradients; keeps the history of norms."""
        self._norms = [*self._norms, norm][-NORM_HISTORY:]
        self._num_norms += 1
        count = self._num_norms
        if count in FIRST_ESTIMATES or count % NORM_HISTORY == 0:
            early = 2.0 if count in FIRST_ESTIMATES else 1.0
            self._threshold = early * self.clipping_scale * statistics.median(self._norms)
        if self._threshold == 0.0 or norm <= self._threshold:
            return 1.0
        return self._threshold / norm

    def _update(self, group: dict[str, Any], stack: list[Tensor], grad: Tensor) -> None:
        state, (b1, _) = self.state[stack[0]], group["betas"]
        p = torch.stack(list(stack))
        change = self._adam_change(group, state, grad)
        if "rms" in state:
            change *= state["rms"].clamp(min=group["rms_limits"][0])
            change += self._scale_change(group, state, p, grad)
        delta = state["delta"].mul_(b1).add_(change, alpha=1.0 - b1)
        p += delta
        if group["scaling"] and p[0].numel() == 1:
            p.clamp_(-SCALAR_MAX, SCALAR_MAX)
        for parameter, value in zip(stack, p, strict=True):
            parameter.copy_(value)
        state["step"] += 1

    @staticmethod
    def _adam_change(group: dict[str, Any], state: dict[str, Any], grad: Tensor) -> Tensor:
        b2 = group["betas"][1]
        state["second"].mul_(b2).addcmul_(grad, grad, value=1.0 - b2)
        correction = 1.0 - b2 ** (state["step"] + 1)
        second = state["second"] / correction if correction < 0.99 else state["second"]
        rate = group["lr"]
        if group["scaling"] and grad[0].numel() == 1:
            rate *= group["scalar_lr_scale"]
        return -rate * grad / (second.sqrt() + group["eps"])

    @staticmethod
    def _scale_change(
        group: dict[str, Any], state: dict[str, Any], p: Tensor, grad: Tensor
    ) -> Tensor | float:
        """Return the change along p itself: the learned size, every ``SIZE_PERIOD`` updates."""
        step, dims = state["step"], tuple(range(1, p.dim()))
        state["scale_grads"][step % SIZE_PERIOD] = (p * grad).sum(dim=dims, keepdim=True)
        if step % SIZE_PERIOD != SIZE_PERIOD - 1:
            return 0.0
        low, high = group["rms_limits"]
        state["rms"] = _rms(p)
        b2 = group["betas"][1] ** SIZE_PERIOD
        sums, updates = state["scale_grads"].sum(0), (step + 1) // SIZE_PERIOD
        state["scale_second"].mul_(b2).add_(state["scale_grads"].square().mean(0), alpha=1.0 - b2)
        rate = group["lr"] * group["scalar_lr_scale"] * math.sqrt(1.0 - b2**updates)
        ratio = -rate * sums / (state["scale_second"].sqrt() + group["eps"])
        ratio = torch.where((state["rms"] < low) & (ratio < 0.0), 0.0, ratio)
        ratio = ratio.clamp(-0.1, 0.1)
        room = (high - state["rms"]) / state["rms"].clamp(min=low)
        return p * torch.minimum(ratio, room)

    def state_dict(self) -> dict[str, Any]:
        """Return state and clipping history; plain tensors, lists and numbers only."""
        history = {
            "norms": list(self._norms),
            "num_norms": self._num_norms,
            "threshold": self._threshold,
        }
        return {**super().state_dict(), "clipping": history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, bit for bit."""
        content = dict(state_dict)
        history = content.pop("clipping")
        super().load_state_dict(content)
        self._norms = list(history["norms"])
        self._num_norms = history["num_norms"]
        self._threshold = history["threshold"]


def _rms(p: Tensor) -> Tensor:
    """Return the rms of each tensor of a stack, broadcastable to it."""
    return p.square().mean(dim=tuple(range(1, p.dim())), keepdim=True).sqrt()


def _grads(stack: list[Tensor]) -> Tensor:
    """Stack the gradients; a missing one is zero."""
    return torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in stack])


def _stacks(params: list[Tensor]) -> list[list[Tensor]]:
    """Group the parameters by shape, dtype and device, in order."""
    found: dict[tuple[Any, ...], list[Tensor]] = {}
    for p in params:
        found.setdefault((tuple(p.shape), p.dtype, p.device), []).append(p)
    return list(found.values())
