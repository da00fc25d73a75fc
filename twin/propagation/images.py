"""Images of the base station: which facets can mirror it, one after the other.

A chain of facets mirrors the base station in the first, that image in the second, and so on. It is kept when the cone
that leaves its last image through its last facet can reach the next one. That is never too strict; whether a path is
real is decided for each receiver. Facets are numbered through: the static ones, then those that movers have in this
frame."""

import math

import numpy as np
from numba import types
from numba.typed import Dict

from twin.compiled import inlined, kernel, leaf
from twin.geometry.bvh import GRAZE_M, nearest
from twin.propagation.movers import MOVER
from twin.propagation.rays import launched
from twin.propagation.surfaces import FACET, Surfaces, can_light, facet_at, height_over, reaches_across

__all__ = [
    "CHAIN",
    "LAUNCHED_RAYS",
    "MOST_EXHAUSTIVE_CHAINS",
    "MOST_EXHAUSTIVE_FACETS",
    "grow_tree",
    "launch_tree",
    "moving_chains",
    "static_chains",
]

MOST_EXHAUSTIVE_FACETS = 1500
MOST_EXHAUSTIVE_CHAINS = 200_000
"""With more facets, or more chains of them, than this, chains are found by launched rays instead of trying all."""
LAUNCHED_RAYS = 1_000_000
"""Rays launched from the base station into a large scene."""

CHAIN = np.dtype(
    [(name, np.float64) for name in ["x", "y", "z", "height", "ux", "uy", "uz", "cosine", "sine"]]
    + [(name, np.int64) for name in ("parent", "facet")]
)
"""A chain: the base station's image in all of its facets [m], the image's signed height over the plane of the last
[m], the cone from the image around that facet (axis u, cosine and sine of the half angle; cosine -1 all around), the
chain without the last facet (-1 for none), and the last facet."""


@inlined
def _reaches_across(pieces, movers, facet, moving, nx, ny, nz, offset, sign):  # type: ignore[no-untyped-def]
    """Whether any of the facet lies on the side `sign` of the plane n . x = offset."""
    if moving:
        mover = movers[facet.body]
        c, s = mover.cosine, mover.sine
        offset -= nx * mover.x + ny * mover.y + nz * mover.z
        nx, ny = nx * c + ny * s, ny * c - nx * s
    return reaches_across(pieces, facet.first, facet.stop, nx, ny, nz, offset, sign)


@inlined
def _cone_reaches(chain, cx, cy, cz, radius):  # type: ignore[no-untyped-def]
    """Whether the cone through the last facet meets a sphere: angle to it below the sum of both half angles."""
    if chain.cosine < 0.0:
        return True
    dx, dy, dz = cx - chain.x, cy - chain.y, cz - chain.z
    square = dx * dx + dy * dy + dz * dz
    if square <= radius * radius:
        return True
    distance = math.sqrt(square)
    sine = radius / distance
    cosine = math.sqrt(1.0 - sine * sine)
    if chain.cosine < -cosine:
        return True
    between = (dx * chain.ux + dy * chain.uy + dz * chain.uz) / distance
    return between >= chain.cosine * cosine - chain.sine * sine - 1e-9


@inlined
def _beyond(chain, last, cx, cy, cz, radius):  # type: ignore[no-untyped-def]
    """Whether some of a sphere lies on the side of the chain's last facet to which its cone goes, and in the cone."""
    height = height_over(last, cx, cy, cz)
    if (height if chain.height > 0.0 else -height) > radius:
        return False
    return _cone_reaches(chain, cx, cy, cz, radius)


@inlined
def _next_height(pieces, movers, chain, last, last_moves, facet, moves):  # type: ignore[no-untyped-def]
    """Height of the chain's image over a facet when the cone through the last one can light it, else 0."""
    height = height_over(facet, chain.x, chain.y, chain.z)
    if not can_light(facet, height):
        return 0.0
    if not _cone_reaches(chain, facet.cx, facet.cy, facet.cz, facet.radius):
        return 0.0
    across = -1.0 if chain.height > 0.0 else 1.0
    if not _reaches_across(pieces, movers, facet, moves, last.nx, last.ny, last.nz, last.offset, across):
        return 0.0
    lit = 1.0 if height > 0.0 else -1.0
    if not _reaches_across(pieces, movers, last, last_moves, facet.nx, facet.ny, facet.nz, facet.offset, lit):
        return 0.0
    return height


@inlined
def _set(chain, parent, f, facet, x, y, z, height):  # type: ignore[no-untyped-def]
    """Make the record that mirrors the point, at that height over the facet of number f."""
    chain.parent, chain.facet, chain.height = parent, f, -height
    chain.x, chain.y = x - 2.0 * height * facet.nx, y - 2.0 * height * facet.ny
    chain.z = z - 2.0 * height * facet.nz
    dx, dy, dz = facet.cx - chain.x, facet.cy - chain.y, facet.cz - chain.z
    distance = math.sqrt(dx * dx + dy * dy + dz * dz)
    if distance <= facet.radius:
        chain.ux, chain.uy, chain.uz, chain.cosine, chain.sine = 1.0, 0.0, 0.0, -1.0, 0.0
        return
    chain.ux, chain.uy, chain.uz = dx / distance, dy / distance, dz / distance
    chain.sine = facet.radius / distance
    chain.cosine = math.sqrt(1.0 - chain.sine * chain.sine)


