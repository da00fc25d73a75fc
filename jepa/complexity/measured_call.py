"""How a module is called when it is measured: in evaluation mode, on one device, kernels in view of a counter."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["evaluating", "on_device", "plain_kernels"]


@contextmanager
def evaluating(function: Callable[..., Any]) -> Iterator[None]:
    """A module in evaluation mode, without gradients; each part is put back as it was."""
    modules = list(function.modules()) if isinstance(function, nn.Module) else []
    training = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was in zip(modules, training, strict=True):
            module.training = was


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Nothing fused that the counter cannot see into: attention, transformer layers, recurrent layers."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def on_device(device: torch.device, value: Any) -> Any:
    """A tensor on the device; anything else as it is."""
    return value.to(device) if isinstance(value, Tensor) else value
