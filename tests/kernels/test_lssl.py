"""One linear state-space layer in three views, its continuous limit, and published numbers."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from todm.core.errors import ConfigError
from todm.kernels.hippo import legs, legt
from todm.kernels.lssl import (
    Readout,
    Steps,
    discretise_ref,
    krylov,
    lssl_chunks,
    lssl_conv,
    lssl_kernel,
    lssl_scan_ref,
)

# relative to the largest output; measured in float32: see the slow test for 16000 frames
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def system(
    heads: int, order: int, outputs: int = 1, dtype=torch.float64, limits=(1e-3, 1e-1)
) -> tuple[Steps, Readout]:
    g = torch.Generator().manual_seed(heads + order)
    a_NN, b_N = (part.to(dtype) for part in legs(order))
    dt_H = torch.linspace(*(math.log(limit) for limit in limits), heads).exp().to(dtype)
    c_HMN = torch.randn(heads, outputs, order, generator=g, dtype=torch.float64).to(dtype)
    d_HM = torch.randn(heads, outputs, generator=g, dtype=torch.float64).to(dtype)
    return discretise_ref(a_NN[None], b_N[None], dt_H, 0.5), Readout(c_HMN, d_HM)


def noise(*shape: int, seed: int = 0, dtype=torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def assert_near(found: Tensor, want: Tensor, tolerance: float) -> None:
    assert found.shape == want.shape
    found, want = found.detach(), want.detach()
    assert float((found - want).abs().max()) <= tolerance * float(want.abs().max())


def views(steps: Steps, readout: Readout, u_BTH: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """Recurrence, convolution and chunks from the zero state: (B, T, H, M) each."""
    state = u_BTH.new_zeros(u_BTH.shape[0], *steps.b_HN.shape, 1)
    scanned, end = lssl_scan_ref(u_BTH[..., None], steps, readout, state)
    k_HMT = lssl_kernel(readout, krylov(steps, u_BTH.shape[1]))
    chunked, chunked_end = lssl_chunks(u_BTH[..., None], steps, readout, state, chunk)
    assert_near(chunked_end, end, 1e-4 if u_BTH.dtype == torch.float32 else 1e-12)
    return scanned[..., 0], lssl_conv(u_BTH, k_HMT), chunked[..., 0]


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 40),
    heads=st.integers(1, 4),
    order=st.integers(1, 9),
    outputs=st.integers(1, 3),
    data=st.data(),
)
def test_the_three_views_agree_on_any_shape(frames, heads, order, outputs, data) -> None:
    steps, readout = system(heads, order, outputs)
    chunk = data.draw(st.integers(1, frames))
    scanned, *others = views(steps, readout, noise(2, frames, heads), chunk)
    for other in others:
        assert_near(other, scanned, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_three_views_agree_over_4000_frames(dtype: torch.dtype) -> None:
    steps, readout = system(2, 64, 2, dtype, limits=(1 / 4000, 100 / 4000))
    scanned, *others = views(steps, readout, noise(1, 4000, 2, dtype=dtype), 100)
    for other in others:
        assert_near(other, scanned, TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_three_views_agree_over_16000_frames(dtype: torch.dtype, tolerance: float) -> None:
    steps, readout = system(2, 128, 1, dtype, limits=(1 / 16000, 100 / 16000))
    scanned, *others = views(steps, readout, noise(1, 16000, 2, dtype=dtype), 400)
    for other in others:
        assert_near(other, scanned, tolerance)


def test_chunks_go_on_from_any_state() -> None:
    steps, readout = system(3, 5, 2)
    u, state = noise(2, 24, 3, 4), noise(2, 3, 5, 4, seed=1)
    want, want_end = lssl_scan_ref(u, steps, readout, state)
    for chunk in (1, 5, 8, 24):
        found, end = lssl_chunks(u, steps, readout, state, chunk)
        assert_near(found, want, 1e-12)
        assert_near(end, want_end, 1e-12)


@pytest.mark.parametrize("chunk", [0, 9])
def test_a_chunk_that_does_not_fit_is_refused(chunk: int) -> None:
    steps, readout = system(1, 2)
    with pytest.raises(ConfigError, match=f"chunk of {chunk} frames does not fit a sequence of 8"):
        lssl_chunks(noise(1, 8, 1, 1), steps, readout, noise(1, 1, 2, 1), chunk)


def test_the_first_output_reads_the_state_that_the_first_frame_wrote() -> None:
    """y_0 = C Bbar u_0 + D u_0: the published recurrence prints it without the C."""
    steps, readout = system(1, 4)
    u = noise(1, 3, 1)
    first = (readout.c_HMN @ steps.b_HN[..., None])[..., 0] + readout.d_HM
    assert_near(views(steps, readout, u, 2)[1][0, 0], first * u[0, 0], 1e-12)


@pytest.mark.parametrize(("alpha", "order_of_error"), [(0.5, 2), (0.0, 1), (1.0, 1)])
def test_the_continuous_limit_is_reached_at_its_order(alpha: float, order_of_error: int) -> None:
    """Against the exact solution for u = cos(w t): halving dt divides the error by 2^order.

    The exact state is the real part of the particular solution minus its decayed start. The input
    is the mean of u over each step, as the paper has it.
    """
    a_NN, b_N = legs(8)
    w, end_s, c_N = 5.0, 2.0, noise(8)
    particular_N = torch.linalg.solve(1j * w * torch.eye(8) - a_NN, b_N.to(torch.complex128))
    start_N = torch.matrix_exp(end_s * a_NN) @ particular_N.real
    exact = c_N @ (
        (particular_N * complex(math.cos(w * end_s), math.sin(w * end_s))).real - start_N
    )
    errors = []
    for frames in (400, 800, 1600):
        dt = end_s / frames
        edges_T = w * dt * torch.arange(frames + 1).double()
        u_T = edges_T.sin().diff() / (w * dt)
        steps = discretise_ref(a_NN[None], b_N[None], torch.tensor([dt]).double(), alpha)
        found = c_N @ (krylov(steps, frames)[0].flip(1) @ u_T)
        errors.append(abs(float(found - exact)))
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(2**order_of_error, rel=0.1)


def test_a_gate_is_a_backward_euler_step() -> None:
    """Lemma 3.1: A = -1, B = 1, alpha = 1, dt = exp(z) make x + sigmoid(z) (u - x)."""
    z_H, x_H, u_H = noise(5), noise(5, seed=1), noise(5, seed=2)
    one = torch.ones(1, 1).double()
    steps = discretise_ref(-one[None], one, z_H.exp(), 1.0)
    found_H = steps.a_HNN[:, 0, 0] * x_H + steps.b_HN[:, 0] * u_H
    gate_H = torch.sigmoid(z_H)
    torch.testing.assert_close(found_H, (1 - gate_H) * x_H + gate_H * u_H, rtol=1e-14, atol=1e-14)


def test_gradients_of_the_convolution_equal_those_of_the_recurrence() -> None:
    a_NN, b_N = legs(5)
    leaves = [a_NN[None].clone(), b_N[None].clone(), torch.tensor([0.02, 0.2]).double()]
    leaves += [noise(2, 2, 5), noise(2, 2), noise(2, 30, 2)]
    for leaf in leaves:
        leaf.requires_grad_()
    weight = noise(2, 30, 2, 2, seed=5)

    def grads(view: int) -> tuple[Tensor, ...]:
        *matrices, c, d, u = leaves
        y = views(discretise_ref(*matrices, 0.5), Readout(c, d), u, 7)[view]
        return torch.autograd.grad((y * weight).sum(), leaves)

    want = grads(0)
    for view in (1, 2):
        for mine, reference in zip(grads(view), want, strict=True):
            assert_near(mine, reference, 1e-11)


def test_the_kernel_is_that_of_the_published_code() -> None:
    """Numbers of state-spaces/s4, src/models/sequence/ss/standalone/lssl.py, run in float64.

    LegT of order 8, dt of 0.001, 0.03 and 0.9, C[h, n] = cos(8 h + n), the first ten lags.
    """
    a_NN, b_N = legt(8)
    dt_H = torch.tensor([0.001, 0.03, 0.9], dtype=torch.float64)
    c_HMN = torch.cos(torch.arange(24).double()).reshape(3, 1, 8)
    steps = discretise_ref(a_NN[None], b_N[None], dt_H, 0.5)
    found = lssl_kernel(Readout(c_HMN, torch.zeros(3, 1).double()), krylov(steps, 10))[:, 0]
    published = """
        3.615691201e-03 3.355305186e-03 3.102086282e-03 2.855932780e-03 2.616743542e-03
        2.384418014e-03 2.158856233e-03 1.939958839e-03 1.727627085e-03 1.521762843e-03
        -1.497664197e-02 -3.595183916e-02 -7.887697542e-02 -1.149541699e-01 -1.321483355e-01
        -1.283686338e-01 -1.070705372e-01 -7.430981582e-02 -3.674647859e-02 -3.415788368e-04
        -7.871702046e-01 -5.904432831e-01 7.906678699e-01 -6.148355253e-01 3.565896362e-01
        -1.073639548e-01 -1.089570073e-01 2.848882842e-01 -4.150216052e-01 4.952059953e-01"""
    numbers = [float(number) for number in published.split()]
    wanted = torch.tensor(numbers, dtype=torch.float64).reshape(3, 10)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12)
