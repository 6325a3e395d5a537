"""Keeping what needs float32 in float32 while the rest of the network runs in bfloat16.

Autocast rounds the inputs of every matrix product to eight bits of mantissa. A state-space kernel
decays over hundreds of frames and a lattice sums over thousands of paths: neither survives that.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def widened(x: Tensor) -> Tensor:
    """Return x in float32 at least: a half-precision one converted, any other as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute in the types of what it is given, whatever autocast says.

    The first argument is a tensor; its device says which autocast is meant.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **named: P.kwargs) -> R:
        first = args[0]
        assert isinstance(first, Tensor)
        with torch.autocast(first.device.type, enabled=False):
            return function(*args, **named)

    return wrapped
