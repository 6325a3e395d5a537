"""``todm prepare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todm.cli.options import Config, Json, Out, Sets

if TYPE_CHECKING:
    from todm.core.data_config import PrepareConfig


def prepare(
    out: Out,
    corpus: Annotated[
        str | None,
        typer.Argument(
            help="Name of a corpus (espeak, fsdd, lhotse-librispeech, ...) or of a format "
            "(transcripts, nemo, kaldi, cuts) with --path.",
            show_default=False,
        ),
    ] = None,
    path: Annotated[
        Path | None, typer.Option("--path", help="Where the corpus is; a file or folder.")
    ] = None,
    corpus_dir: Annotated[
        Path | None,
        typer.Option("--corpus-dir", help="Folder that holds corpora by name [TODM_CORPORA]."),
    ] = None,
    config: Config = None,
    sets: Sets = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first rejected line.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn a corpus into lhotse cuts and tokens.

    Everything is resampled to 16 kHz once, here. A bad line is told and counted.

    \b
    todm prepare transcripts --path my_speech --out runs/corpus
    todm prepare nemo --path train.jsonl --set source.dev_path=dev.jsonl --out runs/corpus
    todm prepare espeak --set tokens.unit=word --set strings.num_train=500 --out runs/corpus
    todm prepare fsdd --corpus-dir ~/corpora --set strings.max_words=5 --out runs/fsdd
    """
    from todm.cli.output import note, say_artifact
    from todm.core.overrides import apply_overrides
    from todm.prepare.run import run

    base = _base(corpus, path, config, strict)
    artifact = run(
        apply_overrides(base, sets or []), out, corpora_dir=corpus_dir, report=note, progress=note
    )
    counts, hours = artifact.body["num_utterances"], artifact.body["hours"]
    assert isinstance(counts, dict)
    assert isinstance(hours, dict)
    shown = ", ".join(f"{split} {counts[split]} ({hours[split]:.2f} h)" for split in counts)
    say_artifact(artifact, f"{shown}; {artifact.body['vocab_size']} tokens", as_json=as_json)


def _base(
    corpus: str | None, path: Path | None, config: Path | None, strict: bool
) -> "PrepareConfig":
    """Return the configuration before overrides: a file's, or a corpus's with its defaults."""
    from todm.cli.config_files import read_config
    from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig
    from todm.core.errors import ConfigError
    from todm.data.corpora import SYNTHESISED

    if (corpus is None) == (config is None):
        raise ConfigError("give either the name of a corpus or --config")
    if config is not None:
        if path is not None:
            raise ConfigError("--path has no effect with --config; use --set source.path=...")
        base = read_config(PrepareConfig, config)
        return base.model_copy(update={"strict": True}) if strict else base
    assert corpus is not None
    if not corpus:
        raise ConfigError("the name of a corpus is empty; --help lists the formats")
    return PrepareConfig(
        name=corpus,
        source=SourceConfig(corpus=corpus, path=path),
        strings=StringConfig() if corpus in SYNTHESISED else None,
        strict=strict,
    )
