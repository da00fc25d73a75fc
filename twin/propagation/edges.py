"""Diffraction at the edges of what stands still: which edges a link uses, and what they carry."""

import math

import numpy as np
from scipy.spatial import KDTree

from twin.compiled import kernel, leaf
from twin.geometry.bvh import GRAZE_M, hides
from twin.geometry.facets import Body
from twin.propagation.bounces import unit
from twin.propagation.diffraction import edge_point, wedge_transfer
from twin.propagation.fields import project, propagation_phase, start
from twin.propagation.materials import roughness_factor
from twin.propagation.paths import Interaction
from twin.propagation.rows import make_room, set_bounce, set_path
from twin.propagation.surfaces import Surfaces
from twin.propagation.world import leg_loss_db

__all__ = ["WEDGE", "add_diffracted", "wedge_records"]

SAME_EDGE_M = 2.0 * GRAZE_M
"""Edges whose middles are nearer than this, of one length and direction, are one."""
WEDGE = np.dtype(
    [
        (name, np.float64)
        for name in ["ox", "oy", "oz", "ex", "ey", "ez", "length", "n0x", "n0y", "n0z", "nnx", "nny", "nnz"]
    ]
    + [(name, np.int64) for name in ("body", "number", "facet_0", "facet_n")]
)
"""A wedge: where its edge begins, the edge's direction and length [m], the normals out of its faces, its body, its
number among the wedges of the body, and the facets of its faces."""
RING_M = 0.01
"""An edge diffracts when nothing else lies so near to it on its open side [m]: the foot of a wall on the ground does
not."""
_RING_STEPS = 8


def wedge_records(bodies: tuple[Body, ...], surfaces: Surfaces, bs_position_m: np.ndarray) -> np.ndarray:
    """The wedges of static bodies that stand free and whose outside the base station is on."""
    parts = []
    for number, body in enumerate(bodies):
        wedges = body.wedges
        record = np.zeros(len(wedges.length_m), WEDGE)
        for axis, name in enumerate("xyz"):
            record[f"o{name}"], record[f"e{name}"] = wedges.origin_m[:, axis], wedges.direction[:, axis]
            record[f"n0{name}"], record[f"nn{name}"] = wedges.normal_0[:, axis], wedges.normal_n[:, axis]
        record["length"], record["body"], record["number"] = wedges.length_m, number, np.arange(len(record))
        first = surfaces.body["first"][number]
        record["facet_0"], record["facet_n"] = first + wedges.facet_0, first + wedges.facet_n
        parts.append(record[wedges.facet_n >= 0])
    every = np.concatenate([np.zeros(0, WEDGE), *parts])
    kept = _usable(every, surfaces.node, surfaces.triangle, surfaces.still_nodes, np.asarray(bs_position_m, np.float64))
    return every[kept & ~_again(every)]


def _again(wedges: np.ndarray) -> np.ndarray:
    """Which of the wedges lie where one before them does, ends and all."""
    origin, along = (np.stack([wedges[f"{name}{axis}"] for axis in "xyz"], -1) for name in ("o", "e"))
    reach = wedges["length"][:, None] * along
    again = np.zeros(len(wedges), bool)
    for one, other in KDTree(origin + 0.5 * reach).query_pairs(SAME_EDGE_M, output_type="ndarray"):
        apart = min(np.linalg.norm(reach[one] - sign * reach[other]) for sign in (1.0, -1.0))
        again[max(one, other)] |= bool(apart <= 2.0 * SAME_EDGE_M)
    return again


@leaf
def _outside(wedge, x, y, z):  # type: ignore[no-untyped-def]
    """Whether a point is in front of one of the wedge's faces."""
    dx, dy, dz = x - wedge.ox, y - wedge.oy, z - wedge.oz
    return (
        dx * wedge.n0x + dy * wedge.n0y + dz * wedge.n0z > 1e-6
        or dx * wedge.nnx + dy * wedge.nny + dz * wedge.nnz > 1e-6
    )


