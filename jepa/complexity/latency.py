"""Wall time of a call."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from jepa.complexity.measured_call import evaluating, on_device
from twin.errors import UserError

__all__ = ["REPEATS", "WARM_UP", "Latency", "latency_ms"]

WARM_UP = 10
"""Calls before the clock runs: allocations, choice of kernels."""
REPEATS = 100


@dataclass(frozen=True)
class Latency:
    """Wall time of a call [ms]: the median, and the first and the last tenth of the repeats."""

    median_ms: float
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        return f"{self.median_ms:.3g} [{self.low_ms:.3g}, {self.high_ms:.3g}]"


def latency_ms(
    function: Callable[..., Any],
    *inputs: Any,
    device: torch.device | str = "cpu",
    repeats: int = REPEATS,
    warm_up: int = WARM_UP,
) -> Latency:
    """Time of `function(*inputs)` in inference mode, after a warm-up.

    Args:
        function: a module on `device`, put into evaluation mode meanwhile, or a function of one that is in it.
        inputs: tensors among them are brought to `device` before.
        device: on a GPU every call is waited for.
        warm_up: calls that do not count.

    Raises:
        UserError: fewer than one repeat.
    """
    if repeats < 1:
        raise UserError(f"{repeats} repeats", "latency", "use at least 1")
    place = torch.device(device)
    brought = [on_device(place, value) for value in inputs]

    def finish() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    spent = []
    with evaluating(function), torch.inference_mode():
        for _ in range(warm_up):
            function(*brought)
        for _ in range(repeats):
            finish()
            began = time.perf_counter()
            function(*brought)
            finish()
            spent.append(1e3 * (time.perf_counter() - began))
    low, median, high = np.quantile(spent, [0.1, 0.5, 0.9])
    return Latency(float(median), float(low), float(high))
