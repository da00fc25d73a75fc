"""A resumable table: one JSON file a row, written atomically, and the Markdown page that is made of them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twin.errors import UserError

__all__ = ["RowStore", "markdown_table", "recipe", "write_json"]


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
        stamp = directory / "budget.json"
        if stamp.exists():
            stored = _read(stamp)
            if stored != budget:
                changed = sorted(k for k in stored.keys() | budget.keys() if stored.get(k) != budget.get(k))
                raise UserError(
                    f"holds rows of another budget (differs in {', '.join(changed)})", directory, "choose another --out"
                )
        else:
            write_json(stamp, budget)

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
    """Write `value` to `path` so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "w") as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A GitHub-flavoured Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
