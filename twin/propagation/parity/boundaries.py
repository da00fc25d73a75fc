"""How far the field jumps where a path begins or ends: a receiver walks over one boundary after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from twin.geometry.facets import Body
from twin.geometry.scene import VEHICLE_MATERIAL, box_body
from twin.propagation.materials import itu_material
from twin.propagation.movers import Movers
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Paths
from twin.propagation.tracer import Tracer

__all__ = ["Boundary", "boundaries"]

BS_M = np.array([-30.0, -40.0, 8.0])
BEYOND_M = 25.0
"""The receiver walks so far behind what ends there [m],"""
REACH_M = 1.0
"""and so far to both sides of the boundary [m],"""
STEPS_A_WAVELENGTH = 10
"""in so many steps a wavelength."""
HOUSE_M, BUS_M = (20.0, 20.0, 20.0), (12.0, 2.5, 3.2)
"""Length, width and height of a house and of a bus; both stand on the origin."""
CORNER_M, FOOT_M, EAVES_M, TOP_M = (10.0, -10.0, 6.0), (10.0, -10.0, 0.5), (0.0, -10.0, 20.0), (10.0, -10.0, 20.0)
"""Places on edges of the house: on an upright one, near its foot, on the roof's, and where three meet."""
BUMPER_M, BUS_ROOF_M = (6.0, -1.25, 1.6), (0.0, -1.25, 3.2)
SIDEWAYS, UPWARDS = (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0)
Place = tuple[float, float, float]


@dataclass(frozen=True)
class Boundary:
    """A walk over a boundary.

    Attributes:
        name: what ends there.
        continued: what makes up for it.
        step_db: largest change of the power from one step to the next, at the steps at which paths come or go; V and H.
    """

    name: str
    continued: str
    step_db: tuple[float, float]


def boundaries(carrier_hz: float) -> list[Boundary]:
    """The boundaries of a house, and those of a bus, with nothing around but the ground where it says so."""
    house = box_body("house", *HOUSE_M, itu_material("concrete", carrier_hz, thickness_m=0.1))
    corners_m = 500.0 * np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    ground = Body("ground", corners_m, np.array([[0, 1, 2], [0, 2, 3]]), itu_material("concrete", carrier_hz))
    bus = box_body("bus", *BUS_M, VEHICLE_MATERIAL)
    in_house = BS_M * [1.0, -1.0, 1.0] - [0.0, HOUSE_M[1], 0.0]
    in_bus = BS_M * [1.0, -1.0, 1.0] - [0.0, BUS_M[1], 0.0]
    in_ground = BS_M * [1.0, 1.0, -1.0]

    def walk(
        name: str, continued: str, way: tuple[np.ndarray, Place, Place], still: Sequence[Body], blockage: str = ""
    ) -> Boundary:
        ue_m = _walk(*way, SPEED_OF_LIGHT_MPS / carrier_hz)
        tracer = Tracer(still, BS_M, carrier_hz, [bus], 1, 64, diffraction=True, blockage=blockage or "none")
        return Boundary(name, continued, _steps_db(tracer.paths(ue_m, None, _parked(len(ue_m)) if blockage else None)))

    vertex, foot = (
        "direct path, where three edges of a house meet",
        "reflection off the ground, at the corner of a house",
    )
    past_bus = BS_M, BUS_ROOF_M, UPWARDS
    return [
        walk("direct path, at the corner of a house", "edge", (BS_M, CORNER_M, SIDEWAYS), [house]),
        walk("direct path, over the roof of a house", "edge", (BS_M, EAVES_M, UPWARDS), [house]),
        walk("direct path, past a bus", "double knife edge", past_bus, [], "double_knife_edge"),
        walk("direct path, past a bus", "model B", past_bus, [], "model_b"),
        walk("reflection off a house, at its corner", "edge", (in_house, CORNER_M, SIDEWAYS), [house]),
        walk(vertex, "edges, but not their corner", (BS_M, TOP_M, SIDEWAYS), [house]),
        walk(foot, "nothing", (in_ground, FOOT_M, SIDEWAYS), [ground, house]),
        walk("reflection off a bus, at its end", "nothing", (in_bus, BUMPER_M, SIDEWAYS), [], "double_knife_edge"),
    ]


def _walk(source: Float[np.ndarray, "3"], edge_m: Place, aside: Place, wavelength_m: float) -> Float[np.ndarray, "T 3"]:
    """Positions across the line from a source (the base station or its image) over a place on an edge."""
    along = np.array(edge_m) - source
    middle = np.array(edge_m) + BEYOND_M * along / np.linalg.norm(along)
    return middle + np.arange(-REACH_M, REACH_M, wavelength_m / STEPS_A_WAVELENGTH)[:, None] * np.array(aside)


def _parked(frames: int) -> Movers:
    """A bus on the origin."""
    return Movers(np.zeros((frames, 1), int), np.zeros((frames, 1, 4)), np.zeros((frames, 1, 3)))


def _steps_db(paths: Paths) -> tuple[float, float]:
    """Largest step of the power where the paths are others than a step before, or of all if they stay."""
    names = np.concatenate([paths.kind, paths.body, paths.facet], axis=-1)
    known = [frozenset(map(tuple, row[valid])) for row, valid in zip(names, paths.valid, strict=True)]
    other = np.array([a != b for a, b in zip(known, known[1:], strict=False)])
    steps = []
    for polarisation in (0, 1):
        alike = replace(paths, gain=paths.transfer[..., polarisation, polarisation])
        level_db = 20.0 * np.log10(np.abs(alike.channel()))
        step_db = np.abs(np.diff(level_db))
        steps.append(float(step_db[other].max() if other.any() else step_db.max()))
    return steps[0], steps[1]
