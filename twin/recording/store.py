"""Checked storage of named arrays: a Zarr v3 group with checksums, and a manifest that is written last.

A bundle is a directory with `frames.zarr` and `manifest.json`. Locally it is written under a temporary name, synced
and renamed, so that it exists whole or not at all; on other storage (any fsspec URL) the manifest, written last,
commits it.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import numpy as np
import zarr
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from zarr.codecs import Crc32cCodec, ZstdCodec

from twin.errors import UserError

__all__ = [
    "SCHEMA_VERSION",
    "Array",
    "ArraySpec",
    "StoredManifest",
    "content_hash",
    "is_url",
    "join",
    "read_array",
    "read_manifest",
    "verify_bundle",
    "write_bundle",
]

SCHEMA_VERSION = 1
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a schema version to the function that lifts a manifest of that version to the next one."""

FRAMES = "frames.zarr"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Array:
    """An array with the names of its dimensions and its unit."""

    values: np.ndarray
    dims: tuple[str, ...]
    unit: str


class ArraySpec(BaseModel):
    """What the manifest says of one array; `sha256` is that of its decoded little-endian C-order bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    unit: str
    sha256: str


class StoredManifest(BaseModel):
    """What every bundle says of itself. It holds no wall-clock time: the same content has the same hash."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    kind: str
    arrays: dict[str, ArraySpec] = Field(default_factory=dict)


M = TypeVar("M", bound=StoredManifest)


def is_url(path: str | Path) -> bool:
    """Whether `path` is an fsspec URL rather than a local path."""
    return "://" in str(path)


def join(root: str | Path, *parts: str) -> str:
    """`root` and `parts` joined, for local paths and URLs alike."""
    return "/".join([str(root).rstrip("/") or "/", *parts])


def content_hash(manifest: StoredManifest) -> str:
    """SHA-256 of the manifest as canonical JSON: with the hashes of all arrays in it, of the whole content."""
    return _hash_of(json.loads(manifest.model_dump_json()))


