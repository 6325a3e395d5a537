"""Linear state-space layers: one map as a recurrence, a convolution and chunks with a state.

Legend: B batch, T frames, L frames of a chunk, H heads, P channels of a head (they share its
parameters; 1 in a classifier), N state order, M outputs of a channel, R = M L.

    x_t = Abar x_{t-1} + Bbar u_t,   y_t = C x_t + D u_t
    Abar = (I - a dt A)^-1 (I + (1 - a) dt A),   Bbar = dt (I - a dt A)^-1 B
    K[i] = C Abar^i Bbar,            y = K * u + D u

a (``alpha``) is 0 for Euler's method, 1/2 for the bilinear one, 1 for the backward Euler method;
u_t stands for the mean of u over the step that ends at t. The Krylov matrix [Abar^i Bbar]_i is made
by doubling: N^2 L products and log L squarings.

Source: Gu et al. 2021 (LSSL, arXiv 2110.13985). Eq. 6 there drops the C of its last term; the
skip is D u_t. ``lssl_scan_ref`` is the definition; the other forms equal it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from todm.core.errors import ConfigError
from todm.kernels.fourier import causal_fft
from todm.kernels.ssm import toeplitz
from todm.kernels.structured import Structure, structured_product, structured_solution


class Steps(NamedTuple):
    """A discretised differential equation of the state, of every head."""

    a_HNN: Tensor
    b_HN: Tensor


class Readout(NamedTuple):
    """What is read of the state and of the input."""

    c_HMN: Tensor
    d_HM: Tensor


class LSSLFold(NamedTuple):
    """Constants of the chunk form for L frames."""

    toeplitz_HRL: Tensor
    read_HRN: Tensor
    write_HNL: Tensor
    power_HNN: Tensor


def discretise_ref(
    a_GNN: Float[Tensor, "G N N"],
    b_GN: Float[Tensor, "G N"],
    dt_H: Float[Tensor, " H"],
    alpha: float,
) -> Steps:
    """Discretise dense matrices, one for all heads (G = 1) or one each."""
    eye_NN = torch.eye(a_GNN.shape[-1], dtype=a_GNN.dtype, device=a_GNN.device)
    step_HNN = dt_H[:, None, None] * a_GNN
    right = torch.cat([eye_NN + (1.0 - alpha) * step_HNN, (dt_H[:, None] * b_GN)[..., None]], 2)
    solved = torch.linalg.solve(eye_NN - alpha * step_HNN, right)
    return Steps(solved[..., :-1], solved[..., -1])


def discretise(
    family: Structure,
    b_GN: Float[Tensor, "G N"],
    dt_H: Float[Tensor, " H"],
    alpha: float,
) -> Steps:
    """Discretise structured matrices by elimination: N^2 products instead of N^3."""
    heads, order = dt_H.shape[0], b_GN.shape[1]
    eye_HNN = torch.eye(order, dtype=b_GN.dtype, device=b_GN.device).expand(heads, -1, -1)
    moved_HNN = structured_product(family, -(1.0 - alpha) * dt_H, eye_HNN)
    right = torch.cat([moved_HNN, (dt_H[:, None] * b_GN)[..., None]], 2)
    solved = structured_solution(family, alpha * dt_H, right)
    return Steps(solved[..., :-1], solved[..., -1])


def krylov(steps: Steps, num_frames: int) -> Float[Tensor, "H N T"]:
    """Return [Bbar, Abar Bbar, ..., Abar^(T-1) Bbar] by doubling."""
    columns_HNT, power_HNN = steps.b_HN[..., None], steps.a_HNN
    while (width := columns_HNT.shape[-1]) < num_frames:
        if width > 1:
            power_HNN = power_HNN @ power_HNN
        more_HNT = power_HNN @ columns_HNT[..., : num_frames - width]
        columns_HNT = torch.cat([columns_HNT, more_HNT], -1)
    return columns_HNT


def lssl_kernel(readout: Readout, krylov_HNT: Float[Tensor, "H N T"]) -> Float[Tensor, "H M T"]:
    """Return the impulse response, with D added at lag 0."""
    k_HMT = readout.c_HMN @ krylov_HNT
    return torch.cat([k_HMT[..., :1] + readout.d_HM[..., None], k_HMT[..., 1:]], -1)


def lssl_scan_ref(
    u_BTHP: Float[Tensor, "B T H P"],
    steps: Steps,
    readout: Readout,
    state_BHNP: Float[Tensor, "B H N P"],
) -> tuple[Float[Tensor, "B T H M P"], Float[Tensor, "B H N P"]]:
    """Run the recurrence frame by frame."""
    outputs = []
    for u_BHP in u_BTHP.unbind(1):
        state_BHNP = steps.a_HNN @ state_BHNP + steps.b_HN[..., None] * u_BHP[:, :, None]
        skip_BHMP = readout.d_HM[..., None] * u_BHP[:, :, None]
        outputs.append(readout.c_HMN @ state_BHNP + skip_BHMP)
    return torch.stack(outputs, 1), state_BHNP


def lssl_conv(
    u_BTH: Float[Tensor, "B T H"], k_HMT: Float[Tensor, "H M T"]
) -> Float[Tensor, "B T H M"]:
    """Convolve channels that share nothing (P = 1) by FFT of length >= 2 T."""
    y_BHMT = causal_fft(u_BTH.transpose(1, 2)[:, :, None], k_HMT)
    return y_BHMT.permute(0, 3, 1, 2)


def read_ahead(steps: Steps, readout: Readout, num_frames: int) -> Float[Tensor, "H M T N"]:
    """Return C Abar^(t+1): what the state before a chunk adds to each of its frames."""
    rows_HMTN, power_HNN = (readout.c_HMN @ steps.a_HNN)[:, :, None], steps.a_HNN
    while (width := rows_HMTN.shape[2]) < num_frames:
        if width > 1:
            power_HNN = power_HNN @ power_HNN
        more_HMTN = rows_HMTN[:, :, : num_frames - width] @ power_HNN[:, None]
        rows_HMTN = torch.cat([rows_HMTN, more_HMTN], 2)
    return rows_HMTN


def lssl_fold(steps: Steps, readout: Readout, chunk_frames: int) -> LSSLFold:
    """Fold a chunk of L frames into matrices, in the precision of what is given."""
    columns_HNL = krylov(steps, chunk_frames)
    k_HML = lssl_kernel(readout, columns_HNL)
    heads = k_HML.shape[0]
    return LSSLFold(
        toeplitz(k_HML.flatten(0, 1)).reshape(heads, -1, chunk_frames),
        read_ahead(steps, readout, chunk_frames).flatten(1, 2),
        columns_HNL.flip(-1),
        torch.linalg.matrix_power(steps.a_HNN, chunk_frames),
    )


def lssl_chunk(
    u_BLHP: Float[Tensor, "B L H P"], state_BHNP: Float[Tensor, "B H N P"], fold: LSSLFold
) -> tuple[Float[Tensor, "B H R P"], Float[Tensor, "B H N P"]]:
    """Advance one chunk: y = Tz u + O s and s' = Abar^L s + W u, rows of y output by output."""
    u_BHLP = u_BLHP.transpose(1, 2)
    y_BHRP = fold.toeplitz_HRL @ u_BHLP + fold.read_HRN @ state_BHNP
    return y_BHRP, fold.power_HNN @ state_BHNP + fold.write_HNL @ u_BHLP


