"""SIGReg: a penalty that keeps embeddings near an isotropic standard normal, and so from collapse.

Balestriero and LeCun, LeJEPA (arXiv:2511.08544, 2025): a cloud is N(0, I) where its projection on every direction is
N(0, 1), so a few random directions are drawn in each step, and on each the Epps-Pulley statistic (Biometrika 70, 1983)
measures how far the characteristic function of the projections is from that of the normal. It is bounded in every
sample, its gradients too, and its cost is linear in samples, directions and knots.

LeJEPA weighs it (1 - lambda) prediction + lambda SIGReg with lambda 0.02, and needs no EMA then. Directions are keyed
by seed and step: a resumed run draws what an uninterrupted one would have drawn, and processes that train together
draw the same.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["SumOverProcesses", "epps_pulley", "random_directions"]

SumOverProcesses = Callable[[Tensor], Tensor]
"""Adds a real tensor of all processes up; its gradient is the sum of theirs."""
KNOTS = 17
"""Knots of the quadrature from 0 to its end, both included."""
FARTHEST_T = 3.0
"""Where the quadrature ends: the weight exp(-t^2 / 2) has fallen to 0.011."""
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
        angle = projected.float()[..., None] * t
        sums = torch.stack([angle.cos().sum(-3), angle.sin().sum(-3)])
        count = sums.new_full((1,), projected.shape[-2])
        if total is not None:
            # one message: the sums are real and imaginary parts of N times the characteristic function
            together = total(torch.cat([sums.flatten(), count]))
            sums, count = together[:-1].reshape(sums.shape), together[-1:]
        real, imaginary = sums / count
        distance = (real - normal).square() + imaginary.square()
        return count * (distance @ (weight * normal))