@kernel
def _with_room(chains, count, wanted):  # type: ignore[no-untyped-def]
    """The first `count` chains in an array that has room for `wanted`, and more."""
    if wanted <= chains.shape[0]:
        return chains
    larger = np.empty(2 * wanted, CHAIN)
    larger[:count] = chains[:count]
    return larger


@leaf
def _first_order(chains, count, facets, first, stop, before, x, y, z):  # type: ignore[no-untyped-def]
    """Append those of facets first .. stop - 1 that the base station itself can light; numbers count from `before`."""
    for k in range(first, stop):
        height = height_over(facets[k], x, y, z)
        if can_light(facets[k], height):
            if count < chains.shape[0]:
                _set(chains[count], -1, before + k, facets[k], x, y, z, height)
            count += 1
    return count


@inlined
def _to_movers(chains, count, source, node, number, bodies, facets, pieces, movers, placed, still, own):  # type: ignore[no-untyped-def]
    """Append the chains that go on from source[node], chain `number` of all, over a facet of a mover other than
    `own`."""
    chain = source[node]
    last = facet_at(facets, placed, still, chain.facet)
    for a in range(movers.shape[0]):
        mover = movers[a]
        if mover.shape < 0 or a == own:
            continue
        if chain.facet >= still and last.body == a and bodies[mover.shape].convex:
            continue
        if not _beyond(chain, last, mover.cx, mover.cy, mover.cz, mover.radius):
            continue
        for g in range(mover.first, mover.stop):
            if still + g == chain.facet:
                continue
            height = _next_height(pieces, movers, chain, last, chain.facet >= still, placed[g], True)
            if height != 0.0:
                if count < chains.shape[0]:
                    _set(chains[count], number, still + g, placed[g], chain.x, chain.y, chain.z, height)
                count += 1
    return count


@inlined
def _to_static(chains, count, source, node, number, bodies, facets, pieces, movers, placed, still, still_bodies):  # type: ignore[no-untyped-def]
    """Append the chains that go on from source[node], chain `number` of all, over a static facet."""
    chain = source[node]
    last = facet_at(facets, placed, still, chain.facet)
    for b in range(still_bodies):
        body = bodies[b]
        if chain.facet < still and last.body == b and body.convex:
            continue
        if not _beyond(chain, last, body.cx, body.cy, body.cz, body.radius):
            continue
        for f in range(body.first, body.stop):
            if f == chain.facet:
                continue
            height = _next_height(pieces, movers, chain, last, chain.facet >= still, facets[f], False)
            if height != 0.0:
                if count < chains.shape[0]:
                    _set(chains[count], number, f, facets[f], chain.x, chain.y, chain.z, height)
                count += 1
    return count


@leaf
def _grow_level(chains, count, level, begin, bodies, facets, pieces, movers, placed, still, still_bodies, x, y, z):  # type: ignore[no-untyped-def]
    """Append the static chains of an order as far as there is room; how many there would be with room for all."""
    if level == 0:
        return _first_order(chains, count, facets, 0, still, 0, x, y, z)
    for node in range(begin[level - 1], begin[level]):
        count = _to_static(
            chains, count, chains, node, node, bodies, facets, pieces, movers, placed, still, still_bodies
        )
    return count


@kernel
def _grow(bodies, facets, pieces, still, still_bodies, x, y, z, order, most):  # type: ignore[no-untyped-def]
    movers, placed = np.empty(0, MOVER), np.empty(0, FACET)
    begin, count = np.zeros(order + 1, np.int64), 0
    chains = np.empty(1024, CHAIN)
    for level in range(order):
        while True:
            stop = _grow_level(
                chains, count, level, begin, bodies, facets, pieces, movers, placed, still, still_bodies, x, y, z
            )
            if stop > most:
                return chains[:0], begin, False
            if stop <= chains.shape[0]:
                break
            chains = _with_room(chains, count, stop)
        begin[level + 1] = count = stop
    return chains[:count].copy(), begin, True


@leaf
def _moving_level(  # type: ignore[no-untyped-def]
    chains, count, level, begin, tree, tree_begin, bodies, facets, pieces, movers, placed, still, still_bodies, x, y, z,
    own,
):  # fmt: skip
    """As `_grow_level`, the chains over movers."""
    if level == 0:
        for a in range(movers.shape[0]):
            if a != own:
                count = _first_order(chains, count, placed, movers[a].first, movers[a].stop, still, x, y, z)
        return count
    for node in range(tree_begin[level - 1], tree_begin[level]):
        count = _to_movers(chains, count, tree, node, node, bodies, facets, pieces, movers, placed, still, own)
    for node in range(begin[level - 1], begin[level]):
        number = tree.shape[0] + node
        count = _to_movers(chains, count, chains, node, number, bodies, facets, pieces, movers, placed, still, own)
        count = _to_static(
            chains, count, chains, node, number, bodies, facets, pieces, movers, placed, still, still_bodies
        )
    return count


