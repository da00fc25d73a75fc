"""Checkpoints: tensors in safetensors, numbers in JSON, a manifest with hashes; `latest` is replaced atomically.

safetensors does not notice a flipped bit, so every file's SHA-256 is in the manifest, which is written last.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from twin.errors import UserError

__all__ = ["latest_step", "load_checkpoint", "load_tensors", "save_checkpoint", "save_tensors"]

TENSORS, NUMBERS, MANIFEST, LATEST = "tensors.safetensors", "numbers.json", "manifest.json", "latest"
KEEP = 2
"""Checkpoints kept: the latest and the one before it."""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_tensors(directory: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Write tensors and numbers with their manifest as `directory`, whole or not at all, replacing what was there.

    Raises:
        UserError: they cannot be written, because the disk is full say.
    """
    draft = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, draft / TENSORS)
    except SafetensorError as error:  # its writer hides the errno
        shutil.rmtree(draft, ignore_errors=True)
        raise UserError(f"cannot be written: {error}", directory, "free some space and run it again") from None
    (draft / NUMBERS).write_text(json.dumps(numbers, sort_keys=True) + "\n")
    hashes = {name: _digest(draft / name) for name in (TENSORS, NUMBERS)}
    (draft / MANIFEST).write_text(json.dumps(hashes, sort_keys=True) + "\n")
    for path in (*draft.iterdir(), draft):
        _sync(path)
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)
    _sync(directory.parent)


def load_tensors(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote, checked to the last byte.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        hashes = json.loads((directory / MANIFEST).read_text())
        for name in (TENSORS, NUMBERS):
            if _digest(directory / name) != hashes[name]:
                raise UserError(f"{name} differs from its manifest", directory, "train again or fetch it again")
        return load_file(directory / TENSORS), json.loads((directory / NUMBERS).read_text())
    except FileNotFoundError as error:
        missing = Path(error.filename or "").name
        raise UserError(f"holds no {missing or 'weights'}", directory, "train it first") from None
    except (ValueError, KeyError, TypeError, OSError, SafetensorError):
        raise UserError("its manifest is damaged", directory, "train again or fetch it again") from None


def save_checkpoint(checkpoints: Path, step: int, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Write `checkpoints`/step-N and point `latest` at it; older ones than the one before are removed."""
    name = f"step-{step}"
    save_tensors(checkpoints / name, tensors, {**numbers, "step": step})
    pointer = checkpoints / f".{LATEST}.partial"
    pointer.write_text(name + "\n")
    _sync(pointer)
    pointer.replace(checkpoints / LATEST)
    _sync(checkpoints)
    for old in sorted(checkpoints.glob("step-*"), key=_step_of)[:-KEEP]:
        shutil.rmtree(old)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def latest_step(checkpoints: Path) -> int | None:
    """Step of the latest checkpoint, or None.

    Raises:
        UserError: the pointer to it is damaged.
    """
    pointer = checkpoints / LATEST
    if not pointer.exists():
        return None
    try:
        return _step_of(Path(pointer.read_text().strip()))
    except ValueError:
        found = ", ".join(sorted(path.name for path in checkpoints.glob("step-*"))) or "nothing"
        raise UserError(
            "does not name a checkpoint", pointer, f"write one of these names into it ({found}), or train again"
        ) from None


def load_checkpoint(checkpoints: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The latest checkpoint.

    Raises:
        UserError: there is none, or it is damaged.
    """
    step = latest_step(checkpoints)
    if step is None:
        raise UserError("holds no checkpoint", checkpoints, "train it first")
    return load_tensors(checkpoints / f"step-{step}")
