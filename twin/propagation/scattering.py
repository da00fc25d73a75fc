"""First-order diffuse reflection: what rough surfaces send everywhere, after Lambert.

Rays launched evenly from the base station mark spots on what stands still; a spot scatters what its ray carries:
|E_s| = S Gamma |E_i| sqrt(Omega cos(theta_s) / pi) / r_s, with Omega = 4 pi / N the solid angle of the ray, for
dS cos(theta_i) / r_i^2 = Omega; near a spot, pi r_s^2 is pi r_s^2 + dS, as on the axis of a disc (Degli-Esposti et
al., IEEE Trans. Antennas Propag. 55, 143, 2007). Polarisation keeps its components along theta and phi; phases are
those of the path's length."""

import math

import numpy as np

from twin.compiled import kernel, leaf
from twin.geometry.bvh import GRAZE_M, nearest
from twin.propagation.bounces import unit
from twin.propagation.fields import polarisation_vectors, project, propagation_phase
from twin.propagation.materials import slab_coefficients
from twin.propagation.paths import Interaction
from twin.propagation.rays import launched
from twin.propagation.rows import make_room, set_bounce, set_path
from twin.propagation.surfaces import Surfaces
from twin.propagation.world import leg_loss_db

__all__ = ["SCATTERING_RAYS", "SPOT", "add_scattered", "lit_spots"]

SCATTERING_RAYS = 4096
"""N: rays that mark spots."""
SPOT = np.dtype(
    [(name, np.float64) for name in ["x", "y", "z", "nx", "ny", "nz", "kx", "ky", "kz", "distance"]]
    + [("facet", np.int64)]
)
"""A spot: where it is [m], the normal on the lit side, the ray's direction and length [m], and its facet."""


@kernel
def _mark(facets, nodes, triangles, facet_of, still_nodes, bs, rays, spots):  # type: ignore[no-untyped-def]
    count = 0
    for ray in range(rays):
        kx, ky, kz = launched(ray, rays)
        distance, triangle = nearest(nodes, triangles, 0, still_nodes, bs[0], bs[1], bs[2], kx, ky, kz, GRAZE_M)
        if triangle < 0:
            continue
        spot, facet = spots[count], facets[facet_of[triangle]]
        spot.x, spot.y, spot.z = bs[0] + distance * kx, bs[1] + distance * ky, bs[2] + distance * kz
        sign = -1.0 if kx * facet.nx + ky * facet.ny + kz * facet.nz > 0.0 else 1.0
        spot.nx, spot.ny, spot.nz = sign * facet.nx, sign * facet.ny, sign * facet.nz
        spot.kx, spot.ky, spot.kz, spot.distance, spot.facet = kx, ky, kz, distance, facet_of[triangle]
        count += 1
    return count


def lit_spots(surfaces: Surfaces, bs_position_m: np.ndarray, rays: int = SCATTERING_RAYS) -> np.ndarray:
    """The spots that the rays of a base station mark."""
    spots = np.zeros(rays, SPOT)
    bs = np.asarray(bs_position_m, np.float64)
    count = _mark(
        surfaces.facet, surfaces.node, surfaces.triangle, surfaces.facet_of_piece, surfaces.still_nodes, bs, rays, spots
    )
    return spots[:count]


@leaf
def add_scattered(rows, link, world, frame, spot, ue, velocity, field, transfer):  # type: ignore[no-untyped-def]
    """Add the path over a spot, unless its material does not scatter or a leg is hidden."""
    facet = world.facets[spot.facet]
    substance = world.substances[world.bodies[facet.body].material]
    if substance.scatter <= 0.0:
        return
    qx, qy, qz, after = unit(spot.x, spot.y, spot.z, ue[0], ue[1], ue[2])
    cosine = qx * spot.nx + qy * spot.ny + qz * spot.nz
    if cosine <= 0.0:
        return
    loss = leg_loss_db(world, frame, world.bs[0], world.bs[1], world.bs[2], spot.x, spot.y, spot.z, -1, spot.facet)
    if loss == np.inf:
        return
    loss += leg_loss_db(world, frame, spot.x, spot.y, spot.z, ue[0], ue[1], ue[2], spot.facet, -1)
    if loss == np.inf:
        return
    incident = -(spot.kx * spot.nx + spot.ky * spot.ny + spot.kz * spot.nz)
    r_s, r_p = slab_coefficients(
        min(1.0, incident), complex(substance.eta_re, substance.eta_im), substance.thickness, world.wavelength
    )
    sx, sy, sz = (
        spot.ky * spot.nz - spot.kz * spot.ny, spot.kz * spot.nx - spot.kx * spot.nz,
        spot.kx * spot.ny - spot.ky * spot.nx,
    )  # fmt: skip
    size = math.sqrt(sx * sx + sy * sy + sz * sz)
    sent, seen = polarisation_vectors(spot.kx, spot.ky, spot.kz), polarisation_vectors(qx, qy, qz)
    for b in range(2):
        vx, vy, vz = sent[3 * b], sent[3 * b + 1], sent[3 * b + 2]
        share = ((vx * sx + vy * sy + vz * sz) / size) ** 2 if size > 1e-9 else 0.5
        gamma = math.sqrt(share * abs(r_s) ** 2 + (1.0 - share) * abs(r_p) ** 2)
        for j in range(3):
            field[b, j] = gamma * seen[3 * b + j]
    total = spot.distance + after
    solid_angle = 4.0 * math.pi / SCATTERING_RAYS
    area = solid_angle * spot.distance * spot.distance / max(incident, 1e-6)
    spread = solid_angle * cosine / (math.pi * after * after + area)
    amplitude = world.wavelength / (4.0 * math.pi) * substance.scatter * math.sqrt(spread)
    amplitude *= 10.0 ** (-loss / 20.0)
    row = make_room(
        rows, link, project(field, qx, qy, qz, amplitude * propagation_phase(total, world.wavelength), transfer)
    )
    if row >= 0:
        rate = velocity[0] * qx + velocity[1] * qy + velocity[2] * qz
        set_path(rows, link, row, transfer, total, loss, rate, spot.kx, spot.ky, spot.kz, qx, qy, qz)
        number = spot.facet - world.bodies[facet.body].first
        set_bounce(rows, link, row, 0, Interaction.SCATTERING, facet.body, number, spot.x, spot.y, spot.z)
