"""Models that come with the project: run directories in half precision, without target branch and optimiser."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from jepa.config import HeadConfig
from jepa.runs.heads import heads_are_whole, heads_directory
from jepa.training.checkpoint import load_checkpoint, load_tensors, save_checkpoint, save_tensors
from twin.errors import UserError
from twin.recording import new_directory

__all__ = ["save_small", "shipped_checkpoint"]

KEPT = ("run.json", "config.yaml", "stats.json", "split.json")
"""Files of a run that come along as they are."""


def shipped_checkpoint(name: str = "twin64") -> Path:
    """The run directory of a model that comes with the project, as a source tree and an installation have it."""
    installed = Path(__file__).parents[1] / "checkpoints"
    return (installed if installed.is_dir() else Path(__file__).parents[2] / "assets" / "checkpoints") / name


def save_small(run: Path, out: Path) -> None:
    """Write a run with its heads to `out` in half precision, as far as predicting needs it; heads that stand in where a
    modality drops out come along.

    Left out are the target branch, which only pretraining reads, the state of the optimiser, the log, and predictions.

    Raises:
        UserError: `out` exists, or the run has no checkpoint or no heads.
    """
    tensors, numbers = load_checkpoint(run / "checkpoints")
    backbone = {name: values for name, values in tensors.items() if name.startswith("model.")}
    backbone = {name: values for name, values in backbone.items() if not name.startswith("model.target.")}
    heads = heads_directory(run, HeadConfig())
    if not heads_are_whole(heads):
        raise UserError("holds no heads", heads, "train them with jepa heads")
    with new_directory(out) as place:
        draft = Path(place)
        save_checkpoint(draft / "checkpoints", int(numbers["step"]), _halved(backbone), {})
        for whole in [heads, *filter(heads_are_whole, sorted(run.glob(f"{heads.name}-without-*")))]:
            for part in sorted(path.parent for path in whole.glob("*/manifest.json")):
                of_part, options = load_tensors(part)
                save_tensors(draft / whole.name / part.name, _halved(of_part), options)
        for name in KEPT:
            shutil.copyfile(run / name, draft / name)


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In half precision, except whole numbers and what does not fit."""
    found = {}
    for name, values in tensors.items():
        half = values.half() if values.is_floating_point() else values
        found[name] = half if bool(torch.isfinite(half).all()) else values
    return found
