"""The recurrence itself as a streaming form: frame by frame in real arithmetic, or as one operator.

Beside the folded products of ``kernels.ssm`` these hold few constants (4 N + 1 a head, whatever
the chunk) and work in proportion to the frames. Legend as there. A scan against time inside the
chunk stays a product: the strictly upper part of the folded Toeplitz matrix.

The operator is ``todm::ssm_scan`` in torch, of which ExecuTorch's kernel is the ``.out`` form, and
``todm.SsmScan`` in ONNX; the device's code stands in ``csrc/``. In torch it runs the unrolled form.
"""

from typing import Any, NamedTuple, assert_never, cast

import torch
from jaxtyping import Float
from torch import Tensor

from todm.core.mixer_specs import ScanForm
from todm.kernels.ssm import (
    ChunkFold,
    Modes,
    fold,
    in_block,
    kernel,
    ssm_chunk,
    toeplitz,
    widened_modes,
)

ONNX_OP = "todm::SsmScan"


class Recurrence(NamedTuple):
    """Constants of the scan frame by frame; y = read_re Re s + read_im Im s + skip u."""

    pole_re_HN: Tensor
    pole_im_HN: Tensor
    read_re_HN: Tensor
    read_im_HN: Tensor
    skip_H: Tensor
    ahead_HLL: Tensor | None
    """What frames see of later ones; None is a causal scan."""


class FusedRecurrence(Recurrence):
    """The same constants, for the one operator."""


def recurrence(
    modes: Modes, chunk_frames: int, ahead: Modes | None = None, block_frames: int = 1
) -> Recurrence:
    """Return the constants; computed in float64, returned in the input's dtype."""
    real_dtype = modes.d_H.dtype
    wide = widened_modes(modes)
    ahead_HLL = None
    if ahead is not None:
        none_HL = wide.d_H.new_zeros(wide.d_H.shape[0], chunk_frames)
        later_HA = kernel(widened_modes(ahead), block_frames - 1)
        ahead_HLL = in_block(toeplitz(none_HL, later_HA), block_frames).to(real_dtype)
    parts = (wide.lam_HN.real, wide.lam_HN.imag, 2.0 * wide.cb_HN.real, -2.0 * wide.cb_HN.imag)
    pole_re, pole_im, read_re, read_im = (p.to(real_dtype).contiguous() for p in parts)
    return Recurrence(pole_re, pole_im, read_re, read_im, modes.d_H.clone(), ahead_HLL)


def ssm_unrolled(
    u_BLHP: Float[Tensor, "B L H P"], state_BHMP: Float[Tensor, "B H M P"], constants: Recurrence
) -> tuple[Float[Tensor, "B L H P"], Float[Tensor, "B H M P"]]:
    """Advance one chunk frame by frame."""
    num_modes = constants.pole_re_HN.shape[1]
    pole_re, pole_im, read_re, read_im = (part[None, :, :, None] for part in constants[:4])
    re, im = state_BHMP[:, :, :num_modes], state_BHMP[:, :, num_modes:]
    outputs = []
    for u_BHP in u_BLHP.unbind(1):
        re, im = pole_re * re - pole_im * im + u_BHP[:, :, None], pole_im * re + pole_re * im
        outputs.append((read_re * re + read_im * im).sum(2))
    y_BLHP = torch.stack(outputs, 1) + constants.skip_H[:, None] * u_BLHP
    return _look_ahead(y_BLHP, u_BLHP, constants), torch.cat([re, im], 2)


def ssm_fused(
    u_BLHP: Float[Tensor, "B L H P"], state_BHMP: Float[Tensor, "B H M P"], constants: Recurrence
) -> tuple[Float[Tensor, "B L H P"], Float[Tensor, "B H M P"]]:
    """Advance one chunk by the operator, named as the exporter that traces it wants."""
    inputs = (u_BLHP, state_BHMP, *constants[:5])
    if torch.onnx.is_in_onnx_export():
        y_BLHP, next_BHMP = torch.onnx.ops.symbolic_multi_out(
            ONNX_OP,
            inputs,
            dtypes=(u_BLHP.dtype, state_BHMP.dtype),
            shapes=(u_BLHP.shape, state_BHMP.shape),
            version=1,
        )
    else:
        y_BLHP, next_BHMP = torch.ops.todm.ssm_scan(*inputs)
    return _look_ahead(y_BLHP, u_BLHP, constants), next_BHMP


def _look_ahead(y_BLHP: Tensor, u_BLHP: Tensor, constants: Recurrence) -> Tensor:
    if constants.ahead_HLL is None:
        return y_BLHP
    return y_BLHP + (constants.ahead_HLL @ u_BLHP.transpose(1, 2)).transpose(1, 2)


_INPUTS = "Tensor u, Tensor state, Tensor pole_re, Tensor pole_im, Tensor read_re, Tensor read_im"
LIBRARY: Any = cast(Any, torch.library).Library("todm", "DEF")
LIBRARY.define(f"ssm_scan({_INPUTS}, Tensor skip) -> (Tensor y, Tensor next_state)")
LIBRARY.define(
    f"ssm_scan.out({_INPUTS}, Tensor skip, *, Tensor(a!) y, Tensor(b!) next_state)"
    " -> (Tensor(a!), Tensor(b!))"
)


def _scan_in_torch(u: Tensor, state: Tensor, *constants: Tensor) -> tuple[Tensor, Tensor]:
    pole_re, pole_im, read_re, read_im, skip = constants
    return ssm_unrolled(u, state, Recurrence(pole_re, pole_im, read_re, read_im, skip, None))


def _scan_shapes(u: Tensor, state: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(u), torch.empty_like(state)


LIBRARY.impl("ssm_scan", _scan_in_torch, "CompositeExplicitAutograd")
LIBRARY.impl("ssm_scan", _scan_shapes, "Meta")


def ssm_step(
    u_BLHP: Float[Tensor, "B L H P"],
    state_BHMP: Float[Tensor, "B H M P"],
    constants: ChunkFold | Recurrence,
) -> tuple[Float[Tensor, "B L H P"], Float[Tensor, "B H M P"]]:
    """Advance one chunk in the form that its constants belong to."""
    match constants:
        case ChunkFold():
            return ssm_chunk(u_BLHP, state_BHMP, constants)
        case FusedRecurrence():
            return ssm_fused(u_BLHP, state_BHMP, constants)
        case Recurrence():
            return ssm_unrolled(u_BLHP, state_BHMP, constants)
        case _:
            assert_never(constants)


def step_constants(
    form: ScanForm,
    modes: Modes,
    chunk_frames: int,
    ahead: Modes | None = None,
    block_frames: int = 1,
) -> ChunkFold | Recurrence:
    """Return the constants over chunks of L frames of a streaming form."""
    match form:
        case "folded":
            return fold(modes, chunk_frames, ahead, block_frames)
        case "unrolled":
            return recurrence(modes, chunk_frames, ahead, block_frames)
        case "custom":
            return FusedRecurrence(*recurrence(modes, chunk_frames, ahead, block_frames))
        case _:
            assert_never(form)