@kernel
def _usable(wedges, nodes, triangles, still_nodes, bs):  # type: ignore[no-untyped-def]
    kept = np.zeros(wedges.shape[0], np.bool_)
    for k in range(wedges.shape[0]):
        wedge = wedges[k]
        if not _outside(wedge, bs[0], bs[1], bs[2]):
            continue
        half = 0.5 * wedge.length
        x, y, z = wedge.ox + half * wedge.ex, wedge.oy + half * wedge.ey, wedge.oz + half * wedge.ez
        # From the face of n_0 around the open side to that of n_n, on a circle spanned by n_0 and what is across it.
        dot = wedge.n0x * wedge.nnx + wedge.n0y * wedge.nny + wedge.n0z * wedge.nnz
        tx, ty, tz = wedge.nnx - dot * wedge.n0x, wedge.nny - dot * wedge.n0y, wedge.nnz - dot * wedge.n0z
        size = math.sqrt(tx * tx + ty * ty + tz * tz)
        if size < 1e-9:
            continue
        tx, ty, tz = tx / size, ty / size, tz / size
        between = math.acos(min(1.0, max(-1.0, dot)))
        free = True
        px, py, pz = 0.0, 0.0, 0.0
        for step in range(_RING_STEPS + 1):
            # The open side reaches a right angle beyond either normal; the faces themselves are left out.
            angle = -0.49 * math.pi + (between + 0.98 * math.pi) * step / _RING_STEPS
            c, s = RING_M * math.cos(angle), RING_M * math.sin(angle)
            qx, qy, qz = x + c * wedge.n0x + s * tx, y + c * wedge.n0y + s * ty, z + c * wedge.n0z + s * tz
            if step > 0 and hides(nodes, triangles, 0, still_nodes, px, py, pz, qx, qy, qz):
                free = False
                break
            px, py, pz = qx, qy, qz
        kept[k] = free
    return kept


@leaf
def _share(substance, wavelength, nx, ny, nz, kx, ky, kz, qx, qy, qz):  # type: ignore[no-untyped-def]
    """Amplitude that scattering and roughness leave a reflection off a face.

    Of the ray along k, or q where it is behind.
    """
    along = kx * nx + ky * ny + kz * nz
    cosine = -along if along < 0.0 else abs(qx * nx + qy * ny + qz * nz)
    return substance.share * roughness_factor(min(1.0, cosine), substance.roughness, wavelength)


@leaf
def add_diffracted(rows, link, world, frame, wedge, ue, velocity, field, transfer):  # type: ignore[no-untyped-def]
    """Add the path over the edge of a wedge, unless the edge is too short or a leg is hidden."""
    if not _outside(wedge, ue[0], ue[1], ue[2]):
        return
    edge = (wedge.ex, wedge.ey, wedge.ez)
    bs, here = (world.bs[0], world.bs[1], world.bs[2]), (ue[0], ue[1], ue[2])
    t = edge_point(bs, here, (wedge.ox, wedge.oy, wedge.oz), edge, wedge.length)
    if not 0.0 < t < 1.0:
        return
    along = t * wedge.length
    x, y, z = wedge.ox + along * wedge.ex, wedge.oy + along * wedge.ey, wedge.oz + along * wedge.ez
    loss = leg_loss_db(world, frame, bs[0], bs[1], bs[2], x, y, z, wedge.facet_0, wedge.facet_n)
    if loss == np.inf:
        return
    loss += leg_loss_db(world, frame, x, y, z, here[0], here[1], here[2], wedge.facet_0, wedge.facet_n)
    if loss == np.inf:
        return
    kx, ky, kz, before = unit(bs[0], bs[1], bs[2], x, y, z)
    qx, qy, qz, after = unit(x, y, z, here[0], here[1], here[2])
    substance = world.substances[world.bodies[wedge.body].material]
    eta = complex(substance.eta_re, substance.eta_im)
    share_0 = _share(substance, world.wavelength, wedge.n0x, wedge.n0y, wedge.n0z, kx, ky, kz, qx, qy, qz)
    share_n = _share(substance, world.wavelength, wedge.nnx, wedge.nny, wedge.nnz, kx, ky, kz, qx, qy, qz)
    row_x, row_y, row_z = wedge_transfer(
        edge, (wedge.n0x, wedge.n0y, wedge.n0z), (wedge.nnx, wedge.nny, wedge.nnz), (kx, ky, kz), (qx, qy, qz),
        before, after, eta, substance.thickness, eta, substance.thickness, world.wavelength, share_0, share_n,
        world.wedge_rule,
    )  # fmt: skip
    start(field, kx, ky, kz)
    for b in range(2):
        ex, ey, ez = field[b, 0], field[b, 1], field[b, 2]
        field[b, 0] = row_x[0] * ex + row_x[1] * ey + row_x[2] * ez
        field[b, 1] = row_y[0] * ex + row_y[1] * ey + row_y[2] * ez
        field[b, 2] = row_z[0] * ex + row_z[1] * ey + row_z[2] * ez
    total = before + after
    spreading = 1.0 / math.sqrt(before * after * total)
    amplitude = world.wavelength / (4.0 * math.pi) * spreading * 10.0 ** (-loss / 20.0)
    row = make_room(
        rows, link, project(field, qx, qy, qz, amplitude * propagation_phase(total, world.wavelength), transfer)
    )
    if row >= 0:
        rate = velocity[0] * qx + velocity[1] * qy + velocity[2] * qz
        set_path(rows, link, row, transfer, total, loss, rate, kx, ky, kz, qx, qy, qz)
        set_bounce(rows, link, row, 0, Interaction.DIFFRACTION, wedge.body, wedge.number, x, y, z)
