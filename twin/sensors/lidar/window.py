"""The part of a spinning sensor's view in which a moving box may appear."""

import math

import numpy as np

from twin.compiled import leaf

__all__ = ["box_window"]


@leaf
def _corner(box, velocity, half_s, number, origin, axes):  # type: ignore[no-untyped-def]
    """One of the 16 corners of the box before and after, in the frame of the sensor."""
    c, s = math.cos(box[6]), math.sin(box[6])
    along = 0.5 * box[3] if number & 1 else -0.5 * box[3]
    left = 0.5 * box[4] if number & 2 else -0.5 * box[4]
    up = 0.5 * box[5] if number & 4 else -0.5 * box[5]
    time = half_s if number & 8 else -half_s
    x = box[0] + along * c - left * s + time * velocity[0] - origin[0]
    y = box[1] + along * s + left * c + time * velocity[1] - origin[1]
    z = box[2] + up + time * velocity[2] - origin[2]
    return (
        axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z,
        axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z,
        axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z,
    )


@leaf
def box_window(box, velocity, half_s, origin, axes):  # type: ignore[no-untyped-def]
    """Bounds of the azimuths and elevations [rad] at which the box is within `half_s` before or after its time.

    Returns (middle, low, high, lowest, highest): azimuths lie in middle + low .. middle + high. They hold everything of
    the convex hull of the box's two outermost places, which is wherever it is between. A box under, above or around
    the sensor may be anywhere.

    Args:
        box: centre x, y, z, length, width, height [m], heading [rad]; `velocity` [m/s].
        origin, axes: of the sensor; rows of `axes` are its x, y and z axes.
    """
    x, y = 0.0, 0.0
    for number in range(16):
        px, py, _ = _corner(box, velocity, half_s, number, origin, axes)
        x, y = x + px, y + py
    length = math.hypot(x, y)
    if length == 0.0:
        return 0.0, -math.pi, math.pi, -0.5 * math.pi, 0.5 * math.pi
    x, y = x / length, y / length
    low, high, bottom, top, nearest, farthest = np.inf, -np.inf, np.inf, -np.inf, np.inf, 0.0
    for number in range(16):
        px, py, pz = _corner(box, velocity, half_s, number, origin, axes)
        along, left = px * x + py * y, py * x - px * y
        if along <= 0.0:
            return 0.0, -math.pi, math.pi, -0.5 * math.pi, 0.5 * math.pi
        azimuth = math.atan2(left, along)
        low, high = min(low, azimuth), max(high, azimuth)
        bottom, top = min(bottom, pz), max(top, pz)
        # Nothing of the hull is nearer to the sensor's axis than its corners are along one direction.
        nearest, farthest = min(nearest, along), max(farthest, math.hypot(along, left))
    lowest = math.atan2(bottom, nearest if bottom < 0.0 else farthest)
    highest = math.atan2(top, nearest if top > 0.0 else farthest)
    return math.atan2(y, x), low, high, lowest, highest
