"""Files of many frames, read on several cores: what they hold frame by frame, and which of them are bad."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from twin.errors import UserError
from twin.workers import processes

__all__ = ["BadFiles", "Column", "LidarFill", "Reading", "sensor_pool", "text_pool"]

FILES_A_TASK = 8


@contextmanager
def text_pool(threads: int | None = None) -> Iterator[Executor]:
    """Threads that read small files: they wait for the disk, not for the processor."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def sensor_pool(workers: int | None, files: int) -> Iterator[Executor]:
    """Up to `workers` processes (None: one a core) that read so many large files, or one thread.

    Threads would wait for each other: text is parsed and compiled kernels run under the interpreter's lock.

    Raises:
        UserError: a process died.
    """
    workers = min(workers or _cores(), -(-files // FILES_A_TASK))
    try:
        with processes(workers) if workers > 1 else text_pool(1) as pool:
            yield pool
    except BrokenExecutor:
        raise UserError("a process that reads died, for want of memory?", "import", "give fewer --workers") from None


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Column:
    """What the files of one kind hold, frame by frame; where one is bad, `valid` is False and a blank stands."""

    values: Shaped[np.ndarray, "frame ..."]
    valid: Bool[np.ndarray, "frame"]


class Reading:
    """Files that are being read by a pool."""

    def __init__(self, pool: Executor, read: Callable[[Path], np.ndarray], paths: Sequence[Path]) -> None:
        self.paths = paths
        parts = [paths[at : at + FILES_A_TASK] for at in range(0, len(paths), FILES_A_TASK)]
        self._tasks = [pool.submit(_contents, read, part) for part in parts]

    def column(self, blank: np.ndarray) -> tuple[Column, dict[Path, str]]:
        """What the files hold, when all are read, with what is wrong with the bad ones.

        Streams of different length get zeros at their end."""
        contents = [content for task in self._tasks for content in task.result()]
        faults = {path: fault for path, fault in zip(self.paths, contents, strict=True) if isinstance(fault, str)}
        rows = [blank if isinstance(content, str) else content for content in contents]
        if blank.ndim == 1:
            longest = max(len(row) for row in rows)
            rows = [np.pad(row, (0, longest - len(row))) for row in rows]
        return Column(np.stack(rows), np.array([not isinstance(content, str) for content in contents])), faults


def _contents(read: Callable[[Path], np.ndarray], paths: Sequence[Path]) -> list[np.ndarray | str]:
    """What each file holds, or what is wrong with it."""
    found: list[np.ndarray | str] = []
    for path in paths:
        try:
            found.append(read(path))
        except ValueError as fault:
            found.append(str(fault))
    return found


@dataclass
class BadFiles:
    """How many files of each kind were read, how many of them are bad, and the first of those."""

    read: dict[str, int] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, paths: Sequence[Path], faults: Mapping[Path, str]) -> None:
        """Count some more files, in the order of the table."""
        self.read[kind] = self.read.get(kind, 0) + len(paths)
        self.bad[kind] = self.bad.get(kind, 0) + sum(path in faults for path in paths)
        for path in paths:
            if path in faults:
                self.first.setdefault(kind, f"{path.name}: {faults[path]}")
                break

    def check(self, table: Path, max_bad: float) -> None:
        """Raise a UserError where more than a share `max_bad` of a kind is bad."""
        for kind, count in self.bad.items():
            share = count / self.read[kind]
            if share > max_bad:
                remedy = f"mend them or allow it with --max-bad {math.ceil(share * 100) / 100:g}"
                if kind != "bs_location":
                    remedy += f", or leave {kind.removesuffix('_calibrated')} out of --modalities"
                what = f"{share:.1%} of the {kind} files are bad (the first: {self.first[kind]})"
                raise UserError(what, table, remedy)


@dataclass
class LidarFill:
    """How much of the depth images holds a return, over the valid frames."""

    frames: int = 0
    pixels: float = 0.0
    rows: float = 0.0
    columns: float = 0.0

    def add(self, depth_m: Column) -> None:
        """Count some more frames."""
        filled = np.isfinite(depth_m.values[depth_m.valid])
        self.frames += len(filled)
        self.pixels += float(filled.mean(axis=(1, 2)).sum())
        self.rows += float(filled.any(axis=2).mean(axis=1).sum())
        self.columns += float(filled.any(axis=1).mean(axis=1).sum())

    def shares(self) -> dict[str, float]:
        """Mean share of the pixels, rows and columns of an image; empty without frames."""
        sums = {"pixels": self.pixels, "rows": self.rows, "columns": self.columns}
        return {name: round(total / self.frames, 6) for name, total in sums.items()} if self.frames else {}
