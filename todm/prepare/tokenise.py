"""Make or take over the token table, and give every utterance its tokens."""

import shutil
from dataclasses import replace
from pathlib import Path

from todm.core.data_config import SPLITS, PrepareConfig, Split
from todm.core.errors import ConfigError, DataError
from todm.data.bpe import train_bpe
from todm.data.manifest import BPE_NAME, TABLE_NAME, TOKENS_NAME, Utterance, open_corpus
from todm.data.rows import Rejects
from todm.decode.tokens import TokenTable, build_table, write_tokens_txt


def make_table(
    config: PrepareConfig, utterances: dict[Split, list[Utterance]], folder: Path
) -> TokenTable:
    """Write the token table (and BPE model) to ``folder`` and return it.

    It is made of the training texts; a corpus without a training part, which only ever tests a
    model that brings its own table, makes it of its first part.

    Raises:
        ConfigError: the table to take over has another unit.
        DataError: the texts do not suit the token config.
    """
    if config.token_table is not None:
        table = _taken_over(config.token_table, config, folder)
    else:
        part = next(split for split in SPLITS if utterances[split])
        texts = [utterance.text for utterance in utterances[part]]
        bpe_model = folder / BPE_NAME if config.tokens.unit == "bpe" else None
        if bpe_model is not None:
            train_bpe(texts, config.tokens.bpe_size, bpe_model)
        table = build_table(texts, config.tokens, bpe_model=bpe_model)
    table.write_json(folder / TABLE_NAME)
    write_tokens_txt(table, folder / TOKENS_NAME)
    return table


def _taken_over(source: Path, config: PrepareConfig, folder: Path) -> TokenTable:
    corpus = open_corpus(source, verify=False)
    if corpus.table.unit != config.tokens.unit:
        raise ConfigError(
            f"token_table {source} holds {corpus.table.unit} tokens, "
            f"tokens.unit asks for {config.tokens.unit}; make them agree"
        )
    if corpus.bpe_model is not None:
        shutil.copyfile(corpus.bpe_model, folder / BPE_NAME)
    return corpus.table


def give_tokens(
    utterances: dict[Split, list[Utterance]],
    table: TokenTable,
    *,
    scratch: Path,
    final: Path,
    rejects: Rejects,
) -> dict[Split, list[Utterance]]:
    """Return the utterances with tokens; those with a symbol outside the table are rejected.

    Args:
        utterances: By split, without tokens.
        table: The token table.
        scratch: Where the artifact is being written; audio of rejected lines is removed there.
        final: Where it will stand.
        rejects: Told of each rejected utterance.
    """
    bpe_model = scratch / BPE_NAME if table.unit == "bpe" else None
    kept: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for utterance in utterances[split]:
            try:
                tokens = table.encode(utterance.text, bpe_model=bpe_model)
            except DataError as error:
                rejects.add("outside the table", f"{split} {utterance.id}: {error}")
                (scratch / utterance.audio_path.relative_to(final)).unlink()
                continue
            kept[split].append(replace(utterance, tokens=tuple(tokens)))
    return kept
