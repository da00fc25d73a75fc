"""GPS: where the receiver of the car says it is, with the errors that a street brings, and when it is silent."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from twin.geometry.coordinates import geodetic_deg
from twin.scenario.sensors import Gps

__all__ = ["gps_fixes"]

ACROSS, ALONG = np.sqrt([0.8, 0.2])
"""Shares of a jump across the nearest wall and along it: twice as large across, 1 together (root of the squares)."""


def gps_fixes(
    gps: Gps,
    origin_deg: Float[np.ndarray, "2"],
    position_m: Float[np.ndarray, "frame 2"],
    wall_m: Float[np.ndarray, "frame 2"],
    frame_interval_s: float,
    rngs: Iterable[np.random.Generator],
) -> tuple[Float[np.ndarray, "frame 2"], Bool[np.ndarray, "frame"]]:
    """What the receiver reports over a drive: latitude and longitude [deg], NaN without a fix, and where there is one.

    The reported position in frame k is x_k + e_k + w_k + b + j_k, on each horizontal axis:

    - e_k wanders (first-order Gauss-Markov): e_{k+1} = rho e_k + sigma sqrt(1 - rho^2) n, rho = exp(-dt / tau), from
      its stationary law N(0, sigma^2), so that its autocorrelation is sigma^2 exp(-|t| / tau);
    - w_k ~ N(0, white^2) has no memory; b ~ N(0, bias^2) stays for the drive;
    - j_k is 0, or in a spell of multipath a displacement that is drawn when the spell begins and stays until it ends.
      A spell begins at the rate exp(-d / reach) / s and ends at the rate 1 / s, with d the distance to the nearest
      wall and s the mean duration `multipath_s`: at a wall there are jumps half of the time. The displacement is
      normal with the root mean square length `multipath_m`, twice as large across the wall as along it, to either
      side: a reflected signal comes as if to the mirror image of the antenna behind the wall, one that the wall hides
      and the other side of the street reflects moves the fix away from it.

    The fix is lost in spells of the mean duration `loss_s`, a share `loss_share` of the time, wherever the car is.
    Both kinds of spells are two-state Markov processes in continuous time, looked at in the frames, and begin in their
    stationary law. Multipath and loss are a model (ours), not fitted to a receiver.

    Args:
        origin_deg: latitude and longitude of the origin of the local frame.
        position_m: east and north of the antenna when each frame was captured.
        wall_m: from there to the nearest wall, see `Walls.to_nearest`.
        rngs: one generator a frame. The first frames do not depend on how many follow.
    """
    drawn = [(rng.standard_normal(8), rng.random(2)) for rng in rngs]
    normal, uniform = (np.stack(part) for part in zip(*drawn, strict=True))
    error_m = _wandering(normal[:, :2], gps.sigma_m, np.exp(-frame_interval_s / gps.tau_s))
    steady_m = gps.bias_m * normal[0, 4:6] + _jumps(gps, wall_m, frame_interval_s, normal[:, 6:], uniform[:, 0])
    reported_m = position_m + error_m + gps.white_m * normal[:, 2:4] + steady_m
    rate_of_loss = np.full(len(position_m), gps.loss_share / (1.0 - gps.loss_share) / gps.loss_s)
    fixed = ~_in_spell(rate_of_loss, 1.0 / gps.loss_s, frame_interval_s, uniform[:, 1])
    return np.where(fixed[:, None], geodetic_deg(reported_m, origin_deg), np.nan), fixed


def _wandering(normal: Float[np.ndarray, "frame 2"], sigma: float, rho: float) -> Float[np.ndarray, "frame 2"]:
    """A stationary Gauss-Markov sequence with the deviation sigma and the correlation rho from frame to frame."""
    error = sigma * normal
    for k in range(1, len(error)):
        error[k] = rho * error[k - 1] + sigma * np.sqrt(1.0 - rho**2) * normal[k]
    return error


def _in_spell(
    begin_rate: Float[np.ndarray, "frame"], end_rate: float, interval_s: float, uniform: Float[np.ndarray, "frame"]
) -> Bool[np.ndarray, "frame"]:
    """Whether each frame lies in a spell [rates in 1/s].

    With a and b the rates of beginning and ending, p = a / (a + b) and q = exp(-(a + b) dt): the first frame does with
    the probability p, another with p + (1 - p) q after a frame that does, and p (1 - q) after one that does not.
    """
    share = begin_rate / (begin_rate + end_rate)
    memory = np.exp(-(begin_rate + end_rate) * interval_s)
    inside = np.empty(len(share), bool)
    inside[0] = uniform[0] < share[0]
    for k in range(1, len(share)):
        inside[k] = uniform[k] < share[k] + (inside[k - 1] - share[k]) * memory[k]
    return inside


def _jumps(
    gps: Gps,
    wall_m: Float[np.ndarray, "frame 2"],
    interval_s: float,
    normal: Float[np.ndarray, "frame 2"],
    uniform: Float[np.ndarray, "frame"],
) -> Float[np.ndarray, "frame 2"]:
    """Displacement by multipath, zero outside its spells."""
    begin_rate = np.exp(-np.linalg.norm(wall_m, axis=1) / gps.multipath_reach_m) / gps.multipath_s
    inside = _in_spell(begin_rate, 1.0 / gps.multipath_s, interval_s, uniform)
    jump_m = np.zeros(wall_m.shape)
    for k in np.flatnonzero(inside):
        if k and inside[k - 1]:
            jump_m[k] = jump_m[k - 1]
            continue
        across = np.arctan2(wall_m[k, 1], wall_m[k, 0])
        toward, beside = gps.multipath_m * normal[k] * (ACROSS, ALONG)
        jump_m[k] = (
            toward * np.cos(across) - beside * np.sin(across),
            toward * np.sin(across) + beside * np.cos(across),
        )
    return jump_m
