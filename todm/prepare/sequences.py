"""``todm classify prepare``: recordings, images or a table to labelled sequences."""

from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import numpy as np

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.classify_config import (
    FACTS,
    AudioSource,
    ImageSource,
    SequenceFacts,
    SequencesConfig,
    TableSource,
)
from todm.core.data_config import SPLITS, SourceConfig, Split
from todm.core.errors import ConfigError, DataError
from todm.data.corpora import ISOLATED_WORDS, corpus_reader, find_corpus
from todm.data.rows import Rejects, Request
from todm.data.sequences import write_split
from todm.features.mfcc import FRAME_SHIFT_MS
from todm.features.sequence import sequence_of
from todm.prepare.sequence_tables import Splits, read_images, read_table


def run(
    config: SequencesConfig,
    out: Path,
    *,
    corpora_dir: Path | None = None,
    report: Callable[[str], None] = print,
) -> Artifact:
    """Prepare labelled sequences and write them as an artifact.

    Args:
        config: what to prepare.
        out: the artifact's folder.
        corpora_dir: folder that holds corpora by name; None reads TODM_CORPORA.
        report: called with a line for each recording that is left out.

    Raises:
        ConfigError: a setting fits no corpus.
        DataError: the source is missing, damaged or leaves a split empty.
    """
    match config.source:
        case AudioSource() as source:
            facts, splits = _audio(config.name, source, corpora_dir, Rejects(report=report))
        case ImageSource() as source:
            facts, splits = read_images(config.name, source, config.seed, corpora_dir)
        case TableSource() as source:
            facts, splits = read_table(config.name, source)
        case _:
            assert_never(config.source)
    with write_artifact(out, kind="sequences") as draft:
        facts.write_json(draft.path / FACTS)
        for split in SPLITS:
            write_split(draft, split, *splits[split])
        draft.body = {
            "config": config.to_json(),
            "num_sequences": {split: len(splits[split][0]) for split in SPLITS},
            "num_frames": facts.num_frames,
            "input_dim": facts.input_dim,
            "head": facts.head,
            "outputs": facts.outputs,
        }
    return load_artifact(out, "sequences", verify=False)


def _audio(
    name: str, source: AudioSource, corpora_dir: Path | None, rejects: Rejects
) -> tuple[SequenceFacts, Splits]:
    if source.corpus not in ISOLATED_WORDS and source.path is None:
        known = ", ".join(sorted(ISOLATED_WORDS))
        raise ConfigError(
            f"corpus {source.corpus!r} is none of isolated words ({known}); give source.path"
        )
    root = source.path or find_corpus(source.corpus, corpora_dir)
    request = Request(source=SourceConfig(corpus=source.corpus), root=root, seed=0)
    rows = list(corpus_reader(source.corpus)(request, rejects))
    classes = source.words or tuple(sorted({r.text for r in rows if r.split == "train"}))
    unknown = set(classes) - {r.text for r in rows}
    if unknown:
        raise ConfigError(f"{root}: has no recording of {', '.join(sorted(unknown))}")
    kept: dict[Split, list[tuple[np.ndarray, int]]] = {split: [] for split in SPLITS}
    for row in rows:
        if row.text not in classes or row.split is None:
            continue
        try:
            kept[row.split].append(
                (sequence_of(row.load(), source.audio_form), classes.index(row.text))
            )
        except DataError as error:
            rejects.add("audio", f"{row.where}: {error}")
    splits = {split: _stacked(split, kept[split]) for split in SPLITS}
    _, num_frames, input_dim = splits["train"][0].shape
    facts = SequenceFacts(
        name=name,
        num_frames=num_frames,
        input_dim=input_dim,
        frame_rate_hz=source.rate_hz if source.form == "raw" else 1000.0 / FRAME_SHIFT_MS,
        classes=classes,
        audio=source.audio_form,
    )
    return facts, splits


def _stacked(split: Split, found: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    if not found:
        raise DataError(f"no recording is in the {split} split; every split needs at least one")
    return (
        np.stack([x_LI for x_LI, _ in found]),
        np.asarray([label for _, label in found], np.int64),
    )
