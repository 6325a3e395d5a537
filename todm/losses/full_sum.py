"""Full-sum distillation: sequence posteriors of teacher and student (Zeineldeen et al. 2023).

The paper (arXiv 2303.05958) distils the teacher's posterior of a whole label sequence, summed
over all alignments, so that nothing depends on where the two nets emit. We could read its
abstract only, not its equations. Our reading, with the reference transcript y as the one sequence:

    d = (log P_teacher(y | x) - log P_student(y | x)) / labels
    loss = Huber(d), which is d^2 / 2 up to |d| = 1 and |d| - 1/2 beyond

Each log P is the negative transducer loss. The slope is at most 1 a label, so that an untrained
student is pulled no harder than by its own loss, and it vanishes where both are equal: a student
better than its teacher is pulled back.

Legend: B utterances.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from todm.kernels.precision import without_autocast


@without_autocast
def full_sum_distillation(
    teacher_loss_B: Float[Tensor, " B"],
    student_loss_B: Float[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    gate_B: Float[Tensor, " B"],
) -> Float[Tensor, ""]:
    """Return the gated mean over utterances of the distance of log-likelihoods per label.

    Args:
        teacher_loss_B: The teacher's transducer loss, -log P(y | x); gets no gradient.
        student_loss_B: The student's.
        target_lens_B: Labels of each utterance; none counts as one.
        gate_B: Weight of each utterance; 0 where no path exists.
    """
    labels_B = target_lens_B.clamp(min=1)
    far_B = F.huber_loss(
        student_loss_B / labels_B, teacher_loss_B.detach() / labels_B, reduction="none"
    )
    return (far_B * gate_B.detach()).mean()