@kernel
def moving_chains(  # type: ignore[no-untyped-def]
    tree, tree_begin, bodies, facets, pieces, movers, placed, still, still_bodies, x, y, z, order, own
):
    """Chains of up to `order` facets, at least one of them of a mover other than `own`, and where each order begins.

    Their parents are numbered through: the chains of the static tree first, then these.
    """
    begin, count = np.zeros(order + 1, np.int64), 0
    chains = np.empty(256, CHAIN)
    for level in range(order):
        while True:
            stop = _moving_level(
                chains, count, level, begin, tree, tree_begin, bodies, facets, pieces, movers, placed, still,
                still_bodies, x, y, z, own,
            )  # fmt: skip
            if stop <= chains.shape[0]:
                break
            chains = _with_room(chains, count, stop)
        begin[level + 1] = count = stop
    return chains, begin


@kernel
def _launch(facets, nodes, triangles, facet_of, root, stop, x, y, z, order, rays):  # type: ignore[no-untyped-def]
    """Chains that rays from the base station bounce along, and the order of each less one."""
    chains, level_of, count = np.empty(4096, CHAIN), np.empty(4096, np.int64), 0
    known = Dict.empty(types.int64, types.int64)
    for ray in range(rays):
        dx, dy, dz = launched(ray, rays)
        px, py, pz = x, y, z
        ix, iy, iz = x, y, z
        node = -1
        for level in range(order):
            distance, triangle = nearest(nodes, triangles, root, stop, px, py, pz, dx, dy, dz, GRAZE_M)
            if triangle < 0:
                break
            f = facet_of[triangle]
            facet = facets[f]
            height = height_over(facet, ix, iy, iz)
            if not can_light(facet, height):
                break
            key = (node + 1) * facet_of.shape[0] + f
            if key in known:
                node = known[key]
            else:
                if count == chains.shape[0]:
                    chains = _with_room(chains, count, count + 1)
                    more = np.empty(chains.shape[0], np.int64)
                    more[:count] = level_of
                    level_of = more
                _set(chains[count], node, f, facet, ix, iy, iz, height)
                level_of[count] = level
                node = count
                known[key] = node
                count += 1
            ix, iy, iz = chains[node].x, chains[node].y, chains[node].z
            px, py, pz = px + distance * dx, py + distance * dy, pz + distance * dz
            turn = 2.0 * (dx * facet.nx + dy * facet.ny + dz * facet.nz)
            dx, dy, dz = dx - turn * facet.nx, dy - turn * facet.ny, dz - turn * facet.nz
    return chains[:count].copy(), level_of[:count].copy()


def static_chains(
    surfaces: Surfaces, bs_position_m: np.ndarray, order: int, rays: int = LAUNCHED_RAYS
) -> tuple[np.ndarray, np.ndarray]:
    """Static chains of up to `order` facets, hidden or not, and where each order begins.

    All of them, or when these are too many those that `rays` launched rays bounce along.
    """
    if surfaces.still_facets <= MOST_EXHAUSTIVE_FACETS:
        chains, begin, complete = grow_tree(surfaces, bs_position_m, order, MOST_EXHAUSTIVE_CHAINS)
        if complete:
            return chains, begin
    return launch_tree(surfaces, bs_position_m, order, rays)


def grow_tree(
    surfaces: Surfaces, bs_position_m: np.ndarray, order: int, most: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """All static chains of up to `order` facets, where each order begins, and whether they are `most` at most."""
    x, y, z = (float(v) for v in bs_position_m)
    return _grow(
        surfaces.body, surfaces.facet, surfaces.piece, surfaces.still_facets, surfaces.still, x, y, z, order, most
    )


def launch_tree(
    surfaces: Surfaces, bs_position_m: np.ndarray, order: int, rays: int = LAUNCHED_RAYS
) -> tuple[np.ndarray, np.ndarray]:
    """Static chains that some of `rays` rays, spread evenly over all directions, bounce along.

    Where each order begins.
    """
    x, y, z = (float(v) for v in bs_position_m)
    chains, level = _launch(
        surfaces.facet, surfaces.node, surfaces.triangle, surfaces.facet_of_piece, 0, surfaces.still_nodes, x, y, z,
        order, rays,
    )  # fmt: skip
    by_level = np.argsort(level, kind="stable")
    place_of = np.empty(len(chains) + 1, np.int64)
    place_of[by_level], place_of[-1] = np.arange(len(chains)), -1
    chains = chains[by_level]
    chains["parent"] = place_of[chains["parent"]]
    return chains, np.searchsorted(level[by_level], np.arange(order + 1))
