"""Where a sensor is and which way it looks."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

__all__ = ["Mount"]


@dataclass(frozen=True)
class Mount:
    """A pose in the local frame. In the sensor's own frame x is the optical axis, y left, z up.

    Attributes:
        position_m: of the sensor.
        heading_rad: azimuth of the optical axis, counterclockwise from east.
        pitch_rad: its elevation, upward.
    """

    position_m: Float[np.ndarray, "3"]
    heading_rad: float
    pitch_rad: float = 0.0

    @cached_property
    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Rows: the sensor's x, y and z axes in the local frame."""
        c, s = math.cos(self.heading_rad), math.sin(self.heading_rad)
        up, out = math.sin(self.pitch_rad), math.cos(self.pitch_rad)
        return np.array([[c * out, s * out, up], [-s, c, 0.0], [-c * up, -s * up, out]])

    def to_sensor(self, point_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Points of the local frame in the sensor's."""
        return (point_m - self.position_m) @ self.axes.T

    def to_local(self, point_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Points of the sensor's frame in the local one: the inverse of `to_sensor`."""
        return point_m @ self.axes + self.position_m

    def direction_to_local(self, direction: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Directions of the sensor's frame in the local one."""
        return direction @ self.axes
