"""What is measured on, and the clock."""

import time
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from jepa.data.frames import TARGETS
from jepa.data.preprocess import Normaliser
from jepa.data.windows import T_WINDOW
from jepa.tokens.tokenizers import TOKENIZERS

__all__ = ["STATISTICS", "drive", "frames_of", "seconds"]

STATISTICS = Normaliser(0.0, 1.0, (0.0, 0.0), 1.0, radar_mean_db=0.0, radar_std_db=1.0)
"""Frames are drawn standardised."""


def frames_of(
    names: Iterable[str], count: int, pixels: int, device: torch.device
) -> dict[str, Shaped[Tensor, "frame ..."]]:
    """Frames in memory as `Normalisers.frames` leaves them, drawn at random, where `FrameStore.load` keeps them:
    pictures and maps on the device, powers and positions on the CPU."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name in names:
        if name == "camera":
            size = (count, pixels, pixels, 3)
            found[name] = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
            continue
        values = torch.randn(count, *TOKENIZERS[name].shape, generator=generator)
        if name == "lidar":
            values = torch.where(values > 0, 30 * values, torch.nan)
        found[name] = values.half() if name in ("radar", "lidar") else values
    return {name: values if name in TARGETS else values.to(device) for name, values in found.items()}


def drive(windows: int) -> Int[Tensor, "window 13"]:
    """So many windows of one drive, each a frame after the one before it."""
    return torch.arange(windows)[:, None] + torch.arange(T_WINDOW)


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """How long an action takes, what it leaves to a GPU included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
