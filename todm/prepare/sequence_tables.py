"""Labelled sequences out of arrays and tables: images pixel by pixel, and a user's own files.

B sequences, L frames, I inputs.
"""

import csv
import zipfile
from pathlib import Path

import numpy as np

from todm.core.classify_config import ImageSource, SequenceFacts, TableSource
from todm.core.data_config import SPLITS, Split
from todm.core.errors import DataError
from todm.core.rng import derive_seed
from todm.data.corpora import find_corpus

Splits = dict[Split, tuple[np.ndarray, np.ndarray]]
"""Of each split x (B, L, I) and y: classes (B), or figures (B, Y)."""


def read_images(
    name: str, source: ImageSource, seed: int, corpora_dir: Path | None
) -> tuple[SequenceFacts, Splits]:
    """Return the images of an .npz file, a pixel a frame, in [0, 1].

    Raises:
        DataError: no such file, an array is missing, or the sizes do not fit.
    """
    path = source.path or find_corpus(source.corpus, corpora_dir) / f"{source.corpus}.npz"
    arrays = _read_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    train_BL, test_BL = (
        _pixels(arrays[f"x_{part}"], arrays[f"y_{part}"], source.shrink, f"{path}: x_{part}")
        for part in ("train", "test")
    )
    if source.permuted:
        order_L = np.random.default_rng(derive_seed(seed, "permutation")).permutation(
            train_BL.shape[1]
        )
        train_BL, test_BL = train_BL[:, order_L], test_BL[:, order_L]
    labels_B = arrays["y_train"].astype(np.int64)
    first_dev = len(train_BL) - source.num_dev
    if first_dev < 1:
        raise DataError(
            f"{path}: {len(train_BL)} training images; source.num_dev {source.num_dev} leaves none"
        )
    num_train = min(source.num_train or first_dev, first_dev)
    splits: Splits = {
        "train": (train_BL[:num_train, :, None], labels_B[:num_train]),
        "dev": (train_BL[first_dev:, :, None], labels_B[first_dev:]),
        "test": (test_BL[:, :, None], arrays["y_test"].astype(np.int64)),
    }
    classes = tuple(str(label) for label in range(int(labels_B.max()) + 1))
    unknown = sorted(set(arrays["y_test"].tolist()) - set(range(len(classes))))
    if unknown:
        raise DataError(f"{path}: y_test holds {unknown[0]}, which is no label of y_train")
    facts = SequenceFacts(name=name, num_frames=train_BL.shape[1], input_dim=1, classes=classes)
    return facts, splits


