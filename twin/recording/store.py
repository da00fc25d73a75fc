"""Checked storage of named arrays: a Zarr v3 group with checksums, and a manifest that is written last.

A bundle is a directory with `frames.zarr` and `manifest.json`. Locally it is written under a temporary name, synced
and renamed, so that it exists whole or not at all; on other storage (any fsspec URL that is not the local disk) the
manifest, written last, commits it.

`manifest.json` holds, beside the fields of the manifest, `content_hash` (of those fields, so of what the arrays hold)
and `files_sha256` (of every stored file, so that no altered byte passes).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zarr
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from zarr.codecs import Crc32cCodec, ZstdCodec

from twin.errors import UserError
from twin.recording.directory import MANIFEST, filesystem_of, is_url, join, local_path, new_directory

__all__ = [
    "SCHEMA_VERSION",
    "Array",
    "ArraySpec",
    "StoredManifest",
    "content_hash",
    "filesystem_of",
    "is_url",
    "join",
    "new_directory",
    "read_array",
    "read_frames",
    "read_manifest",
    "verify_bundle",
    "write_bundle",
]

SCHEMA_VERSION = 2
"""1: power and position; 2: camera, radar and LiDAR beside them."""


def _with_sensors(manifest: dict[str, Any]) -> dict[str, Any]:
    """Version 1 holds nothing that version 2 lacks."""
    return {**manifest, "schema_version": 2}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_sensors}
"""From a schema version to the function that lifts a manifest of that version to the next one."""

FRAMES = "frames.zarr"
SHARD_BYTES = 1 << 27
"""A file of frames that are stored one by one holds about so much before compression."""


@dataclass(frozen=True)
class Array:
    """An array with the names of its dimensions and its unit; `by_frame` stores it in pieces that can be read alone."""

    values: np.ndarray
    dims: tuple[str, ...]
    unit: str
    by_frame: bool = False


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


def content_hash(manifest: StoredManifest) -> str:
    """SHA-256 of the manifest as canonical JSON: with the hashes of all arrays in it, of the whole content."""
    return _hash_of(json.loads(manifest.model_dump_json()))


def _hash_of(manifest: dict[str, Any]) -> str:
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(values: np.ndarray) -> np.ndarray:
    """C order and little-endian, whatever the array came in."""
    return np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.reshape(-1).view(np.uint8).data).hexdigest()


def _spec(array: Array) -> ArraySpec:
    values = _canonical(array.values)
    if len(array.dims) != values.ndim:
        raise ValueError(f"{len(array.dims)} names for {values.ndim} dimensions")
    digest = _digest(values)
    return ArraySpec(dims=array.dims, shape=values.shape, dtype=values.dtype.str, unit=array.unit, sha256=digest)


def write_bundle(path: str | Path, arrays: Mapping[str, Array], manifest: StoredManifest) -> str:
    """Write arrays and manifest to `path` and return the content hash.

    Raises:
        UserError: `path` exists already.
        OSError: the storage failed; nothing is left at `path`.
    """
    complete = manifest.model_copy(update={"arrays": {name: _spec(array) for name, array in sorted(arrays.items())}})
    digest = content_hash(complete)
    with new_directory(path) as draft:
        _write_arrays(_zarr_store(draft), arrays)
        stated = {"content_hash": digest, "files_sha256": _files_hash(draft)}
        text = _manifest_text({**json.loads(complete.model_dump_json()), **stated})
        filesystem, root = filesystem_of(draft)
        with filesystem.open(join(root, MANIFEST), "wb") as file:
            file.write(text)
    return digest


def _manifest_text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _zarr_store(path: str | Path) -> Any:
    frames = join(path, FRAMES)
    local = local_path(frames)
    return zarr.storage.LocalStore(local) if local else zarr.storage.FsspecStore.from_url(frames)


def _files_hash(path: str | Path) -> str:
    """SHA-256 over the names and contents of all stored files but the manifest; hidden files do not count."""
    filesystem, root = filesystem_of(join(path, FRAMES))
    lines = []
    for name in sorted(filesystem.find(root)):
        relative = name[len(root.rstrip("/")) + 1 :]
        if not relative.rsplit("/", 1)[-1].startswith("."):
            lines.append(f"{hashlib.sha256(filesystem.cat_file(name)).hexdigest()} {relative}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_arrays(store: Any, arrays: Mapping[str, Array]) -> None:
    group = zarr.create_group(store=store, zarr_format=3)
    for name, array in sorted(arrays.items()):
        values = _canonical(array.values)
        whole = tuple(max(1, n) for n in values.shape)
        pieces = (1, *whole[1:]) if array.by_frame else whole
        stored = group.create_array(
            name,
            shape=values.shape,
            chunks=pieces,
            shards=(_frames_a_shard(values), *whole[1:]) if array.by_frame else None,
            dtype=values.dtype,
            dimension_names=array.dims,
            compressors=[ZstdCodec(level=1, checksum=True), Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
        stored[...] = values


def _frames_a_shard(values: np.ndarray) -> int:
    """All frames in one file, or as many as make `SHARD_BYTES`."""
    return int(min(max(1, len(values)), max(1, SHARD_BYTES // max(1, values[:1].nbytes))))


def read_manifest(path: str | Path, model: type[M]) -> M:
    """The manifest of the bundle at `path`.

    Raises:
        UserError: there is none, it is cut or altered, of a newer schema, or of another kind of bundle.
    """
    return _read_manifest(path, model)[0]


def _read_manifest(path: str | Path, model: type[M]) -> tuple[M, str]:
    """The manifest and the stated hash of the stored files."""
    where = join(path, MANIFEST)
    again = "make the recording again or fetch it again"
    filesystem, name = filesystem_of(where)
    try:
        text = filesystem.cat_file(name)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError("no manifest, so it is no recording", path, "make the recording again") from None
    except OSError as error:
        raise UserError(f"the manifest cannot be read ({error.strerror or error})", where, again) from None
    try:
        raw = json.loads(text)
        whole = _manifest_text(raw) == text
        stated, files = str(raw.pop("content_hash")), str(raw.pop("files_sha256"))
        version = int(raw["schema_version"])
    except (ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError("the manifest is damaged", where, again) from None
    if version > SCHEMA_VERSION:
        raise UserError(
            f"has schema version {version}, this program reads up to {SCHEMA_VERSION}", where, "update this program"
        )
    if not whole or _hash_of(raw) != stated:
        raise UserError("the manifest was altered", where, again)
    try:
        while version < SCHEMA_VERSION:
            raw = MIGRATIONS[version](raw)
            version += 1
        return model.model_validate(raw), files
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"field {field}: {first['msg']}", where, "open it as the kind of data that it is") from None
    except (KeyError, ValueError):
        raise UserError("the manifest is damaged", where, again) from None


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


def read_frames(path: str | Path, name: str, manifest: StoredManifest, frames: slice) -> np.ndarray:
    """Some frames of the array `name`, without reading the others; the checksums of what is read are verified.

    Raises:
        UserError: the manifest does not name it, or those frames are missing, cut or altered.
    """
    if name not in manifest.arrays:
        raise UserError(f"has no array {name!r}", path, f"it holds {', '.join(manifest.arrays) or 'none'}")
    try:
        stored = zarr.open_array(store=_zarr_store(path), path=name, mode="r", zarr_format=3)
        return _canonical(np.asarray(stored[frames]))
    except Exception as error:  # damaged bytes make the decoders raise anything
        what = f"array {name!r} cannot be read ({type(error).__name__})"
        raise UserError(what, path, "make the recording again or fetch it again") from None


def _load(path: str | Path, name: str, spec: ArraySpec) -> tuple[str | None, np.ndarray]:
    """What is wrong with an array, or None and the array."""
    nothing = np.empty(0)
    try:
        stored = zarr.open_array(store=_zarr_store(path), path=name, mode="r", zarr_format=3)
        if stored.shape != spec.shape or np.dtype(stored.dtype) != np.dtype(spec.dtype):
            return "differs in shape or type from its manifest", nothing
        values = _canonical(np.asarray(stored[...]))
    except Exception as error:  # damaged bytes make the decoders raise anything
        return f"cannot be read ({type(error).__name__})", nothing
    if _digest(values) != spec.sha256:
        return "differs from its manifest", nothing
    return None, values


def verify_bundle(path: str | Path, model: type[StoredManifest]) -> list[str]:
    """Read every byte of the bundle at `path`; the problems found, none when it is whole."""
    try:
        manifest, files = _read_manifest(path, model)
    except UserError as error:
        return [error.what]
    problems = ((name, _load(path, name, spec)[0]) for name, spec in manifest.arrays.items())
    found = [f"array {name!r} {problem}" for name, problem in problems if problem]
    try:
        whole = _files_hash(path) == files
    except OSError as error:
        return [*found, f"a stored file cannot be read ({error.strerror or error})"]
    return found if found or whole else ["a stored file was altered, added or removed"]
