"""State matrices against their definitions, and the O(N) step of LegS against the dense one."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.core.errors import ConfigError
from todm.kernels.hippo import (
    check_stable,
    check_steps,
    eigenvalues,
    lagt,
    legs,
    legs_step,
    legt,
    random_transition,
    roots,
    transition,
)
from todm.kernels.lssl import discretise_ref


def test_legs_projects_onto_legendre_polynomials_of_the_whole_past() -> None:
    """x' = (A x + b f) / t keeps the coefficients of f over [0, t] (Gu et al. 2020, eq. 3).

    Of a polynomial they are known: of f(s) = s the two leading ones are t / 2 and t / (2 sqrt 3).
    """
    a_NN, b_N = legs(6)
    coefficients_N = torch.tensor([1 / 2, 1 / (2 * math.sqrt(3)), 0, 0, 0, 0]).double()
    for t in (0.5, 2.0):
        slope_N = (a_NN @ (t * coefficients_N) + b_N * t) / t
        torch.testing.assert_close(slope_N, coefficients_N, rtol=1e-6, atol=1e-7)


def test_legs_contracts() -> None:
    a_NN, r_N = legs(9).a_NN, roots(9)
    wanted = -(torch.outer(r_N, r_N) + torch.eye(9))
    torch.testing.assert_close(a_NN + a_NN.T, wanted)
    assert eigenvalues(a_NN).real.tolist() == [-float(n + 1) for n in range(9)]


def test_entries_of_every_matrix() -> None:
    """By the formulas, entry by entry."""
    for n in range(5):
        for k in range(5):
            r = math.sqrt((2 * n + 1) * (2 * k + 1))
            wanted = {
                legs: -r if n > k else (-(n + 1) if n == k else 0.0),
                legt: -r if n >= k else -((-1) ** (n - k)) * r,
                lagt: -1.0 if n > k else (-0.5 if n == k else 0.0),
            }
            for make, entry in wanted.items():
                assert float(make(5).a_NN[n, k]) == pytest.approx(entry, abs=1e-15)


def test_a_random_matrix_has_its_abscissa() -> None:
    torch.manual_seed(0)
    a_NN, b_N = random_transition(40)
    assert float(torch.linalg.eigvals(a_NN).real.max()) == pytest.approx(-0.5)
    off_diagonal = a_NN[~torch.eye(40, dtype=torch.bool)]
    assert float(off_diagonal.std()) == pytest.approx(40**-0.5, rel=0.1)
    assert b_N.shape == (40,)


@pytest.mark.parametrize("kind", ["legs", "legt", "lagt", "random"])
def test_every_matrix_is_stable_and_an_order_of_nothing_is_refused(kind) -> None:
    check_stable(transition(kind, 16).a_NN)
    with pytest.raises(ConfigError, match="order 0 holds nothing"):
        transition(kind, 0)


def test_a_matrix_that_grows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"real part 0\.25"):
        check_stable(torch.diag(torch.tensor([-1.0, 0.25])))
    with pytest.raises(ConfigError, match="real part 0"):
        check_stable(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))


@pytest.mark.parametrize(("alpha", "limit"), [(0.0, 2 / 32), (0.25, 4 / 32)])
def test_explicit_steps_have_a_longest_one(alpha: float, limit: float) -> None:
    values_GN = eigenvalues(legs(32).a_NN)[None]
    check_steps(values_GN, torch.tensor([0.001, 0.99 * limit]), alpha)
    with pytest.raises(ConfigError, match=r"unstable.*alpha 0.5 or shorter"):
        check_steps(values_GN, torch.tensor([0.001, 1.01 * limit]), alpha)
    check_steps(values_GN, torch.tensor([1e3]), 0.5)


@settings(max_examples=30, deadline=None)
@given(
    order=st.integers(1, 20),
    alpha=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_the_step_of_legs_equals_the_dense_one(order: int, alpha: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    state = torch.randn(2, 3, order, 2, generator=g).double()
    u = torch.randn(2, 3, 2, generator=g).double()
    dt_H = torch.tensor([0.003, 0.02, 0.09]).double()
    a_NN, b_N = legs(order)
    steps = discretise_ref(a_NN[None], b_N[None], dt_H, alpha)
    wanted = steps.a_HNN @ state + steps.b_HN[..., None] * u[:, :, None]
    torch.testing.assert_close(legs_step(state, u, dt_H, alpha), wanted, rtol=1e-12, atol=1e-12)