def _pixels(images_BYX: np.ndarray, labels_B: np.ndarray, shrink: int, where: str) -> np.ndarray:
    if images_BYX.ndim != 3 or labels_B.shape != images_BYX.shape[:1]:
        raise DataError(
            f"{where} has shape {images_BYX.shape} and its labels {labels_B.shape}; images are "
            "(examples, rows, columns), with one label each"
        )
    batch, height, width = images_BYX.shape
    if height % shrink or width % shrink:
        raise DataError(f"{where}: {height} x {width} pixels do not shrink by {shrink}")
    blocks = images_BYX.reshape(batch, height // shrink, shrink, width // shrink, shrink)
    pixels_BL: np.ndarray = (blocks.mean((2, 4)) / 255.0).reshape(batch, -1)
    return pixels_BL.astype(np.float32)


def read_table(name: str, source: TableSource) -> tuple[SequenceFacts, Splits]:
    """Return a user's sequences.

    Raises:
        DataError: no such file, another suffix, or it is not in the form of ``TableSource``.
    """
    readers = {".npz": _npz_splits, ".csv": _csv_splits}
    if source.path.suffix not in readers:
        raise DataError(f"{source.path}: sequences come from a .npz or a .csv file")
    splits = readers[source.path.suffix](source.path)
    if source.head == "regression":
        splits = {split: (x, _figures(y)) for split, (x, y) in splits.items()}
    x_BLI, y = splits["train"]
    for split in SPLITS:
        if splits[split][0].shape[1:] != x_BLI.shape[1:]:
            raise DataError(
                f"{source.path}: sequences of {split} are {splits[split][0].shape[1:]} (frames, "
                f"inputs), those of train {x_BLI.shape[1:]}; make them alike"
            )
        if splits[split][1].dtype != y.dtype or splits[split][1].shape[1:] != y.shape[1:]:
            raise DataError(
                f"{source.path}: targets of {split} and of train must all be classes (whole "
                "numbers, one an example), or all be as many figures"
            )
    known = _classes(source, splits)
    facts = SequenceFacts(
        name=name,
        num_frames=x_BLI.shape[1],
        input_dim=x_BLI.shape[2],
        frame_rate_hz=source.frame_rate_hz,
        classes=tuple(map(str, known)),
        targets=() if known else tuple(f"y{index}" for index in range(y.shape[1])),
    )
    return facts, splits


def _classes(source: TableSource, splits: Splits) -> list[int]:
    """Return the classes of a table; none where its targets are figures."""
    y = splits["train"][1]
    whole = np.issubdtype(y.dtype, np.integer)
    if source.head == "classes" and not whole:
        raise DataError(f"{source.path}: targets are no whole numbers, which classes must be")
    known = sorted({int(label) for label in y}) if whole else []
    if known and known != list(range(len(known))):
        raise DataError(
            f"{source.path}: classes must count from 0 without gaps, got {known[:8]}; if these are "
            "figures to estimate, say source.head=regression"
        )
    strange = [s for s in SPLITS if whole and not set(splits[s][1].tolist()) <= set(known)]
    if strange:
        raise DataError(f"{source.path}: {strange[0]} has classes that train has not")
    return known


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; correct the path")
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in names if name not in content]
            if missing:
                raise DataError(f"{path}: has no array {missing[0]!r}; it needs {', '.join(names)}")
            return {name: content[name] for name in names}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not readable as .npz ({error})") from error


def _npz_splits(path: Path) -> Splits:
    arrays = _read_npz(path, tuple(f"{axis}_{split}" for split in SPLITS for axis in "xy"))
    return {split: _pair(path, arrays[f"x_{split}"], arrays[f"y_{split}"]) for split in SPLITS}


def _pair(path: Path, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences as (B, L, I), and classes as (B) or figures as (B, Y)."""
    x_BLI = x[..., None] if x.ndim == 2 else x
    if x_BLI.ndim != 3 or len(x_BLI) != len(y) or y.ndim not in (1, 2):
        raise DataError(
            f"{path}: x has shape {x.shape} and y {y.shape}; x is (examples, frames[, inputs]) and "
            "y one row an example"
        )
    if np.issubdtype(y.dtype, np.integer) and y.ndim == 1:
        return x_BLI.astype(np.float32), y.astype(np.int64)
    return x_BLI.astype(np.float32), _figures(y)


def _figures(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1).astype(np.float32)


def _csv_splits(path: Path) -> Splits:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; correct the path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from error
    rows: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    for number, line in enumerate(lines, start=1):
        if number == 1 and line[0] == "split":
            continue
        if line[0] not in rows or len(line) != len(lines[-1]) or len(line) < 3:
            raise DataError(
                f"{path}:{number}: a line is train, dev or test, a target, and as many values as "
                f"every other; this one has {len(line)} fields and begins with {line[0]!r}"
            )
        rows[line[0]].append(line[1:])
    whole = all(row[0].lstrip("+-").isdigit() for part in rows.values() for row in part)
    try:
        return {split: _csv_pair(path, rows[split], whole=whole) for split in SPLITS}
    except ValueError as error:
        raise DataError(f"{path}: a value is no number ({error})") from error


def _csv_pair(path: Path, rows: list[list[str]], *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    if not rows:
        raise DataError(f"{path}: train, dev and test each need at least one line")
    targets = np.asarray([row[0] for row in rows]).astype(np.int64 if whole else np.float32)
    values = np.asarray([row[1:] for row in rows]).astype(np.float32)
    return _pair(path, values, targets)
