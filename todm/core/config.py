"""The configuration of a supernet training: one frozen value, written out in full."""

from typing import Literal

from pydantic import Field, model_validator

from todm.core.data_config import LoaderConfig
from todm.core.space import SearchSpace
from todm.core.value import Value


class LossConfig(Value):
    """The transducer loss and the cures for late emission."""

    topology: Literal["regular", "one_symbol"] = "regular"
    """``one_symbol`` trains under the limit of stock runtimes: one symbol per frame."""
    delay_penalty: float = Field(default=0.0, ge=0.0)
    """icefall's delay penalty: rewards labels on early frames."""
    fastemit: float = Field(default=0.0, ge=0.0)
    """FastEmit's lambda (Yu et al. 2020): scales the gradient of emissions by 1 + lambda."""


class SandwichConfig(Value):
    """Which nets a step trains: the largest, the smallest and some random ones."""

    num_random: int = Field(default=1, ge=0)
    smallest: bool = True
    start_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the steps that train the largest net alone before the sandwich starts."""
    task_weight: float = Field(default=0.5, ge=0.0)
    """Weight of the transducer loss of every net but the largest (whose weight is 1)."""


class DistillConfig(Value):
    """In-place distillation from the largest net to the others."""

    mode: Literal["none", "alpha_divergence"] = "alpha_divergence"
    weight: float = Field(default=0.2, ge=0.0)
    alpha_min: float = -1.0
    alpha_max: float = 1.0
    clip: float = Field(default=5.0, gt=0.0)
    gate: bool = True
    """Weigh each utterance by exp(-teacher's negative log-likelihood per label)."""


class DropoutConfig(Value):
    """Dropout of FFN and mixer activations."""

    mode: Literal["none", "fixed", "adaptive"] = "adaptive"
    """``adaptive``: the rate grows from 0 at the smallest width to ``rate`` at the largest."""
    rate: float = Field(default=0.1, ge=0.0, lt=1.0)


class OptimConfig(Value):
    """The optimizer and its clipping."""

    kind: Literal["scaled_adam", "adamw"] = "scaled_adam"
    """``adamw`` is torch's, fused, with the same clipping; it wants an ``lr`` of its own."""
    lr: float = Field(default=0.03, gt=0.0)
    ssm_lr: float = Field(default=0.002, gt=0.0)
    """Rate of the plain Adam for a_re, a_im and log_dt: rms rules destroy SSM frequencies."""
    betas: tuple[float, float] = (0.9, 0.98)
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
    final_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the last steps over which the rate falls linearly to zero on top."""
    average_fraction: float = Field(default=0.25, ge=0.0, le=1.0)
    """Share of the last steps whose weights are averaged into the result."""


class RunConfig(Value):
    """How a training is run and watched."""

    checkpoint_every_steps: int = Field(default=200, gt=0)
    eval_every_steps: int = Field(default=200, gt=0)
    eval_utterances: int = Field(default=150, gt=0)
    max_bad_steps: int = Field(default=10, gt=0)
    """Non-finite steps in a row after which training stops."""
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all cores."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


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
