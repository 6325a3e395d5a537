"""A folder with ``transcripts.tsv`` and audio files.

Columns by name, in any order: ``utt_id``, ``speaker``, ``text``, ``rel_path`` are needed,
``split`` (train, dev or test) is optional, others are ignored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from todm.core.data_config import Split
from todm.core.errors import DataError
from todm.data.rows import Rejects, Request, Row, file_loader, read_lines

TABLE_NAME = "transcripts.tsv"
NEEDED = ("utt_id", "speaker", "text", "rel_path")


def read(request: Request, rejects: Rejects) -> Iterator[Row]:
    """Yield the rows of one or several such folders.

    Raises:
        DataError: no table there, or a needed column is missing.
    """
    for folder, part in request.parts():
        yield from _read_folder(folder, part, request, rejects)


def _read_folder(
    folder: Path, part: Split | None, request: Request, rejects: Rejects
) -> Iterator[Row]:
    source = folder / TABLE_NAME
    lines = list(read_lines(source))
    if not lines:
        raise DataError(f"{source}: is empty; the first line must name the columns")
    header = lines[0][1].split("\t")
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise DataError(
            f"{source}:1: no column {missing[0]!r}; the header must name {', '.join(NEEDED)}"
        )
    for number, line in lines[1:]:
        where = f"{source}:{number}"
        fields = line.split("\t")
        if len(fields) != len(header):
            rejects.add("bad line", f"{where}: {len(fields)} fields, the header has {len(header)}")
            continue
        cells = dict(zip(header, fields, strict=True))
        named = cells.get("split", "")
        if named and named not in get_args(Split):
            rejects.add("bad line", f"{where}: split {named!r} is none of train, dev, test")
            continue
        yield Row(
            id=cells["utt_id"],
            speaker=cells["speaker"],
            text=cells["text"],
            split=part or _split(named),
            load=file_loader(folder / cells["rel_path"], mix_down=request.source.mix_down),
            where=where,
        )


def _split(name: str) -> Split | None:
    for split in get_args(Split):
        if name == split:
            found: Split = split
            return found
    return None
