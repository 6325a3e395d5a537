"""``todm train-supernet``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todm.cli.options import Config, Json, Sets

if TYPE_CHECKING:
    from todm.core.artifact import Artifact
    from todm.core.config import SupernetConfig

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
    init: Annotated[
        Path | None,
        typer.Option("--init", help="Start from this supernet's weights; the space may be wider."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with OUT's unfinished run, with its configuration."),
    ] = False,
    lr_range: Annotated[
        bool,
        typer.Option("--lr-range", help="Only try learning rates; OUT becomes a report page."),
    ] = False,
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

    A killed run goes on where it was when the same command is given again, on any number of
    processes; --resume needs no recipe and refuses to start anew. The full configuration stands
    in OUT/config.json, and --config replays it. Under torchrun the processes share each batch.

    \b
    todm train-supernet --recipe fsdd --corpus runs/fsdd --out runs/supernet
    todm train-supernet --recipe fsdd --corpus runs/fsdd --set optim.lr=0.02 --out runs/b
    todm train-supernet --config runs/supernet/config.json --corpus runs/fsdd --out runs/c
    todm train-supernet --recipe fsdd --corpus runs/fsdd --lr-range --out runs/rates
    todm train-supernet --recipe an4 --corpus runs/an4 --init runs/supernet --out runs/tuned
    todm train-supernet --recipe librispeech_960 --dry-run --gpus 4
    torchrun --nproc-per-node 8 -m todm train-supernet --resume --corpus runs/fsdd --out runs/b
    """
    from todm.core.errors import ConfigError
    from todm.core.overrides import apply_overrides
    from todm.recipes.sandwich import whole

    base = _base(recipe, config, resume, corpus, out)
    if init is not None and recipe is not None:
        base = whole(base)
    chosen = apply_overrides(base, sets or [])
    if dry_run:
        if lr_range or init or (out is not None and not resume):
            raise ConfigError("--dry-run trains nothing; leave out --lr-range, --init and --out")
        _plan(chosen, corpus, gpus or 1, as_json=as_json)
        return
    if gpus is not None:
        raise ConfigError("--gpus is read with --dry-run; torchrun starts a training on several")
    if corpus is None or out is None:
        raise ConfigError("give --corpus and --out, or --dry-run")
    if lr_range:
        _try_rates(chosen, corpus, out, init, as_json=as_json)
        return

    from todm.train.run import run

    _say(run(chosen, corpus, out, init), as_json=as_json)


def _say(artifact: "Artifact", *, as_json: bool) -> None:
    from todm.cli.output import say_artifact
    from todm.train.ranks import is_first_process

    wers = artifact.body["dev_wer"]
    assert isinstance(wers, dict)
    shown = ", ".join(f"{name} {wer:.2f} %" for name, wer in wers.items())
    if is_first_process():
        say_artifact(artifact, f"dev WER {shown}", as_json=as_json)


def _plan(config: "SupernetConfig", corpus: Path | None, gpus: int, *, as_json: bool) -> None:
    from todm.cli.output import say
    from todm.cli.plan_table import plan_table
    from todm.data.manifest import open_corpus
    from todm.train.dry_run import dry_run

    opened = None if corpus is None else open_corpus(corpus, verify=False)
    found = dry_run(config, opened, gpus=gpus)
    say(plan_table(found), found.to_json(), as_json=as_json)


def _try_rates(
    config: "SupernetConfig",
    corpus: Path,
    out: Path,
    init: Path | None,
    *,
    as_json: bool,
) -> None:
    from todm.cli.output import say_artifact
    from todm.flows.lr_range import run

    artifact = run(config, corpus, out, init)
    suggested, page = artifact.body["suggested_lr"], artifact.file(str(artifact.body["page"]))
    say_artifact(artifact, f"suggested optim.lr {suggested:.2g}, {page}", as_json=as_json)


def _base(
    recipe_name: str | None,
    config: Path | None,
    resume: bool,
    corpus: Path | None,
    out: Path | None,
) -> "SupernetConfig":
    from todm.cli.config_files import read_config
    from todm.core.config import SupernetConfig
    from todm.core.errors import ConfigError
    from todm.data.manifest import open_corpus
    from todm.recipes import RECIPES, recipe

    if [recipe_name is not None, config is not None, resume].count(True) != 1:
        names = ", ".join(sorted(RECIPES))
        raise ConfigError(f"give one of --recipe (one of {names}), --config and --resume")
    if resume:
        from todm.train.start import unfinished_config

        if out is None:
            raise ConfigError("--resume goes on with --out's unfinished run; give --out")
        return unfinished_config(out)
    if config is not None:
        return read_config(SupernetConfig, config)
    assert recipe_name is not None
    if corpus is None:
        return recipe(recipe_name, PLANNED_VOCAB)
    return recipe(recipe_name, open_corpus(corpus, verify=False).table.size)
