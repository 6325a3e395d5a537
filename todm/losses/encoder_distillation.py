"""Distillation of encoder outputs (CoDERT: Swaminathan et al. 2021, arXiv 2106.07734).

CoDERT trains teacher and student encoder together and pulls the student's outputs to the
teacher's, which carry acoustic confusions that the joiner's sharper distributions hide. Our
reading: the outputs after the last norm, of the largest net as teacher (no gradient) and a subnet
as student, both of width D; the paper's encoders have a projection each to the same vocabulary.

    mse:     mean over D of (s - t)^2          cosine:  1 - <s, t> / (|s| |t|)

averaged over the real frames of an utterance, then over utterances with their gates.

Legend: B utterances, T encoder frames, D model width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from todm.kernels.precision import without_autocast

EncoderForm = Literal["mse", "cosine"]


@without_autocast
def encoder_distillation(
    teacher_BTD: Float[Tensor, "B T D"],
    student_BTD: Float[Tensor, "B T D"],
    lens_B: Int[Tensor, " B"],
    gate_B: Float[Tensor, " B"],
    *,
    form: EncoderForm = "mse",
) -> Float[Tensor, ""]:
    """Return the gated mean over utterances of the mean distance over real frames."""
    t_T = torch.arange(student_BTD.shape[1], device=lens_B.device)
    real_BT = t_T < lens_B[:, None]
    target_BTD = teacher_BTD.detach().masked_fill(~real_BT[..., None], 0.0)
    if form == "mse":
        far_BT = (student_BTD - target_BTD).square().mean(-1)
    else:
        far_BT = 1.0 - F.cosine_similarity(student_BTD, target_BTD, dim=-1)
    mean_B = far_BT.masked_fill(~real_BT, 0.0).sum(1) / lens_B.clamp(min=1)
    return (mean_B * gate_B.detach()).mean()
