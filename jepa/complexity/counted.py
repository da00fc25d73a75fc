"""Operations counted while they are computed: products, and everything else that computes."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from jepa.complexity.measured_call import evaluating, plain_kernels
from twin.errors import UserError

__all__ = ["Flops", "count_flops"]


@dataclass(frozen=True)
class Flops:
    """Operations of one call.

    Attributes:
        products: 2 x MAC of matrix products, convolutions and attention products.
        others: everything else that computes; copies, look-ups and comparisons of indices count nothing.
    """

    products: int
    others: int

    @property
    def total(self) -> int:
        """All that computes."""
        return self.products + self.others


aten = torch.ops.aten

AN_ELEMENT = {
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "neg", "abs", "exp", "log", "sqrt", "rsqrt", "erf", "pow"), 1),
    **dict.fromkeys(("tanh", "relu", "maximum", "minimum", "clamp", "clamp_min", "where", "lerp"), 1),
    "addcmul": 2,
    "leaky_relu": 2,
    "hardtanh": 2,
    "hardsigmoid": 4,
    "hardswish": 5,
    "sigmoid": 4,  # 1 / (1 + exp(-x))
    "silu": 5,
    "gelu": 5,  # x / 2 (1 + erf(x / sqrt 2))
    "_softmax": 5,  # largest, difference, exp, sum, quotient
    "_safe_softmax": 5,
    "_log_softmax": 5,
}
"""Operations an element of the result, where exp, erf, tanh and sqrt count as one."""


def _an_element(count: int) -> Callable[..., int]:
    def formula(*_: Any, out_val: Tensor, **__: Any) -> int:
        return count * out_val.numel()

    formula._get_raw = True  # type: ignore[attr-defined]  # the counter hands over tensors, not shapes
    return formula


def _layer_norm(x: torch.Size, _normalised: Any, weight: Any = None, bias: Any = None, *_: Any, **__: Any) -> int:
    """Two sums, difference, square, scale: 5 an element; gain and offset one each."""
    return prod(x) * (5 + (weight is not None) + (bias is not None))


def _batch_norm(x: torch.Size, weight: Any = None, bias: Any = None, *_: Any, **__: Any) -> int:
    """With its running statistics, not folded into the layer before: difference, scale, gain, offset."""
    return prod(x) * (2 + (weight is not None) + (bias is not None))


def _group_norm(x: torch.Size, weight: Any = None, bias: Any = None, *_: Any, **__: Any) -> int:
    return _layer_norm(x, None, weight, bias)


def _mean(x: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
    """A sum over every element, one quotient a result; also of pools, of windows that do not overlap."""
    return prod(x) + prod(out_shape)


def _adaptive_pool(x: torch.Size, size: Any, *_: Any, out_shape: torch.Size, **__: Any) -> int:
    """Window i of n over L elements is floor(i L / n) to ceil((i + 1) L / n); they overlap unless n divides L."""

    def covered(length: int, n: int) -> int:
        return sum(-(-(i + 1) * length // n) - i * length // n for i in range(n))

    return prod(x[:-2]) * covered(x[-2], size[0]) * covered(x[-1], size[1]) + prod(out_shape)


def _gru_cell(_inputs: torch.Size, _hidden: torch.Size, state: torch.Size, *_: Any, **__: Any) -> int:
    """What a GPU computes in one call: r, z (an addition, a sigmoid each), n = tanh(a + r b), n + z (h - n)."""
    return prod(state) * (2 * (1 + AN_ELEMENT["sigmoid"]) + 3 + 3)


def _hidden(*_: Any, **__: Any) -> int:
    raise UserError("an LSTM on a CPU is one call that hides its operations", "count_flops", "use a GRU, or a GPU")


def _others() -> dict[Any, Callable[..., int]]:
    """Formulas of what `FlopCounterMode` leaves out, also of the functions that change their argument."""
    found: dict[Any, Callable[..., int]] = {}
    for name, count in AN_ELEMENT.items():
        for packet in (getattr(aten, name, None), getattr(aten, f"{name}_", None)):
            if packet is not None:
                found[packet] = _an_element(count)
    found |= {aten.native_layer_norm: _layer_norm, aten._thnn_fused_gru_cell: _gru_cell, aten.mkldnn_rnn_layer: _hidden}
    found |= dict.fromkeys((aten._native_batch_norm_legit_no_training, aten.native_batch_norm), _batch_norm)
    found |= {aten.native_group_norm: _group_norm, aten._adaptive_avg_pool2d: _adaptive_pool}
    found |= dict.fromkeys((aten.mean, aten.sum, aten.avg_pool2d), _mean)
    return found


def count_flops(module: Callable[..., Any], *inputs: Any) -> Flops:
    """Operations of `module(*inputs)` in evaluation mode, counted while it is computed.

    Left to itself `FlopCounterMode` misses attention on a CPU, transformer layers on their fast path and recurrent
    layers on a GPU, each one call into a fused kernel; here they are computed by their parts.

    Args:
        module: a module, or a function that calls one that is in evaluation mode.

    Raises:
        UserError: something cannot be counted.
    """
    with evaluating(module), plain_kernels(), FlopCounterMode(display=False, custom_mapping=_others()) as counter:
        module(*inputs)
    found = counter.get_flop_counts().get("Global", {})
    products = sum(count for operation, count in found.items() if operation in flop_registry)
    return Flops(int(products), int(sum(found.values()) - products))
