"""Structured matrices against dense ones: values, products, solutions, gradients."""

import pytest
import torch
from torch import Tensor

from todm.kernels.hippo import transition
from todm.kernels.lssl import discretise, discretise_ref, krylov
from todm.kernels.structured import (
    Structure,
    dense_ref,
    eliminate,
    factors,
    structured_product,
    structured_solution,
    tridiagonal_product,
)

ORDER, HEADS = 7, 3


def drawn(groups: int, *, full: bool, seed: int = 0) -> Structure:
    """Factors as after some training."""
    g = torch.Generator().manual_seed(seed)

    def noise(width: int) -> Tensor:
        return 0.3 * torch.randn(groups, width, generator=g).double()

    start = factors("legs", ORDER)
    p, q = (part * noise(ORDER).exp() for part in start[:2])
    upper = noise(ORDER - 1) if full else None
    return Structure(p, q, start.s_GN + noise(ORDER), 1 + noise(ORDER), noise(ORDER - 1) - 1, upper)


each_family = pytest.mark.parametrize("full", [False, True], ids=["bidiagonal", "tridiagonal"])
each_count = pytest.mark.parametrize("groups", [1, HEADS])


@pytest.mark.parametrize("kind", ["legs", "legt", "lagt"])
@pytest.mark.parametrize("order", [1, 2, 3, 8, 64])
def test_the_factors_are_those_of_the_known_matrices(kind, order: int) -> None:
    family = factors(kind, order)
    a_NN, b_N = transition(kind, order)
    scale = float(a_NN.abs().max())
    torch.testing.assert_close(dense_ref(family)[0], a_NN, rtol=0, atol=1e-13 * scale)
    torch.testing.assert_close(family.p_GN[0], b_N)


@each_family
def test_elimination_undoes_the_product(full: bool) -> None:
    family = drawn(HEADS, full=full)
    x = torch.randn(HEADS, ORDER, 4).double()
    right = tridiagonal_product(family, x)
    found = eliminate(family.diag_GN, family.lower_GJ, family.upper_GJ, right)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


@each_family
@each_count
def test_products_and_solutions_equal_the_dense_ones(full: bool, groups: int) -> None:
    family, x = drawn(groups, full=full), torch.randn(HEADS, ORDER, 4).double()
    d_H = torch.tensor([0.01, 0.1, 0.4]).double()
    dense = torch.eye(ORDER) - d_H[:, None, None] * dense_ref(family)
    tolerance = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(structured_product(family, d_H, x), dense @ x, **tolerance)
    solved = structured_solution(family, d_H, x)
    torch.testing.assert_close(solved, torch.linalg.solve(dense, x), **tolerance)
    swapped = dense_ref(family.transposed)
    torch.testing.assert_close(swapped, dense_ref(family).transpose(1, 2), **tolerance)


@each_family
@each_count
@pytest.mark.parametrize("form", ["product", "solution"])
def test_the_closed_form_gradients_are_those_of_the_dense_form(full, groups, form) -> None:
    """Of the step, of what A acts on, and of every factor, by autograd through T^-1."""
    leaves = [p.requires_grad_() for p in drawn(groups, full=full) if p is not None]
    d_H = torch.tensor([0.01, 0.1, 0.4]).double().requires_grad_()
    x = torch.randn(HEADS, ORDER, 2).double().requires_grad_()
    weight = torch.randn(HEADS, ORDER, 2).double()

    def dense() -> Tensor:
        step = torch.eye(ORDER) - d_H[:, None, None] * dense_ref(Structure(*leaves))
        return step @ x if form == "product" else torch.linalg.solve(step, x)

    def structured() -> Tensor:
        call = structured_product if form == "product" else structured_solution
        return call(Structure(*leaves), d_H, x)

    want, found = (
        torch.autograd.grad((run() * weight).sum(), [d_H, x, *leaves])
        for run in (dense, structured)
    )
    for mine, reference in zip(found, want, strict=True):
        scale = float(reference.abs().max())
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12 * max(1.0, scale))


@pytest.mark.parametrize("kind", ["legs", "legt", "lagt"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("order", [1, 5, 48])
def test_discretised_by_elimination_equals_the_closed_form(kind, alpha: float, order: int) -> None:
    dt_H = torch.tensor([0.001, 0.01, 0.04]).double()
    family, (a_NN, b_N) = factors(kind, order), transition(kind, order)
    found = discretise(family, family.p_GN, dt_H, alpha)
    wanted = discretise_ref(a_NN[None], b_N[None], dt_H, alpha)
    for mine, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


def test_leading_blocks_of_a_bidiagonal_family_nest() -> None:
    """The equation of a smaller order is the leading block of the larger one's, with any factors.

    With T tridiagonal it is another equation altogether.
    """
    dt_H, order = torch.tensor([0.01, 0.1, 0.5]).double(), 3
    for full in (False, True):
        family = drawn(HEADS, full=full)
        whole = discretise(family, family.p_GN, dt_H, 0.5)
        parts = [p if p is None else p[:, : order - (p.shape[1] < ORDER)] for p in family]
        small = Structure(*parts)
        found = discretise(small, small.p_GN, dt_H, 0.5)
        error = float((krylov(found, 50) - krylov(whole, 50)[:, :order]).abs().max())
        assert error > 1e-2 if full else error < 1e-12
