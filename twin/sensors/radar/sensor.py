"""The radar: an FMCW sensor whose frame is a range-angle map, and on request the cube that the map is made of."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from jaxtyping import Complex64, Float16

from twin.scenario.sensors import Radar
from twin.sensors.actors import Actors
from twin.sensors.mount import Mount
from twin.sensors.radar.clutter import ClutterPatches
from twin.sensors.radar.echoes import echo_cube
from twin.sensors.radar.range_angle import range_angle_map
from twin.sensors.radar.scatterers import Reflectors, actor_scatterers, class_reflectors
from twin.sensors.radar.signal import Scatterers, bins_per_m, thermal_noise
from twin.sensors.world import World

__all__ = ["RadarFrame", "RadarSensor"]


class RadarFrame:
    """What the radar receives in a frame.

    Attributes:
        map_db: `range_angle_map` of the cube [dBf].
    """

    def __init__(
        self, map_db: Float16[np.ndarray, "64 256"], moving: np.ndarray, still: Callable[[], np.ndarray] | None = None
    ) -> None:
        self.map_db = map_db
        self._moving, self._still = moving, still

    def cube(self) -> Complex64[np.ndarray, "antenna sample chirp"]:
        """The intermediate frequency [sqrt(fW) at the receiver's input]."""
        return self._moving if self._still is None else self._moving + self._still()


class RadarSensor:
    """An FMCW radar at its place in the world.

    A frame is the sum of the echoes of the actors (`actor_scatterers`), of the ground and the walls that no actor hides
    (`ClutterPatches`), each echo turned by the oscillator's phase of its chirp, N(0, phase_noise^2), and of thermal
    noise. There is one way to a scatterer and back: no bounces. Actors are rigid: wheels and limbs do not turn.
    """

    def __init__(self, world: World, radar: Radar, mount: Mount) -> None:
        self._world, self._radar, self._mount = world, radar, mount
        self._farthest_m = radar.samples / bins_per_m(radar)

    @cached_property
    def clutter(self) -> ClutterPatches:
        """What stands still."""
        return ClutterPatches.of(self._world, self._mount, self._farthest_m)

    @cached_property
    def _reflectors(self) -> tuple[Reflectors, ...]:
        return class_reflectors(self._world.meshes)

    @cached_property
    def _empty_street(self) -> np.ndarray:
        return echo_cube(self._radar, self._mount, self.clutter.scatterers, chirps=1)

    def scatterers(self, actors: Actors) -> Scatterers:
        """The points of actors that the radar sees."""
        return actor_scatterers(self._world, self._reflectors, self._mount.position_m, actors, self._farthest_m)

    def measure(self, actors: Actors, rng: np.random.Generator) -> RadarFrame:
        """A frame. Equal generators give equal frames.

        What stands still does not touch a map without the mean over chirps, unless phase noise moves it: there it is
        made only when the cube is asked for.
        """
        radar = self._radar
        phase_rad = math.radians(radar.phase_noise_deg) * rng.standard_normal(radar.chirps)
        oscillator = np.exp(1j * phase_rad).astype(np.complex64)
        seen = self.scatterers(actors)
        moves = (seen.velocity_mps != 0).any(axis=1)
        received = echo_cube(radar, self._mount, seen.where(moves))
        if radar.phase_noise_deg > 0:
            received *= oscillator
        received += thermal_noise(radar, rng)

        def still() -> np.ndarray:
            return self._still(actors, seen.where(~moves)) * oscillator

        if radar.clutter == "chirp_mean" and radar.phase_noise_deg == 0:
            return RadarFrame(range_angle_map(received, radar.clutter), received, still)
        received += still()
        return RadarFrame(range_angle_map(received, radar.clutter), received)

    def _still(self, actors: Actors, standing: Scatterers) -> np.ndarray:
        """Echoes of ground, walls and standing actors (antenna, sample, 1)."""
        hidden = self.clutter.hidden_by(self._world, self._mount.position_m, actors)
        shadow = echo_cube(self._radar, self._mount, hidden, chirps=1)
        return self._empty_street - shadow + echo_cube(self._radar, self._mount, standing, chirps=1)
