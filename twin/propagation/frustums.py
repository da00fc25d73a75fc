"""Where the receivers of a chain can be: the frustum from its image through rectangles around its facets.

Five half-spaces bound it for each facet: beyond the facet, and inside the four sides of its rectangle, as they look
mirrored in the facets after it. They are tested for many receivers at a time, which costs far less than aiming from
each receiver at each image. They are never too strict: what they let through is tested exactly.
"""

import numpy as np

from twin.compiled import inlined, kernel, leaf
from twin.propagation.surfaces import FACET, facet_at

__all__ = ["SIDES", "frustums_of", "in_frustum", "static_frustums"]

SIDES = 5
"""Half-spaces of a frustum for each facet of its chain."""
MARGIN_M = 1e-6
"""So much the rectangle is larger than the facet [m]."""
NEAREST_IMAGE_M = 1e-3
"""The sides of a frustum whose image is nearer to its facet's plane than this are left open [m]."""


@inlined
def _set_side(side, a, b, c, d):  # type: ignore[no-untyped-def]
    side[0], side[1], side[2], side[3] = a, b, c, d


@leaf
def _set_pair(low, high, h, away, chain, facet, ax, ay, az, lowest, highest):  # type: ignore[no-untyped-def]
    """Sides along an axis a of the rectangle, for an image at the height h over the plane.

    The line from x to the image meets the plane between `lowest` and `highest` where h a . (x - image) lies between
    those less a . image, each times h plus the height of x beyond the plane.
    """
    at = ax * chain.x + ay * chain.y + az * chain.z
    nx, ny, nz, rest = away * facet.nx, away * facet.ny, away * facet.nz, h - away * facet.offset
    t = lowest - MARGIN_M - at
    _set_side(low, h * ax - t * nx, h * ay - t * ny, h * az - t * nz, -h * at - t * rest)
    t = at - highest - MARGIN_M
    _set_side(high, -h * ax - t * nx, -h * ay - t * ny, -h * az - t * nz, h * at - t * rest)


@leaf
def _set_frustums(frustums, chains, begin, order, known, facets, placed, still):  # type: ignore[no-untyped-def]
    """Fill the frustums of all chains; those of the chains before are in `known` and `frustums`."""
    nodes = known.shape[0]
    for level in range(order):
        for number in range(begin[level], begin[level + 1]):
            chain, own = chains[number], frustums[number]
            facet = facet_at(facets, placed, still, chain.facet)
            h, away = abs(chain.height), -1.0 if chain.height > 0.0 else 1.0
            _set_side(own[0], away * facet.nx, away * facet.ny, away * facet.nz, -away * facet.offset)
            if h < NEAREST_IMAGE_M:
                for side in range(1, SIDES):
                    _set_side(own[side], 0.0, 0.0, 0.0, 1.0)
            else:
                gx = facet.ny * facet.ez - facet.nz * facet.ey
                gy = facet.nz * facet.ex - facet.nx * facet.ez
                gz = facet.nx * facet.ey - facet.ny * facet.ex
                _set_pair(own[1], own[2], h, away, chain, facet, facet.ex, facet.ey, facet.ez, facet.e0, facet.e1)
                _set_pair(own[3], own[4], h, away, chain, facet, gx, gy, gz, facet.g0, facet.g1)
            if level == 0:
                continue
            parent = known[chain.parent] if chain.parent < nodes else frustums[chain.parent - nodes]
            for side in range(SIDES * level):
                a, b, c, d = parent[side, 0], parent[side, 1], parent[side, 2], parent[side, 3]
                turn = 2.0 * (a * facet.nx + b * facet.ny + c * facet.nz)
                nx, ny, nz = a - turn * facet.nx, b - turn * facet.ny, c - turn * facet.nz
                _set_side(own[SIDES + side], nx, ny, nz, d + turn * facet.offset)


@kernel
def frustums_of(chains, begin, order, known, facets, placed, still):  # type: ignore[no-untyped-def]
    """Half-spaces a x + b y + c z + d >= 0 of each chain (chain, side, 4): those of its last facet first.

    `known` are the frustums of the chains that are numbered before these.
    """
    frustums = np.empty((begin[order], SIDES * order, 4))
    _set_frustums(frustums, chains, begin, order, known, facets, placed, still)
    return frustums


def static_frustums(tree: np.ndarray, begin: np.ndarray, order: int, facets: np.ndarray, still: int) -> np.ndarray:
    """The frustums of the chains of static facets."""
    frustums = np.empty((len(tree), SIDES * order, 4))
    _set_frustums(frustums, tree, begin, order, frustums, facets, np.zeros(0, FACET), still)
    return frustums


@leaf
def in_frustum(frustum, level, x, y, z, inside):  # type: ignore[no-untyped-def]
    """Set inside[i] for the points that lie in the frustum of a chain of `level` + 1 facets; how many do."""
    count = x.shape[0]
    for i in range(count):
        inside[i] = 1
    for k in range(level + 1):
        m = SIDES * k
        a0, b0, c0, d0 = frustum[m, 0], frustum[m, 1], frustum[m, 2], frustum[m, 3]
        a1, b1, c1, d1 = frustum[m + 1, 0], frustum[m + 1, 1], frustum[m + 1, 2], frustum[m + 1, 3]
        a2, b2, c2, d2 = frustum[m + 2, 0], frustum[m + 2, 1], frustum[m + 2, 2], frustum[m + 2, 3]
        a3, b3, c3, d3 = frustum[m + 3, 0], frustum[m + 3, 1], frustum[m + 3, 2], frustum[m + 3, 3]
        a4, b4, c4, d4 = frustum[m + 4, 0], frustum[m + 4, 1], frustum[m + 4, 2], frustum[m + 4, 3]
        for i in range(count):
            u, v, w = x[i], y[i], z[i]
            s0 = a0 * u + b0 * v + c0 * w + d0 >= 0.0
            s1 = a1 * u + b1 * v + c1 * w + d1 >= 0.0
            s2 = a2 * u + b2 * v + c2 * w + d2 >= 0.0
            s3 = a3 * u + b3 * v + c3 * w + d3 >= 0.0
            s4 = a4 * u + b4 * v + c4 * w + d4 >= 0.0
            inside[i] &= s0 & s1 & s2 & s3 & s4
        found = 0
        for i in range(count):
            found += inside[i]
        if found == 0:
            return 0
    return found
