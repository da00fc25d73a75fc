"""Backbones that an experiment trains beside each other: in as many optimiser steps, however much data each sees."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa.backbone.model import JepaModel
from jepa.config import PretrainConfig
from jepa.data.augment import Augmentation
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.windows import Windows
from jepa.heads.training import train_heads
from jepa.paradigms.pretraining import pretrain
from jepa.runs.heads import save_heads
from jepa.workflows import pick_device

__all__ = ["epochs_of", "heads_row", "pretraining_row", "some_windows", "steps_in"]


DRAWN = 14
"""Stream of the random numbers that draw windows."""


def epochs_of(steps: int, windows: int, batch: int) -> int:
    """Whole epochs that come nearest to a number of optimiser steps."""
    return max(1, round(steps / steps_in(1, windows, batch)))


def steps_in(epochs: int, windows: int, batch: int) -> int:
    """Optimiser steps of whole epochs, whose last windows are left out where they fill no batch."""
    return epochs * max(1, windows // batch)


def some_windows(windows: Windows, most: int, seed: int) -> Windows:
    """All windows, or so many of them drawn by the seed, in their order: fewer steps than an epoch has."""
    if len(windows) <= most:
        return windows
    drawn = np.random.default_rng([seed, DRAWN]).permutation(len(windows))[:most]
    return windows.select(torch.from_numpy(np.sort(drawn)))


def pretraining_row(
    store: FrameStore, windows: Windows, config: PretrainConfig, steps: int, run: Path
) -> dict[str, Any]:
    """A row without metrics: the backbone lies in `run`, where a stopped training goes on."""
    device = pick_device("auto")
    config = config.model_copy(update={"epochs": epochs_of(steps, len(windows), config.batch_size)})
    normalisers = Normalisers.fit(store, windows, config.inputs)
    inputs = WindowInputs(normalisers.frames(store), windows.index, device)
    augmentation = Augmentation.of(config.augment, store, windows, normalisers)
    run.mkdir(parents=True, exist_ok=True)
    pretrain(inputs, config, run=run, resume=True, device=device, label="", augmentation=augmentation)
    return {
        "epochs": config.epochs,
        "windows": len(windows),
        "steps": steps_in(config.epochs, len(windows), config.batch_size),
    }


def heads_row(
    model: JepaModel, store: FrameStore, windows: Windows, config: PretrainConfig, place: Path
) -> dict[str, Any]:
    """A row without numbers: heads on a frozen backbone lie at `place`."""
    normalisers = Normalisers.fit(store, windows, config.inputs)
    save_heads(train_heads(model, store, windows, windows, normalisers, config, label=""), place)
    return {}
