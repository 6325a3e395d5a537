"""The configuration of a supernet training: one frozen value, written out in full."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from todm.core.data_config import LoaderConfig
from todm.core.space import SearchSpace
from todm.core.value import Value


class PrunedConfig(Value):
    """The pruned form of the loss (Kuang et al. 2022): read where ``form`` is ``pruned``."""

    s_range: int = Field(default=5, ge=2)
    """Label positions that each frame keeps."""
    lm_scale: float = Field(default=0.25, ge=0.0, le=1.0)
    """Share of the predictor's own distribution in the simple loss."""
    am_scale: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the encoder's own distribution in the simple loss."""
    simple_scale: float = Field(default=0.5, ge=0.0)
    """Weight of the simple loss after the warm-up, during which it falls from 1."""
    start_scale: float = Field(default=0.1, ge=0.0)
    """Weight of the pruned loss at the first step; it grows to 1 over the warm-up."""
    warmup_steps: int = Field(default=2000, ge=0)
    share_ranges: bool = True
    """Smaller nets take the kept positions of the largest net; otherwise each has a simple loss."""

    @model_validator(mode="after")
    def _shares_leave_the_joiner_some(self) -> "PrunedConfig":
        if self.lm_scale + self.am_scale > 1.0:
            raise ValueError("lm_scale and am_scale must sum to at most 1")
        return self


class LossConfig(Value):
    """The transducer loss and the cures for late emission."""

    form: Literal["full", "pruned"] = "full"
    """``pruned`` runs the joiner on a few label positions of each frame only."""
    pruned: PrunedConfig = PrunedConfig()
    backend: Literal["native", "k2", "torchaudio"] = "native"
    """Who computes the loss; ``k2`` and ``torchaudio`` are optional packages."""
    topology: Literal["regular", "one_symbol"] = "regular"
    """``one_symbol`` trains under the limit of stock runtimes: one symbol per frame."""
    delay_penalty: float = Field(default=0.0, ge=0.0)
    """icefall's delay penalty: rewards labels on early frames."""
    fastemit: float = Field(default=0.0, ge=0.0)
    """FastEmit's lambda (Yu et al. 2020): scales the gradient of emissions by 1 + lambda."""

    @model_validator(mode="after")
    def _backend_can_do_it(self) -> "LossConfig":
        lacks = {
            "fastemit": self.backend != "native" and self.fastemit > 0.0,
            "form pruned": self.backend == "torchaudio" and self.form == "pruned",
            "topology one_symbol": self.backend == "torchaudio" and self.topology == "one_symbol",
            "delay_penalty": self.backend == "torchaudio" and self.delay_penalty > 0.0,
        }
        wanted = [name for name, missing in lacks.items() if missing]
        if wanted:
            raise ValueError(f"backend {self.backend} has no {wanted[0]}; take backend native")
        return self


class SandwichConfig(Value):
    """Which nets a step trains, and when: the largest, the smallest and some random ones.

    The largest net trains in every step on the whole batch; what follows is about the others.
    """

    num_random: int = Field(default=1, ge=0)
    smallest: float = Field(default=1.0, ge=0.0, le=1.0)
    """Probability that a step with smaller nets trains the smallest (true is 1, false 0)."""
    smallest_replaces: bool = False
    """When the smallest net is drawn it takes the first random net's place, so that a step trains
    ``num_random`` smaller nets whatever is drawn."""
    start_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the steps that train the largest net alone before the sandwich starts."""
    every: int = Field(default=1, ge=1)
    """Smaller nets train on every so many-th step, counted from the sandwich's first. Their weight
    in such a step stays what it is: a larger one would run into the clipping of gradients."""
    batch_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Part of a batch's utterances that each smaller net trains on, drawn anew for each net and
    step. Losses are means over that part, so that the expected gradient stays the same."""
    task_weight: float = Field(default=0.5, ge=0.0)
    """Weight of the transducer loss of every net but the largest (whose weight is 1)."""

    @model_validator(mode="after")
    def _something_is_replaced(self) -> "SandwichConfig":
        if self.smallest_replaces and not self.num_random:
            raise ValueError("smallest_replaces needs num_random of at least 1")
        return self


