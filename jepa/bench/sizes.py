"""How much is measured."""

from dataclasses import dataclass

import torch

__all__ = ["Sizes"]

LARGE_GPU_BYTES = 60 * 2**30
"""A plain training step of 32 windows with pictures of 224 pixels keeps about 45 GB."""


@dataclass(frozen=True)
class Sizes:
    """How much each part measures; the defaults fit two processor cores, a few GB and about five minutes.

    Attributes:
        repeats: of each side of a comparison, in turns; the median counts.
        steps: training steps of a repeat.
        batch: windows of a training step, in groups of eight neighbours as in training.
        width: D of the compared models.
        cached_pixels, trained_pixels: side of the pictures where the camera's network is frozen, and where it is
            trained, which keeps everything for its gradients.
        pushes: frames of the stream, one after another.
        pixels: side of their pictures.
        windows: predicted at once from tokens.
        pretrained, predicted: windows of the rates of power and position alone.
    """

    repeats: int = 5
    steps: int = 1
    batch: int = 8
    width: int = 128
    cached_pixels: int = 224
    trained_pixels: int = 96
    pushes: int = 20
    pixels: int = 224
    windows: int = 32
    pretrained: int = 1920
    predicted: int = 2048

    @classmethod
    def of(cls, device: torch.device) -> "Sizes":
        """What suits a device."""
        if device.type != "cuda":
            return cls()
        large = torch.cuda.get_device_properties(device).total_memory > LARGE_GPU_BYTES
        return cls(steps=10, batch=32 if large else 8, trained_pixels=224, pushes=200, windows=1024)
