"""Operations as the profiler `thop` counts them, which is how the paper's figures come out."""

from typing import Any

from torch import Tensor, nn

from jepa.complexity.measured_call import evaluating, plain_kernels

__all__ = ["profiled_flops"]

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _profiled(layer: nn.Module, x: Tensor, y: Any) -> int:
    """Operations that `thop` 0.1.1 counts for a layer, a MAC as one (its bias as none)."""
    if isinstance(layer, nn.Linear):
        return y.numel() * layer.in_features
    if isinstance(layer, CONVOLUTIONS):
        return y.numel() * layer.weight[0].numel()
    if isinstance(layer, NORMS):
        return (2 if layer.weight is None else 4) * x.numel()
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return (x.shape[2:].numel() * y.numel()) // y.shape[2:].numel() + y.numel()
    if isinstance(layer, nn.AvgPool2d):
        return y.numel()
    if isinstance(layer, nn.GRU):
        steps = x.shape[:-1].numel()
        widths = [layer.input_size] + [layer.hidden_size] * (layer.num_layers - 1)
        return steps * sum(_profiled_gru_cell(width, layer.hidden_size) for width in widths)
    if isinstance(layer, nn.GRUCell):
        return x.shape[:-1].numel() * _profiled_gru_cell(layer.input_size, layer.hidden_size)
    return 0


def _profiled_gru_cell(inputs: int, hidden: int) -> int:
    """Three gates of products, an addition and two biases each; r * (...) and the new state (1 - z) n + z h."""
    return 3 * ((inputs + hidden) * hidden + hidden + 2 * hidden) + hidden + 3 * hidden


def profiled_flops(module: nn.Module, *inputs: Any) -> int:
    """Twice what the profiler `thop` counts: the paper's way of counting tokenizers, heads and baselines.

    Linear and convolution 1 a MAC; norms 4 an element (2 without gain), pools their window and 1 a result, a GRU by
    its gates; the rest nothing: activations, softmax, and attention, whose projections are no layers. Then all twice.
    A layer counts as often as it is called.
    """
    counted = 0

    def count(layer: nn.Module, found: tuple[Any, ...], result: Any) -> None:
        nonlocal counted
        counted += _profiled(layer, found[0], result)

    # the output projection of attention is a Linear, but its weights are read, and it is never called
    leaves = [layer for layer in module.modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(count) for layer in leaves]
    try:
        with evaluating(module), plain_kernels():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return 2 * counted
