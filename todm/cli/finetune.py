"""``todm finetune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from todm.cli.options import Config, Json, MaybeCorpus, Out, Sets

if TYPE_CHECKING:
    from todm.core.finetune_config import FinetuneConfig


def finetune(
    subnet: Annotated[Path, typer.Argument(help="A subnet artifact.", show_default=False)],
    out: Out,
    corpus: MaybeCorpus = None,
    precision: Annotated[
        Literal["int8", "fp32"] | None,
        typer.Option("--precision", help="What the training simulates; fp32 nothing [int8]."),
    ] = None,
    config: Config = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train a subnet further, so that int8 costs it less.

    A few hundred steps in which the linears compute as the device's dynamic int8 does; the result
    is a plain subnet of the same sizes, for every command that takes one. For when an export's gate
    leaves many layers in float32. A killed run goes on where it was when the same command is given
    again.

    \b
    todm finetune runs/rpi4 --out runs/rpi4_int8
    todm finetune runs/rpi4 --set schedule.steps=200 --set optim.lr=0.001 --out runs/rpi4_int8
    todm finetune runs/rpi4 --precision fp32 --corpus runs/more_speech --out runs/rpi4_more
    """
    from todm.cli.output import say_artifact
    from todm.core.overrides import apply_overrides
    from todm.flows.finetune import finetune as run

    chosen = apply_overrides(_base(subnet, config, precision), sets or [])
    artifact = run(subnet, out, chosen, corpus=corpus)
    figure = ", ".join(_changes(artifact.body["finetuned"]))
    say_artifact(artifact, f"dev {figure}", as_json=as_json)


def _base(
    subnet: Path, config: Path | None, precision: Literal["int8", "fp32"] | None
) -> "FinetuneConfig":
    from todm.cli.config_files import read_config
    from todm.core.artifact import load_artifact
    from todm.core.finetune_config import FinetuneConfig
    from todm.core.quantization import Float32
    from todm.flows.finetune import base_config, int8_of

    base = base_config(subnet) if config is None else read_config(FinetuneConfig, config)
    if precision is None:
        return base
    if precision == "fp32":
        return base.model_copy(update={"scheme": Float32()})
    source = load_artifact(subnet, "subnet", verify=False)
    return base.model_copy(update={"scheme": int8_of(source)})


def _changes(finetuned: Any) -> list[str]:
    """Return what became of each precision's figures."""
    before, after = finetuned["before"], finetuned["after"]
    return [
        f"{name} NLL {before[name]['loss']:.4f} -> {after[name]['loss']:.4f} and WER "
        f"{before[name]['wer']:.2f} -> {after[name]['wer']:.2f} %"
        for name in after
    ]
