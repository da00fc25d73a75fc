"""Run directories: what a model or baseline was made with and from, and where to find them.

`run.json` says what kind of run it is, what it trained on, and with which packages, seed and number of threads.
"""

import importlib.metadata
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from jepa.data.frames import FrameStore
from jepa.data.splits import Split, make_split
from jepa.data.windows import T_WINDOW, Windows
from twin.errors import UserError

__all__ = [
    "RunCatalogue",
    "RunDescription",
    "Trained",
    "check_not_trained_on",
    "create_run",
    "find_runs",
    "open_run",
    "write_description",
]

DESCRIPTION = "run.json"
MARKS = (DESCRIPTION, "config.yaml", "checkpoints", "predictions")
"""A directory with one of these looks like a run."""
PACKAGES = ("torch", "numpy", "safetensors", "jepa-msac-twin")


class Trained(BaseModel):
    """Frames of an episode that something of the run was fitted on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    episode: str
    content_hash: str
    frames: tuple[int, int]


class RunDescription(BaseModel):
    """`run.json`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["model", "baseline"]
    name: str
    seed: int
    split: str
    fold: int = 0
    fraction: float = 1.0
    datasets: dict[str, str]
    trained: list[Trained]
    parent: str | None = None
    threads: int
    environment: dict[str, str]

    @classmethod
    def of(
        cls,
        kind: Literal["model", "baseline"],
        name: str,
        store: FrameStore,
        split: Split,
        *,
        seed: int,
        fraction: float = 1.0,
        parent: "RunDescription | None" = None,
        parent_path: str | None = None,
    ) -> "RunDescription":
        """The description of a run on the training part of a split, beside what its parent trained on."""
        trained = [
            Trained(episode=piece["episode"], content_hash=piece["content_hash"], frames=tuple(piece["frames"]))
            for piece in split.pieces["train"]
        ]
        return cls(
            kind=kind,
            name=name,
            seed=seed,
            split=split.kind,
            fold=split.fold,
            fraction=fraction,
            datasets={dataset.name: dataset.hash for dataset in store.datasets},
            trained=[*(parent.trained if parent else []), *trained],
            parent=parent_path,
            threads=torch.get_num_threads(),
            environment={
                "python": platform.python_version(),
                "machine": platform.machine(),
                **{name: importlib.metadata.version(name) for name in PACKAGES},
            },
        )

    def split_of(self, store: FrameStore) -> Split:
        """The split of this run's kind, made of a store."""
        return make_split(store, self.split, self.fold, self.seed)


@dataclass(frozen=True)
class RunCatalogue:
    """The runs below a directory by path, and what looks like one and is none, with the reason."""

    runs: dict[str, RunDescription] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)


def create_run(path: Path, description: RunDescription, resume: bool = False) -> None:
    """Make the directory of a run; with `resume` an existing one has to be of the same making.

    Raises:
        UserError: it exists, or was made otherwise.
    """
    if path.exists() and not path.is_dir():
        raise UserError("exists and is no directory", path, "choose another --out")
    if path.exists() and any(path.iterdir()):
        if not resume:
            raise UserError("exists", path, "choose another --out, or go on with --resume")
        _same(open_run(path), description, path)
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise UserError(f"cannot be made ({error.strerror})", path, "choose another --out") from None
    write_description(path, description)


def write_description(path: Path, description: RunDescription) -> None:
    """Write `run.json`, whole or not at all."""
    draft = path / f".{DESCRIPTION}.{os.getpid()}"
    draft.write_text(description.model_dump_json(indent=1) + "\n")
    draft.replace(path / DESCRIPTION)


def _same(stored: RunDescription, wanted: RunDescription, path: Path) -> None:
    for name in ("kind", "name", "seed", "split", "fold", "fraction", "datasets", "trained"):
        if getattr(stored, name) != getattr(wanted, name):
            raise UserError(f"was made with another {name}", path, "resume with what it began with, or another --out")


def open_run(path: Path) -> RunDescription:
    """The description of a run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return RunDescription.model_validate_json((path / DESCRIPTION).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError("holds no run", path, "name a directory made by jepa pretrain or jepa baseline") from None
    except (ValidationError, UnicodeDecodeError, OSError):
        raise UserError("its run.json is damaged", path, "train again") from None


def find_runs(root: Path) -> RunCatalogue:
    """The runs directly below `root`, or `root` itself if it is one.

    Raises:
        UserError: `root` is no directory.
    """
    if not root.is_dir():
        raise UserError("no such directory", root, "name the directory that holds the runs")
    found = RunCatalogue()
    below = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    holds_runs = any((path / DESCRIPTION).exists() for path in below)
    is_run = (root / DESCRIPTION).exists() or (_looks_like_a_run(root) and not holds_runs)
    for path in [root] if is_run else filter(_looks_like_a_run, below):
        try:
            found.runs[str(path)] = open_run(path)
        except UserError as error:
            found.damaged.append((str(path), error.what))
    return found


def _looks_like_a_run(path: Path) -> bool:
    return any((path / name).exists() for name in MARKS)


def check_not_trained_on(description: RunDescription, store: FrameStore, windows: Windows, where: Any) -> None:
    """Refuse windows that share a frame with the training part of the run (except of the leaky split, which says so).

    Raises:
        UserError: they do.
    """
    if description.split == "paper":
        return
    pieces: dict[str, list[tuple[int, int]]] = {}
    for piece in description.trained:
        pieces.setdefault(piece.content_hash, []).append(piece.frames)
    for number in torch.unique(windows.episode).tolist():
        episode = store.episodes[number]
        first = windows.index[windows.episode == number, 0] - episode.start
        for start, stop in pieces.get(episode.content_hash, ()):
            if bool(((first < stop) & (first + T_WINDOW > start)).any()):
                raise UserError(f"was trained on episode {episode.name}", where, "choose --split test, or other data")
