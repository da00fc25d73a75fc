"""A spinning LiDAR: what its rays meet, which of the echoes it notices, and the points that it reports.

The sensor and most of the world stand still: what its rays meet there is found once. A frame asks only whether an actor
is nearer, along the rays on which one may be.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from twin.compiled import kernel
from twin.scenario.sensors import Lidar
from twin.sensors.actors import Actors
from twin.sensors.lidar.equation import (
    QUOTED_REFLECTANCE,
    echo_strength,
    extinction_per_m,
    measured_strength,
    returned_share,
)
from twin.sensors.lidar.window import box_window
from twin.sensors.mount import Mount
from twin.sensors.surfaces.ground import Ground
from twin.sensors.surfaces.of_ground import ground_surface, is_ground
from twin.sensors.surfaces.of_walls import facade_surface
from twin.sensors.world import World, meet_actor

__all__ = ["Echoes", "LidarSensor", "PointCloud"]


@dataclass(frozen=True)
class Echoes:
    """What each ray of a revolution meets first: the truth behind a cloud.

    Attributes:
        range_m: inf for nothing within reach.
        cosine: of the angle of incidence, 0 for nothing.
        surface: index into `SURFACE_NAMES`, `NO_SURFACE` for nothing.
        actor: identity, -1 for what stands still and for nothing.
        strength: of the echo over the receiver's threshold, see `twin.sensors.lidar.equation`.
    """

    range_m: Float[np.ndarray, "ray"]
    cosine: Float[np.ndarray, "ray"]
    surface: UInt8[np.ndarray, "ray"]
    actor: Int[np.ndarray, "ray"]
    strength: Float[np.ndarray, "ray"]


@dataclass(frozen=True)
class PointCloud:
    """What the sensor reports of a revolution, in the order of its rays.

    Attributes:
        point_m: in the sensor's frame: x ahead, y left, z up.
        intensity: what comes back, corrected for the range: reflectance times the cosine of incidence, at most 1.
        actor: identity of the actor, -1 for what stands still.
        ring: 0 is the lowest.
        ray: ring times the azimuth steps, plus the step; azimuths rise from behind the sensor, -pi, to pi.
    """

    point_m: Float32[np.ndarray, "point 3"]
    intensity: Float32[np.ndarray, "point"]
    actor: Int[np.ndarray, "point"]
    ring: Int[np.ndarray, "point"]
    ray: Int[np.ndarray, "point"]


@kernel
def _meet_actors(  # type: ignore[no-untyped-def]
    nodes, triangles, normals, surfaces, records, box, velocity, identity,
    origin, axes, azimuth, elevation, direction, turn_s, farthest_m, range_m, cosine, surface, actor, touched,
):  # fmt: skip
    """Where an actor is nearer than what stands still, write it into the last arrays but one, and mark the ray.

    The rays of an azimuth a leave at the time a / (2 pi) `turn_s`; seen from the actor, the sensor has moved back.
    """
    steps, rings = len(azimuth), len(elevation)
    step = 2.0 * math.pi / steps
    for k in range(len(records)):
        if records[k].radius < 0.0:
            continue
        c, s = records[k].cosine, records[k].sine
        middle, low, high, lowest, highest = box_window(box[k], velocity[k], 0.5 * turn_s, origin, axes)
        first = math.floor((middle + low - azimuth[0]) / step)
        count = min(steps, math.ceil((high - low) / step) + 2)
        for j in range(first, first + count):
            j %= steps
            time = azimuth[j] / (2.0 * math.pi) * turn_s
            ax, ay = origin[0] - velocity[k, 0] * time, origin[1] - velocity[k, 1] * time
            az = origin[2] - velocity[k, 2] * time
            for i in range(rings):
                if elevation[i] < lowest - 1e-9 or elevation[i] > highest + 1e-9:
                    continue
                n = i * steps + j
                dx, dy, dz = direction[n, 0], direction[n, 1], direction[n, 2]
                t, which = meet_actor(nodes, triangles, records[k], ax, ay, az, dx, dy, dz)
                if t < min(range_m[n], farthest_m):
                    nx, ny, nz = normals[which, 0], normals[which, 1], normals[which, 2]
                    range_m[n] = t
                    cosine[n] = min(1.0, abs((dx * c + dy * s) * nx + (dy * c - dx * s) * ny + dz * nz))
                    surface[n], actor[n], touched[n] = surfaces[which], identity[k], True


class LidarSensor:
    """A LiDAR of a number of rings, evenly spaced in elevation, that fires at evenly spaced azimuths.

    Args:
        interval_s: of a revolution, whose middle is the time of a frame. Where `lidar.rolling`, the ray at an azimuth
            a from the optical axis, -pi .. pi, is fired at a / (2 pi) of it, while actors drive straight on; otherwise
            all rays at once.
        visibility_m: meteorological visibility; in fog echoes fade both ways. Returns of the fog itself are left out,
            as are second returns and beams that an edge splits.
        ground: what the ground is made of; without it, what the world says. Walls have the windows of the camera's.
    """

    def __init__(
        self,
        world: World,
        lidar: Lidar,
        mount: Mount,
        interval_s: float,
        visibility_m: float = math.inf,
        ground: Ground | None = None,
    ) -> None:
        self._world, self.lidar, self.mount = world, lidar, mount
        self._extinction_per_m = extinction_per_m(visibility_m)
        self._turn_s = interval_s if lidar.rolling else 0.0
        steps = lidar.azimuth_steps
        self.azimuth_rad = (np.arange(steps) + 0.5) * (2 * math.pi / steps) - math.pi
        self.elevation_rad = np.radians(np.linspace(lidar.lowest_deg, lidar.highest_deg, lidar.rings))
        azimuth, elevation = self.azimuth_rad[None, :], self.elevation_rad[:, None]
        flat, up = np.cos(elevation), np.broadcast_to(np.sin(elevation), (lidar.rings, steps))
        self.direction = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], axis=-1).reshape(-1, 3)
        """Of each ray, in the sensor's frame (ray, 3)."""
        self._direction = np.ascontiguousarray(mount.direction_to_local(self.direction))
        self._still = self._meet_still(ground)

    def _meet_still(self, ground: Ground | None) -> Echoes:
        """What the rays meet when nobody is in the street."""
        origin_m = self.mount.position_m
        hits = self._world.cast_static(origin_m, self._direction, self.lidar.farthest_m)
        cosine = np.clip(-(hits.normal * self._direction).sum(axis=1), 0.0, 1.0)
        echoes = Echoes(hits.distance_m, cosine, hits.surface, np.full(len(cosine), -1), np.zeros_like(cosine))
        met = np.flatnonzero(np.isfinite(hits.distance_m))
        place_m = origin_m + hits.distance_m[met, None] * self._direction[met]
        echoes.surface[met] = facade_surface(self._world, hits.triangle[met], place_m)
        if ground is not None:
            on = is_ground(place_m, hits.normal[met])
            echoes.surface[met[on]] = ground_surface(ground, place_m[on, :2])
        self._fill_strength(echoes, met)
        return echoes

    def _fill_strength(self, echoes: Echoes, rays: np.ndarray) -> None:
        returned = returned_share(echoes.surface[rays], echoes.cosine[rays])
        echoes.strength[rays] = echo_strength(
            returned, echoes.range_m[rays], self.lidar.half_range_m, self._extinction_per_m
        )

    def echoes(self, actors: Actors) -> Echoes:
        """What the rays of a revolution meet, without noise and dropouts."""
        still, world = self._still, self._world
        found = Echoes(
            still.range_m.copy(), still.cosine.copy(), still.surface.copy(), still.actor.copy(), still.strength.copy()
        )
        touched = np.zeros(len(still.range_m), np.bool_)
        _meet_actors(
            world.node, world.triangle, world.normal, world.surface, world.records(actors),
            np.ascontiguousarray(actors.box, np.float64), np.ascontiguousarray(actors.velocity_mps, np.float64),
            np.ascontiguousarray(actors.identity, np.int64),
            np.ascontiguousarray(self.mount.position_m, np.float64), self.mount.axes, self.azimuth_rad,
            self.elevation_rad, self._direction, self._turn_s, self.lidar.farthest_m,
            found.range_m, found.cosine, found.surface, found.actor, touched,
        )  # fmt: skip
        self._fill_strength(found, np.flatnonzero(touched))
        return found

    def scan(self, actors: Actors, rng: np.random.Generator) -> PointCloud:
        """The points of a revolution.

        Every ray has its own draws, met or not: the same generator gives the rays that an actor does not touch the same
        points with it and without.
        """
        echoes, lidar = self.echoes(actors), self.lidar
        noise = rng.standard_normal((2, len(echoes.range_m)), dtype=np.float32)
        measured = measured_strength(echoes.strength, noise[0])
        range_m = echoes.range_m + lidar.range_noise_m * noise[1]
        seen = (echoes.strength > 0) & (measured > 1) & (range_m > 0) & (range_m <= lidar.farthest_m)
        ray = np.flatnonzero(seen)
        range_m = range_m[ray]
        returned = QUOTED_REFLECTANCE * measured[ray] * (range_m / lidar.half_range_m) ** 2
        return PointCloud(
            (self.direction[ray] * range_m[:, None]).astype(np.float32),
            np.minimum(returned, 1.0).astype(np.float32),
            echoes.actor[ray],
            ray // lidar.azimuth_steps,
            ray,
        )
