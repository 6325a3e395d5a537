import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from todm.kernels.history import gated, history, history_kernel, history_ref


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(
    frames=st.integers(1, 12),
    inputs=st.integers(1, 3),
    units=st.integers(1, 3),
    window=st.integers(1, 14),
    groups=st.integers(1, 3),
)
def test_parallel_form_equals_the_loop(frames, inputs, units, window, groups) -> None:
    x, bias = draw(2, frames, groups * inputs), draw(groups * units, seed=1)
    taps = draw(groups * units, inputs, window, seed=2)
    found, last = history(x, history_kernel(taps), bias)
    torch.testing.assert_close(found, history_ref(x, taps, bias), rtol=1e-13, atol=1e-13)
    padded = torch.cat([x.new_zeros(2, window, x.shape[2]), x], 1)
    assert torch.equal(last, padded[:, -window:])


@pytest.mark.parametrize("chunk", [1, 3, 16, 40])
def test_chunks_give_what_the_whole_gives(chunk: int) -> None:
    x, taps, bias = draw(2, 40, 3), draw(4, 3, 7, seed=1), draw(4, seed=2)
    past, found = None, []
    for part in x.split(chunk, 1):
        h, past = history(part, history_kernel(taps), bias, past)
        found.append(h)
    want = history(x, history_kernel(taps), bias)[0]
    torch.testing.assert_close(torch.cat(found, 1), want, rtol=0, atol=1e-13)


def test_lag_j_is_the_jth_tap_and_the_frame_itself_is_not_seen() -> None:
    taps = draw(1, 1, 3)
    impulse = torch.zeros(1, 6, 1, dtype=torch.float64)
    impulse[0, 1] = 1.0
    h = history(impulse, history_kernel(taps))[0][0, :, 0]
    torch.testing.assert_close(h, torch.tensor([0.0, 0.0, *taps[0, 0].tolist(), 0.0]).double())


def test_a_prefix_of_the_taps_keeps_the_most_recent_frames() -> None:
    x, taps = draw(1, 20, 2), draw(3, 2, 9, seed=1)
    cut = taps.clone()
    cut[..., 4:] = 0.0
    short, masked = (history(x, history_kernel(kept))[0] for kept in (taps[..., :4], cut))
    torch.testing.assert_close(short, masked)


def test_an_open_gate_hands_the_history_out_unsquashed() -> None:
    h, candidate, wide = draw(2, 3) * 100.0, draw(2, 3, seed=1), torch.full((2, 3), 60.0).double()
    torch.testing.assert_close(gated(h, wide, candidate), h)
    torch.testing.assert_close(gated(h, -wide, candidate), candidate.tanh())
