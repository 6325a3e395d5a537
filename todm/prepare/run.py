"""Prepare a corpus: read, screen, resample once, tokenise, write cuts.

Artifact ``corpus``: ``cuts_{train,dev,test}.jsonl.gz`` (lhotse cuts), ``audio/SPLIT/*.flac``
(16-bit mono 16 kHz), ``tokens.txt``, ``token_table.json`` and, for BPE, ``bpe.model``. With a
``shard_size`` the training audio is in ``shar/train/`` (Lhotse Shar) instead.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.data_config import SPLITS, PrepareConfig, Split
from todm.data.manifest import Utterance, cuts_name
from todm.data.rows import Rejects
from todm.decode.tokens import TokenTable
from todm.prepare.audio import AudioStore, store_audio
from todm.prepare.cuts import write_cuts
from todm.prepare.noise import with_noise
from todm.prepare.shards import pack_shards
from todm.prepare.source import read_rows
from todm.prepare.tokenise import give_tokens, make_table

log = logging.getLogger(__name__)


def run(
    config: PrepareConfig,
    out: Path,
    *,
    corpora_dir: Path | None = None,
    report: Callable[[str], None] = log.warning,
    progress: Callable[[str], None] = log.info,
) -> Artifact:
    """Prepare a corpus and write it as an artifact.

    Args:
        config: What to prepare and how.
        out: The artifact's folder.
        corpora_dir: Folder that holds corpora by name; None reads TODM_CORPORA.
        report: Called with one line for each rejected utterance, and with their count.
        progress: Called with a line every 500 utterances.

    Raises:
        ConfigError: a setting is wrong or has no effect.
        DataError: nothing usable is left, or strict is on and a line is rejected.
        ArtifactError: ``out`` cannot be written.
    """
    rejects = Rejects(report=report, strict=config.strict)
    final = out.absolute()
    with write_artifact(out, kind="corpus") as draft:
        rows = read_rows(config, corpora_dir, rejects, progress)
        if config.noise is not None:
            rows = with_noise(rows, config.noise, config.seed, corpora_dir)
        store = AudioStore(draft.path, final)
        utterances, num_samples = store_audio(rows, store, rejects, progress)
        table = make_table(config, utterances, draft.path)
        kept = give_tokens(utterances, table, scratch=draft.path, final=final, rejects=rejects)
        if config.shard_size is not None:
            kept["train"] = pack_shards(
                kept["train"],
                num_samples,
                scratch=draft.path,
                final=final,
                shard_size=config.shard_size,
                seed=config.seed,
            )
        for split in SPLITS:
            write_cuts(draft.path / cuts_name(split), kept[split], num_samples)
        draft.body = _body(config, kept, table, rejects)
    if rejects.count:
        report(f"{config.name}: {rejects.count} lines rejected: {_listed(rejects.reasons)}")
    return load_artifact(final, "corpus", verify=False)


def _listed(reasons: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(reasons.items()))


def _body(
    config: PrepareConfig,
    kept: dict[Split, list[Utterance]],
    table: TokenTable,
    rejects: Rejects,
) -> dict[str, Any]:
    return {
        "config": config.to_json(),
        "num_utterances": {split: len(kept[split]) for split in SPLITS},
        "hours": {
            split: round(sum(u.duration_s for u in kept[split]) / 3600, 5) for split in SPLITS
        },
        "num_speakers": {split: len({u.speaker for u in kept[split]}) for split in SPLITS},
        "num_words": {split: sum(len(u.text.split()) for u in kept[split]) for split in SPLITS},
        "num_tokens": {split: sum(len(u.tokens) for u in kept[split]) for split in SPLITS},
        "vocab_size": table.size,
        "rejected": dict(sorted(rejects.reasons.items())),
    }
