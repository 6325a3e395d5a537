"""k2's transducer losses, full, simple and pruned, with the arguments of todm's own.

Importing this module imports k2. It needs nothing else but torch and runs under Python 3.9 too, so
that it can be tried in an environment that todm itself does not support.

k2 refuses batches without labels and batches with fewer frames than labels, and its gradient is
not finite where no path exists. So batches are padded, and an utterance without a path is computed
as one of one frame without labels, whose loss is then multiplied by 0.
"""

from __future__ import annotations

import k2
import torch
import torch.nn.functional as F
from torch import Tensor

RNNT_TYPE = {"regular": "regular", "one_symbol": "modified"}


def full_loss(  # noqa: PLR0913 - as todm's own
    logits_BTUV: Tensor,
    targets_BU: Tensor,
    frame_lens_B: Tensor,
    target_lens_B: Tensor,
    *,
    topology: str = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
    fastemit: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return loss and validity of each utterance.

    Raises:
        ValueError: an option that k2 does not have.
    """
    _check(fastemit)
    valid_B = _has_path(frame_lens_B, target_lens_B, topology)
    more_frames, more_labels = _padding(logits_BTUV.shape[1], targets_BU.shape[1])
    loss_B = k2.rnnt_loss(
        logits=F.pad(logits_BTUV.float(), (0, 0, 0, more_labels, 0, more_frames)),
        symbols=_symbols(targets_BU, target_lens_B, blank, more_labels),
        termination_symbol=blank,
        boundary=_boundary(frame_lens_B, target_lens_B, valid_B),
        rnnt_type=RNNT_TYPE[topology],
        delay_penalty=delay_penalty,
        reduction="none",
    )
    return loss_B * valid_B, valid_B


def simple_loss(  # noqa: PLR0913 - as todm's own
    am_BTV: Tensor,
    lm_BUV: Tensor,
    targets_BU: Tensor,
    frame_lens_B: Tensor,
    target_lens_B: Tensor,
    *,
    width: int,
    lm_scale: float = 0.25,
    am_scale: float = 0.0,
    topology: str = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
    fastemit: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return loss of each utterance and the first kept position of each frame.

    Raises:
        ValueError: an option that k2 does not have.
    """
    _check(fastemit)
    frames = am_BTV.shape[1]
    valid_B = _has_path(frame_lens_B, target_lens_B, topology)
    more_frames, more_labels = _padding(frames, targets_BU.shape[1])
    boundary_B4 = _boundary(frame_lens_B, target_lens_B, valid_B)
    loss_B, (label_BUT, blank_BUT) = k2.rnnt_loss_smoothed(
        lm=F.pad(lm_BUV.float(), (0, 0, 0, more_labels)),
        am=F.pad(am_BTV.float(), (0, 0, 0, more_frames)),
        symbols=_symbols(targets_BU, target_lens_B, blank, more_labels),
        termination_symbol=blank,
        lm_only_scale=lm_scale,
        am_only_scale=am_scale,
        boundary=boundary_B4,
        rnnt_type=RNNT_TYPE[topology],
        delay_penalty=delay_penalty,
        reduction="none",
        return_grad=True,
    )
    ranges_BTS = k2.get_rnnt_prune_ranges(label_BUT, blank_BUT, boundary_B4, width)
    return loss_B * valid_B, ranges_BTS[:, :frames, 0]


def pruned_loss(  # noqa: PLR0913 - as todm's own
    logits_BTSV: Tensor,
    targets_BU: Tensor,
    start_BT: Tensor,
    frame_lens_B: Tensor,
    target_lens_B: Tensor,
    *,
    topology: str = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
    fastemit: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return loss and validity of each utterance over the kept nodes.

    Raises:
        ValueError: an option that k2 does not have.
    """
    _check(fastemit)
    width = logits_BTSV.shape[2]
    last_B = start_BT.gather(1, frame_lens_B[:, None] - 1)[:, 0] + width - 1
    valid_B = (start_BT[:, 0] == 0) & (last_B >= target_lens_B)
    valid_B &= _has_path(frame_lens_B, target_lens_B, topology)
    more_frames, more_labels = _padding(logits_BTSV.shape[1], targets_BU.shape[1])
    more_labels = max(more_labels, width - 1 - targets_BU.shape[1])
    ranges_BTS = start_BT[:, :, None] + torch.arange(width, device=start_BT.device)
    if more_frames:
        ranges_BTS = torch.cat((ranges_BTS, ranges_BTS[:, -1:].expand(-1, more_frames, -1)), 1)
    loss_B = k2.rnnt_loss_pruned(
        logits=F.pad(logits_BTSV.float(), (0, 0, 0, 0, 0, more_frames)),
        symbols=_symbols(targets_BU, target_lens_B, blank, more_labels),
        ranges=ranges_BTS,
        termination_symbol=blank,
        boundary=_boundary(frame_lens_B, target_lens_B, valid_B),
        rnnt_type=RNNT_TYPE[topology],
        delay_penalty=delay_penalty,
        reduction="none",
    )
    return loss_B * valid_B, valid_B


def _check(fastemit: float) -> None:
    if fastemit:
        raise ValueError("k2 has no FastEmit")


def _has_path(frame_lens_B: Tensor, target_lens_B: Tensor, topology: str) -> Tensor:
    if topology == "one_symbol":
        return frame_lens_B >= target_lens_B
    return torch.ones_like(frame_lens_B, dtype=torch.bool)


def _padding(frames: int, labels: int) -> tuple[int, int]:
    """Return the frames and labels that k2 wants more: a label, and a frame for each label."""
    return max(0, max(1, labels) - frames), max(0, 1 - labels)


def _symbols(targets_BU: Tensor, target_lens_B: Tensor, blank: int, more_labels: int) -> Tensor:
    u_U = torch.arange(targets_BU.shape[1], device=targets_BU.device)
    symbols_BU = targets_BU.long().masked_fill(u_U >= target_lens_B[:, None], blank)
    return F.pad(symbols_BU, (0, more_labels), value=blank)


def _boundary(frame_lens_B: Tensor, target_lens_B: Tensor, valid_B: Tensor) -> Tensor:
    zero_B = torch.zeros_like(frame_lens_B)
    ends_B = torch.where(valid_B, target_lens_B, zero_B)
    frames_B = torch.where(valid_B, frame_lens_B, zero_B + 1)
    return torch.stack((zero_B, zero_B, ends_B, frames_B), 1).long()
