"""What a directory of recordings holds: the whole ones, and the damaged ones with the reason."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from twin.errors import UserError
from twin.recording.recording import Recording, RecordingManifest
from twin.recording.store import content_hash, filesystem_of, is_url, join, verify_bundle

__all__ = ["Catalogue", "Entry", "dataset_hash", "open_dataset", "scan", "verify_dataset", "whole_episodes"]


MARKS = ("manifest.json", "frames.zarr")
"""A directory with one of these looks like a recording."""


@dataclass(frozen=True)
class Entry:
    """A whole episode: its name, where it lies, and its manifest."""

    name: str
    path: str
    manifest: RecordingManifest

    def open(self) -> Recording:
        """The recording of this entry."""
        return Recording.open(self.path)


@dataclass(frozen=True)
class Catalogue:
    """The episodes of a dataset in the order of their names, and what looks like one and is none, with the reason."""

    episodes: list[Entry] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)


def _children(root: str | Path) -> list[str]:
    filesystem, base = filesystem_of(root)
    if not filesystem.isdir(base):
        raise UserError("no such directory", root, "name the directory of a dataset")
    return sorted(
        entry["name"].rstrip("/").rsplit("/", 1)[-1]
        for entry in filesystem.ls(base, detail=True)
        if entry["type"] == "directory"
    )


def scan(root: str | Path) -> Catalogue:
    """The episodes below `root`.

    Hidden directories (drafts of a writer) and those that hold no part of a recording are passed over.

    Raises:
        UserError: `root` is no directory.
    """
    found = Catalogue()
    filesystem, _ = filesystem_of(root)
    for name in _children(root):
        if name.startswith("."):
            continue
        path = join(root, name)
        try:
            found.episodes.append(Entry(name, path, Recording.open(path).manifest))
        except UserError as error:
            if any(filesystem.exists(join(path, part)) for part in MARKS):
                found.damaged.append((name, error.what))
    return found


def open_dataset(root: str | Path) -> Catalogue:
    """As `scan`, for a reader that needs at least one whole episode.

    Raises:
        UserError: `root` is no directory or holds no whole episode.
    """
    found = scan(root)
    if not found.episodes:
        damage = f" ({len(found.damaged)} damaged, the first: {found.damaged[0][1]})" if found.damaged else ""
        raise UserError(f"holds no recording{damage}", root, "name a directory made by twin generate or twin import")
    return found


def whole_episodes(path: str | Path) -> list[Entry]:
    """The episodes below a directory of recordings, in the order of their names.

    Raises:
        UserError: there are none, or one is damaged.
    """
    catalogue = open_dataset(path)
    if catalogue.damaged:
        name, fault = catalogue.damaged[0]
        what = f"holds damaged recordings ({len(catalogue.damaged)}), the first {name}: {fault}"
        raise UserError(what, path, "fetch or make them again, or remove them")
    return catalogue.episodes


def dataset_hash(entries: Iterable[Entry]) -> str:
    """SHA-256 over the sorted names and content hashes of episodes: the identity of a dataset."""
    lines = sorted(f"{entry.name} {content_hash(entry.manifest)}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verify_dataset(
    root: str | Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, list[str]]:
    """Read every byte below `root`: the problems of each episode, an empty list for a whole one.

    A single episode may be named as well as a dataset. `progress` is told how many of how many episodes were read.

    Raises:
        UserError: `root` is no directory or holds nothing that could be an episode.
    """
    names = [name for name in _children(root) if not name.startswith(".")]
    if "frames.zarr" in names or (not is_url(root) and (Path(root) / "manifest.json").exists()):
        return {str(root).rstrip("/").rsplit("/", 1)[-1]: verify_bundle(root, RecordingManifest)}
    if not names:
        raise UserError("holds no recording", root, "name a directory made by twin generate or twin import")
    problems = {}
    for done, name in enumerate(names, start=1):
        problems[name] = verify_bundle(join(root, name), RecordingManifest)
        progress(done, len(names))
    return problems
