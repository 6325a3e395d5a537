"""ScaledAdam: Adam whose updates scale with each tensor's size, and which learns the size.

With beta1, beta2 = b1, b2, rate lr, for a tensor p with gradient g at update k = 0, 1, ...:

    v = b2 v + (1 - b2) g^2,  vhat = v / (1 - b2^(k+1)) while that correction is < 0.99
    d = -lr g / (sqrt(vhat) + eps) * max(rms(p), rms_min)             rms renewed every 4 updates
    every 4th update, with s = <p, g> of the last 4 updates and u their mean square:
        d += p * clamp(-lr s_lr sqrt(1 - (b2^4)^j) sum(s) / (sqrt(u) + eps), -0.1, 0.1)
        (0 where it would shrink a tensor below rms_min, and not beyond rms_max)
    m = b1 m + (1 - b1) d;  p += m

Single scalars take an Adam step without rms rules, at lr s_lr, and stay within [-10, 10]. Groups
with ``scaling=False`` take it at lr, without bound. Gradients are clipped by their norm's history
(``MedianClip``), where the norm is that of g * rms(p) (single scalars: s_lr g; groups without
scaling: g). A step whose norm is not finite changes nothing.

A group may name rows at which its tensors are cut (``row_cuts``): each block of rows then is a
tensor of its own to the rules above. Rows beyond a small net's width learn less often than those
of every net, so one rms for all of them need not fit.

How it is computed: the state holds m / max(rms, rms_min), which makes the rate the same for all
tensors, so that torch's fused AdamW kernel (with beta1 = 0 and m as its parameter, decaying by
1 - b1) updates v and m of many tensors in one pass.

Source: icefall's optimiser (Yao et al. 2023, Zipformer, arXiv 2310.11230, section 3.4).
Deviations: a missing gradient counts as zero; where size does not matter the momentum is on the
update too (no beta1 bias correction), unlike Kingma and Ba's Adam.

Legend: K pieces, the tensors or blocks of rows of a group; N elements of its small tensors.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from todm.optim.clipping import MedianClip
from todm.optim.pieces import Layout, Parts

SIZE_PERIOD = 4
SCALAR_MAX = 10.0
CORRECTED = 0.99
"""Bias correction of the second moment ends where it would change less than a hundredth."""
ENDLESS_STEPS = 1e9
"""A step count at which the kernel's bias correction is exactly 1."""
LEAST_LR = 1e-30
"""The kernel's decay is (1 - b1) / lr; a rate of 0 must not divide."""
SAVED = ("rms_K", "scale_second_K", "scale_grads_4K")


