"""Read a source corpus into screened rows: texts not empty, ids unique, every row in a split."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from todm.core.data_config import PrepareConfig
from todm.core.errors import ConfigError
from todm.data.corpora import FORMATS, SYNTHESISED, corpus_reader, find_corpus
from todm.data.corpora.strings import make_strings
from todm.data.rows import Rejects, Request, Row
from todm.data.splits import fill_splits
from todm.data.text import normalise
from todm.prepare.audio import PROGRESS_EVERY


def read_rows(
    config: PrepareConfig,
    corpora_dir: Path | None,
    rejects: Rejects,
    progress: Callable[[str], None],
) -> list[Row]:
    """Return the rows to prepare; audio is not loaded yet (but for words that strings are of).

    Args:
        config: What to prepare.
        corpora_dir: Folder that holds corpora by name; None reads TODM_CORPORA.
        rejects: Told of each rejected line.
        progress: Called with a line every 500 rows.

    Raises:
        ConfigError: a setting is wrong or has no effect.
        DataError: the corpus is not there or not in its format.
    """
    source = config.source
    reader = corpus_reader(source.corpus)
    synthesised = source.corpus in SYNTHESISED
    _check_effect(config, synthesised=synthesised)
    root = source.path
    if root is None and not synthesised:
        if source.corpus in FORMATS or source.corpus.startswith("lhotse-"):
            raise ConfigError(f"corpus {source.corpus!r} needs source.path, where it lies")
        root = find_corpus(source.corpus, corpora_dir)
    request = Request(
        source=source,
        root=root,
        seed=config.seed,
        strings=config.strings,
        synthesis=config.synthesis,
    )
    screened = _screen(reader(request, rejects), rejects)
    rows = fill_splits(list(_told(screened, "read", progress)), config)
    if config.strings is None or synthesised:
        return rows
    strings = make_strings(rows, config.strings, config.seed, rejects)
    return list(_told(strings, "joined", progress))


def _told(rows: Iterable[Row], verb: str, progress: Callable[[str], None]) -> Iterator[Row]:
    """Pass rows on and say how many there were."""
    for count, row in enumerate(rows, start=1):
        yield row
        if count % PROGRESS_EVERY == 0:
            progress(f"{verb} {count} utterances")


def _check_effect(config: PrepareConfig, *, synthesised: bool) -> None:
    """Refuse settings that nothing would read."""
    source = config.source
    if config.synthesis is not None and not synthesised:
        raise ConfigError(f"synthesis has no effect on corpus {source.corpus!r}; remove it")
    if synthesised and source.path is not None:
        raise ConfigError(f"corpus {source.corpus!r} is synthesised; remove source.path")
    if synthesised and source.mix_down:
        raise ConfigError(f"corpus {source.corpus!r} is mono; remove source.mix_down")
    for name in ("download", "language"):
        if getattr(source, name) and not source.corpus.startswith("lhotse-"):
            raise ConfigError(f"source.{name} has no effect on {source.corpus!r}; remove it")


def _screen(rows: Iterable[Row], rejects: Rejects) -> Iterator[Row]:
    """Pass rows with an id that is new and a text that holds a word."""
    seen: dict[str, str] = {}
    for row in rows:
        if not row.id:
            rejects.add("bad line", f"{row.where}: the id is empty; give one")
        elif row.id in seen:
            rejects.add(
                "duplicate id",
                f"{row.where}: id {row.id!r} stands at {seen[row.id]} already; rename one",
            )
        elif not normalise(row.text):
            rejects.add(
                "empty text", f"{row.where}: {row.id}: no word in the text {row.text[:40]!r}"
            )
        else:
            seen[row.id] = row.where
            yield row
