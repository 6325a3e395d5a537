"""lhotse's own corpora by name: its recipe downloads (when asked) and lists the recordings.

A name of the corpus table stands for ``lhotse.recipes.download_X`` and ``prepare_X``. A further
corpus is one entry here and one in the table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from todm.core.data_config import Split
from todm.core.errors import ConfigError, DataError, MissingExtraError
from todm.data.corpora.lhotse_cuts import cut_rows
from todm.data.rows import Rejects, Request, Row


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one of lhotse's recipes is called."""

    name: str
    """X of ``download_X`` and ``prepare_X``."""
    download: bool = True
    """Whether lhotse can download it."""
    download_args: Mapping[str, Any] = field(default_factory=dict)
    prepare_args: Mapping[str, Any] = field(default_factory=dict)
    language_arg: str | None = None
    """The argument of ``prepare_X`` that chooses a language."""
    needs_output_dir: bool = False
    """Whether ``prepare_X`` insists on writing its manifests (to ``manifests/`` below the path)."""


RECIPES: dict[str, Recipe] = {
    "lhotse-aishell": Recipe(name="aishell"),
    "lhotse-commonvoice": Recipe(
        name="commonvoice", download=False, language_arg="languages", needs_output_dir=True
    ),
    "lhotse-librispeech": Recipe(
        name="librispeech", download_args={"dataset_parts": "librispeech"}
    ),
    "lhotse-ljspeech": Recipe(name="ljspeech"),
    "lhotse-mini-librispeech": Recipe(
        name="librispeech", prepare_args={"dataset_parts": "mini_librispeech"}
    ),
    "lhotse-tedlium": Recipe(name="tedlium"),
    "lhotse-timit": Recipe(name="timit"),
    "lhotse-vctk": Recipe(name="vctk"),
    "lhotse-voxpopuli": Recipe(name="voxpopuli", language_arg="lang"),
    "lhotse-yesno": Recipe(name="yesno"),
}


def read(request: Request, rejects: Rejects) -> Iterator[Row]:
    """Yield the rows of a lhotse corpus at ``path``, downloaded there first when asked for.

    Raises:
        ConfigError: the corpus has no download, or no choice of language.
        DataError: lhotse does not find the corpus at the path.
        MissingExtraError: lhotse is not installed.
    """
    try:
        from lhotse import CutSet, recipes
    except ImportError as error:
        raise MissingExtraError("lhotse", extra="train") from error
    recipe = RECIPES[request.source.corpus]
    root, _ = request.parts()[0]
    if request.source.download:
        if not recipe.download:
            raise ConfigError(
                f"lhotse has no download for {recipe.name}; fetch it by hand and give its path"
            )
        download = getattr(recipes, f"download_{recipe.name}")
        root = Path(download(root, **recipe.download_args))
    for part, manifests in _parts(_prepare(recipe, root, request.source.language), ""):
        cuts = CutSet.from_manifests(**manifests).trim_to_supervisions(keep_overlapping=False)
        where = f"lhotse {recipe.name} {part}".rstrip()
        yield from cut_rows(cuts, split_of(part), where, rejects, request.source.mix_down)


def _prepare(recipe: Recipe, root: Path, language: str | None) -> Mapping[str, Any]:
    from lhotse import recipes

    arguments: dict[str, Any] = dict(recipe.prepare_args)
    if language is not None:
        if recipe.language_arg is None:
            raise ConfigError(f"lhotse's {recipe.name} has one language; remove source.language")
        arguments[recipe.language_arg] = language
    if recipe.needs_output_dir:
        arguments["output_dir"] = root / "manifests"
    try:
        found: Mapping[str, Any] = getattr(recipes, f"prepare_{recipe.name}")(root, **arguments)
    except (OSError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{root}: lhotse finds no {recipe.name} there ({reason or type(error).__name__}); "
            "correct the path or ask for a download"
        ) from error
    if not found:
        raise DataError(f"{root}: lhotse finds no part of {recipe.name} there; correct the path")
    return found


def _parts(tree: Mapping[str, Any], part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (part, manifests) of lhotse's nested answer: part, or language and part, or none."""
    if "recordings" in tree:
        yield part, {key: tree[key] for key in ("recordings", "supervisions")}
        return
    for name, branch in tree.items():
        yield from _parts(branch, name)


def split_of(part: str) -> Split | None:
    """Return the split that a corpus calls by a name such as ``dev-clean-2`` or ``TEST``."""
    name = part.lower()
    if name.startswith("train"):
        return "train"
    if name.startswith(("dev", "valid")):
        return "dev"
    return "test" if name.startswith("test") else None
