"""What walls are made of, place by place, by the fronts that the camera paints on them: one street for all sensors."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from twin.compiled import kernel
from twin.sensors.surfaces.facade import CURTAIN, facade, walls_of
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.sensors.world import World

__all__ = ["facade_surface"]

PANE_MIRRORS = 0.06
"""In a wall with windows, what mirrors so much at normal incidence is a pane: bare glass does at either face [1]."""
COATED_PANE_MIRRORS, SPANDREL_MIRRORS = 0.18, 0.10
"""The same of the panes in a curtain of glass, which are coated, and of the dark panels that hide its floors [1]; its
mullions mirror less."""
_GLASS, _METAL, _TRIM = (SURFACE_NAMES.index(name) for name in ("glass", "metal", "trim"))


@kernel
def _fill_mirror(walls, wall, place, mirror):  # type: ignore[no-untyped-def]
    """What is at each place mirrors so much at normal incidence."""
    for k in range(len(wall)):
        mirror[k] = facade(walls[wall[k]], place[k, 0], place[k, 1], place[k, 2], 0.0, 0)[3]


def facade_surface(
    world: World, triangle: Int[np.ndarray, "place"], place_m: Float[np.ndarray, "place 3"]
) -> UInt8[np.ndarray, "place"]:
    """Index into `SURFACE_NAMES` at places on triangles of what stands still.

    Panes are glass, and what is around them is the wall's own material. The mullions of a curtain of glass, painted
    grey, are metal; the panels before its floors scatter as little as the dark that they are painted in, and are trim.
    What is no wall, and walls without windows, are of their own material. A blind behind a pane is not seen.
    """
    found = world.surface[triangle].copy()
    still = len(world.still_triangle_m)
    wall_of, walls = walls_of(world.still_triangle_m, world.normal[:still], world.surface[:still], world.body)
    on_wall = np.flatnonzero(wall_of[triangle] >= 0)
    wall = wall_of[triangle[on_wall]]
    mirror = np.empty(len(wall))
    _fill_mirror(walls, wall, np.ascontiguousarray(place_m[on_wall], np.float64), mirror)
    curtain = walls["style"][wall] == CURTAIN
    found[on_wall[~curtain & (mirror > PANE_MIRRORS)]] = _GLASS
    panel = np.select([mirror > COATED_PANE_MIRRORS, mirror > SPANDREL_MIRRORS], [_GLASS, _TRIM], _METAL)
    found[on_wall[curtain]] = panel[curtain]
    return found
