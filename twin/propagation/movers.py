"""Moving bodies of one frame: their facets placed in the world, without touching what stands still."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from twin.compiled import kernel, leaf
from twin.geometry.bvh import hides
from twin.propagation.surfaces import FACET

__all__ = ["MOVER", "Movers", "in_own_frame", "mover_hides", "near_mover", "place", "top_m"]

MOVER = np.dtype(
    [(name, np.float64) for name in ["x", "y", "z", "cosine", "sine", "cx", "cy", "cz", "radius", "vx", "vy", "vz"]]
    + [(name, np.int64) for name in ("shape", "first", "stop", "facet")]
)
"""A mover in a frame: its pose, a sphere around it [m], its velocity [m/s], its body record (-1 while absent), its
placed facets first .. stop - 1, and the facet record of the first."""


@dataclass(frozen=True)
class Movers:
    """Bodies that move, frame by frame.

    Attributes:
        shape: which shape, -1 while a mover is absent.
        pose: x, y, z [m] of the shape's origin and its heading [rad], counterclockwise.
        velocity_mps: of the body.
    """

    shape: Int[np.ndarray, "T A"]
    pose: Float[np.ndarray, "T A 4"]
    velocity_mps: Float[np.ndarray, "T A 3"]

    @staticmethod
    def none(frames: int) -> "Movers":
        """An empty street."""
        return Movers(np.empty((frames, 0), np.int64), np.empty((frames, 0, 4)), np.empty((frames, 0, 3)))


@kernel
def place(bodies, facets, still, shape, pose, velocity):  # type: ignore[no-untyped-def]
    """Records of the movers of a frame and of their facets; shape (A,), pose (A, 4), velocity (A, 3)."""
    count = 0
    movers = np.empty(shape.shape[0], MOVER)
    for a in range(shape.shape[0]):
        mover = movers[a]
        mover.shape, mover.first = -1, count
        if shape[a] >= 0:
            mover.shape = still + shape[a]
            body = bodies[mover.shape]
            count += body.stop - body.first
            c, s = math.cos(pose[a, 3]), math.sin(pose[a, 3])
            mover.x, mover.y, mover.z, mover.cosine, mover.sine = pose[a, 0], pose[a, 1], pose[a, 2], c, s
            mover.cx, mover.cy = mover.x + c * body.cx - s * body.cy, mover.y + s * body.cx + c * body.cy
            mover.cz, mover.radius = mover.z + body.cz, body.radius
            mover.vx, mover.vy, mover.vz = velocity[a, 0], velocity[a, 1], velocity[a, 2]
            mover.facet = body.first
        mover.stop = count
    placed = np.empty(count, FACET)
    for a in range(shape.shape[0]):
        mover = movers[a]
        c, s = mover.cosine, mover.sine
        for k in range(mover.stop - mover.first):
            here, own = placed[mover.first + k], facets[mover.facet + k]
            here.nx, here.ny, here.nz = c * own.nx - s * own.ny, s * own.nx + c * own.ny, own.nz
            here.offset = own.offset + here.nx * mover.x + here.ny * mover.y + here.nz * mover.z
            here.cx, here.cy = mover.x + c * own.cx - s * own.cy, mover.y + s * own.cx + c * own.cy
            here.cz, here.radius, here.side, here.body = mover.z + own.cz, own.radius, own.side, a
            here.first, here.stop = own.first, own.stop
            here.ex, here.ey, here.ez = c * own.ex - s * own.ey, s * own.ex + c * own.ey, own.ez
            gx = here.ny * here.ez - here.nz * here.ey
            gy = here.nz * here.ex - here.nx * here.ez
            gz = here.nx * here.ey - here.ny * here.ex
            shift = here.ex * mover.x + here.ey * mover.y + here.ez * mover.z
            here.e0, here.e1 = own.e0 + shift, own.e1 + shift
            shift = gx * mover.x + gy * mover.y + gz * mover.z
            here.g0, here.g1 = own.g0 + shift, own.g1 + shift
    return movers, placed


@leaf
def top_m(bodies, movers):  # type: ignore[no-untyped-def]
    """Height of the highest mover."""
    top = -math.inf
    for a in range(movers.shape[0]):
        if movers[a].shape >= 0:
            top = max(top, movers[a].cz + 0.5 * bodies[movers[a].shape].height)
    return top


@leaf
def in_own_frame(mover, x, y, z):  # type: ignore[no-untyped-def]
    """A point of the world in the frame of the mover's shape."""
    x, y = x - mover.x, y - mover.y
    return x * mover.cosine + y * mover.sine, y * mover.cosine - x * mover.sine, z - mover.z


@leaf
def near_mover(mover, ax, ay, az, bx, by, bz, margin):  # type: ignore[no-untyped-def]
    """Whether the segment from a to b comes nearer than `margin` to the sphere around the mover."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    px, py, pz = mover.cx - ax, mover.cy - ay, mover.cz - az
    square = dx * dx + dy * dy + dz * dz
    along = px * dx + py * dy + pz * dz
    reach = mover.radius + margin
    short = px * px + py * py + pz * pz - reach * reach
    if along <= 0.0:
        return short <= 0.0
    if along >= square:
        return short - 2.0 * along + square <= 0.0
    return short * square <= along * along


@leaf
def mover_hides(bodies, nodes, triangles, mover, ax, ay, az, bx, by, bz, own_1=(0, 0), own_2=(0, 0)):  # type: ignore[no-untyped-def]
    """Whether the mover lies between the two points; `own_1` and `own_2` as in `hides`."""
    if mover.shape < 0 or not near_mover(mover, ax, ay, az, bx, by, bz, 0.0):
        return False
    px, py, pz = in_own_frame(mover, ax, ay, az)
    qx, qy, qz = in_own_frame(mover, bx, by, bz)
    body = bodies[mover.shape]
    return hides(nodes, triangles, body.root, body.end, px, py, pz, qx, qy, qz, own_1, own_2)
