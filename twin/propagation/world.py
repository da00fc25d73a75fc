"""What a kernel reads of the static world and of a frame, and what a leg of a path loses on its way."""

from typing import NamedTuple

import numpy as np
from numba import njit

from twin.geometry.bvh import hides
from twin.propagation.blockage import blockage_model_b_db, box_blockage_db
from twin.propagation.movers import mover_hides, near_mover

__all__ = ["BLOCKAGE", "SUBSTANCE", "Frame", "World", "leg_loss_db"]

SUBSTANCE = np.dtype(
    [(name, np.float64) for name in ("eta_re", "eta_im", "thickness", "share", "roughness", "scatter")]
)
"""A material: complex permittivity, thickness [m], amplitude left to specular reflections [1], roughness [m], amplitude
scattered diffusely [1]."""
BLOCKAGE = {"none": 0, "double_knife_edge": 1, "model_b": 2}
"""How paths fade behind vehicles: not at all (they vanish), by ITU-R P.526, by model B of 3GPP TR 38.901."""
MARGIN_WAVELENGTHS = 60.0
"""How far from a vehicle's sphere [wavelengths] a leg still feels it: a first Fresnel zone of a few hundred metres."""


class World(NamedTuple):
    """Records of what stands still and of the shapes of movers (`Surfaces`), owner body of each
    static piece, chains of static facets, and constants."""

    bodies: np.ndarray
    facets: np.ndarray
    pieces: np.ndarray
    nodes: np.ndarray
    triangles: np.ndarray
    substances: np.ndarray
    wedges: np.ndarray
    spots: np.ndarray
    owner: np.ndarray
    tree: np.ndarray
    tree_begin: np.ndarray
    bs: np.ndarray
    still_facets: int
    still_bodies: int
    still_nodes: int
    wavelength: float
    order: int
    blockage: int
    wedge_rule: int


class Frame(NamedTuple):
    """Movers of a frame, their placed facets, the chains that run over them, and the slot of the UE's own body or
    -1."""

    movers: np.ndarray
    placed: np.ndarray
    chains: np.ndarray
    begin: np.ndarray
    own: int


@njit(cache=True, error_model="numpy")
def leg_loss_db(world, frame, ax, ay, az, bx, by, bz, first, second):  # type: ignore[no-untyped-def]
    """Loss of the straight leg from a to b [dB], infinite where it is hidden.

    What stands still hides, and so do the UE's own body and the movers `first` and `second` off which the path bounces
    at the ends of the leg. Every other mover takes away what the blockage model says."""
    if hides(world.nodes, world.triangles, 0, world.still_nodes, ax, ay, az, bx, by, bz):
        return np.inf
    loss = 0.0
    margin = 0.0 if world.blockage == 0 else MARGIN_WAVELENGTHS * world.wavelength
    for a in range(frame.movers.shape[0]):
        mover = frame.movers[a]
        if mover.shape < 0 or not near_mover(mover, ax, ay, az, bx, by, bz, margin):
            continue
        if world.blockage == 0 or a == frame.own or a in (first, second):
            if mover_hides(world.bodies, world.nodes, world.triangles, mover, ax, ay, az, bx, by, bz):
                return np.inf
        else:
            loss += blockage_db(world, mover, ax, ay, az, bx, by, bz)
    return loss


@njit(cache=True, error_model="numpy")
def blockage_db(world, mover, ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    """Loss past a mover, which counts as the box around its shape [dB]."""
    body = world.bodies[mover.shape]
    box = (mover.cx, mover.cy, mover.cz, body.length, body.width, body.height)
    if world.blockage == 1:
        return box_blockage_db(box, mover.cosine, mover.sine, ax, ay, az, bx, by, bz, world.wavelength)
    return blockage_model_b_db(box, mover.cosine, mover.sine, ax, ay, az, bx, by, bz, world.wavelength)
