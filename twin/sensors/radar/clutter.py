"""What stands still as a radar sees it: patches of ground and walls that scatter."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from twin.sensors.actors import Actors
from twin.sensors.mount import Mount
from twin.sensors.radar.rcs import surface_gamma
from twin.sensors.radar.signal import Scatterers
from twin.sensors.world import World

__all__ = ["ClutterPatches"]

PATCHES = 8192
STEEPEST_RAD = np.radians(60.0)
"""Patches lie within this elevation, most of them near the horizon, where a degree spans many bins of range."""
GENERATOR = 1.3247179572447460
"""Root of x^3 = x + 1: multiples of its inverse powers fill a square evenly (Roberts, 2018)."""


@dataclass(frozen=True)
class ClutterPatches:
    """The nearest still surface in each of many directions, as scatterers that do not move.

    A ray that stands for the solid angle W meets at the range R a patch of R^2 W / cos(i); with sigma0 = gamma cos(i)
    its radar cross section is gamma R^2 W, whatever the incidence i. A cell of range and angle holds many patches, and
    their phases give it its speckle.

    Attributes:
        direction: from the radar to each patch, unit vectors of the local frame.
        range_m: to it.
        scatterers: the patches.
    """

    direction: Float[np.ndarray, "patch 3"]
    range_m: Float[np.ndarray, "patch"]
    scatterers: Scatterers

    @classmethod
    def of(cls, world: World, mount: Mount, farthest_m: float) -> "ClutterPatches":
        """The patches that a radar sees when nobody is in the street."""
        direction, solid_angle = _fan(mount)
        hits = world.cast_static(mount.position_m, direction, farthest_m)
        met = np.flatnonzero(np.isfinite(hits.distance_m))
        direction, range_m = direction[met], hits.distance_m[met]
        rcs_m2 = surface_gamma(hits.surface[met]) * range_m**2 * solid_angle[met]
        position_m = mount.position_m + range_m[:, None] * direction
        return cls(direction, range_m, Scatterers(position_m, np.zeros_like(position_m), rcs_m2))

    def hidden_by(self, world: World, radar_m: Float[np.ndarray, "3"], actors: Actors) -> Scatterers:
        """The patches that actors stand in front of."""
        hits = world.cast_actors(radar_m, self.direction, actors)
        return self.scatterers.where(hits.distance_m < self.range_m)


def _fan(mount: Mount) -> tuple[np.ndarray, np.ndarray]:
    """Directions in front of the radar, and the solid angle [sr] that each stands for."""
    number = np.arange(PATCHES)
    azimuth_rad = mount.heading_rad + np.pi * ((number / GENERATOR) % 1.0 - 0.5)
    height = 2 * ((number / GENERATOR**2 + 0.5) % 1.0) - 1
    elevation_rad = STEEPEST_RAD * height * np.abs(height)
    level = np.cos(elevation_rad)
    direction = np.stack([level * np.cos(azimuth_rad), level * np.sin(azimuth_rad), np.sin(elevation_rad)], axis=1)
    return direction, level * np.pi * 4 * STEEPEST_RAD * np.abs(height) / PATCHES
