"""State matrices that train and stay structured: products and solutions in O(N).

Legend: G heads (or 1 for all), H heads, N state order, J = N - 1, K columns.

    A = -diag(p) (diag(s) + T^-1) diag(q),  T tridiagonal         (Gu et al. 2021, theorem 11)
    (I - d A) x     = x + d p (s q x + T^-1 q x)
    (I - d A)^-1 x  = q^-1 (T p^-1 q^-1 + d T s + d I)^-1 T p^-1 x

LegS is p = q = sqrt(2n + 1), s = -n / (2n + 1) and T with 1 on the diagonal and -1 below; LagT has
p = q = 1, s = -1/2 and the same T; LegT has p = q = sqrt(2n + 1), s = 0 and T with 1/2 at both ends
of a diagonal of zeros, -1/2 below and 1/2 above it (ours). With T lower bidiagonal of unit diagonal
the eigenvalues are -p q (s + 1), so p, q > 0 and s > -1 are stable by construction, and the leading
blocks of everything are those of a smaller order.

Gradients are closed forms; no tape runs through an elimination. With a = d dy for the product and
a = -d (I - d A)^-T dy for the solution, v what A acts on (x, or the solution), w = q v, z = T^-1 w,
f = p a and g = T^-T f:  dp = a (s w + z), ds = f w, dq = v (s f + g), dT_ij = -g_i z_j.
"""

from typing import Any, Literal, NamedTuple, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


class Structure(NamedTuple):
    """The factors of -A of every head."""

    p_GN: Tensor
    q_GN: Tensor
    s_GN: Tensor
    diag_GN: Tensor
    lower_GJ: Tensor
    upper_GJ: Tensor | None = None
    """None: T is lower bidiagonal."""

    @property
    def transposed(self) -> "Structure":
        """The factors of -A^T."""
        above = self.lower_GJ if self.upper_GJ is None else self.upper_GJ
        below = torch.zeros_like(self.lower_GJ) if self.upper_GJ is None else above
        return Structure(self.q_GN, self.p_GN, self.s_GN, self.diag_GN, below, self.lower_GJ)


def factors(kind: Literal["legs", "legt", "lagt"], order: int) -> Structure:
    """Return the factors of one head in float64; B = p in every case."""
    indices_1N = torch.arange(order, dtype=torch.float64)[None]
    ones_1N, root_1N = torch.ones_like(indices_1N), torch.sqrt(2.0 * indices_1N + 1.0)
    minus_1J = -ones_1N[:, 1:]
    match kind:
        case "legs":
            s_1N = -indices_1N / (2.0 * indices_1N + 1.0)
            return Structure(root_1N, root_1N, s_1N, ones_1N, minus_1J)
        case "lagt":
            return Structure(ones_1N, ones_1N, -0.5 * ones_1N, ones_1N, minus_1J)
        case "legt":
            diag_1N = torch.zeros_like(ones_1N)
            diag_1N[:, 0] += 0.5
            diag_1N[:, -1] += 0.5
            return Structure(root_1N, root_1N, 0.0 * ones_1N, diag_1N, minus_1J / 2, -minus_1J / 2)
        case _:
            assert_never(kind)


def dense_ref(family: Structure) -> Float[Tensor, "G N N"]:
    """Return A by inverting T: the definition."""
    t_GNN = torch.diag_embed(family.diag_GN) + torch.diag_embed(family.lower_GJ, -1)
    if family.upper_GJ is not None:
        t_GNN = t_GNN + torch.diag_embed(family.upper_GJ, 1)
    inner_GNN = torch.diag_embed(family.s_GN) + torch.linalg.inv(t_GNN)
    return -family.p_GN[:, :, None] * inner_GNN * family.q_GN[:, None, :]


def tridiagonal_product(family: Structure, x_HNK: Tensor) -> Float[Tensor, "H N K"]:
    """Return T x."""
    y_HNK = family.diag_GN[..., None] * x_HNK
    y_HNK[:, 1:] += family.lower_GJ[..., None] * x_HNK[:, :-1]
    if family.upper_GJ is not None:
        y_HNK[:, :-1] += family.upper_GJ[..., None] * x_HNK[:, 1:]
    return y_HNK


def eliminate(
    diag_GN: Float[Tensor, "G N"],
    lower_GJ: Float[Tensor, "G J"],
    upper_GJ: Float[Tensor, "G J"] | None,
    x_HNK: Float[Tensor, "H N K"],
) -> Float[Tensor, "H N K"]:
    """Solve a tridiagonal system by elimination without pivots, all heads at once."""
    order = x_HNK.shape[1]
    rows = list(x_HNK.unbind(1))
    pivot_G = [diag_GN[:, 0]]
    for n in range(1, order):
        factor_G = lower_GJ[:, n - 1] / pivot_G[-1]
        pivot = diag_GN[:, n]
        if upper_GJ is not None:
            pivot = pivot - factor_G * upper_GJ[:, n - 1]
        pivot_G.append(pivot)
        rows[n] = torch.addcmul(rows[n], factor_G[:, None], rows[n - 1], value=-1.0)
    if upper_GJ is not None:
        for n in range(order - 1, 0, -1):
            factor_G = upper_GJ[:, n - 1] / pivot_G[n]
            rows[n - 1] = torch.addcmul(rows[n - 1], factor_G[:, None], rows[n], value=-1.0)
    return torch.stack(rows, 1) / torch.stack(pivot_G, 1)[..., None]


