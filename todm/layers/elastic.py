"""Linear maps of which any leading block can be used.

A smaller net's weight is the leading rows and columns of a larger one's, so slicing is a view
and extraction a copy (rule 2 of the architecture).
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class ElasticLinear(nn.Linear):
    """y = x W[:out, :in]^T + b[:out]; ``in`` follows from x, ``out`` is asked for."""

    def forward(self, x_XI: Tensor, out_features: int | None = None) -> Tensor:
        """Map x of shape (..., in) to (..., out).

        Raises:
            ValueError: more inputs or outputs than the layer holds.
        """
        wide_in, wide_out = x_XI.shape[-1], out_features or self.out_features
        if wide_in > self.in_features or wide_out > self.out_features:
            raise ValueError(
                f"asked for {wide_in} -> {wide_out} of a "
                f"{self.in_features} -> {self.out_features} layer"
            )
        bias = self.bias[:wide_out] if self.bias is not None else None
        return F.linear(x_XI, self.weight[:wide_out, :wide_in], bias)


class HeadLinear(nn.Module):
    """A map of its own for each of G heads; of (B, T, G', P) the first G' maps are used."""

    def __init__(self, num_heads: int, head_dim: int) -> None:
        super().__init__()
        bound = head_dim**-0.5
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim, head_dim))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.zeros(num_heads, head_dim))

    def forward(self, x_BTGP: Tensor) -> Tensor:
        """Map each head's channels."""
        weight_GPP: Tensor = self.weight
        bias_GP: Tensor = self.bias
        heads = x_BTGP.shape[2]
        if heads < weight_GPP.shape[0]:  # a whole slice would still end up in an exported graph
            weight_GPP, bias_GP = weight_GPP[:heads], bias_GP[:heads]
        return (x_BTGP.transpose(1, 2) @ weight_GPP).transpose(1, 2) + bias_GP


class DenseLinear(nn.Linear):
    """An elastic linear that is only ever used whole: no slicing ends up in a graph."""

    def forward(self, x_XI: Tensor, out_features: int | None = None) -> Tensor:  # noqa: ARG002
        """Map x of shape (..., in) to (..., out)."""
        return F.linear(x_XI, self.weight, self.bias)


def dense_linear(layer: nn.Linear) -> DenseLinear:
    """Return a dense linear of the same weights."""
    plain = DenseLinear(layer.in_features, layer.out_features, layer.bias is not None)
    plain.load_state_dict(layer.state_dict())
    return plain


def dense(module: M) -> M:
    """Return a copy for export whose elastic linears are dense ones of the same weights."""
    return _densify(copy.deepcopy(module))


def _densify(module: M) -> M:
    for name, child in module.named_children():
        if isinstance(child, ElasticLinear):
            setattr(module, name, dense_linear(child))
        else:
            _densify(child)
    return module
