"""The streaming forms of the scan against the recurrence that defines them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.kernels.conv import causal_taps
from todm.kernels.ssm import Modes, ssm_ahead_ref, ssm_scan_ref, zero_state
from todm.kernels.ssm_recurrent import FusedRecurrence, recurrence, ssm_step, step_constants

FORMS = ("folded", "unrolled", "custom")


def modes(heads, num_modes, seed, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    size = torch.rand(heads, num_modes, generator=g, dtype=dtype)
    angle = torch.rand(heads, num_modes, generator=g, dtype=dtype)
    weights = torch.randn(heads, num_modes, 2, generator=g, dtype=dtype)
    skip = torch.randn(heads, generator=g, dtype=dtype)
    return Modes(torch.polar(0.9 + 0.09 * size, 3 * angle), torch.view_as_complex(weights), skip)


@settings(deadline=None, max_examples=25)
@given(
    heads=st.integers(1, 4),
    width=st.integers(1, 5),
    num_modes=st.integers(1, 5),
    frames=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_every_form_equals_the_reference(heads, width, num_modes, frames, seed):
    own = modes(heads, num_modes, seed)
    g = torch.Generator().manual_seed(seed)
    u = torch.randn(2, frames, heads, width, generator=g, dtype=torch.float64)
    state = torch.randn(2, heads, 2 * num_modes, width, generator=g, dtype=torch.float64)
    want = ssm_scan_ref(u, own, state)
    for form in FORMS:
        got = ssm_step(u, state, step_constants(form, own, frames))
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10, msg=form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block_frames", [2, 4, 8])
def test_every_form_looks_ahead_like_the_reference(form, block_frames):
    own, later = modes(3, 4, 0), modes(3, 4, 1)
    later = later._replace(d_H=torch.zeros(3, dtype=torch.float64))  # the skip is the first scan's
    u = torch.randn(2, 8, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    state = zero_state(2, own, 5)
    past, next_state = ssm_scan_ref(u, own, state)
    want = past + ssm_ahead_ref(u, later, block_frames)
    got = ssm_step(u, state, step_constants(form, own, 8, later, block_frames))
    torch.testing.assert_close(got, (want, next_state), rtol=1e-10, atol=1e-10)


def test_the_operator_has_shapes_before_it_has_values():
    own = FusedRecurrence(*recurrence(modes(2, 3, 0), 4))
    with torch.device("meta"):
        u, state = torch.empty(1, 4, 2, 5), torch.empty(1, 2, 6, 5)
    constants = [c.to("meta") for c in own[:5]]
    y, after = torch.ops.todm.ssm_scan(u, state, *constants)
    assert (y.shape, after.shape) == (u.shape, state.shape)


def test_constants_do_not_grow_with_the_chunk():
    own = modes(2, 3, 0)
    sizes = {
        form: [
            sum(c.numel() for c in step_constants(form, own, n) if c is not None) for n in (4, 8)
        ]
        for form in FORMS
    }
    assert sizes["custom"] == sizes["unrolled"] == [2 * (4 * 3 + 1)] * 2
    assert sizes["folded"] == [2 * (n * n + 4 * n * 3 + 2 * 3) for n in (4, 8)]


def test_taps_keep_their_past():
    x, taps = torch.randn(1, 6, 3), torch.randn(3, 4)
    whole, _ = causal_taps(x, taps)
    first, past = causal_taps(x[:, :2], taps)
    second, _ = causal_taps(x[:, 2:], taps, past)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
