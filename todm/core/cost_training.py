"""What a training step costs: the MACs of every net in it, forward and backward.

Rules, stated once:

* Products (matrix products, convolutions, depthwise taps) cost what their shapes say over the
  *padded* batch; a complex multiply-add is 4 real ones.
* Backward costs twice the forward (gradients of both factors), but once for the first
  convolution, whose input needs no gradient.
* An FFT of n real points is 2.5 n log2 n FLOPs, the usual count, so 1.25 n log2 n MACs.
* The transducer loss and the distillation are elementwise over the lattice: a stated number of
  MACs per logit. The lattice's posteriors and the distillation's gradient are computed forward
  and counted there.
* Other elementwise work (norms, activations, dropout, optimizer) is left out.
* A sandwich step runs front end and predictor once for all of its nets.

Legend: B batch, T encoder frames, U labels, V symbols.
"""

from collections.abc import Iterator, Sequence
from typing import assert_never

from todm.core.config import DistillMode, LossConfig
from todm.core.cost import front_conv_macs, linear_maps
from todm.core.cost_mixers import mixer_cost
from todm.core.cost_predictors import predictor_cost
from todm.core.specs import SUBSAMPLING, SubnetSpec
from todm.core.value import Value

BACKWARD_RATIO = 2
LOSS_FORWARD_MACS_PER_LOGIT = 4
"""log-softmax: subtract, exp, sum, subtract."""
LOSS_BACKWARD_MACS_PER_LOGIT = 2
"""Softmax times occupancy."""
LATTICE_MACS_PER_NODE = 12
"""Alpha and beta: two additions and a logaddexp each, and the two edge posteriors."""
DISTILL_MACS_PER_LOGIT = 24
"""Two log-softmaxes (8), ratio and its power at both ends of alpha with clipping (10), the
weighted sums and the gradient by the student's logits (6)."""

PATH_MACS_PER_LOGIT = 3
"""Normalising the teacher's lattice for its best path: subtract, exp, sum."""
PATH_MACS_PER_NODE = 4
"""Two additions and the maximum of the best path, and its trace."""
ENCODER_DISTILL_MACS = 8
"""Per scalar of an encoder output: the dearer of both forms (cosine), forward and backward."""


class TrainingShape(Value):
    """One padded batch."""

    batch: int
    frames: int
    """fbank frames (10 ms) of the longest utterance."""
    target_len: int
    """Labels of the longest utterance."""
    s_range: int | None = None
    """Label positions that each frame keeps in the pruned form; None is the full form."""
    simple: bool = False
    """Whether the net has a simple loss, which finds those positions."""

    def in_form(self, loss: LossConfig, *, largest: bool) -> "TrainingShape":
        """Return the shape as the loss has it for the largest net, or for a smaller one."""
        if loss.form == "full":
            return self
        finds = largest or not loss.pruned.share_ranges
        return self.model_copy(update={"s_range": loss.pruned.s_range, "simple": finds})

    @property
    def encoder_frames(self) -> int:
        """Encoder frames (40 ms)."""
        return self.frames // SUBSAMPLING

    @property
    def positions(self) -> int:
        """Encoder frames of the whole batch."""
        return self.batch * self.encoder_frames

    @property
    def all_nodes(self) -> int:
        """Nodes of the batch's full lattices."""
        return self.positions * (self.target_len + 1)

    @property
    def nodes(self) -> int:
        """Nodes that the joiner runs on."""
        return min(self.all_nodes, self.positions * (self.s_range or self.target_len + 1))


class TrainingMacs(Value):
    """MACs of a net or a step by part."""

    front: int = 0
    predictor: int = 0
    """Its convolution over the labels, and its gate if it has one."""
    taps: int = 0
    """Depthwise convolutions before the scans."""
    kernels: int = 0
    """Impulse responses: complex products of modes and powers."""
    scan: int = 0
    """The convolution with them, Toeplitz or FFT."""
    mixers: int = 0
    """Projections around the scan."""
    ffn: int = 0
    joiner: int = 0
    """Both projections and the logits of the lattice's nodes."""
    simple: int = 0
    """Projections and normaliser of the simple loss, in the pruned form."""
    loss: int = 0
    distill: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(getattr(self, name) for name in type(self).model_fields)

    def __add__(self, other: "TrainingMacs") -> "TrainingMacs":
        """Add part by part."""
        fields = type(self).model_fields
        return TrainingMacs(**{k: getattr(self, k) + getattr(other, k) for k in fields})


