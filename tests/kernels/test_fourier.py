"""Convolution by FFT: the definition, and its gradients."""

import pytest
import torch

from todm.kernels.fourier import causal_fft, fft_size


def convolved(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Sum by the definition."""
    frames = x.shape[-1]
    rows = [(k[..., : t + 1].flip(-1) * x[..., : t + 1]).sum(-1) for t in range(frames)]
    return torch.stack(rows, -1)


@pytest.mark.parametrize(
    ("x_shape", "k_shape"), [((7,), (7,)), ((2, 3, 1, 5), (3, 2, 5)), ((2, 3, 4, 1), (3, 1, 1))]
)
def test_convolution_and_its_gradients_are_those_of_the_definition(
    x_shape: tuple[int, ...], k_shape: tuple[int, ...]
) -> None:
    draw = torch.Generator().manual_seed(0)
    x, k = (
        torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True)
        for shape in (x_shape, k_shape)
    )
    found, wanted = causal_fft(x, k), convolved(x, k)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    pull = torch.randn(wanted.shape, generator=draw, dtype=torch.float64)
    for got, want in zip(
        torch.autograd.grad(found, (x, k), pull),
        torch.autograd.grad(wanted, (x, k), pull),
        strict=True,
    ):
        assert torch.allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_a_gradient_that_is_not_asked_for_is_not_made(which: int) -> None:
    pair = [torch.ones(2, 4, dtype=torch.float64) for _ in range(2)]
    pair[which].requires_grad_()
    causal_fft(*pair).sum().backward()
    want = torch.tensor([[4.0, 3, 2, 1]] * 2, dtype=torch.float64)
    assert torch.allclose(pair[which].grad, want, rtol=0, atol=1e-12)
    assert pair[1 - which].grad is None


def test_fft_size_holds_a_linear_convolution() -> None:
    sizes = [fft_size(frames) for frames in range(1, 600)]
    assert all(size >= 2 * frames for frames, size in enumerate(sizes, 1))
    assert all(size < 4 * frames or size == 2 for frames, size in enumerate(sizes, 1))
    assert all(size & (size - 1) == 0 for size in sizes)
