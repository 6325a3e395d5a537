"""ScaledAdam equals a slow per-tensor form of its formulas, and survives saving to the last bit."""

import io
import math
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

from todm.optim.scaled_adam import ScaledAdam

SHAPES = [(4, 3), (4, 3), (5,), (5,), (1,), (), (2, 3, 2), (1, 1)]


def make_params(seed: int = 0, *, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [
        (0.3 * torch.randn(shape, generator=g, dtype=dtype)).requires_grad_() for shape in SHAPES
    ]


def set_grads(params: list[Tensor], step: int, *, scale: float = 1.0) -> None:
    g = torch.Generator().manual_seed(1000 + step)
    for p in params:
        noise = torch.randn(p.shape, generator=g, dtype=p.dtype)
        p.grad = scale * (p.detach() + 0.5 * noise)


class SlowScaledAdam:
    """The formulas of the specification, one tensor and one number at a time."""

    def __init__(
        self, params: list[Tensor], lr: float, *, clipping_scale: float, scaling: bool = True
    ) -> None:
        self.params, self.lr, self.clipping_scale = params, lr, clipping_scale
        self.scaling = scaling
        self.k = 0
        self.norms: list[float] = []
        self.threshold = math.inf
        self.states: list[dict[str, Any]] = [
            {"v": torch.zeros_like(p), "m": torch.zeros_like(p), "sg": [], "u": 0.0, "rms": rms(p)}
            for p in params
        ]

    def step(self) -> None:
        grads = [p.grad.clone() for p in self.params if p.grad is not None]
        total = 0.0
        for p, g, s in zip(self.params, grads, self.states, strict=True):
            total += float(((g * (s["rms"] if p.numel() > 1 else 0.1)) ** 2).sum())
        self.norms.append(math.sqrt(total))
        median = statistics.median(self.norms[-100:])
        if len(self.norms) in (10, 20, 40):
            self.threshold = 2 * self.clipping_scale * median
        elif len(self.norms) % 100 == 0:
            self.threshold = self.clipping_scale * median
        clip = min(1.0, self.threshold / self.norms[-1])
        for p, g, s in zip(self.params, grads, self.states, strict=True):
            self.update(p.detach(), g * clip, s)
        self.k += 1

    def update(self, p: Tensor, g: Tensor, s: dict[str, Any]) -> None:
        b2, lr, eps = 0.98, self.lr, 1e-8
        s["v"] = b2 * s["v"] + (1 - b2) * g**2
        correction = 1 - b2 ** (self.k + 1)
        vhat = s["v"] / correction if correction < 0.99 else s["v"]
        d = -lr * g / (vhat.sqrt() + eps)
        if self.scaling and p.numel() == 1:
            d = 0.1 * d
        elif self.scaling:
            d = d * max(s["rms"], 1e-5) + p * self.size_change(p, g, s)
        s["m"] = 0.9 * s["m"] + (1 - 0.9) * d
        p.add_(s["m"])
        if self.scaling and p.numel() == 1:
            p.clamp_(-10.0, 10.0)

    def size_change(self, p: Tensor, g: Tensor, s: dict[str, Any]) -> float:
        s["sg"].append(float((p * g).sum()))
        if self.k % 4 != 3:
            return 0.0
        s["rms"] = rms(p)
        last, b = s["sg"][-4:], 0.98**4
        s["u"] = b * s["u"] + (1 - b) * sum(x * x for x in last) / 4
        factor = self.lr * 0.1 * math.sqrt(1 - b ** ((self.k + 1) // 4))
        ds = -factor * sum(last) / (math.sqrt(s["u"]) + 1e-8)
        if s["rms"] < 1e-5 and ds < 0:
            ds = 0.0
        size = float(s["rms"])
        room = (3.0 - size) / max(size, 1e-5)
        return float(min(max(-0.1, min(0.1, ds)), room))


def rms(p: Tensor) -> float:
    return math.sqrt(float((p.detach() ** 2).mean()))


@pytest.mark.parametrize("scale", [1.5, 3.0])
def test_equals_the_slow_form_with_clipping(scale: float) -> None:
    fast, slow = make_params(), make_params()
    optimizer = ScaledAdam(fast, lr=0.045, clipping_scale=scale)
    reference = SlowScaledAdam(slow, lr=0.045, clipping_scale=scale)
    clipped = 0
    for step in range(240):  # past the bias-correction switch (k = 227) and two renewals
        blow = 30.0 if step in (15, 50, 150, 230) else 1.0
        set_grads(fast, step, scale=blow)
        set_grads(slow, step, scale=blow)
        optimizer.step()
        reference.step()
        clipped += optimizer.last_clip_factor < 1.0
        assert optimizer.last_grad_norm == pytest.approx(reference.norms[-1], rel=1e-10)
    assert clipped >= 4
    for p, q in zip(fast, slow, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)


def test_group_without_scaling_takes_plain_steps_at_its_own_rate() -> None:
    ours, slow = make_params(2), make_params(2)
    other = torch.ones(3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = ScaledAdam(
        [{"params": [other]}, {"params": ours, "scaling": False, "lr": 0.005}],
        lr=0.02,
        clipping_scale=math.inf,
    )
    reference = SlowScaledAdam(slow, lr=0.005, clipping_scale=math.inf, scaling=False)
    for step in range(30):
        set_grads(ours, step)
        set_grads(slow, step)
        optimizer.step()
        reference.step()
    for p, q in zip(ours, slow, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)
    assert torch.equal(other.detach(), torch.ones(3, 3, dtype=torch.float64))  # no gradient


def test_blocks_of_rows_are_tensors_of_their_own() -> None:
    whole = [p for p in make_params(4) if p.dim() > 0 and p.shape[0] > 2]
    cuts = [(1, 3), (1, 3), (2,), (4,)]
    parts = [
        part.detach().clone().requires_grad_()
        for p, ends in zip(whole, cuts, strict=True)
        for part in p.tensor_split(ends)
    ]
    ours = ScaledAdam([{"params": whole, "row_cuts": cuts}], lr=0.04)
    reference = SlowScaledAdam(parts, 0.04, clipping_scale=2.0)
    for step in range(60):
        set_grads(whole, step)
        for part, grad in zip(parts, _split([p.grad for p in whole], cuts), strict=True):
            part.grad = grad.clone()
        ours.step()
        reference.step()
    for part, other in zip(parts, _split(whole, cuts), strict=True):
        torch.testing.assert_close(other.detach(), part.detach(), rtol=1e-9, atol=1e-11)


def _split(tensors: list[Tensor], cuts: list[tuple[int, ...]]) -> list[Tensor]:
    return [x for t, ends in zip(tensors, cuts, strict=True) for x in t.tensor_split(ends)]


@pytest.mark.parametrize(("small", "batch"), [(4, 13), (11, 1 << 20), (0, 1)])
def test_large_and_small_pieces_learn_alike(
    small: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, twins = make_params(7), make_params(7)
    cuts = [
        {"params": ps, "row_cuts": [(1,), (), (2,), (), (), (), (), ()]} for ps in (params, twins)
    ]
    one = ScaledAdam(cuts[:1])
    set_grads(params, 0)
    one.step()
    monkeypatch.setattr("todm.optim.pieces.SMALL_ELEMENTS", small)
    monkeypatch.setattr("todm.optim.pieces.BATCH_ELEMENTS", batch)
    other = ScaledAdam(cuts[1:])
    set_grads(twins, 0)
    other.step()
    for step in range(1, 30):
        for ps, optimizer in ((params, one), (twins, other)):
            set_grads(ps, step)
            optimizer.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)


def test_a_rate_of_zero_moves_on_momentum_alone() -> None:
    params = make_params(8)
    optimizer = ScaledAdam(params)
    set_grads(params, 0)
    optimizer.step()
    before = [p.detach().clone() for p in params]
    moved = [p.detach() - q.detach() for p, q in zip(params, make_params(8), strict=True)]
    optimizer.param_groups[0]["lr"] = 0.0
    set_grads(params, 1)
    optimizer.step()
    for p, q, m in zip(params, before, moved, strict=True):
        torch.testing.assert_close(p.detach(), q + 0.9 * m)


def test_a_gradient_may_be_missing_for_a_while() -> None:
    params, twins = make_params(6), make_params(6)
    optimizer, twin = ScaledAdam(params), ScaledAdam(twins)
    for step in range(12):
        set_grads(params, step)
        set_grads(twins, step)
        if step % 3 == 0:
            for p, q in zip(params[::2], twins[::2], strict=True):
                p.grad, q.grad = None, torch.zeros_like(q)
        optimizer.step()
        twin.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))


@pytest.mark.parametrize("interrupt", [1, 6, 45])
def test_continuation_is_bit_equal(interrupt: int) -> None:
    def fresh() -> tuple[list[Tensor], ScaledAdam]:
        params = make_params(3, dtype=torch.float32)
        groups = [
            {"params": params[:5]},
            {"params": params[5:], "scaling": False},
        ]
        return params, ScaledAdam(groups, lr=0.04, clipping_scale=1.0)

    def run(params: list[Tensor], optimizer: ScaledAdam, start: int, stop: int) -> None:
        for step in range(start, stop):
            set_grads(params, step)
            for group in optimizer.param_groups:
                group["lr"] = 0.04 / (1 + step)
            optimizer.step()

    straight, optimizer = fresh()
    run(straight, optimizer, 0, 60)
    first, before = fresh()
    run(first, before, 0, interrupt)
    buffer = io.BytesIO()
    torch.save({"p": [p.detach() for p in first], "o": before.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    second, after = fresh()
    with torch.no_grad():
        for p, value in zip(second, saved["p"], strict=True):
            p.copy_(value)
    after.load_state_dict(saved["o"])
    run(second, after, interrupt, 60)
    assert all(torch.equal(p, q) for p, q in zip(straight, second, strict=True))
    assert after.last_clip_factor == optimizer.last_clip_factor
    run(first, before, interrupt, 60)  # saving disturbs nothing either
    assert all(torch.equal(p, q) for p, q in zip(straight, first, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_without_finite_norm_changes_nothing(bad: float) -> None:
    params, twins = make_params(5), make_params(5)
    optimizer, twin = ScaledAdam(params), ScaledAdam(twins)
    for step in range(12):
        if step == 7:
            set_grads(params, 99)
            assert params[0].grad is not None
            params[0].grad[0, 0] = bad
            optimizer.step()
            assert optimizer.last_step_skipped
            assert not math.isfinite(optimizer.last_grad_norm)
        set_grads(params, step)
        set_grads(twins, step)
        optimizer.step()
        twin.step()
        assert not optimizer.last_step_skipped
    assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))


def test_size_stays_within_the_limits() -> None:
    big = torch.full((8, 8), 2.9, requires_grad=True)
    poles = torch.full((8,), 27.7, requires_grad=True)
    scalar = torch.full((1,), 9.9, requires_grad=True)
    tiny = torch.full((6,), 1e-6, requires_grad=True)
    groups = [{"params": [big, scalar, tiny]}, {"params": [poles], "scaling": False}]
    optimizer = ScaledAdam(groups, lr=0.045, clipping_scale=math.inf)
    for _ in range(400):
        for p in (big, poles, scalar):
            p.grad = -torch.ones_like(p)  # always asks for growth
        tiny.grad = tiny.detach().sign()  # always asks to shrink
        optimizer.step()
    # Every 4 steps the push adds 4 lr rms and the ceiling takes rms - 3 away: a soft limit.
    assert 2.9 < rms(big) <= 3.0 / (1 - 4 * 0.045)
    assert float(scalar.detach()) == 10.0
    assert rms(poles) > 27.7  # no ceiling here
    assert torch.isfinite(tiny).all()
    assert 0.0 < rms(tiny) < 1e-5  # below the floor it moves at the floor's pace


def test_update_is_relative_to_size() -> None:
    small = torch.full((10,), 0.01, requires_grad=True)
    large = torch.full((10,), 1.0, requires_grad=True)
    optimizer = ScaledAdam([small, large], lr=0.03)
    small.grad, large.grad = torch.full((10,), 5.0), torch.full((10,), 0.05)
    optimizer.step()
    # first step: bias-corrected second moment is g^2, momentum lets a tenth of the step through
    torch.testing.assert_close(small.detach(), torch.full((10,), 0.01 * (1 - 0.003)))
    torch.testing.assert_close(large.detach(), torch.full((10,), 1.0 - 0.003))


def test_closure_is_called() -> None:
    p = torch.ones(3, requires_grad=True)
    optimizer = ScaledAdam([p])

    def closure() -> float:
        optimizer.zero_grad()
        loss = p.square().sum()
        torch.autograd.backward(loss)
        return float(loss.detach())

    losses = [optimizer.step(closure) for _ in range(20)]
    assert losses[-1] < losses[0]