DistillMode = Literal["none", "alpha_divergence", "encoder", "full_sum", "one_best"]


class DistillConfig(Value):
    """In-place distillation from the largest net to the others."""

    mode: DistillMode = "alpha_divergence"
    """``alpha_divergence``: symbols of every node of the lattice; ``one_best``: of the nodes on the
    teacher's best path; ``encoder``: encoder outputs; ``full_sum``: the transcript's likelihood."""
    weight: float = Field(default=0.2, ge=0.0)
    encoder_form: Literal["mse", "cosine"] = "mse"
    """Distance of encoder outputs; read by mode ``encoder``."""
    alpha_min: float = -1.0
    """Ends of the divergence; they and ``clip`` are read by ``alpha_divergence`` and
    ``one_best``."""
    alpha_max: float = 1.0
    clip: float = Field(default=5.0, gt=0.0)
    gate: bool = True
    """Weigh each utterance by exp(-teacher's negative log-likelihood per label)."""


class DropoutConfig(Value):
    """Dropout of FFN and mixer activations."""

    mode: Literal["none", "fixed", "adaptive"] = "adaptive"
    """``adaptive``: the rate grows from 0 at the smallest size to ``rate`` at the largest."""
    adaptive_by: Literal["width", "macs"] = "width"
    """Size under ``adaptive``: each layer's own width, or the MACs of the whole net."""
    rate: float = Field(default=0.1, ge=0.0, lt=1.0)


Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class OptimConfig(Value):
    """The optimizer and its clipping."""

    kind: Literal["scaled_adam", "adamw"] = "scaled_adam"
    """``adamw`` is torch's, fused, with the same clipping; it wants an ``lr`` of its own."""
    lr: float = Field(default=0.03, gt=0.0)
    ssm_lr: float = Field(default=0.002, gt=0.0)
    """Rate of the plain Adam for A, B and log_dt: rms rules destroy SSM frequencies."""
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    clipping_scale: float = Field(default=2.0, gt=0.0)
    """Clip at this multiple of the median of recent gradient norms."""
    rms: Literal["tensor", "row_block"] = "tensor"
    """What ScaledAdam learns one size of: a tensor, or those of its output rows that are in the
    same subnets."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's decoupled decay of matrices and kernels."""

    @model_validator(mode="after")
    def _keys_have_effect(self) -> "OptimConfig":
        if self.kind == "adamw" and self.rms != "tensor":
            raise ValueError("rms has no effect on adamw; remove it")
        if self.kind == "scaled_adam" and self.weight_decay > 0.0:
            raise ValueError("weight_decay has no effect on scaled_adam; remove it")
        return self


class ScheduleConfig(Value):
    """Learning-rate schedule."""

    kind: Literal["eden", "one_cycle"] = "eden"
    steps: int = Field(gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    eden_batches: float = Field(default=600.0, gt=0.0)
    eden_epochs: float = Field(default=6.0, gt=0.0)
    hold_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the steps before Eden's decay begins: the sandwich's ``start_fraction``, so that
    smaller nets that start late find the rate undecayed."""
    final_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the last steps over which the rate falls linearly to zero on top."""
    averaging: Literal["window", "pairs"] = "window"
    """``window``: the mean of the weights after each of the last steps. ``pairs``: icefall's form,
    the difference of two running means, so that the window is chosen afterwards on dev speech."""
    average_fraction: float = Field(default=0.25, ge=0.0, le=1.0)
    """Share of the last steps whose weights are averaged into the result (``window``)."""
    average_starts: tuple[float, ...] = Field(default=(0.5, 0.75, 0.9), min_length=1)
    """Shares of the steps after which a window may begin (``pairs``)."""
    average_period_steps: int = Field(default=1, ge=1)
    """Every how many steps the weights join the running mean (``pairs``)."""

    @model_validator(mode="after")
    def _windows_begin_inside(self) -> "ScheduleConfig":
        if not all(0.0 < share < 1.0 for share in self.average_starts):
            raise ValueError(f"average_starts must lie between 0 and 1, got {self.average_starts}")
        return self

    @model_validator(mode="after")
    def _eden_is_held(self) -> "ScheduleConfig":
        if self.hold_fraction and self.kind != "eden":
            raise ValueError("hold_fraction is read with kind eden only")
        if self.final_fraction and self.kind != "eden":
            raise ValueError("final_fraction is read with kind eden only; set it to 0")
        return self

    @model_validator(mode="after")
    def _one_cycle_falls(self) -> "ScheduleConfig":
        if self.kind == "one_cycle" and self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} of {self.steps} steps, so the rate never "
                "falls; set it lower"
            )
        return self


