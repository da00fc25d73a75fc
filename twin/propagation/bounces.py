"""The direct path and specular reflections: which chains are paths to a receiver, and what they carry."""

import math

import numpy as np

from twin.compiled import leaf
from twin.geometry.bvh import GRAZE_M, hides
from twin.propagation.fields import project, propagation_phase, reflect, start
from twin.propagation.movers import in_own_frame, mover_hides
from twin.propagation.paths import Interaction
from twin.propagation.rows import make_room, set_bounce, set_path
from twin.propagation.surfaces import CLEARANCE_M, facet_at, height_over, in_facet
from twin.propagation.world import blockage_db, leg_loss_db

__all__ = ["add_direct", "add_reflected", "bounce_points", "unit"]

PARALLEL = 1.0 - 1e-6
"""Cosine between the normals of faces that are one if they lie in one place: then they reflect once."""


@leaf
def unit(ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    """Unit vector from a to b, and their distance."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    return dx / length, dy / length, dz / length, length


@leaf
def add_direct(rows, link, world, frame, ue, velocity, field, transfer):  # type: ignore[no-untyped-def]
    """Add the direct path, faded by the vehicles beside it, and note whether it is clear.

    The UE's own body is no vehicle.
    """
    ax, ay, az = world.bs[0], world.bs[1], world.bs[2]
    hidden = hides(world.nodes, world.triangles, 0, world.still_nodes, ax, ay, az, ue[0], ue[1], ue[2])
    blocked, loss = False, 0.0
    for a in range(frame.movers.shape[0]):
        mover = frame.movers[a]
        if mover.shape < 0 or a == frame.own:
            continue
        if not blocked:
            blocked = mover_hides(world.bodies, world.nodes, world.triangles, mover, ax, ay, az, ue[0], ue[1], ue[2])
        if world.blockage != 0 and not hidden:
            loss += blockage_db(world, mover, ax, ay, az, ue[0], ue[1], ue[2])
    rows.clear[link], rows.blocked[link] = not (hidden or blocked), blocked
    if hidden or (blocked and world.blockage == 0):
        return
    kx, ky, kz, length = unit(ax, ay, az, ue[0], ue[1], ue[2])
    start(field, kx, ky, kz)
    amplitude = world.wavelength / (4.0 * math.pi * length) * 10.0 ** (-loss / 20.0)
    row = make_room(
        rows, link, project(field, kx, ky, kz, amplitude * propagation_phase(length, world.wavelength), transfer)
    )
    if row >= 0:
        rate = velocity[0] * kx + velocity[1] * ky + velocity[2] * kz
        set_path(rows, link, row, transfer, length, loss, rate, kx, ky, kz, kx, ky, kz)


@leaf
def _aimed(chain, facet, x, y, z):  # type: ignore[no-untyped-def]
    """Where the line from the receiver (or the bounce before) to the chain's image meets its facet's circle, or NaN."""
    here = height_over(facet, x, y, z)
    if here * chain.height >= 0.0 or abs(here) < CLEARANCE_M:
        return np.nan, 0.0, 0.0
    share = here / (here - chain.height)
    px, py, pz = x + share * (chain.x - x), y + share * (chain.y - y), z + share * (chain.z - z)
    rx, ry, rz = px - facet.cx, py - facet.cy, pz - facet.cz
    if rx * rx + ry * ry + rz * rz > facet.radius * facet.radius * (1.0 + 1e-9):
        return np.nan, 0.0, 0.0
    return px, py, pz


@leaf
def bounce_points(tree, chains, number, level, facets, pieces, movers, placed, still, x, y, z, points, bounced):  # type: ignore[no-untyped-def]
    """Fill `points` and `bounced` (facets) with the bounces of the path along a chain to (x, y, z); whether it is one.

    From the receiver each image is aimed at in turn; where the line meets the plane of the image's facet the path
    bounces, and the facet must be there. Whether anything hides a leg is not asked.
    """
    known = tree.shape[0]
    for k in range(level, -1, -1):
        chain = tree[number] if number < known else chains[number - known]
        f = chain.facet
        facet = facet_at(facets, placed, still, f)
        x, y, z = _aimed(chain, facet, x, y, z)
        if math.isnan(x):
            return False
        px, py, pz = x, y, z
        if f >= still:
            px, py, pz = in_own_frame(movers[facet.body], x, y, z)
        if not in_facet(pieces, facet.first, facet.stop, px, py, pz):
            return False
        points[k, 0], points[k, 1], points[k, 2] = x, y, z
        bounced[k] = f
        number = chain.parent
    return True


@leaf
def _loss_db(world, frame, ue, level, points, bounced):  # type: ignore[no-untyped-def]
    """Loss of all legs of the path over the first `level + 1` points [dB], infinite where one is hidden."""
    ax, ay, az, before = world.bs[0], world.bs[1], world.bs[2], -1
    loss = 0.0
    for k in range(level + 2):
        bx, by, bz, after = ue[0], ue[1], ue[2], -1
        if k <= level:
            bx, by, bz, after = points[k, 0], points[k, 1], points[k, 2], bounced[k]
        loss += leg_loss_db(world, frame, ax, ay, az, bx, by, bz, before, after)
        if loss == np.inf:
            return loss
        ax, ay, az, before = bx, by, bz, after
    return loss


@leaf
def _is_known(rows, link, world, level, points, bounced):  # type: ignore[no-untyped-def]
    """Whether a path of the link bounces in the same planes already, off other faces in the same place."""
    for row in range(rows.number[link]):
        if level + 1 < rows.kind.shape[2] and rows.kind[link, row, level + 1] != Interaction.NONE:
            continue
        same = True
        for k in range(level + 1):
            body, f = rows.body[link, row, k], bounced[k]
            moves = body >= world.still_bodies or f >= world.still_facets
            if moves or rows.kind[link, row, k] != Interaction.REFLECTION:
                same = False
                break
            facet, other = world.facets[f], world.facets[world.bodies[body].first + rows.facet[link, row, k]]
            along = facet.nx * other.nx + facet.ny * other.ny + facet.nz * other.nz
            apart = height_over(other, points[k, 0], points[k, 1], points[k, 2])
            if abs(along) < PARALLEL or abs(apart) > GRAZE_M:
                same = False
                break
        if same:
            return True
    return False


@leaf
def add_reflected(rows, link, world, frame, ue, velocity, level, points, bounced, field, transfer):  # type: ignore[no-untyped-def]
    """Add the path that bounces at the first `level + 1` points off the facets `bounced`, unless a leg is hidden."""
    loss = _loss_db(world, frame, ue, level, points, bounced)
    if loss == np.inf:
        return
    if _is_known(rows, link, world, level, points, bounced):
        return
    kx, ky, kz, total = unit(world.bs[0], world.bs[1], world.bs[2], points[0, 0], points[0, 1], points[0, 2])
    ox, oy, oz, rate = kx, ky, kz, 0.0
    start(field, kx, ky, kz)
    for k in range(level + 1):
        f = bounced[k]
        if k < level:
            bx, by, bz = points[k + 1, 0], points[k + 1, 1], points[k + 1, 2]
        else:
            bx, by, bz = ue[0], ue[1], ue[2]
        qx, qy, qz, length = unit(points[k, 0], points[k, 1], points[k, 2], bx, by, bz)
        facet = facet_at(world.facets, frame.placed, world.still_facets, f)
        body = facet.body
        if f >= world.still_facets:
            mover = frame.movers[facet.body]
            body = mover.shape
            rate += mover.vx * (kx - qx) + mover.vy * (ky - qy) + mover.vz * (kz - qz)
        substance = world.substances[world.bodies[body].material]
        reflect(
            field, kx, ky, kz, facet.nx, facet.ny, facet.nz, complex(substance.eta_re, substance.eta_im),
            substance.thickness, substance.share, substance.roughness, world.wavelength,
        )  # fmt: skip
        kx, ky, kz, total = qx, qy, qz, total + length
    rate += velocity[0] * kx + velocity[1] * ky + velocity[2] * kz
    amplitude = world.wavelength / (4.0 * math.pi * total) * 10.0 ** (-loss / 20.0)
    row = make_room(
        rows, link, project(field, kx, ky, kz, amplitude * propagation_phase(total, world.wavelength), transfer)
    )
    if row < 0:
        return
    set_path(rows, link, row, transfer, total, loss, rate, ox, oy, oz, kx, ky, kz)
    for k in range(level + 1):
        f = bounced[k]
        if f < world.still_facets:
            body = world.facets[f].body
            number = f - world.bodies[body].first
        else:
            a = frame.placed[f - world.still_facets].body
            body, number = world.still_bodies + a, f - world.still_facets - frame.movers[a].first
        set_bounce(rows, link, row, k, Interaction.REFLECTION, body, number, points[k, 0], points[k, 1], points[k, 2])
