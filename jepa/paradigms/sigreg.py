"""SIGReg: a penalty that keeps embeddings near an isotropic standard normal, and so from collapse.

Balestriero and LeCun, LeJEPA (arXiv:2511.08544, 2025): a cloud is N(0, I) where its projection on every direction is
N(0, 1), so a few random directions are drawn in each step, and on each the Epps-Pulley statistic (Biometrika 70, 1983)
measures how far the characteristic function of the projections is from that of the normal. It is bounded in every
sample, its gradients too, and its cost is linear in samples, directions and knots.

LeJEPA weighs it (1 - lambda) prediction + lambda SIGReg with lambda 0.02, and needs no EMA then. Directions are keyed
by seed and step: a resumed run draws what an uninterrupted one would have drawn, and processes that train together
draw the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["SumOverProcesses", "epps_pulley", "random_directions"]

SumOverProcesses = Callable[[Tensor], Tensor]
"""Adds a real tensor of all processes up; its gradient is the sum of theirs."""
KNOTS = 17
"""Knots of the quadrature from 0 to its end, both included."""
FARTHEST_T = 3.0
"""Where the quadrature ends: the weight exp(-t^2 / 2) has fallen to 0.011."""
_CACHED = 1 << 17
"""Elements that a CPU works on at a time: a megabyte of complex numbers."""
_STREAM = 3
"""Of the keyed random numbers (seed, stream, step)."""


def random_directions(width: int, directions: int, seed: int, step: int) -> Float[Tensor, "direction width"]:
    """Unit vectors, uniform over the sphere, that depend on seed and step alone: the same on every machine."""
    drawn = np.random.default_rng([seed, _STREAM, step]).standard_normal((directions, width))
    return torch.from_numpy((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32))


def epps_pulley(
    projected: Float[Tensor, "*group sample direction"],
    knots: int = KNOTS,
    farthest_t: float = FARTHEST_T,
    total: SumOverProcesses | None = None,
) -> Float[Tensor, "*group direction"]:
    """Epps-Pulley statistic of projected samples x_n against N(0, 1), by the trapezoid rule over t.

    EP = N int_{-T}^{T} |(1/N) sum_n exp(j t x_n) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt, twice the integral from 0 as the
    integrand is even. Of N samples of N(0, 1) it is int (1 - exp(-t^2)) exp(-t^2 / 2) dt on average, 1.05 for T = 3,
    whatever N is; of other clouds it grows with N.

    The knots t_j = j T / (K - 1) do not tell x from x + 2 pi (K - 1) / T, which is 33.5 by default.

    Args:
        projected: N samples of each group, computed in float32 whatever comes in.
        knots: K, from t = 0 to T.
        farthest_t: T.
        total: adds the sums and counts of all processes up, so that all get the statistic of all samples.
    """
    with torch.autocast(projected.device.type, enabled=False):
        t = torch.linspace(0, farthest_t, knots, device=projected.device)
        normal = torch.exp(-t.square() / 2)
        weight = torch.full_like(t, 2 * farthest_t / (knots - 1))
        weight[0] /= 2
        weight[-1] /= 2
        sums = _characteristic_sums(projected.float() * (farthest_t / (knots - 1)), knots)
        count = sums.new_full((1,), projected.shape[-2])
        if total is not None:
            # one message: the sums are real and imaginary parts of N times the characteristic function
            together = total(torch.cat([sums.flatten(), count]))
            sums, count = together[:-1].reshape(sums.shape), together[-1:]
        real, imaginary = (sums / count).unbind(-1)
        distance = (real - normal).square() + imaginary.square()
        return count * (distance @ (weight * normal))


def _characteristic_sums(
    angle: Float[Tensor, "*group sample direction"], knots: int
) -> Float[Tensor, "*group direction knot 2"]:
    """Real and imaginary part of sum_n z_n^j with z_n = exp(i angle_n), for j = 0 to knots - 1."""
    return _PowerSums.apply(angle, knots)


class _PowerSums(torch.autograd.Function):
    """The power sums of `_characteristic_sums`, each power from the one before it, none kept.

    With G_j = g_j + i h_j the gradients of the two parts, that of an angle is -Im sum_j j conj(G_j) z^j, a polynomial
    in z that Horner's rule evaluates from z alone. Autograd through sines and cosines of every knot, 17 arrays of each,
    takes an order of magnitude longer on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, angle: Tensor, knots: int) -> Tensor:
        ctx.save_for_backward(angle)
        ctx.knots = knots
        sums = torch.stack([torch.stack(list(_sums_of_powers(part, knots)), -1) for part in _parts(angle)])
        return torch.view_as_real(sums.sum(0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (angle,) = ctx.saved_tensors
        powers = torch.arange(ctx.knots, device=angle.device)
        terms = torch.view_as_complex(gradient.contiguous()).conj() * powers
        terms = terms.unsqueeze(-3).movedim(-1, 0).contiguous()
        return torch.cat([_slope(part, terms) for part in _parts(angle)], -2), None


def _parts(angle: Tensor) -> tuple[Tensor, ...]:
    """Samples in parts that stay in the cache of a CPU; a GPU takes them at once."""
    samples = angle.shape[-2]
    if angle.device.type != "cpu" or not angle.numel():
        return (angle,)
    return angle.split(max(1, _CACHED * samples // angle.numel()), -2)


def _sums_of_powers(angle: Tensor, knots: int) -> Iterator[Tensor]:
    turn = torch.polar(torch.ones_like(angle), angle)
    power = torch.ones_like(turn)
    for _ in range(knots):
        yield power.sum(-2)
        power = power * turn


def _slope(angle: Tensor, terms: Tensor) -> Tensor:
    turn = torch.polar(torch.ones_like(angle), angle)
    polynomial = terms[-1].expand_as(turn)
    for term in terms[:-1].flip(0):
        polynomial = torch.addcmul(term, polynomial, turn)
    return -polynomial.imag