class RunConfig(Value):
    """How a training is run and watched."""

    checkpoint_every_steps: int = Field(default=200, gt=0)
    eval_every_steps: int = Field(default=200, gt=0)
    eval_utterances: int = Field(default=150, gt=0)
    early_stop_patience: int = Field(default=0, ge=0)
    """Evaluations without a larger front (hypervolume of dev WER and MACs) after which training
    stops and hands out the weights of the best one; 0 trains all steps."""
    early_stop_nets: int = Field(default=4, ge=0)
    """Sampled nets that the front is judged by, besides the named ones."""
    lr_range_steps: int = Field(default=200, ge=20)
    """Steps of ``--lr-range``."""
    tensorboard: bool = False
    """Also log to ``<out>.tensorboard``, for ``tensorboard --logdir``."""
    max_bad_steps: int = Field(default=10, gt=0)
    """Non-finite steps in a row after which training stops."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of a process; 0 shares all cores among the machine's processes."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """``bf16-mixed``: matrix products of the network in bfloat16; weights, state-space kernels,
    losses and the optimizer stay in float32."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How the processes that torchrun starts share the work; ``auto``: ddp where there are several.
    Each takes its share of every batch. ``ddp``: each holds the whole net; ``fsdp``: weights,
    gradients and optimizer state are spread, for nets above one device's memory."""
    sync_timeout_s: int = Field(default=1800, gt=0)
    """How long a process waits for the others (rank 0 evaluates alone) before it gives up."""


class SupernetConfig(Value):
    """Everything that decides a supernet training, given its corpus."""

    recipe: str
    seed: int = 0
    space: SearchSpace
    data: LoaderConfig
    loss: LossConfig = LossConfig()
    sandwich: SandwichConfig = SandwichConfig()
    distill: DistillConfig = DistillConfig()
    dropout: DropoutConfig = DropoutConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _kept_nodes_suit_the_distillation(self) -> "SupernetConfig":
        if self.loss.form == "full":
            return self
        if self.distill.mode == "one_best":
            raise ValueError(
                "distill.mode one_best searches the full lattice; take loss.form full, or "
                "distill.mode alpha_divergence"
            )
        if self.distill.mode == "alpha_divergence" and not self.loss.pruned.share_ranges:
            raise ValueError(
                "distill.mode alpha_divergence compares node by node: set loss.pruned.share_ranges "
                "to true, or take another distill.mode"
            )
        return self

    def deciding(self) -> "SupernetConfig":
        """Return the configuration without what says only where and how the same run takes place.

        Two runs that agree in it may go on with each other's checkpoints.
        """
        kept = {key: getattr(RunConfig(), key) for key in _PLACE_KEYS}
        return self.model_copy(update={"run": self.run.model_copy(update=kept)})


_PLACE_KEYS = (
    "accelerator",
    "checkpoint_every_steps",
    "lr_range_steps",
    "strategy",
    "sync_timeout_s",
    "tensorboard",
    "threads",
)
