"""The configuration of a subnet's fine-tuning: one frozen value, written out in full."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from todm.core.config import LossConfig, OptimConfig, RunConfig, ScheduleConfig
from todm.core.data_config import LoaderConfig
from todm.core.quantization import Float32, OnnxDynamicInt8, XnnpackDynamicInt8
from todm.core.value import Value

SimulatedScheme: TypeAlias = Annotated[
    Float32 | OnnxDynamicInt8 | XnnpackDynamicInt8, Field(discriminator="kind")
]
"""Schemes whose arithmetic a training can simulate."""


class FinetuneRun(Value):
    """How a fine-tuning is run and watched."""

    checkpoint_every_steps: int = Field(default=100, gt=0)
    eval_every_steps: int = Field(default=100, gt=0)
    eval_utterances: int = Field(default=150, gt=0)
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all cores."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def as_run(self) -> RunConfig:
        """Return what the training loop reads."""
        return RunConfig(**self.model_dump())


class FinetuneConfig(Value):
    """Everything that decides a subnet's fine-tuning, given the subnet and the corpus."""

    seed: int = 0
    scheme: SimulatedScheme = OnnxDynamicInt8()
    """What the training simulates, but for its ``fallbacks``; ``fp32`` is plain fine-tuning."""
    data: LoaderConfig = LoaderConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig(lr=0.003, ssm_lr=0.0002)
    """A tenth of a supernet's rates: the weights are good already."""
    schedule: ScheduleConfig = ScheduleConfig(kind="one_cycle", steps=300, warmup_steps=30)
    run: FinetuneRun = FinetuneRun()

    @model_validator(mode="after")
    def _the_loss_needs_no_more_weights(self) -> "FinetuneConfig":
        if self.loss.form != "full":
            raise ValueError(
                f"loss.form {self.loss.form} wants the projections of the simple loss, which no "
                "subnet holds; take loss.form full and fewer utterances a batch"
            )
        return self

    def deciding(self) -> "FinetuneConfig":
        """Return the configuration without what says only where and how often.

        Two runs that agree in it may go on with each other's checkpoints.
        """
        kept = {key: getattr(FinetuneRun(), key) for key in _PLACE_KEYS}
        return self.model_copy(update={"run": self.run.model_copy(update=kept)})


_PLACE_KEYS = ("accelerator", "checkpoint_every_steps", "threads")
