"""The pinhole of a camera: which way each pixel looks, and where a point of the world appears."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from twin.compiled import kernel
from twin.scenario.sensors import Camera
from twin.sensors.mount import Mount

__all__ = ["NEAR_M", "Pinhole", "box_corners"]

NEAR_M = 0.05
"""What is nearer than this along the optical axis is cut off [m]."""


@dataclass(frozen=True)
class Pinhole:
    """u = W/2 - f_u y / x, v = H/2 - f_v z / x for a point (x, y, z) in the sensor's frame: pixels from the upper left
    corner, to the right and down, so that the middle of the first pixel is at (0.5, 0.5).

    Attributes:
        focal_px: f_u = W / (2 tan(horizontal view / 2)) and f_v = H / (2 tan(vertical view / 2)), apart because a wide
            picture may have been squeezed into a square.
    """

    width_px: int
    height_px: int
    focal_px: tuple[float, float]
    mount: Mount

    @classmethod
    def of(cls, camera: Camera, mount: Mount) -> "Pinhole":
        """The pinhole that the fields of a scenario describe."""
        across, down = (math.radians(view) / 2 for view in (camera.horizontal_view_deg, camera.vertical_view_deg))
        focal_px = (camera.width_px / 2 / math.tan(across), camera.height_px / 2 / math.tan(down))
        return cls(camera.width_px, camera.height_px, focal_px, mount)

    def rays(self, samples: int = 1) -> Float[np.ndarray, "row column 3"]:
        """Unit vectors of the local frame through the middles of samples x samples parts of every pixel."""
        u = (np.arange(self.width_px * samples) + 0.5) / samples
        v = (np.arange(self.height_px * samples) + 0.5) / samples
        left, up = (self.width_px / 2 - u) / self.focal_px[0], (self.height_px / 2 - v) / self.focal_px[1]
        direction = np.empty((len(v), len(u), 3))
        direction[..., 0], direction[..., 1], direction[..., 2] = 1.0, left, up[:, None]
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        return self.mount.direction_to_local(direction)

    def project(self, point_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """u, v [px] and the depth along the optical axis [m]; u and v are NaN for what is not in front."""
        x, y, z = np.moveaxis(self.mount.to_sensor(np.asarray(point_m, np.float64)), -1, 0)
        depth = np.where(x > 0, x, np.nan)
        u, v = self.width_px / 2 - self.focal_px[0] * y / depth, self.height_px / 2 - self.focal_px[1] * z / depth
        return np.stack([u, v, x], -1)

    def extents_px(self, point_m: Float[np.ndarray, "hull point 3"]) -> Float[np.ndarray, "hull 4"]:
        """Left, top, right and bottom of convex hulls of points as far as they are in the picture, else NaN."""
        return _extents(self.mount.to_sensor(point_m), float(self.width_px), float(self.height_px), *self.focal_px)


def box_corners(box: Float[np.ndarray, "actor 7"]) -> Float[np.ndarray, "actor 8 3"]:
    """Corners of boxes (centre x, y, z, length, width, height, heading) in the local frame [m]."""
    sign = np.array([[a, b, c] for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (-0.5, 0.5)])
    along, across, up = np.moveaxis(sign * box[:, None, 3:6], -1, 0)
    c, s = np.cos(box[:, 6, None]), np.sin(box[:, 6, None])
    return np.stack([along * c - across * s, along * s + across * c, up], -1) + box[:, None, :3]


@kernel
def _extents(point, width, height, focal_u, focal_v):  # type: ignore[no-untyped-def]
    """`Pinhole.extents_px` of points in the sensor's frame: a hull that passes the near plane is cut there, where its
    corners lie on lines between two of the points."""
    found = np.full((point.shape[0], 4), np.nan)
    for h in range(point.shape[0]):
        left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
        for i in range(point.shape[1]):
            for j in range(i, point.shape[1]):
                x, y, z = point[h, i, 0], point[h, i, 1], point[h, i, 2]
                if i == j:
                    if x < NEAR_M:
                        continue
                else:
                    if (x < NEAR_M) == (point[h, j, 0] < NEAR_M):
                        continue
                    share = (NEAR_M - x) / (point[h, j, 0] - x)
                    y, z = y + share * (point[h, j, 1] - y), z + share * (point[h, j, 2] - z)
                    x = NEAR_M
                u, v = 0.5 * width - focal_u * y / x, 0.5 * height - focal_v * z / x
                left, top, right, bottom = min(left, u), min(top, v), max(right, u), max(bottom, v)
        if left < width and top < height and right > 0.0 and bottom > 0.0:
            found[h, 0], found[h, 1] = max(left, 0.0), max(top, 0.0)
            found[h, 2], found[h, 3] = min(right, width), min(bottom, height)
    return found
