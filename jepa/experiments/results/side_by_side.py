"""Rows of an experiment side by side: each in one process with one thread, each kept with the seconds that it took."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from jepa.experiments.results.store import RowStore
from twin.console import progress_bar
from twin.workers import processes

__all__ = ["Job", "as_json", "compute_rows", "cores_here", "processes_here"]

MOST_WORKERS = 8

Job = tuple[str, Callable[[], dict[str, Any]]]
"""The key of a row, and what computes it: a function that another process can be sent."""


def cores_here() -> int:
    """How many processes there is use for, were they to share nothing."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


def processes_here() -> int:
    """How many rows are computed at once: one a core, or one where there is a GPU."""
    return 1 if torch.cuda.is_available() else cores_here()


def as_json(budget: Any) -> dict[str, Any]:
    """A dataclass as the stamp of a `RowStore` keeps it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(budget).items()}


def compute_rows(rows: RowStore, stages: Sequence[Sequence[Job]]) -> dict[str, dict[str, Any]]:
    """The rows of all stages by key; those that are not there yet are computed, stage after stage."""
    with progress_bar() as bar:
        task = bar.add_task("rows", total=sum(map(len, stages)))
        for stage in stages:
            for _ in _computed(rows, stage, processes_here()):
                bar.advance(task)
    return {key: rows.row(key, job) for stage in stages for key, job in stage}


def _computed(rows: RowStore, jobs: Sequence[Job], workers: int) -> Iterator[str]:
    """The keys of some rows, as they are there."""
    missing = []
    for key, job in jobs:
        if rows.has(key):
            yield key
        else:
            missing.append((key, job))
    if workers == 1 or not missing:
        for key, job in missing:
            yield _compute(rows, key, job)
        return
    with processes(workers) as pool:
        for future in as_completed([pool.submit(_compute, rows, key, job) for key, job in missing]):
            yield future.result()


def _compute(rows: RowStore, key: str, job: Callable[[], dict[str, Any]]) -> str:
    rows.row(key, partial(_timed, job))
    return key


def _timed(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    start = time.monotonic()
    found = job()
    return {**found, "seconds": time.monotonic() - start}
