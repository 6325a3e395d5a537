"""From what a training starts: fresh weights, another supernet's, or its own unfinished run."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from tqdm import tqdm

from todm.core.artifact import ArtifactKind, require_place
from todm.core.classify_config import ClassifyConfig
from todm.core.config import SupernetConfig
from todm.core.errors import ArtifactError, ConfigError
from todm.core.finetune_config import FinetuneConfig
from todm.core.forecast_config import ForecastConfig
from todm.core.value import differences
from todm.decode.tokens import TokenTable
from todm.models.rnnt import Transducer
from todm.models.store import CONFIG, Supernet
from todm.models.widen import adopt, fixed_differences
from todm.train.checkpoint import CHECKPOINT

MOST_NAMED = 4
"""Differences that a message names before it says how many more there are."""

LOCK = "lock"
"""File in a work folder that the process which trains there has locked."""

C = TypeVar("C", SupernetConfig, FinetuneConfig, ClassifyConfig, ForecastConfig)


@contextlib.contextmanager
def work_folder(config: C, out: Path, kind: ArtifactKind) -> Iterator[Path]:
    """Yield ``<out>.work``, held against other processes; remove it when the artifact is made.

    An error or a kill leaves it, for the same command to go on from.

    Raises:
        ArtifactError: another process trains there, it holds an unfinished run of something else,
            or something that is no artifact of the kind lies at ``out``.
    """
    require_place(out, kind)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(work / LOCK, timeout=0).acquire()
    except Timeout as error:
        raise ArtifactError(
            f"{work}: another process is training there; let it end, stop it, or choose another "
            "--out"
        ) from error
    with held:
        open_work(config, work)
        yield work
        shutil.rmtree(work)


def open_work(config: C, work: Path) -> None:
    """Make the work folder; one that holds an unfinished run must be of this configuration.

    Raises:
        ArtifactError: it is of another; the message names what differs.
    """
    work.mkdir(parents=True, exist_ok=True)
    if not ((work / CHECKPOINT).is_file() and (work / CONFIG).is_file()):
        config.write_json(work / CONFIG)
        return
    there = type(config).read_json(work / CONFIG)
    if there.deciding() == config.deciding():
        return
    found = differences(there.deciding(), config.deciding())
    named = [f"{key} is {a} there and {b} here" for key, (a, b) in found.items()][:MOST_NAMED]
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    raise ArtifactError(
        f"{work}: holds an unfinished run of another configuration ({'; '.join(named)}{more}); "
        f"go on with its own (--config {work / CONFIG}; train-supernet also --resume), delete it, "
        "or choose another --out"
    )


def unfinished_config(out: Path) -> SupernetConfig:
    """Return the configuration of the run that was begun for ``out`` and has a checkpoint.

    Raises:
        ConfigError: there is none.
    """
    work = out.with_name(f"{out.name}.work")
    if not (work / CHECKPOINT).is_file():
        raise ConfigError(f"{work}: holds no unfinished run with a checkpoint; leave out --resume")
    return SupernetConfig.read_json(work / CONFIG)


def start_from(
    model: Transducer, config: SupernetConfig, table: TokenTable, old: Supernet, *, silent: bool
) -> None:
    """Write another supernet's weights into a fresh one and say what was kept.

    Raises:
        ConfigError: the two differ in a size that does not grow.
    """
    wrong = fixed_differences(config.space.largest, old.config.space.largest)
    if wrong:
        name, (mine, other) = next(iter(wrong.items()))
        raise ConfigError(
            f"space.largest.{name} is {mine} but {other} in {old.artifact.path}, and it does not "
            f"grow; set it to that, or train without --init"
        )
    same_tokens = table == old.table
    adopt(model, config.space, old.model, old.config.space, tokens=same_tokens)
    kept = "all of its weights"
    if not same_tokens:
        kept = "its weights but embedding and output layer, since the corpus has other tokens"
    if not silent:
        tqdm.write(f"todm: starts from {old.artifact.path}: {kept}", file=sys.stderr)
