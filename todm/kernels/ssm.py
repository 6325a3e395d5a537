"""Diagonal state-space kernels with parameters shared by the channels of a head.

Legend: B batch, T frames, L frames of a chunk, H heads, P channels of a head, N complex modes,
M = 2 N real state rows (real parts, then imaginary).

    s_t = lam s_{t-1} + u_t,   y_t = 2 Re(sum_n cb_n s_{t,n}) + d u_t
    lam = exp(dt A),  cb = C (lam - 1) / A                      (zero-order hold, B absorbed in C)
    kernel K[l] = 2 Re sum_n cb_n lam_n^l

A second scan may run against time inside blocks of G frames (G divides the chunk), from zero at
the end of each: it sees the rest of its block and no more, so a chunk stays all that a device
needs. Folded, it fills the upper triangle of the chunk's Toeplitz matrix and costs nothing more:

    r_t = lam r_{t+1} + u_t,   y_t += 2 Re(sum_n cb_n r_{t+1,n})      (own lam and cb, no skip)

Sources: Gu et al. 2022 (S4D, arXiv 2206.11893) for the diagonal form and its initialisation;
Fathullah et al. 2023 (MH-SSM, arXiv 2305.12498) for the heads. Sharing A, C and dt inside a head
is our choice: the chunk form then folds to H real matrix products.

One definition, four forms: ``ssm_scan_ref`` (slow, obvious), ``ssm_toeplitz`` and ``ssm_fft``
(training) and ``ssm_chunk`` over a ``ChunkFold`` (streaming); against time ``ssm_ahead_ref``,
``ssm_ahead``, and the same products.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from todm.core.cost_mixers import TOEPLITZ_MAX_FRAMES
from todm.kernels.fourier import causal_fft
from todm.kernels.precision import widened, without_autocast


class Modes(NamedTuple):
    """Discretised modes of every head."""

    lam_HN: Tensor
    """Complex pole of each mode."""
    cb_HN: Tensor
    """Complex output weight of each mode, times its input gain."""
    d_H: Tensor
    """Skip weight of each head."""


class ChunkFold(NamedTuple):
    """Constants of the chunk form for L frames (spec: Tz, O, R, lam^L)."""

    toeplitz_HLL: Tensor
    read_HLM: Tensor
    write_HML: Tensor
    decay_re_HN: Tensor
    decay_im_HN: Tensor


def discretise(
    log_neg_re_HN: Float[Tensor, "H N"],
    im_HN: Float[Tensor, "H N"],
    log_dt_H: Float[Tensor, " H"],
    c_HN2: Float[Tensor, "H N 2"],
    d_H: Float[Tensor, " H"],
) -> Modes:
    """Discretise A = -exp(log_neg_re) + i im by zero-order hold with step exp(log_dt)."""
    a_HN = torch.complex(-log_neg_re_HN.exp(), im_HN)
    lam_HN = torch.exp(log_dt_H.exp()[:, None] * a_HN)
    cb_HN = torch.view_as_complex(c_HN2.contiguous()) * (lam_HN - 1.0) / a_HN
    return Modes(lam_HN, cb_HN, d_H)


def powers(lam_HN: Complex[Tensor, "H N"], num_frames: int) -> Complex[Tensor, "H N T"]:
    """Return lam^0 ... lam^(T-1), from the logarithm so that gradients stay well behaved."""
    frames_T = torch.arange(num_frames, device=lam_HN.device, dtype=lam_HN.real.dtype)
    return torch.exp(torch.log(lam_HN)[..., None] * frames_T)


def kernel(modes: Modes, num_frames: int) -> Float[Tensor, "H T"]:
    """Return the impulse response K[0..T-1] of every head, with d added at lag 0."""
    k_HT = 2.0 * torch.einsum("hn,hnt->ht", modes.cb_HN, powers(modes.lam_HN, num_frames)).real
    return torch.cat([k_HT[:, :1] + modes.d_H[:, None], k_HT[:, 1:]], dim=1)


def zero_state(batch: int, modes: Modes, head_dim: int) -> Float[Tensor, "B H M P"]:
    """Return the all-zero streaming state."""
    heads, num_modes = modes.lam_HN.shape
    return modes.d_H.new_zeros(batch, heads, 2 * num_modes, head_dim)


def ssm_scan_ref(
    u_BTHP: Float[Tensor, "B T H P"], modes: Modes, state_BHMP: Float[Tensor, "B H M P"]
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H M P"]]:
    """Run the recurrence frame by frame: the definition that every other form must equal."""
    num_modes = modes.lam_HN.shape[1]
    s_BHNP = torch.complex(state_BHMP[:, :, :num_modes], state_BHMP[:, :, num_modes:])
    outputs = []
    for u_BHP in u_BTHP.unbind(1):
        s_BHNP = modes.lam_HN[None, :, :, None] * s_BHNP + u_BHP[:, :, None, :]
        y_BHP = 2.0 * (modes.cb_HN[None, :, :, None] * s_BHNP).sum(2).real
        outputs.append(y_BHP + modes.d_H[None, :, None] * u_BHP)
    return torch.stack(outputs, 1), torch.cat([s_BHNP.real, s_BHNP.imag], 2)


def ssm_ahead_ref(
    u_BTHP: Float[Tensor, "B T H P"], modes: Modes, block_frames: int
) -> Float[Tensor, "B T H P"]:
    """Run the recurrence against time in every block, frame by frame: the definition."""
    outputs = []
    for u_BGHP in torch.split(u_BTHP, block_frames, 1):
        r_BHNP = torch.zeros_like(modes.lam_HN[None, :, :, None] * u_BGHP[:, 0, :, None, :])
        backwards = []
        for u_BHP in u_BGHP.flip(1).unbind(1):
            backwards.append(2.0 * (modes.cb_HN[None, :, :, None] * r_BHNP).sum(2).real)
            r_BHNP = modes.lam_HN[None, :, :, None] * r_BHNP + u_BHP[:, :, None, :]
        outputs.append(torch.stack(backwards, 1).flip(1))
    return torch.cat(outputs, 1)


def toeplitz(
    k_HT: Float[Tensor, "H T"], ahead_HA: Float[Tensor, "H A"] | None = None
) -> Float[Tensor, "H T T"]:
    """Return the Toeplitz matrices with K[t - s] at (t, s), and above the diagonal A[s - t - 1].

    Without A, and beyond its last lag, there are zeros.
    """
    num_heads, num_frames = k_HT.shape
    above_HX = k_HT.new_zeros(num_heads, num_frames - 1)
    if ahead_HA is not None:
        ahead_HA = ahead_HA[:, : num_frames - 1]
        above_HX = torch.cat([ahead_HA, above_HX[:, ahead_HA.shape[1] :]], 1)
    padded = torch.cat([k_HT.flip(1), above_HX], 1)
    return padded.unfold(1, num_frames, 1).flip(1)


def in_block(matrix_HTT: Float[Tensor, "H T T"], block_frames: int) -> Float[Tensor, "H T T"]:
    """Zero what reaches beyond the end of its block of frames."""
    block_T = torch.arange(matrix_HTT.shape[1], device=matrix_HTT.device) // block_frames
    return torch.where(block_T[None] <= block_T[:, None], matrix_HTT, 0.0)


def products(
    matrix_HTT: Float[Tensor, "H T T"], u_BTHP: Float[Tensor, "B T H P"]
) -> Float[Tensor, "B T H P"]:
    """Apply one T x T product per head."""
    batch, frames, heads, width = u_BTHP.shape
    u_HTX = u_BTHP.permute(2, 1, 0, 3).reshape(heads, frames, batch * width)
    y_HTX = torch.bmm(matrix_HTT, u_HTX)
    return y_HTX.reshape(heads, frames, batch, width).permute(2, 1, 0, 3)


def ssm_toeplitz(
    u_BTHP: Float[Tensor, "B T H P"],
    k_HT: Float[Tensor, "H T"],
    ahead_HA: Float[Tensor, "H A"] | None = None,
    block_frames: int = 1,
) -> Float[Tensor, "B T H P"]:
    """Convolve by one T x T product per head; the training form for short inputs.

    With a kernel ahead the same product looks ahead inside each block: nothing more to multiply.
    """
    matrix_HTT = toeplitz(k_HT, ahead_HA)
    if ahead_HA is not None:
        matrix_HTT = in_block(matrix_HTT, block_frames)
    return products(matrix_HTT, u_BTHP)


def ssm_ahead(
    u_BTHP: Float[Tensor, "B T H P"], ahead_HA: Float[Tensor, "H A"], block_frames: int
) -> Float[Tensor, "B T H P"]:
    """Look ahead by one G x G product per head and block; beside the FFT, for long inputs."""
    batch, frames, heads, width = u_BTHP.shape
    blocks = math.ceil(frames / block_frames)
    spare = blocks * block_frames - frames
    padded_BTHP = torch.nn.functional.pad(u_BTHP, (0, 0, 0, 0, 0, spare))
    u_XGHP = padded_BTHP.reshape(batch * blocks, block_frames, heads, width)
    matrix_HGG = toeplitz(ahead_HA.new_zeros(heads, block_frames), ahead_HA)
    y_XGHP = products(matrix_HGG, u_XGHP)
    return y_XGHP.reshape(batch, blocks * block_frames, heads, width)[:, :frames]


def ssm_fft(
    u_BTHP: Float[Tensor, "B T H P"], k_HT: Float[Tensor, "H T"]
) -> Float[Tensor, "B T H P"]:
    """Convolve by FFT of length >= 2 T; the training form for long inputs."""
    y_BHPT = causal_fft(u_BTHP.permute(0, 2, 3, 1), k_HT[:, None])
    return y_BHPT.permute(0, 3, 1, 2)


@without_autocast
def ssm_convolve(
    u_BTHP: Float[Tensor, "B T H P"],
    k_HT: Float[Tensor, "H T"],
    ahead_HA: Float[Tensor, "H A"] | None = None,
    block_frames: int = 1,
) -> Float[Tensor, "B T H P"]:
    """Convolve a whole sequence in the form that suits its length; never in half precision."""
    u_BTHP = widened(u_BTHP)
    if u_BTHP.shape[1] <= TOEPLITZ_MAX_FRAMES:
        return ssm_toeplitz(u_BTHP, k_HT, ahead_HA, block_frames)
    y_BTHP = ssm_fft(u_BTHP, k_HT)
    return y_BTHP if ahead_HA is None else y_BTHP + ssm_ahead(u_BTHP, ahead_HA, block_frames)


@without_autocast
def ssm_conv(
    u_BTHP: Float[Tensor, "B T H P"],
    modes: Modes,
    ahead: Modes | None = None,
    block_frames: int = 1,
) -> Float[Tensor, "B T H P"]:
    """Run a whole sequence from the zero state.

    ``ahead`` are the modes of the scan against time in blocks, its skip zero. Computed and
    returned in float32 at least, whatever autocast says and u is.
    """
    u_BTHP = widened(u_BTHP)
    frames, dtype = u_BTHP.shape[1], u_BTHP.dtype
    k_HT = kernel(modes, frames).to(dtype)
    ahead_HA = None
    if ahead is not None:
        ahead_HA = kernel(ahead, min(block_frames, frames) - 1).to(dtype)
    return ssm_convolve(u_BTHP, k_HT, ahead_HA, block_frames)


def widened_modes(modes: Modes) -> Modes:
    """Return the modes in double precision."""
    return Modes(
        modes.lam_HN.to(torch.complex128), modes.cb_HN.to(torch.complex128), modes.d_H.double()
    )


def fold(
    modes: Modes, chunk_frames: int, ahead: Modes | None = None, block_frames: int = 1
) -> ChunkFold:
    """Fold a chunk of L frames into matrices; computed in float64, returned in the input's dtype.

    read row t = 2 [Re, -Im](cb lam^(t+1)); write column t = [Re; Im](lam^(L-1-t)).

    Raises:
        ValueError: the chunk is no multiple of the blocks that ``ahead`` runs in.
    """
    if ahead is not None and chunk_frames % block_frames:
        raise ValueError(
            f"a chunk of {chunk_frames} frames holds no whole blocks of {block_frames}"
        )
    real_dtype = modes.d_H.dtype
    wide = widened_modes(modes)
    ahead_HA = None if ahead is None else kernel(widened_modes(ahead), block_frames - 1)
    pow_HNL = powers(wide.lam_HN, chunk_frames + 1)
    read_HNL = 2.0 * wide.cb_HN[..., None] * pow_HNL[..., 1:]
    write_HNL = pow_HNL[..., :-1].flip(-1)
    decay_HN = pow_HNL[..., -1]
    parts = ChunkFold(
        in_block(toeplitz(kernel(wide, chunk_frames), ahead_HA), block_frames),
        torch.cat([read_HNL.real, -read_HNL.imag], 1).transpose(1, 2),
        torch.cat([write_HNL.real, write_HNL.imag], 1),
        decay_HN.real,
        decay_HN.imag,
    )
    return ChunkFold(*(part.to(real_dtype).contiguous() for part in parts))


def ssm_chunk(
    u_BLHP: Float[Tensor, "B L H P"], state_BHMP: Float[Tensor, "B H M P"], fold: ChunkFold
) -> tuple[Float[Tensor, "B L H P"], Float[Tensor, "B H M P"]]:
    """Advance one chunk: y = Tz u + O s and s' = lam^L s + R u, all real products."""
    num_modes = fold.decay_re_HN.shape[1]
    u_BHLP = u_BLHP.transpose(1, 2)
    y_BHLP = fold.toeplitz_HLL @ u_BHLP + fold.read_HLM @ state_BHMP
    re, im = state_BHMP[:, :, :num_modes], state_BHMP[:, :, num_modes:]
    c, s = fold.decay_re_HN[:, :, None], fold.decay_im_HN[:, :, None]
    decayed = torch.cat([c * re - s * im, s * re + c * im], 2)
    return y_BHLP.transpose(1, 2), decayed + fold.write_HML @ u_BHLP
