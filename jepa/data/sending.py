"""How a batch gets to the device that computes it."""

import torch
from torch import Tensor

__all__ = ["send"]


def send(values: Tensor, device: torch.device) -> Tensor:
    """Values on a device, without waiting for what it still computes.

    To a GPU they go through pinned memory: a copy from any other memory may wait for the stream (CUDA Runtime API,
    API synchronization behavior).
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
