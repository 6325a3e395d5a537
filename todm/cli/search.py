"""``todm search``."""

from pathlib import Path
from typing import Annotated

import typer

from todm.cli.options import Config, Json, MaybeCorpus, Out, Sets


def search(
    supernet: Annotated[Path, typer.Argument(help="A supernet artifact.", show_default=False)],
    out: Out,
    corpus: MaybeCorpus = None,
    config: Config = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Find the Pareto front of a supernet's subnets.

    Subnets are evaluated as they are, without retraining: dev WER against cost. A killed search
    goes on where it was when the same command is given again. Several processes or machines that
    give the same command with one storage, a file or a database URL, share the search.

    \b
    todm search runs/supernet --out runs/front
    todm search runs/supernet --set trials=300 --out runs/front
    todm search runs/supernet --set storage=runs/search.journal --out runs/front
    """
    from todm.cli.config_files import config_of
    from todm.cli.output import say_artifact
    from todm.core.search_config import SearchConfig

    chosen = config_of(SearchConfig(), config, sets)

    from todm.flows.lineage import corpus_of
    from todm.search.run import run

    artifact = run(chosen, supernet, corpus or corpus_of(supernet), out)
    body = artifact.body
    figure = (
        f"{body['front_nets']} nets on the front of {body['evaluated_nets']}, "
        f"best dev WER {body['best_wer']:.2f} %"
    )
    say_artifact(artifact, figure, as_json=as_json)
