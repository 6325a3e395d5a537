"""Kaldi data folders: ``wav.scp``, ``text``, ``utt2spk`` and optionally ``segments``.

Commands in ``wav.scp`` (``sph2pipe ... |``) are never run: such a line is rejected. A relative
path is looked for beside ``wav.scp``, then from the working folder, as Kaldi has it.
"""

from collections.abc import Iterator
from pathlib import Path

from todm.core.data_config import Split
from todm.core.errors import DataError
from todm.data.rows import Rejects, Request, Row, file_loader, read_lines

NEEDED = ("wav.scp", "text", "utt2spk")


def read(request: Request, rejects: Rejects) -> Iterator[Row]:
    """Yield the rows of one folder, or of one for each split.

    Raises:
        DataError: a needed file is missing.
    """
    for folder, part in request.parts():
        yield from _read_folder(folder, part, rejects, mix_down=request.source.mix_down)


def _read_folder(
    folder: Path, part: Split | None, rejects: Rejects, *, mix_down: bool
) -> Iterator[Row]:
    for name in NEEDED:
        if not (folder / name).is_file():
            raise DataError(f"{folder}: is no Kaldi data folder (no {name}); correct the path")
    recordings = _table(folder / "wav.scp", rejects)
    texts = _table(folder / "text", rejects, may_be_empty=True)
    speakers = _table(folder / "utt2spk", rejects)
    segments = _segments(folder / "segments", rejects)
    for utterance, text in texts.items():
        where = f"{folder / 'text'}: {utterance}"
        recording, start_s, end_s = segments.get(utterance, (utterance, 0.0, None))
        source = recordings.get(recording)
        if source is None or utterance not in speakers:
            lacking = "wav.scp has no recording" if source is None else "utt2spk has no speaker"
            rejects.add("bad line", f"{where}: {lacking} for it; add the line")
        elif source.endswith("|"):
            rejects.add("bad line", f"{where}: wav.scp gives a command; write the audio to a file")
        else:
            yield Row(
                id=utterance,
                speaker=speakers[utterance],
                text=text,
                split=part,
                load=file_loader(
                    _resolved(folder, source),
                    mix_down=mix_down,
                    start_s=start_s,
                    duration_s=None if end_s is None else end_s - start_s,
                ),
                where=where,
            )


def _resolved(folder: Path, source: str) -> Path:
    beside = folder / source
    return beside if beside.exists() else Path(source)


def _table(source: Path, rejects: Rejects, *, may_be_empty: bool = False) -> dict[str, str]:
    """Read ``key value...`` lines; a repeated key is rejected."""
    table: dict[str, str] = {}
    for number, line in read_lines(source):
        key, _, value = line.strip().partition(" ")
        if key in table:
            rejects.add("duplicate id", f"{source}:{number}: {key!r} stands twice; remove one")
        elif not value.strip() and not may_be_empty:
            rejects.add("bad line", f"{source}:{number}: {key!r} has no value; add it")
        else:
            table[key] = value.strip()
    return table


def _segments(source: Path, rejects: Rejects) -> dict[str, tuple[str, float, float | None]]:
    """Read ``utterance recording start end`` lines, in seconds; end -1 is the recording's end."""
    if not source.exists():
        return {}
    segments: dict[str, tuple[str, float, float | None]] = {}
    for number, line in read_lines(source):
        fields = line.split()
        try:
            utterance, recording, start, end = fields
            start_s, end_s = float(start), float(end)
            if start_s < 0.0 or (end_s != -1.0 and end_s <= start_s):
                raise ValueError(f"from {start_s} to {end_s}")
        except ValueError as error:
            rejects.add(
                "bad line", f"{source}:{number}: no 'utterance recording start end' ({error})"
            )
            continue
        segments[utterance] = (recording, start_s, None if end_s == -1.0 else end_s)
    return segments
