"""Splits for corpora that come without: by speaker where there are enough, else by utterance."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from todm.core.data_config import PrepareConfig, Split
from todm.data.rows import Row

MIN_SPEAKERS = 3
"""With fewer, no split by speaker can fill train, dev and test."""


def fill_splits(rows: Sequence[Row], config: PrepareConfig) -> list[Row]:
    """Give every row without a split one; rows that have one keep it.

    Speakers (or utterances, with fewer than three speakers) are ordered by a seeded hash and
    go to test, then dev, until each holds its stated share of the utterances; the rest is
    train. A share that is not zero gets at least one member.
    """
    loose = [row for row in rows if row.split is None]
    if not loose:
        return list(rows)
    by_speaker = len({row.speaker for row in loose}) >= MIN_SPEAKERS
    groups: dict[str, list[str]] = defaultdict(list)
    for row in loose:
        groups[row.speaker if by_speaker else row.id].append(row.id)
    splits = _deal(groups, len(loose), config)
    return [
        replace(row, split=splits[row.speaker if by_speaker else row.id])
        if row.split is None
        else row
        for row in rows
    ]


def _deal(groups: dict[str, list[str]], total: int, config: PrepareConfig) -> dict[str, Split]:
    order = sorted(groups, key=lambda name: _rank(config.seed, name))
    wanted: list[tuple[Split, float]] = [
        ("test", config.test_fraction * total),
        ("dev", config.dev_fraction * total),
    ]
    splits: dict[str, Split] = {}
    for split, share in wanted:
        held = 0
        while order and held < share and len(order) > 1:
            name = order.pop(0)
            splits[name] = split
            held += len(groups[name])
    return splits | dict.fromkeys(order, "train")


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\x1f{name}".encode()).hexdigest()
