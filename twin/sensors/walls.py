"""The walls of a scene seen from above: how far, and in which direction, the nearest one is."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from twin.geometry.facets import Body

__all__ = ["Walls"]

STEEPEST_LEAN = 0.1
"""A face is a wall when its unit normal rises or falls no more than this: within 6 degrees of upright."""


@dataclass(frozen=True)
class Walls:
    """Upright faces as segments of the ground plan.

    Attributes:
        start_m, end_m: east and north of their ends.
    """

    start_m: Float[np.ndarray, "wall 2"]
    end_m: Float[np.ndarray, "wall 2"]

    @classmethod
    def of(cls, bodies: Iterable[Body], above_m: float) -> "Walls":
        """The upright triangles of some bodies that reach above a height: each is a segment, its longest side's."""
        triangle_m = np.concatenate([np.empty((0, 3, 3)), *(body.triangle_m for body in bodies)])
        across = np.cross(triangle_m[:, 1] - triangle_m[:, 0], triangle_m[:, 2] - triangle_m[:, 0])
        area = np.linalg.norm(across, axis=1)
        upright = (area > 0) & (np.abs(across[:, 2]) <= STEEPEST_LEAN * area)
        corner_m = triangle_m[upright & (triangle_m[:, :, 2].max(axis=1) > above_m), :, :2]
        rows = np.arange(len(corner_m))
        first = np.linalg.norm(np.roll(corner_m, -1, axis=1) - corner_m, axis=-1).argmax(axis=1)
        return cls(corner_m[rows, first], corner_m[rows, (first + 1) % 3])

    def to_nearest(self, position_m: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "point 2"]:
        """East and north from points to the nearest point of any wall [m]; infinite where there are no walls."""
        found = np.full(position_m.shape, np.inf)
        if len(self.start_m):
            along = self.end_m - self.start_m
            square = np.maximum((along**2).sum(axis=1), np.finfo(float).tiny)
            for k, point in enumerate(position_m):
                share = np.clip(((point - self.start_m) * along).sum(axis=1) / square, 0.0, 1.0)
                way = self.start_m + share[:, None] * along - point
                found[k] = way[(way**2).sum(axis=1).argmin()]
        return found
