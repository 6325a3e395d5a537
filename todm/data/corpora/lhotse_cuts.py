"""lhotse cut manifests: ``.jsonl`` or ``.jsonl.gz`` files, or a folder of ``cuts_SPLIT.*``."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from todm.core.data_config import SPLITS, Split
from todm.core.errors import DataError
from todm.data.rows import Rejects, Request, Row, Samples
from todm.features.wav import checked, resample

if TYPE_CHECKING:
    from lhotse.cut import Cut

SUFFIXES = (".jsonl.gz", ".jsonl")


def read(request: Request, rejects: Rejects) -> Iterator[Row]:
    """Yield a row for each supervision of each cut.

    Raises:
        DataError: a manifest is missing or holds no cuts.
    """
    for place, part in request.parts():
        for manifest, split in _manifests(place, part):
            yield from cut_rows(
                _read_cuts(manifest), split, str(manifest), rejects, request.source.mix_down
            )


def _manifests(place: Path, part: Split | None) -> list[tuple[Path, Split | None]]:
    if place.is_file():
        return [(place, part)]
    if not place.is_dir():
        raise DataError(f"{place}: no such cut manifest; correct the path")
    found: list[tuple[Path, Split | None]] = [
        (place / f"cuts_{split}{suffix}", split)
        for split in SPLITS
        for suffix in SUFFIXES
        if (place / f"cuts_{split}{suffix}").is_file()
    ]
    if not found:
        raise DataError(f"{place}: holds no cuts_train.jsonl.gz; name a cut manifest")
    return found


def _read_cuts(manifest: Path) -> Iterator["Cut"]:
    from lhotse import CutSet

    try:
        yield from CutSet.from_jsonl_lazy(manifest)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{manifest}: holds no lhotse cuts ({reason}); name another") from error


def cut_rows(
    cuts: Iterable["Cut"], split: Split | None, where: str, rejects: Rejects, mix_down: bool
) -> Iterator[Row]:
    """Yield a row for each supervision of each cut."""
    for cut in cuts:
        place = f"{where}: {cut.id}"
        if not cut.supervisions:
            rejects.add("empty text", f"{place}: has no supervision; remove the cut")
            continue
        if not cut.has_recording:
            rejects.add("audio", f"{place}: has features but no recording; add the audio")
            continue
        pieces = [cut] if len(cut.supervisions) == 1 else cut.trim_to_supervisions()
        for piece in pieces:
            supervision = piece.supervisions[0]
            yield Row(
                id=str(piece.id if piece is cut else supervision.id),
                speaker=str(supervision.speaker or "unknown"),
                text=str(supervision.text or ""),
                split=split,
                load=partial(_load, piece, place, mix_down),
                where=place,
            )


def _load(cut: "Cut", where: str, mix_down: bool) -> Samples:
    from lhotse.audio import (
        AudioLoadingError,
        DurationMismatchError,
    )

    try:
        audio_CS = np.asarray(cut.load_audio(), np.float32)
    except (AudioLoadingError, DurationMismatchError, OSError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{where}: not readable as audio ({reason}); replace it") from error
    rate_hz = int(cut.sampling_rate)
    return resample(checked(audio_CS.T, rate_hz, where, mix_down=mix_down), rate_hz)
