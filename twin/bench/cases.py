"""The scenes on which tracing is timed, and who moves in them. All come with Sionna RT."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from twin.geometry.facets import Body
from twin.propagation.movers import Movers
from twin.propagation.parity.scenes import parity_scene

__all__ = ["CARRIER_HZ", "Case", "city", "moving_street", "part_of", "static_street"]

CARRIER_HZ = 28e9
STREET, CITY = "simple_street_canyon_with_cars", "munich"
STREET_BS_M = (-33.0, 0.0, 6.0)
STREET_REACH_M = 80.0
"""Cars and receivers drive on to this distance from the middle, and begin again at the other end [m]."""
STREET_ACROSS_M = (-7.0, 8.0)
"""Receivers stand anywhere between the house fronts, which are 18 m apart [m]."""
ANTENNA_M = 1.7
"""Height of their antennas, above the roofs of the cars [m]."""
STEP_M = 1.0
"""What each of them drives between two frames [m]."""


@dataclass(frozen=True)
class Case:
    """What both tracers are given.

    Attributes:
        bodies, shapes, movers: what stands still, what movers look like, and where they are in T frames.
        bs_m: base station.
        ue_m: receivers in each frame.
        order: specular bounces at most.
    """

    bodies: tuple[Body, ...]
    bs_m: Float[np.ndarray, "3"]
    ue_m: Float[np.ndarray, "T R 3"]
    order: int
    shapes: tuple[Body, ...] = ()
    movers: Movers = field(default_factory=lambda: Movers.none(1))

    def receivers(self, count: int) -> "Case":
        """The case with its first receivers only."""
        return replace(self, ue_m=self.ue_m[:, :count])

    def frames(self, count: int) -> "Case":
        """The case with so many frames, from the first to the last."""
        kept = np.unique(np.linspace(0, len(self.ue_m) - 1, count).astype(int))
        movers = Movers(self.movers.shape[kept], self.movers.pose[kept], self.movers.velocity_mps[kept])
        return replace(self, ue_m=self.ue_m[kept], movers=movers)


def _on_the_street(receivers: int) -> tuple[tuple[Body, ...], np.ndarray, np.ndarray]:
    """Bodies, base station, and receivers on the road and its sides."""
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(*span, receivers) for span in ((-STREET_REACH_M, STREET_REACH_M), STREET_ACROSS_M))
    ue_m = np.column_stack([x, y, np.full(receivers, ANTENNA_M)])
    return parity_scene(STREET).bodies(CARRIER_HZ), np.array(STREET_BS_M), ue_m


def static_street(receivers: int) -> Case:
    """The street canyon with its cars parked, order 2."""
    bodies, bs_m, ue_m = _on_the_street(receivers)
    return Case(bodies, bs_m, ue_m[None], 2)


def moving_street(frames: int, receivers: int) -> Case:
    """The street canyon, order 2; the cars and the receivers drive, each on its side of the road in its direction."""
    bodies, bs_m, start_m = _on_the_street(receivers)
    cars = [body for body in bodies if body.name.startswith("car")]
    still = tuple(body for body in bodies if not body.name.startswith("car"))
    middle = np.array([0.5 * (car.vertex_m.min(axis=0) + car.vertex_m.max(axis=0)) * [1.0, 1.0, 0.0] for car in cars])
    shapes = tuple(replace(car, vertex_m=car.vertex_m - place) for car, place in zip(cars, middle, strict=True))

    def driven(place: np.ndarray) -> np.ndarray:
        way = np.where(place[:, 1] < 0.0, STEP_M, -STEP_M) * np.arange(frames)[:, None]
        x = (place[:, 0] + way + STREET_REACH_M) % (2.0 * STREET_REACH_M) - STREET_REACH_M
        return np.stack([x, *(np.broadcast_to(place[:, axis], x.shape) for axis in (1, 2))], axis=-1)

    pose = np.concatenate([driven(middle), np.zeros((frames, len(cars), 1))], axis=-1)
    movers = Movers(np.tile(np.arange(len(cars)), (frames, 1)), pose, np.zeros((frames, len(cars), 3)))
    return Case(still, bs_m, driven(start_m), 2, shapes, movers)


def city(receivers: int) -> Case:
    """Munich, order 1: a base station over the roofs, receivers in the streets around."""
    scene = parity_scene(CITY)
    bodies = scene.bodies(CARRIER_HZ)
    ue_m = scene.receivers(np.random.default_rng(0), receivers, bodies)
    return Case(bodies, np.array(scene.stations_m[0]), ue_m[None], 1)


def part_of(case: Case, triangles: int) -> Case:
    """The ground, and what stands nearest to the base station until there are so many triangles."""

    def distance_m(body: Body) -> float:
        return float(np.linalg.norm(body.vertex_m - case.bs_m, axis=1).min()) if body.name != "ground" else -1.0

    kept, left = [], triangles
    for body in sorted(case.bodies, key=distance_m):
        if len(body.face) <= left:
            kept.append(body)
            left -= len(body.face)
    return replace(case, bodies=tuple(kept))
