"""Directories that appear whole or not at all, on the local disk and on whatever storage fsspec knows."""

import contextlib
import errno
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from twin.errors import UserError

__all__ = ["MANIFEST", "filesystem_of", "is_url", "join", "local_path", "new_directory", "remove_dead_drafts"]

MANIFEST = "manifest.json"
"""The file that says what a directory holds; where nothing can be renamed, it is written last."""
DEAD_AFTER_S = 24 * 3600
"""Age at which the draft of another machine's process counts as left behind."""


def is_url(path: str | Path) -> bool:
    """Whether `path` is an fsspec URL rather than a local path."""
    return "://" in str(path)


def join(root: str | Path, *parts: str) -> str:
    """`root` and `parts` joined, for local paths and URLs alike."""
    protocol, mark, place = str(root).rpartition("://")
    return protocol + mark + ("/".join([place.rstrip("/"), *parts]) or "/")


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


def local_path(path: str | Path) -> Path | None:
    """The absolute path of what lies on the local disk, be it given as a URL; None for other storage."""
    filesystem, root = filesystem_of(path)
    return Path(root) if isinstance(filesystem, LocalFileSystem) else None


@contextlib.contextmanager
def new_directory(path: str | Path) -> Iterator[str]:
    """A directory to fill, which appears at `path` when the block ends, and not at all when it raises.

    Local directories are filled under a hidden name beside `path`, synced and renamed. For other storage, where nothing
    can be renamed, they are filled where temporary files lie, then uploaded with the manifests last; what is there
    without any manifest was left by a writer that died, and is replaced. Two writers of the same content do not
    disturb each other.

    Raises:
        UserError: `path` exists already, or cannot be made because a file is in its way.
    """
    target = local_path(path)
    if target is None:
        with _uploaded(path) as draft:
            yield draft
        return
    if _is_taken(target):
        raise UserError("exists already", path, "choose another output or remove it")
    draft_path = target.parent / _draft_name(target.name)
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


@contextlib.contextmanager
def _uploaded(path: str | Path) -> Iterator[str]:
    """A local directory to fill, whose files are put at `path`, which is not on the local disk, when the block ends."""
    filesystem, root = filesystem_of(path)
    if _manifests(filesystem, root):
        raise UserError("exists already", path, "choose another output or remove it")
    draft = Path(tempfile.gettempdir(), _draft_name(root.rsplit("/", 1)[-1]))
    draft.mkdir()
    try:
        with _failing_at(path):
            yield str(draft)
            _upload(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _manifests(filesystem: Any, root: str) -> list[str]:
    return [name for name in filesystem.find(root) if name.endswith(f"/{MANIFEST}")]


def _upload(draft: Path, path: str | Path) -> None:
    """Files of another writer of the same content are overwritten by the same bytes, never removed."""
    filesystem, root = filesystem_of(path)
    files = {join(root, file.relative_to(draft).as_posix()): str(file) for file in draft.rglob("*") if file.is_file()}
    manifests = [name for name in files if name.endswith(f"/{MANIFEST}")]
    if remains := set(filesystem.find(root)) - files.keys():
        filesystem.rm(sorted(remains))
    content = sorted(files.keys() - set(manifests))
    try:
        filesystem.put([files[name] for name in content], content)
        if _manifests(filesystem, root):
            raise UserError("was made by another writer meanwhile", path, "choose another output")
        filesystem.put([files[name] for name in manifests], manifests)
    except BaseException:
        with contextlib.suppress(OSError):
            if not _manifests(filesystem, root):
                filesystem.rm(root, recursive=True)
        raise


def _draft_name(name: str) -> str:
    """A hidden name that says whose it is."""
    return f".{name[:64]}.{uuid.uuid4().hex[:8]}.{os.getpid()}@{socket.gethostname()[:64]}.partial"


def remove_dead_drafts(directory: str | Path) -> None:
    """Remove what `new_directory` left in a local directory when its process was killed.

    A draft is dead when no process of this machine has its number any more, or, if another machine wrote it, after a
    day.
    """
    for draft in Path(directory).glob(".*.partial"):
        writer = re.fullmatch(r"\..*\.[0-9a-f]{8}(?:\.(\d+)@(.+))?\.partial", draft.name)
        if writer and _is_dead(draft, *writer.groups()):
            shutil.rmtree(draft, ignore_errors=True)


def _is_dead(draft: Path, process: str | None, host: str | None) -> bool:
    with contextlib.suppress(OSError):
        if host != socket.gethostname()[:64]:
            return time.time() - draft.stat().st_mtime > DEAD_AFTER_S
        try:
            os.kill(int(str(process)), 0)
        except ProcessLookupError:
            return True
    return False


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
    """An OSError of the system that names no file (a full disk does not) gets the name of what was being written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


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