class NetMacs(Value):
    """MACs of one net, forward and backward."""

    forward: TrainingMacs = TrainingMacs()
    backward: TrainingMacs = TrainingMacs()

    @property
    def total(self) -> int:
        """Both ways together."""
        return self.forward.total + self.backward.total

    def __add__(self, other: "NetMacs") -> "NetMacs":
        """Add part by part."""
        return NetMacs(
            forward=self.forward + other.forward, backward=self.backward + other.backward
        )


def forward_macs(spec: SubnetSpec, shape: TrainingShape) -> TrainingMacs:
    """Return the products of one net's forward pass over a batch; no loss, no distillation."""
    frames, labels = shape.positions, shape.batch * (shape.target_len + 1)
    costs, ahead = [mixer_cost(block.mixer) for block in spec.blocks], spec.lookahead_frames
    macs = dict.fromkeys(TrainingMacs.model_fields, 0)
    macs["front"] = sum(front_conv_macs(spec, frames))
    macs["predictor"] = labels * predictor_cost(spec).history_macs
    rows = {"predictor": labels, "predictor_out": labels, "joiner": shape.nodes}
    for linear in linear_maps(spec):
        field = "joiner" if linear.part in ("encoder_out", "predictor_out") else linear.part
        macs[field] += rows.get(linear.part, frames) * linear.macs
    macs["taps"] = sum(cost.depthwise_macs(frames) for cost in costs)
    macs["kernels"] = sum(cost.kernel_macs(shape.encoder_frames, ahead) for cost in costs)
    macs["scan"] = sum(cost.scan_macs(shape.batch, shape.encoder_frames, ahead) for cost in costs)
    macs["simple"] = _simple_macs(spec, shape) if shape.simple else 0
    return TrainingMacs.model_validate(macs)


def training_macs(
    spec: SubnetSpec,
    shape: TrainingShape,
    *,
    shared: bool = False,
    distill: DistillMode = "none",
) -> NetMacs:
    """Return the MACs of one net of a step.

    Args:
        spec: the net.
        shape: the batch, or the part of it that the net trains on.
        shared: front end and predictor were run by another net of the step.
        distill: how the net also learns from the largest one.
    """
    forward = forward_macs(spec, shape)
    backward = {k: BACKWARD_RATIO * getattr(forward, k) for k in TrainingMacs.model_fields}
    backward["front"] -= front_conv_macs(spec, shape.positions)[0]
    logits = shape.nodes * spec.vocab_size
    lattice_nodes = shape.nodes + (shape.all_nodes if shape.simple else 0)
    backward["loss"] = LOSS_BACKWARD_MACS_PER_LOGIT * logits
    added = {
        "loss": LOSS_FORWARD_MACS_PER_LOGIT * logits + LATTICE_MACS_PER_NODE * lattice_nodes,
        "distill": _distill_macs(spec, shape, distill),
    }
    if shared:
        backward["front"] = backward["predictor"] = 0
        added |= {"front": 0, "predictor": 0}
    return NetMacs(forward=forward.model_copy(update=added), backward=TrainingMacs(**backward))


def step_macs(
    nets: Sequence[tuple[SubnetSpec, TrainingShape]], distill: DistillMode
) -> Iterator[NetMacs]:
    """Yield the MACs of each net of a step; the first makes what all share, and teaches."""
    for index, (spec, shape) in enumerate(nets):
        mode: DistillMode = distill if index else "none"
        yield training_macs(spec, shape, shared=index > 0, distill=mode)


def _distill_macs(spec: SubnetSpec, shape: TrainingShape, mode: DistillMode) -> int:
    match mode:
        case "none":
            return 0
        case "alpha_divergence":
            return DISTILL_MACS_PER_LOGIT * shape.nodes * spec.vocab_size
        case "one_best":
            path = shape.batch * (shape.encoder_frames + shape.target_len) * spec.vocab_size
            found = PATH_MACS_PER_LOGIT * shape.nodes * spec.vocab_size
            return found + PATH_MACS_PER_NODE * shape.nodes + DISTILL_MACS_PER_LOGIT * path
        case "encoder":
            return ENCODER_DISTILL_MACS * shape.positions * spec.model_dim
        case "full_sum":
            return 0  # a few scalars an utterance
        case _:
            assert_never(mode)


def _simple_macs(spec: SubnetSpec, shape: TrainingShape) -> int:
    """Both projections onto the symbols, and the product of their exponentials."""
    labels = shape.batch * (shape.target_len + 1)
    projections = shape.positions * spec.model_dim + labels * spec.predictor.embed_dim
    return (projections + shape.all_nodes) * spec.vocab_size
