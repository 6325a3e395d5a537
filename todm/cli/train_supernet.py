"""``todm train-supernet``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todm.cli.options import Config, Json, Sets

if TYPE_CHECKING:
    from todm.core.config import SupernetConfig
    from todm.train.dry_run import DryRun

PLANNED_VOCAB = 500
"""Symbols of a recipe that is planned without a corpus."""


def train_supernet(
    corpus: Annotated[Path | None, typer.Option("--corpus", help="A prepared corpus.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the result.")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A ready-made configuration, such as fsdd.")
    ] = None,
    config: Config = None,
    sets: Sets = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train nothing: say what it would take. Without --corpus, on LibriSpeech.",
        ),
    ] = False,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="With --dry-run: GPUs that share a batch.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train one set of weights that holds many recognisers.

    A killed run goes on where it was when the same command is given again. The full
    configuration stands in OUT/config.json, and --config replays it.

    \b
    todm train-supernet --recipe fsdd --corpus runs/fsdd --out runs/supernet
    todm train-supernet --recipe fsdd --corpus runs/fsdd --set optim.lr=0.02 --out runs/b
    todm train-supernet --config runs/supernet/config.json --corpus runs/fsdd --out runs/c
    todm train-supernet --recipe librispeech_960 --dry-run --gpus 4
    """
    from todm.cli.output import say_artifact
    from todm.core.errors import ConfigError
    from todm.core.overrides import apply_overrides

    chosen = apply_overrides(_base(recipe, config, corpus), sets or [])
    if dry_run:
        _plan(chosen, corpus, gpus or 1, as_json=as_json)
        return
    if gpus is not None:
        raise ConfigError("--gpus is read with --dry-run; torchrun starts a training on several")
    if corpus is None or out is None:
        raise ConfigError("give --corpus and --out, or --dry-run")

    from todm.train.run import run

    artifact = run(chosen, corpus, out)
    wers = artifact.body["dev_wer"]
    assert isinstance(wers, dict)
    shown = ", ".join(f"{name} {wer:.2f} %" for name, wer in wers.items())
    say_artifact(artifact, f"dev WER {shown}", as_json=as_json)


def _plan(config: "SupernetConfig", corpus: Path | None, gpus: int, *, as_json: bool) -> None:
    from todm.cli.output import say
    from todm.data.manifest import open_corpus
    from todm.train.dry_run import dry_run

    opened = None if corpus is None else open_corpus(corpus, verify=False)
    found = dry_run(config, opened, gpus=gpus)
    data = found.to_json() | {"bytes_per_gpu": found.bytes_per_gpu}
    say(_table(found), data, as_json=as_json)


def _table(found: "DryRun") -> str:
    """Return the plan for people."""
    from tabulate import tabulate

    plan, batches = found.plan, found.plan.batches
    rows = [
        ("parameters", f"{_si(plan.parameters_smallest)} to {_si(plan.parameters_largest)}"),
        ("corpus", plan.corpus),
        ("utterances", f"{batches.utterances} ({batches.audio_h:.1f} h)"),
        ("a batch", f"{batches.utterances_per_batch:.1f} utterances, "
                    f"{batches.audio_s_per_batch:.0f} s, {batches.padding_share:.1%} padding"),
        ("steps", f"{plan.steps}: {batches.epochs:.1f} epochs of {batches.steps_per_epoch}"),
        ("MACs", f"{_si(plan.macs_per_step)} a step, {_si(plan.macs)} in all"),
        *(
            (f"GPU-hours, {gpu}", f"{hours:.3g} at {plan.achieved_share:.1%} of its peak")
            for gpu, hours in plan.gpu_hours.items()
        ),
        ("weights, optimizer, average", f"{_si(found.weights_bytes)}B + "
            f"{_si(found.optimizer_bytes)}B + {_si(found.average_bytes)}B"),
        *(
            (f"step on {trial.what}", f"{_si(trial.step_bytes)}B for {trial.shape.batch} x "
             f"{trial.shape.frames} frames x {trial.shape.target_len} labels, run with "
             f"{' and '.join(map(str, trial.tried_utterances))} utterances on {found.device}"
             + ("" if trial.step_s is None else f" in {trial.step_s:.2f} s"))
            for trial in found.trials
        ),
        (f"memory of each of {found.gpus} GPUs", f"{_si(found.bytes_per_gpu)}B"),
    ]  # fmt: skip
    if found.gpu_hours_measured is not None:
        rows.append(("GPU-hours, measured here", f"{found.gpu_hours_measured:.3g}"))
    table: str = tabulate(rows, tablefmt="plain", disable_numparse=True)
    return table


def _si(value: float) -> str:
    """Return a value with three digits and the prefix of its thousands."""
    prefixes = iter(("", "k", "M", "G", "T", "P", "E"))
    prefix = next(prefixes)
    while value >= 999.5:
        value, prefix = value / 1000, next(prefixes)
    return f"{value:.3g} {prefix}"


def _base(recipe_name: str | None, config: Path | None, corpus: Path | None) -> "SupernetConfig":
    from todm.cli.config_files import read_config
    from todm.core.config import SupernetConfig
    from todm.core.errors import ConfigError
    from todm.data.manifest import open_corpus
    from todm.recipes import RECIPES, recipe

    if (recipe_name is None) == (config is None):
        names = ", ".join(sorted(RECIPES))
        raise ConfigError(f"give either --recipe (one of {names}) or --config")
    if config is not None:
        return read_config(SupernetConfig, config)
    assert recipe_name is not None
    if corpus is None:
        return recipe(recipe_name, PLANNED_VOCAB)
    return recipe(recipe_name, open_corpus(corpus, verify=False).table.size)
