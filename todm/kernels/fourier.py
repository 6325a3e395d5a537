"""Causal convolution by real FFTs, with gradients by real FFTs too.

T frames; other axes broadcast.

    y_t = sum_{i <= t} k_i x_{t - i};   dx_t = sum_{i >= 0} k_i dy_{t + i};   dk alike with x

A convolution of T frames is circular in length >= 2 T, so that a gradient is the product of one
spectrum with the other's conjugate. The derivatives that PyTorch records for ``rfft`` and ``irfft``
are complex transforms of the whole length.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def fft_size(frames: int) -> int:
    """Return the power of two that holds a linear convolution of two T-frame signals."""
    return 1 << math.ceil(math.log2(max(2, 2 * frames)))


class _CausalFFT(torch.autograd.Function):
    """``causal_fft``; the spectra of both inputs are kept for the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor) -> Tensor:
        frames = x.shape[-1]
        size = fft_size(frames)
        x_f, k_f = torch.fft.rfft(x, n=size), torch.fft.rfft(k, n=size)
        ctx.save_for_backward(x_f, k_f)
        ctx.frames, ctx.size = frames, size
        return torch.fft.irfft(x_f * k_f, n=size)[..., :frames]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_f, k_f = ctx.saved_tensors
        frames, size = ctx.frames, ctx.size
        dy_f = torch.fft.rfft(dy, n=size)
        dx = dk = None
        if ctx.needs_input_grad[0]:
            spectrum = (dy_f * k_f.conj_physical()).sum_to_size(x_f.shape)
            dx = torch.fft.irfft(spectrum, n=size)[..., :frames]
        if ctx.needs_input_grad[1]:
            # The sum over what k is shared by comes first: the conjugate of the sum is cheap.
            spectrum = (dy_f.conj_physical_() * x_f).sum_to_size(k_f.shape)
            dk = torch.fft.irfft(spectrum.conj_physical(), n=size)[..., :frames]
        return dx, dk


def causal_fft(x: Float[Tensor, "*X T"], k: Float[Tensor, "*K T"]) -> Float[Tensor, "*Y T"]:
    """Convolve along the last axis from zeros before the first frame.

    Args:
        x: float32 or float64; its axes before the last broadcast with those of ``k``.
        k: the kernel, as long as ``x``.

    Returns:
        As long as ``x``.
    """
    return _CausalFFT.apply(x, k)  # type: ignore[no-untyped-call]
