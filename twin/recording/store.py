"""Checked storage of named arrays: a Zarr v3 group with checksums, and a manifest that is written last.

A bundle is a directory with `frames.zarr` and `manifest.json`. Locally it is written under a temporary name, synced
and renamed, so that it exists whole or not at all; on other storage (any fsspec URL) the manifest, written last,
commits it.

`manifest.json` holds, beside the fields of the manifest, `content_hash` (of those fields, so of what the arrays hold)
and `files_sha256` (of every stored file, so that no altered byte passes).
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
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
    "filesystem_of",
    "is_url",
    "join",
    "new_directory",
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


def filesystem_of(path: str | Path) -> tuple[Any, str]:
    """The fsspec file system of a local path or URL, and the path on it.

    Raises:
        UserError: the URL's protocol is unknown or its package is not installed.
    """
    if not is_url(path):
        return fsspec.filesystem("file"), str(Path(path).absolute())
    try:
        return fsspec.core.url_to_fs(str(path))
    except (ValueError, ImportError) as error:
        raise UserError(f"cannot be opened ({error})", path, "name a local path or a URL that fsspec knows") from None


def content_hash(manifest: StoredManifest) -> str:
    """SHA-256 of the manifest as canonical JSON: with the hashes of all arrays in it, of the whole content."""
    return _hash_of(json.loads(manifest.model_dump_json()))


def _hash_of(manifest: dict[str, Any]) -> str:
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(values: np.ndarray) -> np.ndarray:
    """C order and little-endian, whatever the array came in."""
    return np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")


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


@contextlib.contextmanager
def new_directory(path: str | Path) -> Iterator[str]:
    """A directory to fill, which appears at `path` when the block ends, and not at all when it raises.

    Local directories are filled under a hidden name beside `path`, synced and renamed. On other storage, where nothing
    can be renamed, they are filled in place and removed when the block raises; what is there without any manifest was
    left by a writer that died, and is replaced.

    Raises:
        UserError: `path` exists already, or cannot be made because a file is in its way.
    """
    if is_url(path):
        filesystem, root = filesystem_of(path)
        if any(name.endswith(f"/{MANIFEST}") for name in filesystem.find(root)):
            raise UserError("exists already", path, "choose another output or remove it")
        if filesystem.exists(root):
            filesystem.rm(root, recursive=True)
        with _undone_on_failure(lambda: filesystem.rm(root, recursive=True)):
            yield str(path)
        return
    target = Path(path).absolute()
    if _is_taken(target):
        raise UserError("exists already", path, "choose another output or remove it")
    draft_path = target.parent / f".{target.name[:64]}.{uuid.uuid4().hex[:8]}.partial"
    new_parents = [parent for parent in target.parents if not parent.exists()]
    try:
        draft_path.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError("cannot be made, a file is in its way", path, "choose another output") from None
    except FileNotFoundError as error:
        raise UserError(f"cannot be made ({error.strerror})", path, "choose another output") from None

    def undo() -> None:
        shutil.rmtree(draft_path, ignore_errors=True)
        for parent in new_parents:
            parent.rmdir()

    with _failing_at(path), _undone_on_failure(undo):
        yield str(draft_path)
        _sync_tree(draft_path)
        try:
            draft_path.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise UserError("was made by another writer meanwhile", path, "choose another output") from None
    _sync_directory(target.parent)


def _is_taken(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"cannot be made ({error.strerror})", path, "choose another output") from None
    return True


@contextlib.contextmanager
def _undone_on_failure(undo: Callable[[], Any]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            undo()
        raise


@contextlib.contextmanager
def _failing_at(path: str | Path) -> Iterator[None]:
    """An OSError that names no file (a full disk does not) gets the name of what was being written."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _zarr_store(path: str | Path) -> Any:
    frames = join(path, FRAMES)
    return zarr.storage.FsspecStore.from_url(frames) if is_url(path) else zarr.storage.LocalStore(frames)


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
    if hashlib.sha256(values.tobytes()).hexdigest() != spec.sha256:
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