def lssl_chunks(
    u_BTHP: Float[Tensor, "B T H P"],
    steps: Steps,
    readout: Readout,
    state_BHNP: Float[Tensor, "B H N P"],
    chunk_frames: int,
) -> tuple[Float[Tensor, "B T H M P"], Float[Tensor, "B H N P"]]:
    """Run a sequence in chunks that hand a state on; the last may be shorter.

    Raises:
        ConfigError: the chunk is empty or longer than the sequence.
    """
    frames, num_outputs = u_BTHP.shape[1], readout.c_HMN.shape[1]
    if not 1 <= chunk_frames <= frames:
        raise ConfigError(
            f"a chunk of {chunk_frames} frames does not fit a sequence of {frames}; "
            f"give 1 to {frames}"
        )
    parts = torch.split(u_BTHP, chunk_frames, 1)
    folds = {n: lssl_fold(steps, readout, n) for n in {part.shape[1] for part in parts}}
    outputs = []
    for part in parts:
        y_BHRP, state_BHNP = lssl_chunk(part, state_BHNP, folds[part.shape[1]])
        batch, heads, _, width = y_BHRP.shape
        y_BHMLP = y_BHRP.reshape(batch, heads, num_outputs, part.shape[1], width)
        outputs.append(y_BHMLP.permute(0, 3, 1, 2, 4))
    return torch.cat(outputs, 1), state_BHNP
