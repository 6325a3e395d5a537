"""Why no scheme may touch the streaming state: one scan over ten minutes, a part of it rounded.

The slowest modes remember for most of a minute, so a rounding error of each chunk adds to those of
hundreds before it.
"""

import math

import pytest
import torch

from todm.kernels.ssm import Modes, fold, ssm_chunk

CHUNK, MINUTES = 8, 10
NUM_CHUNKS = MINUTES * 60 * 25 // CHUNK
TAU_FRAMES = (46 * 25, 12 * 25, 3 * 25, 25)
"""Time constants of 46, 12, 3 and 1 s."""


def modes():
    """One head of slow oscillating modes, in float64."""
    lam = [
        math.exp(-1 / tau) * complex(math.cos(w), math.sin(w))
        for tau, w in zip(TAU_FRAMES, (0.0, 0.05, 0.3, 1.1), strict=True)
    ]
    lam_HN = torch.tensor([lam], dtype=torch.complex128)
    cb_HN = torch.tensor([[0.3 + 0.1j, -0.2 + 0.4j, 0.5j, 0.4 + 0.2j]], dtype=torch.complex128)
    return Modes(lam_HN, cb_HN, torch.ones(1, dtype=torch.float64))


def fp16(x):
    return x.half().to(x.dtype)


def int8(x):
    """Symmetric, per row of the last axis: what per-channel quantizers do to weights."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return (x / scale).round() * scale


def int8_tensor(x):
    """Symmetric with one scale: what they do to activations, the state among them."""
    scale = x.abs().max().clamp(min=1e-30) / 127
    return (x / scale).round() * scale


def same(x):
    return x


def streamed(dtype, state=same, decay=same, folded=same):
    """Ten minutes, chunk by chunk, with a part rounded by a function."""
    exact = fold(modes(), CHUNK)
    constants = exact._replace(
        **{name: folded(getattr(exact, name)) for name in ("toeplitz_HLL", "read_HLM")},
        **{name: decay(getattr(exact, name)) for name in ("decay_re_HN", "decay_im_HN")},
    )
    constants = type(exact)(*(part.to(dtype) for part in constants))
    generator = torch.Generator().manual_seed(0)
    u_CL1 = torch.randn(NUM_CHUNKS, CHUNK, 1, generator=generator, dtype=torch.float64)
    state_BHMP, outputs = torch.zeros(1, 1, 8, 1, dtype=dtype), []
    for u_L1 in u_CL1.to(dtype):
        y_BLHP, state_BHMP = ssm_chunk(u_L1[None, :, :, None], state_BHMP, constants)
        state_BHMP = state(state_BHMP)
        outputs.append(y_BLHP.flatten().double())
    return torch.cat(outputs)


def error(y, reference):
    return ((y - reference).square().mean() / reference.square().mean()).sqrt().item()


@pytest.fixture(scope="module")
def reference():
    return streamed(torch.float64)


def test_float32_is_exact_enough(reference):
    assert error(streamed(torch.float32), reference) < 2e-6


@pytest.mark.parametrize(
    ("rounded", "at_least"),
    [
        ({"state": fp16}, 1e-4),  # measured 1.2e-3
        ({"state": int8_tensor}, 1e-2),
        ({"decay": fp16}, 1e-3),  # 1.1e-2
        ({"decay": int8}, 1e-2),  # 3.3e-2
        ({"folded": int8}, 1e-3),  # 2.9e-3
    ],
    ids=["state fp16", "state int8", "decay fp16", "decay int8", "folded int8"],
)
def test_rounding_the_state_or_what_carries_it_costs_far_more(reference, rounded, at_least):
    rough = error(streamed(torch.float32, **rounded), reference)
    assert at_least < rough < 10.0  # |lambda| < 1: bounded all the same
    assert rough > 100 * error(streamed(torch.float32), reference)
