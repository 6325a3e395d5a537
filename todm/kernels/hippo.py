"""State matrices of linear state-space layers, and their step in O(N).

Legend: N state order, H timescales, B batch, P channels that share a timescale.

    x'(t) = A x(t) + b u(t)
    LegS   A[n,k] = -r_n r_k (n > k), -(n + 1) (n = k), 0 (n < k);      b = r,  r_n = sqrt(2n + 1)
    LegT   A[n,k] = -r_n r_k (n >= k), -(-1)^(n-k) r_n r_k (n < k);     b = r
    LagT   A[n,k] = -1 (n > k), -1/2 (n = k), 0 (n < k);                b = 1

Sources: Gu et al. 2020 (HiPPO, arXiv 2008.07669) and 2021 (LSSL, arXiv 2110.13985, appendix E.2,
whose minus sign appendix B.2 leaves out). LegS and LagT are lower triangular, so the leading
blocks of everything made of them are those of a smaller order; LegT's are not. The step of LegS
over running sums is ours.
"""

from typing import NamedTuple, assert_never

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from todm.core.errors import ConfigError
from todm.core.lssl import StateKind

RANDOM_ABSCISSA = -0.5


class Transition(NamedTuple):
    """A linear differential equation of the state, in float64."""

    a_NN: Tensor
    b_N: Tensor


def transition(kind: StateKind, order: int) -> Transition:
    """Return the matrices that a name stands for; ``random`` draws from torch's generator.

    Raises:
        ConfigError: an order below 1.
    """
    if order < 1:
        raise ConfigError(f"a state of order {order} holds nothing; give at least 1")
    match kind:
        case "legs":
            return legs(order)
        case "legt":
            return legt(order)
        case "lagt":
            return lagt(order)
        case "random":
            return random_transition(order)
        case _:
            assert_never(kind)


def roots(order: int) -> Float[Tensor, " N"]:
    """Return r_n = sqrt(2n + 1)."""
    return torch.sqrt(2.0 * torch.arange(order, dtype=torch.float64) + 1.0)


def legs(order: int) -> Transition:
    """Return HiPPO-LegS: Legendre coefficients of the whole past, scaled to [0, 1]."""
    r_N = roots(order)
    diagonal = torch.diag(torch.arange(order, dtype=torch.float64) + 1.0)
    return Transition(-torch.tril(torch.outer(r_N, r_N), -1) - diagonal, r_N)


def legt(order: int) -> Transition:
    """Return HiPPO-LegT: Legendre coefficients of a window that slides."""
    r_N = roots(order)
    sign_N = (-1.0) ** torch.arange(order, dtype=torch.float64)
    above = torch.triu(torch.outer(sign_N, sign_N), 1)
    pattern = torch.tril(torch.ones_like(above)) + above
    return Transition(-torch.outer(r_N, r_N) * pattern, r_N)


def lagt(order: int) -> Transition:
    """Return HiPPO-LagT: Laguerre coefficients of a past that fades exponentially."""
    ones = torch.ones(order, order, dtype=torch.float64)
    return Transition(-torch.tril(ones, -1) - 0.5 * torch.eye(order), ones[0])


def random_transition(order: int) -> Transition:
    """Return Gaussian entries over sqrt(N), shifted to the abscissa -1/2: the paper's ablation."""
    a_NN = torch.randn(order, order, dtype=torch.float64) / order**0.5
    shift = RANDOM_ABSCISSA - float(torch.linalg.eigvals(a_NN).real.max())
    return Transition(a_NN + shift * torch.eye(order), torch.randn(order, dtype=torch.float64))


def eigenvalues(a_NN: Float[Tensor, "N N"]) -> Tensor:
    """Return the eigenvalues; those of a triangular matrix, far from normal, are read off."""
    if not bool(torch.triu(a_NN, 1).any()):
        return torch.diagonal(a_NN).to(torch.complex128)
    return torch.linalg.eigvals(a_NN.double())


def check_stable(a_NN: Float[Tensor, "N N"]) -> None:
    """Check that the state fades.

    Raises:
        ConfigError: it does not.
    """
    abscissa = float(eigenvalues(a_NN).real.max())
    if not abscissa < 0.0:
        raise ConfigError(
            f"the state matrix has an eigenvalue of real part {abscissa:.3g}, so the state grows; "
            "every real part must be below 0 (subtract a multiple of the identity)"
        )


def check_steps(
    eigenvalues_GN: Shaped[Tensor, "G N"], dt_H: Float[Tensor, " H"], alpha: float
) -> None:
    """Check that every discretised state fades: dt N < 2 for LegS and Euler steps.

    Raises:
        ConfigError: a step is too long for ``alpha``.
    """
    if alpha >= 0.5:
        return  # stable for every stable matrix (Gu et al. 2021, section 3.1)
    z_HN = dt_H[:, None] * eigenvalues_GN
    size_HN = ((1.0 + (1.0 - alpha) * z_HN) / (1.0 - alpha * z_HN)).abs()
    if not bool((size_HN < 1.0).all()):
        raise ConfigError(
            f"alpha {alpha} with steps up to {float(dt_H.max()):.3g} and a state of order "
            f"{eigenvalues_GN.shape[1]} is unstable (of LegS, dt N (1 - 2 alpha) must stay below "
            "2); use alpha 0.5 or shorter steps"
        )


def legs_step(
    state_BHNP: Float[Tensor, "B H N P"],
    u_BHP: Float[Tensor, "B H P"],
    dt_H: Float[Tensor, " H"],
    alpha: float = 0.5,
) -> Float[Tensor, "B H N P"]:
    """Advance the state of LegS by a frame in O(N): no N x N matrix.

    A x = -(r s + (n + 1) x) with the running sum s_n = sum_(k<n) r_k x_k, so both the product
    with I + (1 - alpha) dt A and the solution with I - alpha dt A are one pass over n.
    """
    order = state_BHNP.shape[2]
    r_N = roots(order).to(state_BHNP)
    near_H1, far_H1 = (alpha * dt_H)[:, None], ((1.0 - alpha) * dt_H)[:, None]
    input_BHP = dt_H[:, None] * u_BHP
    old_BHP = new_BHP = torch.zeros_like(u_BHP)
    rows = []
    for n, (x_BHP, r) in enumerate(zip(state_BHNP.unbind(2), r_N, strict=True)):
        moved_BHP = x_BHP - far_H1 * (r * old_BHP + (n + 1) * x_BHP) + r * input_BHP
        o_BHP = (moved_BHP - near_H1 * r * new_BHP) / (1.0 + near_H1 * (n + 1))
        old_BHP, new_BHP = old_BHP + r * x_BHP, new_BHP + r * o_BHP
        rows.append(o_BHP)
    return torch.stack(rows, 2)
