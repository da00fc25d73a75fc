"""Whether a place is inside: within the closed surface of a solid, or with surfaces on all sides.

Houses of real cities are often not closed: walls, roof and floor are bodies of their own, or a wall is missing between
two of them. They have no inside that could be told for certain, but a place in them has surfaces on all sides.
"""

import numpy as np

from twin.compiled import kernel
from twin.geometry.bvh import GRAZE_M, crossings, nearest
from twin.propagation.movers import in_own_frame
from twin.propagation.rays import launched

__all__ = ["are_shut_in", "is_enclosed"]

LOOKS = 4096
"""Directions in which one must meet a surface to be shut in, spread evenly: smaller openings are not seen."""

_RAY = (0.3678794412, 0.4812118251, 0.7956785370)
"""Direction in which surfaces are counted: along no axis, and through no seam between triangles of round
coordinates."""


@kernel
def is_enclosed(world, frame, x, y, z):  # type: ignore[no-untyped-def]
    """Whether a point is inside a solid that the base station is not in, or outside one that it is in.

    A ray from inside a closed surface leaves it an odd number of times. Meshes with holes have no inside.
    """
    inside = np.zeros(world.still_bodies, np.bool_)
    crossings(
        world.nodes, world.triangles, 0, world.still_nodes, x, y, z, _RAY[0], _RAY[1], _RAY[2], world.owner, inside
    )
    for b in range(world.still_bodies):
        body = world.bodies[b]
        if body.closed and inside[b] != (body.holds_bs != 0):
            return True
    for a in range(frame.movers.shape[0]):
        mover = frame.movers[a]
        if mover.shape < 0 or a == frame.own or not world.bodies[mover.shape].closed:
            continue
        if _in_mover(world, mover, x, y, z) != _in_mover(world, mover, world.bs[0], world.bs[1], world.bs[2]):
            return True
    return False


@kernel
def are_shut_in(nodes, triangles, root, stop, points):  # type: ignore[no-untyped-def]
    """Whether each of the points (n, 3) meets a surface of the tree root .. stop in all of `LOOKS` directions."""
    shut = np.ones(points.shape[0], np.bool_)
    for n in range(points.shape[0]):
        for number in range(LOOKS):
            dx, dy, dz = launched(number, LOOKS)
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            if nearest(nodes, triangles, root, stop, x, y, z, dx, dy, dz, GRAZE_M)[1] < 0:
                shut[n] = False
                break
    return shut


@kernel
def _in_mover(world, mover, x, y, z):  # type: ignore[no-untyped-def]
    if (x - mover.cx) ** 2 + (y - mover.cy) ** 2 + (z - mover.cz) ** 2 > mover.radius**2:
        return False
    body = world.bodies[mover.shape]
    odd = np.zeros(1, np.bool_)
    px, py, pz = in_own_frame(mover, x, y, z)
    crossings(
        world.nodes, world.triangles, body.root, body.end, px, py, pz, _RAY[0], _RAY[1], _RAY[2],
        np.zeros(0, np.int64), odd,
    )  # fmt: skip
    return odd[0]