def _inverse_product(family: Structure, x_HNK: Tensor) -> Tensor:
    """Return T^-1 x."""
    return eliminate(family.diag_GN, family.lower_GJ, family.upper_GJ, x_HNK)


def _product(family: Structure, d_H: Tensor, x_HNK: Tensor) -> Tensor:
    w_HNK = family.q_GN[..., None] * x_HNK
    inner_HNK = family.s_GN[..., None] * w_HNK + _inverse_product(family, w_HNK)
    return x_HNK + d_H[:, None, None] * family.p_GN[..., None] * inner_HNK


def _solution(family: Structure, d_H: Tensor, x_HNK: Tensor) -> Tensor:
    d_H1 = d_H[:, None]
    column_HN = 1.0 / (family.p_GN * family.q_GN) + d_H1 * family.s_GN
    diag_HN = family.diag_GN * column_HN + d_H1
    lower_HJ = family.lower_GJ * column_HN[:, :-1]
    upper_HJ = None if family.upper_GJ is None else family.upper_GJ * column_HN[:, 1:]
    right_HNK = tridiagonal_product(family, x_HNK / family.p_GN[..., None])
    return eliminate(diag_HN, lower_HJ, upper_HJ, right_HNK) / family.q_GN[..., None]


def _family_gradients(family: Structure, a_HNK: Tensor, v_HNK: Tensor) -> Gradients:
    """Return the gradients of p, q, s and T's diagonals; see the module's docstring."""
    p, q, s = (part[..., None] for part in family[:3])
    w_HNK, f_HNK = q * v_HNK, p * a_HNK
    z_HNK = _inverse_product(family, w_HNK)
    g_HNK = _inverse_product(family.transposed, f_HNK)
    t_grads = [-g_HNK * z_HNK, -g_HNK[:, 1:] * z_HNK[:, :-1]]
    if family.upper_GJ is not None:
        t_grads.append(-g_HNK[:, :-1] * z_HNK[:, 1:])
    grads = [a_HNK * (s * w_HNK + z_HNK), v_HNK * (s * f_HNK + g_HNK), f_HNK * w_HNK, *t_grads]
    shapes = [part.shape for part in family if part is not None]
    summed = [g.sum(2).sum_to_size(shape) for g, shape in zip(grads, shapes, strict=True)]
    return (*summed, *[None] * (len(family) - len(summed)))


def _wanted(ctx: Any, family: Structure, a_HNK: Tensor, v_HNK: Tensor) -> Gradients:
    """Return the factors' gradients, or nothing where none of them trains."""
    if not any(ctx.needs_input_grad[2:]):
        return (None,) * len(family)
    return _family_gradients(family, a_HNK, v_HNK)


class _Product(torch.autograd.Function):
    """y = (I - d A) x."""

    @staticmethod
    def forward(ctx: Any, d_H: Tensor, x_HNK: Tensor, *parts: Any) -> Tensor:
        ctx.save_for_backward(d_H, x_HNK, *parts)
        return _product(Structure(*parts), d_H, x_HNK)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        d_H, x_HNK, *parts = ctx.saved_tensors
        family, dy_HNK = Structure(*parts), grads[0]
        ones_H = torch.ones_like(d_H)
        minus_ax_HNK = _product(family, ones_H, x_HNK) - x_HNK
        dx_HNK = _product(family.transposed, d_H, dy_HNK)
        of_family = _wanted(ctx, family, d_H[:, None, None] * dy_HNK, x_HNK)
        return (dy_HNK * minus_ax_HNK).sum((1, 2)), dx_HNK, *of_family


class _Solution(torch.autograd.Function):
    """y = (I - d A)^-1 x."""

    @staticmethod
    def forward(ctx: Any, d_H: Tensor, x_HNK: Tensor, *parts: Any) -> Tensor:
        y_HNK = _solution(Structure(*parts), d_H, x_HNK)
        ctx.save_for_backward(d_H, y_HNK, *parts)
        return y_HNK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        d_H, y_HNK, *parts = ctx.saved_tensors
        family = Structure(*parts)
        dx_HNK = _solution(family.transposed, d_H, grads[0])
        minus_ay_HNK = _product(family, torch.ones_like(d_H), y_HNK) - y_HNK
        of_family = _wanted(ctx, family, -d_H[:, None, None] * dx_HNK, y_HNK)
        return -(dx_HNK * minus_ay_HNK).sum((1, 2)), dx_HNK, *of_family


def structured_product(
    family: Structure, d_H: Float[Tensor, " H"], x_HNK: Float[Tensor, "H N K"]
) -> Float[Tensor, "H N K"]:
    """Return (I - d A) x."""
    return _Product.apply(d_H, x_HNK, *family)  # type: ignore[no-untyped-call]


def structured_solution(
    family: Structure, d_H: Float[Tensor, " H"], x_HNK: Float[Tensor, "H N K"]
) -> Float[Tensor, "H N K"]:
    """Return (I - d A)^-1 x."""
    return _Solution.apply(d_H, x_HNK, *family)  # type: ignore[no-untyped-call]
