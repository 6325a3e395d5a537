"""The short convolution equals torch's own, whole and in chunks of any size."""

import pytest
import torch
import torch.nn.functional as F

from todm.kernels.conv import causal_taps


@pytest.mark.parametrize("num_taps", [1, 2, 4])
@pytest.mark.parametrize("chunk", [1, 3, 11])
def test_equals_a_depthwise_convolution(num_taps: int, chunk: int) -> None:
    g = torch.Generator().manual_seed(0)
    x_BTX = torch.randn(2, 11, 5, generator=g, dtype=torch.float64)
    taps_XK = torch.randn(5, num_taps, generator=g, dtype=torch.float64)
    padded_BXT = F.pad(x_BTX.transpose(1, 2), (num_taps - 1, 0))
    want = F.conv1d(padded_BXT, taps_XK[:, None], groups=5).transpose(1, 2)
    whole, past = causal_taps(x_BTX, taps_XK)
    torch.testing.assert_close(whole, want)
    assert torch.equal(past, x_BTX[:, 11 - num_taps + 1 :])
    outputs, state = [], x_BTX.new_zeros(2, num_taps - 1, 5)
    for part in x_BTX.split(chunk, 1):
        y, state = causal_taps(part, taps_XK, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), want)
    assert torch.equal(state, past)
