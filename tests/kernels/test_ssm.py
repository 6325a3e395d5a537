"""Every form of the state-space kernel equals the scan, in float64 and in float32.

Tolerances are relative to the largest output: a frame's rounding error follows the size of the
states, not that of an output which happens to be near zero.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from todm.kernels.ssm import (
    Modes,
    discretise,
    fold,
    kernel,
    powers,
    ssm_ahead,
    ssm_ahead_ref,
    ssm_chunk,
    ssm_conv,
    ssm_fft,
    ssm_scan_ref,
    ssm_toeplitz,
    toeplitz,
    zero_state,
)

TOLERANCE = {
    torch.float64: 1e-12,
    # sums of up to some hundred products, each rounded to 6e-8, and kernels from powers lam^t
    # whose angle t * im * dt carries t roundings
    torch.float32: 2e-5,
}
TEN_MINUTES_FRAMES = 15_000  # of 40 ms


def parameters(heads: int, modes: int, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """log_neg_re, im, log_dt, c and d as after some training: unequal everywhere."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    log_dt_H = torch.linspace(math.log(0.01), math.log(0.5), heads, dtype=torch.float64)
    im_HN = math.pi * (torch.arange(modes) + 0.2 * draw(heads, modes))
    raw = [math.log(0.5) + 0.3 * draw(heads, modes), im_HN, log_dt_H, draw(heads, modes, 2)]
    return [part.to(dtype) for part in [*raw, draw(heads)]]


def make_modes(heads: int = 3, modes: int = 4, seed: int = 0, dtype=torch.float64) -> Modes:
    return discretise(*parameters(heads, modes, seed, dtype))


