"""NeMo manifests: one JSON object a line.

Keys: ``audio_filepath`` and ``text`` are needed; ``offset`` and ``duration`` (seconds) cut a
part; ``speaker`` and ``id`` are optional, others are ignored. A relative path is relative to the
manifest. Without ``id`` the path (and offset) names the utterance.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from todm.core.data_config import Split
from todm.core.errors import DataError
from todm.data.rows import Rejects, Request, Row, file_loader, read_lines

UNKNOWN_SPEAKER = "unknown"


def read(request: Request, rejects: Rejects) -> Iterator[Row]:
    """Yield the rows of one manifest, or of one for each split.

    Raises:
        DataError: a manifest is missing or not UTF-8 text.
    """
    for manifest, part in request.parts():
        for number, line in read_lines(manifest):
            where = f"{manifest}:{number}"
            try:
                entry = _entry(line)
                yield _row(entry, manifest.parent, part, where, mix_down=request.source.mix_down)
            except DataError as error:
                rejects.add("bad line", f"{where}: {error}")


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"no JSON ({error.msg} at column {error.colno}); repair it") from error
    if not isinstance(entry, dict):
        raise DataError("no JSON object; write one {...} a line")
    for key in ("audio_filepath", "text"):
        if not isinstance(entry.get(key), str):
            raise DataError(f"no text under {key!r}; add it")
    for key in ("offset", "duration"):
        value = entry.get(key)
        if value is not None and not isinstance(value, int | float):
            raise DataError(f"{key} must be seconds, got {value!r}")
    return entry


def _row(
    entry: dict[str, Any], folder: Path, part: Split | None, where: str, *, mix_down: bool
) -> Row:
    offset_s = float(entry.get("offset") or 0.0)
    name = str(entry["audio_filepath"])
    duration_s = entry.get("duration")
    is_part = "offset" in entry
    return Row(
        id=str(entry.get("id", f"{name}@{offset_s:g}" if is_part else name)),
        speaker=str(entry.get("speaker", UNKNOWN_SPEAKER)),
        text=str(entry["text"]),
        split=part,
        load=file_loader(
            folder / name,
            mix_down=mix_down,
            start_s=offset_s,
            duration_s=float(duration_s) if is_part and duration_s is not None else None,
        ),
        where=where,
    )