def _hash_of(manifest: dict[str, Any]) -> str:
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(values: np.ndarray) -> np.ndarray:
    """C order and little-endian, whatever the array came in."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))


def _spec(array: Array) -> ArraySpec:
    values = _canonical(array.values)
    if len(array.dims) != values.ndim:
        raise ValueError(f"{len(array.dims)} names for {values.ndim} dimensions")
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return ArraySpec(dims=array.dims, shape=values.shape, dtype=values.dtype.str, unit=array.unit, sha256=digest)


def write_bundle(path: str | Path, arrays: Mapping[str, Array], manifest: StoredManifest) -> str:
    """Write arrays and manifest to `path` and return the content hash.

    Raises:
        UserError: `path` exists already.
        OSError: the storage failed; nothing is left at `path`.
    """
    complete = manifest.model_copy(update={"arrays": {name: _spec(array) for name, array in sorted(arrays.items())}})
    digest = content_hash(complete)
    text = json.dumps({**json.loads(complete.model_dump_json()), "content_hash": digest}, indent=1) + "\n"
    if is_url(path):
        _write_url(str(path), arrays, text)
    else:
        _write_local(Path(path), arrays, text)
    return digest


def _write_url(url: str, arrays: Mapping[str, Array], manifest_text: str) -> None:
    filesystem, root = fsspec.core.url_to_fs(url)
    if filesystem.exists(join(root, MANIFEST)):
        raise UserError("exists already", url, "choose another output or remove it")
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)
    _write_arrays(zarr.storage.FsspecStore.from_url(join(url, FRAMES)), arrays)
    with filesystem.open(join(root, MANIFEST), "w") as file:
        file.write(manifest_text)


def _write_local(path: Path, arrays: Mapping[str, Array], manifest_text: str) -> None:
    if path.exists() or path.is_symlink():
        raise UserError("exists already", path, "choose another output or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        _write_arrays(zarr.storage.LocalStore(draft / FRAMES), arrays)
        (draft / MANIFEST).write_text(manifest_text)
        _sync_tree(draft)
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _sync_directory(path.parent)


def _write_arrays(store: Any, arrays: Mapping[str, Array]) -> None:
    group = zarr.create_group(store=store, zarr_format=3)
    for name, array in sorted(arrays.items()):
        values = _canonical(array.values)
        stored = group.create_array(
            name,
            shape=values.shape,
            chunks=tuple(max(1, n) for n in values.shape),
            dtype=values.dtype,
            dimension_names=array.dims,
            compressors=[ZstdCodec(level=1, checksum=True), Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
        stored[...] = values


def _sync_tree(root: Path) -> None:
    for directory, _, files in os.walk(root):
        for name in files:
            descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        _sync_directory(Path(directory))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def read_manifest(path: str | Path, model: type[M]) -> M:
    """The manifest of the bundle at `path`.

    Raises:
        UserError: there is none, it is cut or altered, of a newer schema, or of another kind of bundle.
    """
    where = join(path, MANIFEST)
    try:
        with fsspec.open(where, "rb") as file:
            raw = json.loads(file.read())
        stated = raw.pop("content_hash")
        version = int(raw["schema_version"])
    except (FileNotFoundError, NotADirectoryError):
        raise UserError("no manifest, so it is no recording", path, "make the recording again") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError("the manifest is damaged", where, "make the recording again or fetch it again") from None
    if version > SCHEMA_VERSION:
        raise UserError(
            f"has schema version {version}, this program reads up to {SCHEMA_VERSION}", where, "update this program"
        )
    try:
        if _hash_of(raw) != stated:
            raise UserError("the manifest was altered", where, "make the recording again or fetch it again")
        while version < SCHEMA_VERSION:
            raw = MIGRATIONS[version](raw)
            version += 1
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"field {field}: {first['msg']}", where, "open it as the kind of data that it is") from None
    except (KeyError, ValueError):
        raise UserError("the manifest is damaged", where, "make the recording again or fetch it again") from None


def read_array(path: str | Path, name: str, manifest: StoredManifest) -> np.ndarray:
    """The array `name` of the bundle at `path`, checked against the manifest to the last byte.

    Raises:
        UserError: the manifest does not name it, or it is missing, cut or altered.
    """
    if name not in manifest.arrays:
        raise UserError(f"has no array {name!r}", path, f"it holds {', '.join(manifest.arrays) or 'none'}")
    problem, values = _load(path, name, manifest.arrays[name])
    if problem:
        raise UserError(f"array {name!r} {problem}", path, "make the recording again or fetch it again")
    return values


def _load(path: str | Path, name: str, spec: ArraySpec) -> tuple[str | None, np.ndarray]:
    """What is wrong with an array, or None and the array."""
    nothing = np.empty(0)
    source = join(path, FRAMES)
    try:
        store = zarr.storage.FsspecStore.from_url(source) if is_url(path) else zarr.storage.LocalStore(source)
        stored = zarr.open_array(store=store, path=name, mode="r", zarr_format=3)
        if stored.shape != spec.shape or np.dtype(stored.dtype) != np.dtype(spec.dtype):
            return "differs in shape or type from its manifest", nothing
        values = _canonical(np.asarray(stored[...]))
    except Exception as error:  # damaged bytes make the decoders raise anything
        return f"cannot be read ({type(error).__name__})", nothing
    if hashlib.sha256(values.tobytes()).hexdigest() != spec.sha256:
        return "differs from its manifest", nothing
    return None, values


def verify_bundle(path: str | Path, model: type[StoredManifest]) -> list[str]:
    """Read every byte of the bundle at `path`; the problems found, none when it is whole."""
    try:
        manifest = read_manifest(path, model)
    except UserError as error:
        return [error.what]
    problems = ((name, _load(path, name, spec)[0]) for name, spec in manifest.arrays.items())
    return [f"array {name!r} {problem}" for name, problem in problems if problem]
