"""A resumable table: one JSON file a row, written atomically."""

import hashlib
import json
import os
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

from twin.errors import UserError

__all__ = ["RowStore", "check_stamp", "recipe", "write_json"]


STAMP = "budget.json"


class RowStore:
    """Rows of an experiment, kept under `directory`, one file a key.

    A row is computed once: `row(key, compute)` returns the stored one when it is there. The directory remembers the
    budget it was made with, so that rows of two budgets never meet in one table.
    """

    def __init__(self, directory: Path, budget: dict[str, Any]) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            raise UserError(f"cannot be made ({error.strerror})", directory, "choose another --out") from None
        if (directory / STAMP).exists():
            check_stamp(directory, {**dict.fromkeys(_read(directory / STAMP)), **budget})
        else:
            write_json(directory / STAMP, budget)

    def path(self, key: str) -> Path:
        """Where the row of `key` lies."""
        return self.directory / f"{key}.json"

    def has(self, key: str) -> bool:
        """Whether the row of `key` has been computed."""
        return self.path(key).exists()

    def row(self, key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of `key`, computed and stored when it is not there yet."""
        if not self.has(key):
            write_json(self.path(key), compute())
        return _read(self.path(key))


def check_stamp(directory: Path, known: dict[str, Any]) -> None:
    """Refuse a directory of rows that differs in what is known of a budget, before anything is made in it.

    Raises:
        UserError: it holds rows of another budget.
    """
    if not (directory / STAMP).exists():
        return
    stored = _read(directory / STAMP)
    changed = sorted(key for key, value in known.items() if stored.get(key) != value)
    if changed:
        what = f"holds rows of another budget (differs in {', '.join(changed)})"
        raise UserError(what, directory, "choose another --out")


def recipe(*settings: Any) -> str:
    """A fingerprint of settings that are not those of a budget: rows that were made by others are not taken."""
    text = json.dumps(settings, sort_keys=True, default=lambda value: value.model_dump(mode="json"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    """A file of the directory.

    Raises:
        UserError: it is damaged.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError("is damaged", path, "delete it, and it is computed again")
    return found


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value`, of estimates and claims their `as_json`, so that a reader sees the old file or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "w") as file:
        json.dump(value, file, indent=1, allow_nan=False, default=methodcaller("as_json"))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