def make_input(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def scan(u_BTHP: Tensor, modes: Modes) -> Tensor:
    return ssm_scan_ref(u_BTHP, modes, zero_state(u_BTHP.shape[0], modes, u_BTHP.shape[3]))[0]


def in_chunks(u_BTHP: Tensor, modes: Modes, state: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Run a whole signal in chunks of ``size`` (the last may be shorter)."""
    outputs = []
    parts = u_BTHP.split(size, 1)
    folds = {frames: fold(modes, frames) for frames in {part.shape[1] for part in parts}}
    for part in parts:
        y, state = ssm_chunk(part, state, folds[part.shape[1]])
        outputs.append(y)
    return torch.cat(outputs, 1), state


def assert_near(found: Tensor, want: Tensor, tolerance: float | None = None) -> None:
    limit = TOLERANCE[found.dtype] if tolerance is None else tolerance
    assert found.dtype == want.dtype
    assert found.shape == want.shape
    error = float((found - want).abs().max())
    assert error <= limit * float(want.abs().max()), error


def test_scan_by_hand() -> None:
    """One head, one mode, one channel: s_t = lam s + u, y = 2 Re(cb s) + d u."""
    lam, cb, d = complex(0.5, 0.25), complex(0.75, -0.5), 0.125
    modes = Modes(torch.tensor([[lam]]), torch.tensor([[cb]]), torch.tensor([d]))
    signal, state, want = [1.0, -2.0, 0.5], complex(0.25, -1.0), []
    u = torch.tensor(signal)[None, :, None, None]
    start = torch.tensor([[[[state.real], [state.imag]]]])
    for value in signal:
        state = lam * state + value
        want.append(2.0 * (cb * state).real + d * value)
    y, end = ssm_scan_ref(u, modes, start)
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor(want))
    torch.testing.assert_close(end[0, 0, :, 0], torch.tensor([state.real, state.imag]))


def test_discretise_is_zero_order_hold() -> None:
    log_neg_re, im, log_dt, c, d = parameters(2, 3, 0, torch.float64)
    modes = discretise(log_neg_re, im, log_dt, c, d)
    for head in range(2):
        for mode in range(3):
            a = complex(-math.exp(log_neg_re[head, mode]), im[head, mode])
            dt = math.exp(log_dt[head])
            # the state of s' = a s + u after dt with u = 1 held: the integral of exp(a t)
            steps = 2000
            held = sum(
                complex(torch.exp(torch.tensor(a * dt * (i + 0.5) / steps))) for i in range(steps)
            )
            want = complex(*c[head, mode].tolist()) * held * dt / steps
            assert abs(complex(modes.cb_HN[head, mode]) - want) <= 1e-5 * abs(want)
    assert torch.all(modes.lam_HN.abs() < 1.0)


def test_powers_start_at_one_and_multiply() -> None:
    lam = make_modes().lam_HN
    found = powers(lam, 20)
    assert torch.equal(found[..., 0], torch.ones_like(lam))
    torch.testing.assert_close(found[..., 1:], found[..., :-1] * lam[..., None])


def test_toeplitz_places_each_lag() -> None:
    k_HT = make_input(2, 5)
    t_HTT = toeplitz(k_HT)
    for t in range(5):
        for s in range(5):
            want = k_HT[:, t - s] if s <= t else torch.zeros(2, dtype=torch.float64)
            assert torch.equal(t_HTT[:, t, s], want)


def ahead_modes(heads: int = 3, modes: int = 4, seed: int = 11, dtype=torch.float64) -> Modes:
    """Modes of a scan against time: no skip."""
    made = make_modes(heads, modes, seed, dtype)
    return made._replace(d_H=torch.zeros_like(made.d_H))


def test_toeplitz_places_each_lag_ahead() -> None:
    """Beyond the last lag of the kernel ahead there is nothing."""
    k_HT, ahead_HA = make_input(2, 5), make_input(2, 3, seed=2)
    t_HTT = toeplitz(k_HT, ahead_HA)
    for t in range(5):
        for s in range(5):
            want = torch.zeros(2, dtype=torch.float64)
            if s <= t:
                want = k_HT[:, t - s]
            elif s - t <= 3:
                want = ahead_HA[:, s - t - 1]
            assert torch.equal(t_HTT[:, t, s], want)


def test_scan_ahead_by_hand() -> None:
    """Blocks of two: the first frame sees the second, 2 Re(cb) u, and nothing else is seen."""
    modes = ahead_modes(1, 1)
    u = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)[None, :, None, None]
    gain = 2.0 * float(modes.cb_HN.real)
    want = torch.tensor([2.0 * gain, 0.0, 4.0 * gain, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(ssm_ahead_ref(u, modes, 2)[0, :, 0, 0], want)


@pytest.mark.parametrize("block", [1, 2, 5, 8, 400])
@pytest.mark.parametrize("frames", [1, 7, 40, 300])
def test_looking_ahead_equals_the_scan_against_time(frames: int, block: int) -> None:
    """Both training forms, on either side of TOEPLITZ_MAX_FRAMES, whole blocks or not."""
    modes, ahead = make_modes(), ahead_modes()
    u = make_input(2, frames, 3, 2)
    want = scan(u, modes) + ssm_ahead_ref(u, ahead, block)
    k_HT, a_HA = kernel(modes, frames), kernel(ahead, min(block, frames) - 1)
    assert_near(ssm_toeplitz(u, k_HT, a_HA, block), want)
    assert_near(ssm_fft(u, k_HT) + ssm_ahead(u, a_HA, block), want)
    assert_near(ssm_conv(u, modes, ahead, block), want)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("chunk", "block"), [(4, 4), (8, 4), (6, 1), (12, 12)])
def test_the_chunk_form_looks_ahead_in_its_blocks(chunk: int, block: int, dtype) -> None:
    modes, ahead = make_modes(dtype=dtype), ahead_modes(dtype=dtype)
    u = make_input(2, 24, 3, 2, dtype=dtype)
    start = make_input(2, 3, 8, 2, seed=5, dtype=dtype)
    want, want_end = ssm_scan_ref(u, modes, start)
    want = want + ssm_ahead_ref(u, ahead, block)
    constants, state, outputs = fold(modes, chunk, ahead, block), start, []
    for part in u.split(chunk, 1):
        y, state = ssm_chunk(part, state, constants)
        outputs.append(y)
    assert_near(torch.cat(outputs, 1), want)
    assert_near(state, want_end)


def test_a_chunk_without_whole_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="6 frames holds no whole blocks of 4"):
        fold(make_modes(), 6, ahead_modes(), 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("form", [ssm_toeplitz, ssm_fft])
@pytest.mark.parametrize("frames", [1, 2, 37, 300])
def test_training_forms_equal_the_scan(form, frames: int, dtype: torch.dtype) -> None:
    modes = make_modes(dtype=dtype)
    u = make_input(2, frames, 3, 2, dtype=dtype)
    assert_near(form(u, kernel(modes, frames)), scan(u, modes))


@pytest.mark.parametrize("frames", [7, 400])
def test_conv_takes_both_forms(frames: int) -> None:
    """On either side of TOEPLITZ_MAX_FRAMES."""
    modes, u = make_modes(), make_input(1, frames, 3, 2)
    assert_near(ssm_conv(u, modes), scan(u, modes))


@pytest.mark.parametrize("frames", [7, 400])
@pytest.mark.parametrize("autocast", [False, True])
def test_conv_of_half_precision_computes_in_float32(frames: int, autocast: bool) -> None:
    modes = make_modes(dtype=torch.float32)
    u = make_input(1, frames, 3, 2, dtype=torch.float32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = ssm_conv(u, modes)
    assert found.dtype == torch.float32
    assert_near(found, scan(u.float(), modes))  # no nearer to u, but u is all that is rounded


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1, 3, 8, 41])
def test_the_chunk_form_equals_the_scan(size: int, dtype: torch.dtype) -> None:
    """From a state that is not zero; the state that comes out is compared too."""
    modes = make_modes(dtype=dtype)
    u = make_input(2, 41, 3, 2, dtype=dtype)
    start = make_input(2, 3, 8, 2, seed=5, dtype=dtype)
    want, want_end = ssm_scan_ref(u, modes, start)
    found, end = in_chunks(u, modes, start, size)
    assert_near(found, want)
    assert_near(end, want_end)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 40),
    heads=st.integers(1, 4),
    width=st.integers(1, 3),
    modes=st.integers(1, 5),
    size=st.integers(1, 41),
    seed=st.integers(0, 2**16),
)
def test_all_forms_agree_on_any_shape(batch, frames, heads, width, modes, size, seed) -> None:
    ssm = make_modes(heads, modes, seed)
    u = make_input(batch, frames, heads, width, seed=seed + 1)
    start = zero_state(batch, ssm, width)
    want, want_end = ssm_scan_ref(u, ssm, start)
    k_HT = kernel(ssm, frames)
    assert_near(ssm_toeplitz(u, k_HT), want)
    assert_near(ssm_fft(u, k_HT), want)
    found, end = in_chunks(u, ssm, start, size)
    assert_near(found, want)
    assert_near(end, want_end)


@pytest.mark.parametrize("form", [ssm_toeplitz, ssm_fft])
def test_gradients_equal_those_of_the_scan(form) -> None:
    """Of the input and of every parameter before discretisation."""
    leaves = [p.requires_grad_() for p in parameters(3, 4, 2, torch.float64)]
    u = make_input(2, 30, 3, 2).requires_grad_()
    weight = make_input(2, 30, 3, 2, seed=9)

    def grads(run) -> tuple[Tensor, ...]:
        loss = (run(discretise(*leaves)) * weight).sum()
        return torch.autograd.grad(loss, [u, *leaves])

    want = grads(lambda modes: scan(u, modes))
    found = grads(lambda modes: form(u, kernel(modes, 30)))
    for mine, reference in zip(found, want, strict=True):
        assert bool(torch.isfinite(mine).all())
        assert_near(mine, reference, 1e-11)


def test_float32_gradients_are_finite_on_long_inputs() -> None:
    leaves = [p.requires_grad_() for p in parameters(2, 4, 2, torch.float32)]
    for frames in (256, 2000):
        u = make_input(1, frames, 2, 2, dtype=torch.float32)
        loss = ssm_conv(u, discretise(*leaves)).square().mean()
        assert all(bool(torch.isfinite(g).all()) for g in torch.autograd.grad(loss, leaves))


def test_chunk_form_does_not_drift_over_ten_minutes() -> None:
    """The float32 error of the last minute is no more than three times that of the first."""
    wide = make_modes(1, 2, seed=3)
    narrow = Modes(
        wide.lam_HN.to(torch.complex64), wide.cb_HN.to(torch.complex64), wide.d_H.float()
    )
    # the same poles in both, so that only the streaming arithmetic differs
    wide = Modes(
        narrow.lam_HN.to(torch.complex128), narrow.cb_HN.to(torch.complex128), narrow.d_H.double()
    )
    u = make_input(1, TEN_MINUTES_FRAMES, 1, 1, dtype=torch.float32)
    want, _ = in_chunks(u.double(), wide, zero_state(1, wide, 1), 8)
    found, _ = in_chunks(u, narrow, zero_state(1, narrow, 1), 8)
    error_T = (found.double() - want).abs()[0, :, 0, 0]
    tenth = TEN_MINUTES_FRAMES // 10
    first, last = float(error_T[:tenth].max()), float(error_T[-tenth:].max())
    assert 0.0 < last <= 3.0 * first
    assert first <= 1e-5 * float(want.abs().max())
