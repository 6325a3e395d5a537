"""``todm train-supernet``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todm.cli.options import Config, Corpus, Json, Out, Sets

if TYPE_CHECKING:
    from todm.core.config import SupernetConfig


def train_supernet(
    corpus: Corpus,
    out: Out,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A ready-made configuration, such as fsdd.")
    ] = None,
    config: Config = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train one set of weights that holds many recognisers.

    A killed run goes on where it was when the same command is given again. The full
    configuration stands in OUT/config.json, and --config replays it.

    \b
    todm train-supernet --recipe fsdd --corpus runs/fsdd --out runs/supernet
    todm train-supernet --recipe fsdd --corpus runs/fsdd --set optim.lr=0.02 --out runs/b
    todm train-supernet --config runs/supernet/config.json --corpus runs/fsdd --out runs/c
    """
    from todm.cli.output import say_artifact
    from todm.core.overrides import apply_overrides

    chosen = apply_overrides(_base(recipe, config, corpus), sets or [])

    from todm.train.run import run

    artifact = run(chosen, corpus, out)
    wers = artifact.body["dev_wer"]
    assert isinstance(wers, dict)
    shown = ", ".join(f"{name} {wer:.2f} %" for name, wer in wers.items())
    say_artifact(artifact, f"dev WER {shown}", as_json=as_json)


def _base(recipe_name: str | None, config: Path | None, corpus: Path) -> "SupernetConfig":
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
    return recipe(recipe_name, open_corpus(corpus, verify=False).table.size)