@dataclass
class GroupState:
    """What a group knows of its pieces."""

    layout: Layout
    momentum: Parts
    second: Parts
    scratch: Tensor
    sized_K: Tensor
    """Which pieces the rms rules hold for: no single scalars, and none without scaling."""
    rms_K: Tensor
    scale_second_K: Tensor
    scale_grads_4K: Tensor
    sizes: tuple[list[float], Tensor]
    """The factor of every piece's momentum (rms, the scalars' rate, or 1), spread."""
    step: int = 0


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
            "row_cuts": None,
        }
        super().__init__(params, defaults)
        self.clip = MedianClip(clipping_scale)
        self.combine_norm: Callable[[float], float] = lambda norm: norm
        """From the norm of these tensors to that of the whole net, where others hold the rest."""
        self.last_step_skipped = False
        self.last_grad_norm = 0.0
        self.last_clip_factor = 1.0
        self._groups: list[GroupState] = []

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
        if not self._groups:
            self._groups = [self._new_state(group) for group in self.param_groups]
        grads = [
            state.layout.parts([_grad(p) for p in group["params"]])
            for group, state in zip(self.param_groups, self._groups, strict=True)
        ]
        norm = self.combine_norm(self._global_norm(grads))
        self.last_grad_norm = norm
        self.last_step_skipped = not math.isfinite(norm)
        if self.last_step_skipped:
            return loss
        self.last_clip_factor = self.clip.factor(norm)
        for group, state, parts in zip(self.param_groups, self._groups, grads, strict=True):
            if self.last_clip_factor < 1.0:
                torch._foreach_mul_([*parts.large, parts.small_N], self.last_clip_factor)
            _update(group, state, parts)
        return loss

    @torch.no_grad()
    def _new_state(self, group: dict[str, Any]) -> GroupState:
        """Lay out a group's pieces, with moments that start at zero."""
        params: list[Tensor] = group["params"]
        for p in params:
            self.state[p] = {"momentum": torch.zeros_like(p), "second": torch.zeros_like(p)}
        layout = Layout(params, group["row_cuts"] or [()] * len(params))
        parts = layout.parts(params)
        largest = [sum(len(parts.large[k]) for k in batch) for batch in layout.batches]
        rms_K = layout.rms(parts)
        state = GroupState(
            layout=layout,
            momentum=parts,
            second=parts,
            scratch=rms_K.new_zeros(max([len(parts.small_N), *largest])),
            sized_K=(layout.numel_K > 1) & group["scaling"],
            rms_K=rms_K,
            scale_second_K=torch.zeros_like(rms_K),
            scale_grads_4K=rms_K.new_zeros(SIZE_PERIOD, len(rms_K)),
            sizes=([], rms_K),
        )
        self._adopt(group, state)
        return state

    def _adopt(self, group: dict[str, Any], state: GroupState) -> None:
        """Let the group's pieces be those of the moments in ``self.state``."""
        for name in ("momentum", "second"):
            tensors = [self.state[p][name] for p in group["params"]]
            setattr(state, name, state.layout.parts(tensors))
        state.sizes = state.layout.spread(_sizes(group, state))

    def _global_norm(self, grads: list[Parts]) -> float:
        """Return the norm of all gradients, each weighed by its piece's size."""
        norms = []
        for group, state, parts in zip(self.param_groups, self._groups, grads, strict=True):
            norm_K = state.layout.norms(parts)
            if group["scaling"]:
                norm_K *= torch.where(state.sized_K, state.rms_K, group["scalar_lr_scale"])
            norms.append(float(torch.linalg.vector_norm(norm_K)))
        return math.hypot(*norms)

    def state_dict(self) -> dict[str, Any]:
        """Return state, sizes and clipping history; plain tensors, lists and numbers only."""
        sizes = []
        for group, state in zip(self.param_groups, self._groups, strict=bool(self._groups)):
            for name in ("momentum", "second"):
                tensors = [self.state[p][name] for p in group["params"]]
                state.layout.scatter(getattr(state, name).small_N, tensors)
            saved = {name: getattr(state, name).clone() for name in SAVED}
            sizes.append({"step": state.step, **saved})
        return {**super().state_dict(), "sizes": sizes, "clipping": self.clip.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, bit for bit."""
        content = dict(state_dict)
        sizes = content.pop("sizes")
        self.clip.load_state_dict(content.pop("clipping"))
        self._groups = [self._new_state(group) for group in self.param_groups] if sizes else []
        super().load_state_dict(content)
        for group, state, saved in zip(self.param_groups, self._groups, sizes, strict=bool(sizes)):
            state.step = saved["step"]
            for name in SAVED:
                getattr(state, name).copy_(saved[name])
            self._adopt(group, state)


def _grad(p: Tensor) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad


def _sizes(group: dict[str, Any], state: GroupState) -> Tensor:
    """Return the factor of every piece's momentum."""
    if not group["scaling"]:
        return torch.ones_like(state.rms_K)
    rms_K = state.rms_K.clamp(min=group["rms_limits"][0])
    return torch.where(state.sized_K, rms_K, group["scalar_lr_scale"])


def _update(group: dict[str, Any], state: GroupState, grads: Parts) -> None:
    """Update a group's parameters with gradients that are clipped already."""
    params, layout = group["params"], state.layout
    ps = layout.parts(params)
    growth = _growth(group, state, ps, grads) if group["scaling"] else None
    sizes, size_N = state.sizes
    for batch in layout.batches:
        momentum = [state.momentum.large[k] for k in batch]
        second = [state.second.large[k] for k in batch]
        _adam(group, state, momentum, [grads.large[k] for k in batch], second)
        for k, m in zip(batch, momentum, strict=True):
            if growth is not None:
                m.mul_(growth[0][0][k]).add_(ps.large[k], alpha=growth[1][0][k])
            ps.large[k].add_(m, alpha=sizes[k])
    if len(ps.small_N):
        m_N = state.momentum.small_N
        _adam(group, state, [m_N], [grads.small_N], [state.second.small_N])
        if growth is not None:
            m_N.mul_(growth[0][1]).addcmul_(ps.small_N, growth[1][1])
        layout.scatter(ps.small_N.addcmul_(m_N, size_N), params)
    for p in params if group["scaling"] else ():
        if p.numel() == 1:
            p.clamp_(-SCALAR_MAX, SCALAR_MAX)
    state.step += 1


def _adam(
    group: dict[str, Any],
    state: GroupState,
    momentum: list[Tensor],
    grads: list[Tensor],
    second: list[Tensor],
) -> None:
    """Update v, and m = b1 m + (1 - b1) (-lr g / (sqrt(vhat) + eps)).

    The kernel's own first moment is with beta1 = 0 the gradient: it goes to scratch.
    """
    (b1, b2), done = group["betas"], state.step + 1
    lr = max(group["lr"] * (1.0 - b1), LEAST_LR)
    count = done if 1.0 - b2**done < CORRECTED else ENDLESS_STEPS
    step = torch.tensor(float(count), device=state.scratch.device)
    lengths = [len(m) for m in momentum]
    torch._fused_adamw_(
        momentum,
        grads,
        list(state.scratch[: sum(lengths)].split_with_sizes(lengths)),
        second,
        [],
        [step] * len(momentum),
        lr=lr,
        beta1=0.0,
        beta2=b2,
        weight_decay=(1.0 - b1) / lr,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


Spread = tuple[list[float], Tensor]


def _growth(
    group: dict[str, Any], state: GroupState, ps: Parts, grads: Parts
) -> tuple[Spread, Spread] | None:
    """Learn the sizes; every ``SIZE_PERIOD`` updates renew them.

    Returns:
        When it is time, for each piece: what its momentum keeps (the change of its unit), and
        how much of p is added to it.
    """
    layout, scale_grads_4K, row = state.layout, state.scale_grads_4K, state.step % SIZE_PERIOD
    scale_grads_4K[row] = layout.dots(ps, grads)
    if row != SIZE_PERIOD - 1:
        return None
    low, high = group["rms_limits"]
    b1, b2 = group["betas"][0], group["betas"][1] ** SIZE_PERIOD
    rms_K = layout.rms(ps)
    updates = (state.step + 1) // SIZE_PERIOD
    state.scale_second_K.mul_(b2).add_(scale_grads_4K.square().mean(0), alpha=1.0 - b2)
    rate = group["lr"] * group["scalar_lr_scale"] * math.sqrt(1.0 - b2**updates)
    ratio_K = -rate * scale_grads_4K.sum(0) / (state.scale_second_K.sqrt() + group["eps"])
    ratio_K = torch.where((rms_K < low) & (ratio_K < 0.0), 0.0, ratio_K).clamp(-0.1, 0.1)
    ratio_K = torch.minimum(ratio_K, (high - rms_K) / rms_K.clamp(min=low))
    before_K = _sizes(group, state)
    state.rms_K.copy_(rms_K)
    now_K = _sizes(group, state)
    gain_K = torch.where(state.sized_K, (1.0 - b1) * ratio_K / now_K, 0.0)
    state.sizes = layout.spread(now_K)
    return layout.spread(before_K / now_K), layout.spread(gain_K)
