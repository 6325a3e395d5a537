"""Artifacts: folders that stages hand to each other.

A folder holds files and a ``manifest.json``: kind, schema number, sha256 of each file, the
digests of its parents and a body. It is written under a temporary name beside its place and
renamed when complete, so a reader never sees half of one. Weights are safetensors, the rest
is text; nothing is executed on load.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from todm.core.errors import ArtifactError, ConfigError
from todm.core.value import Value

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
ArtifactKind = Literal[
    "corpus",
    "supernet",
    "front",
    "subnet",
    "forecaster",
    "sequences",
    "classifier",
    "bundle",
    "report",
    "calibration",
]


class Manifest(Value):
    """What an artifact folder says of itself."""

    kind: ArtifactKind
    schema_version: int
    files: dict[str, str]
    """sha256 of each file by its path inside the folder."""
    parents: dict[str, str]
    """Digest of each parent artifact by its role."""
    body: dict[str, JsonValue]


@dataclass(frozen=True)
class Artifact:
    """A complete artifact on disk."""

    path: Path
    manifest: Manifest

    @property
    def body(self) -> dict[str, JsonValue]:
        """The manifest's body."""
        return self.manifest.body

    @property
    def digest(self) -> str:
        """The sha256 of the manifest, and through it of every file and parent."""
        return self.manifest.digest()

    def file(self, name: str) -> Path:
        """Return the path of a file that the manifest lists."""
        if name not in self.manifest.files:
            known = ", ".join(sorted(self.manifest.files)[:12])
            raise ArtifactError(f"{self.path}: has no file {name!r}; it has {known}")
        return self.path / name


@dataclass
class Draft:
    """An artifact under construction: a scratch folder and the body to come."""

    path: Path
    body: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def write_artifact(
    out: Path,
    *,
    kind: ArtifactKind,
    parents: Mapping[str, Artifact] | None = None,
    replace: bool = True,
) -> Iterator[Draft]:
    """Yield a draft; on success hash its files, write the manifest and rename into place.

    On any error the scratch folder is removed and an earlier artifact at ``out`` stays.

    Raises:
        ArtifactError: ``out`` is taken (``require_place``), or the place cannot be written
            (read-only, no space).
    """
    out = out.absolute()
    require_place(out, kind, parents=parents, replace=replace)
    scratch = out.with_name(f".{out.name}.tmp-{_process()}")
    draft = Draft(path=scratch, parents={k: v.digest for k, v in (parents or {}).items()})
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield draft
        manifest = Manifest(
            kind=kind,
            schema_version=SCHEMA_VERSION,
            files=_hash_files(scratch),
            parents=draft.parents,
            body=draft.body,
        )
        manifest.write_json(scratch / MANIFEST_NAME)
        _swap(scratch, out)
    except OSError as error:
        if error.errno is None:  # of a library, such as a download's
            raise
        raise ArtifactError(f"{out}: cannot write ({error.strerror or error})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _hash_files(folder: Path) -> dict[str, str]:
    names = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST_NAME)
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in names}


def _swap(scratch: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old-{_process()}")
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    if out.exists():
        out.rename(old)
    try:
        scratch.rename(out)
    except OSError:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    finally:
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)


def _process() -> str:
    """Name this process among all machines that may share a folder."""
    return f"{socket.gethostname()}-{os.getpid()}"


def require_place(
    out: Path,
    kind: ArtifactKind,
    *,
    parents: Mapping[str, Artifact] | None = None,
    replace: bool = True,
) -> None:
    """Refuse a place where an artifact of that kind must not be written.

    Raises:
        ArtifactError: something else stands there: no artifact, one of another kind, one that the
            new one is made from, or (without ``replace``) any.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST_NAME).is_file():
        raise ArtifactError(f"{out}: exists and is no todm artifact; choose another --out")
    if not replace:
        raise ArtifactError(f"{out}: exists already; choose another --out")
    with contextlib.suppress(ConfigError):  # a damaged one may be replaced
        there = Manifest.read_json(out / MANIFEST_NAME)
        if there.kind != kind:
            raise ArtifactError(
                f"{out}: holds a {there.kind} artifact, which a {kind} must not replace; choose "
                "another --out"
            )
        if any(there.digest() == parent.digest for parent in (parents or {}).values()):
            raise ArtifactError(f"{out}: is what this {kind} is made from; choose another --out")


def load_artifact(path: Path, kind: ArtifactKind | None = None, *, verify: bool = True) -> Artifact:
    """Open an artifact folder and check kind, schema and (by default) every file's sha256.

    Raises:
        ArtifactError: one line: what is wrong, where, and what to do.
    """
    source = path / MANIFEST_NAME
    if not path.exists():
        raise ArtifactError(f"{path}: no such folder")
    if not source.is_file():
        raise ArtifactError(f"{path}: is no todm artifact (no {MANIFEST_NAME})")
    try:
        manifest = Manifest.read_json(source)
    except ConfigError as error:
        raise ArtifactError(f"damaged manifest: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: schema {manifest.schema_version}, this todm reads {SCHEMA_VERSION}; "
            "make the artifact anew"
        )
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(f"{path}: is a {manifest.kind} artifact, a {kind} is needed")
    if verify:
        verify_files(path, manifest)
    return Artifact(path=path, manifest=manifest)


def verify_files(path: Path, manifest: Manifest) -> None:
    """Check every listed file's sha256.

    Raises:
        ArtifactError: a file is missing or its bytes changed.
    """
    for name, expected in manifest.files.items():
        target = path / name
        if not target.is_file():
            raise ArtifactError(f"{target}: listed in the manifest but missing")
        if file_sha256(target) != expected:
            raise ArtifactError(f"{target}: sha256 differs from the manifest; the file is damaged")


def is_complete(path: Path, kind: ArtifactKind) -> bool:
    """Tell whether a readable artifact of that kind stands at ``path``."""
    try:
        load_artifact(path, kind, verify=False)
    except ArtifactError:
        return False
    return True


def body_json(artifact: Artifact) -> str:
    """Return an artifact's body as indented JSON text, for people."""
    return json.dumps(artifact.body, indent=2)
