"""torchaudio's transducer loss with the arguments of todm's own.

Importing this module imports torchaudio. It needs nothing else but torch and runs under Python
3.9 too, so that it can be tried in an environment that todm itself does not support.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.functional import rnnt_loss


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
    """Return loss and validity (always true) of each utterance.

    torchaudio wants the batch cut to its longest utterance and real symbols in the padding.

    Raises:
        ValueError: an option that torchaudio does not have.
    """
    if topology != "regular" or delay_penalty or fastemit:
        raise ValueError("torchaudio has the regular topology only, no delay penalty, no FastEmit")
    frames, labels = int(frame_lens_B.max()), int(target_lens_B.max())
    u_U = torch.arange(labels, device=targets_BU.device)
    real_BU = u_U < target_lens_B[:, None]
    loss_B = rnnt_loss(
        logits_BTUV[:, :frames, : labels + 1].float().contiguous(),
        torch.where(real_BU, targets_BU[:, :labels], blank).int().contiguous(),
        frame_lens_B.int(),
        target_lens_B.int(),
        blank=blank,
        reduction="none",
    )
    return loss_B, torch.ones_like(frame_lens_B, dtype=torch.bool)
