"""The depth image of a LiDAR's points: what the model sees of a point cloud, simulated or measured."""

import math

import numpy as np
from jaxtyping import Float, Float16

from twin.compiled import leaf

__all__ = ["DEPTH_COLUMNS", "DEPTH_FARTHEST_M", "DEPTH_HIGHEST_DEG", "DEPTH_LOWEST_DEG", "DEPTH_ROWS", "depth_image"]

DEPTH_ROWS, DEPTH_COLUMNS = 64, 256
DEPTH_HIGHEST_DEG, DEPTH_LOWEST_DEG = 15.0, -15.0
DEPTH_FARTHEST_M = 100.0
"""Points beyond are left out [m]."""


@leaf
def _nearest(point_m, lowest, highest, farthest_m, image_m):  # type: ignore[no-untyped-def]
    """Lower each pixel of the image to the nearest of its points."""
    rows, columns = image_m.shape
    for k in range(point_m.shape[0]):
        x, y, z = np.float64(point_m[k, 0]), np.float64(point_m[k, 1]), np.float64(point_m[k, 2])
        r = math.sqrt(x * x + y * y + z * z)
        if not 0.0 < r <= farthest_m:  # nor NaN
            continue
        pitch = math.asin(max(-1.0, min(1.0, z / r)))
        if pitch < lowest or pitch > highest:
            continue
        u = math.floor((1.0 - math.atan2(y, x) / math.pi) / 2.0 * columns)
        v = math.floor((1.0 - (pitch - lowest) / (highest - lowest)) * rows)
        u, v = max(0, min(columns - 1, u)), max(0, min(rows - 1, v))
        image_m[v, u] = min(image_m[v, u], r)


def depth_image(
    point_m: Float[np.ndarray, "point 3"],
    rows: int = DEPTH_ROWS,
    columns: int = DEPTH_COLUMNS,
    lowest_deg: float = DEPTH_LOWEST_DEG,
    highest_deg: float = DEPTH_HIGHEST_DEG,
    farthest_m: float = DEPTH_FARTHEST_M,
) -> Float16[np.ndarray, "row column"]:
    """The range r = |p| [m] of the nearest point of each pixel, NaN where there is none.

    Row 0 is the top; the sensor looks into the middle column, and what is left of its axis lies left of it:
        u = clip(floor((1 - yaw / pi) / 2 W), 0, W - 1), yaw = atan2(y, x)
        v = clip(floor((1 - (pitch - lowest) / (highest - lowest)) H), 0, H - 1), pitch = asin(z / r)
    Points with r = 0 (how some files say "no return"), not finite, above or below the field of view or beyond
    `farthest_m` are left out.

    Args:
        point_m: in the sensor's frame: x ahead, y left, z up.
    """
    image_m = np.full((rows, columns), np.inf)
    point_m = np.ascontiguousarray(point_m)
    _nearest(point_m, math.radians(lowest_deg), math.radians(highest_deg), farthest_m, image_m)
    image_m[np.isinf(image_m)] = np.nan
    return image_m.astype(np.float16)
