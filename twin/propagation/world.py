"""What a kernel reads of the static world and of a frame, and what a leg of a path loses on its way."""

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import inlined, leaf
from twin.geometry.bvh import hides
from twin.propagation.blockage import blockage_model_b_db, box_blockage_db, reach_m
from twin.propagation.movers import mover_hides, near_mover

__all__ = ["BLOCKAGE", "SUBSTANCE", "Frame", "World", "leg_loss_db"]

SUBSTANCE = np.dtype(
    [(name, np.float64) for name in ("eta_re", "eta_im", "thickness", "share", "roughness", "scatter")]
)
"""A material: complex permittivity, thickness [m], amplitude left to specular reflections [1], roughness [m], amplitude
scattered diffusely [1]."""
BLOCKAGE = {"none": 0, "double_knife_edge": 1, "model_b": 2}
"""How paths fade behind vehicles: not at all (they vanish), by ITU-R P.526, by model B of 3GPP TR 38.901."""


class World(NamedTuple):
    """What is prepared once: records, chains and constants.

    `bodies`, `facets`, `pieces`, `nodes`, `triangles`: of what stands still and, after it, of the shapes of movers, see
    `Surfaces`; `still_facets`, `still_bodies` and `still_nodes` count the former.  `substances`: of each body.
    `wedges`, `spots`: edges that diffract, places that scatter.  `owner`: body of each static piece.  `tree`,
    `tree_begin`, `tree_frustums`: chains of static facets, where each order begins, and where their receivers are.
    `bs`: the base station [m].  `wavelength` [m].  `order`: specular bounces at most.
    `blockage`, `wedge_rule`: codes of `BLOCKAGE` and of `diffraction`.
    """

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
    tree_frustums: np.ndarray
    bs: np.ndarray
    still_facets: int
    still_bodies: int
    still_nodes: int
    wavelength: float
    order: int
    blockage: int
    wedge_rule: int


class Frame(NamedTuple):
    """Movers of a frame and the height of the highest [m], their placed facets, the chains that run over them, and the
    slot of the UE's own body or -1."""

    movers: np.ndarray
    top: float
    placed: np.ndarray
    chains: np.ndarray
    begin: np.ndarray
    own: int


@inlined
def pieces_of(world, frame, f):  # type: ignore[no-untyped-def]
    """Slot of the mover whose facet this is (-1 for what stands still, or no facet), and its pieces in that tree."""
    if f < 0:
        return -1, (0, 0)
    if f < world.still_facets:
        return -1, (world.facets[f].first, world.facets[f].stop)
    facet = frame.placed[f - world.still_facets]
    offset = world.facets[frame.movers[facet.body].facet].first
    return facet.body, (facet.first - offset, facet.stop - offset)


@inlined
def leg_loss_db(world, frame, ax, ay, az, bx, by, bz, before, after):  # type: ignore[no-untyped-def]
    """Loss of the straight leg from a to b, which lie on the facets `before` and `after` (-1 for none) [dB].

    Infinite where it is hidden. What stands still hides, and so do the UE's own body and the movers off which the path
    bounces at the ends of the leg; only the facets at the ends do not. Every other mover takes away what the blockage
    model says.
    """
    first, own_1 = pieces_of(world, frame, before)
    second, own_2 = pieces_of(world, frame, after)
    nothing = (0, 0)
    still_1, still_2 = own_1 if first < 0 else nothing, own_2 if second < 0 else nothing
    if hides(world.nodes, world.triangles, 0, world.still_nodes, ax, ay, az, bx, by, bz, still_1, still_2):
        return np.inf
    loss = 0.0
    margin = 0.0
    if world.blockage == 0:
        if min(az, bz) > frame.top:
            return loss
    else:
        length = math.sqrt((bx - ax) ** 2 + (by - ay) ** 2 + (bz - az) ** 2)
        margin = reach_m(length, world.wavelength) if world.blockage == 1 else np.inf  # model B has a long tail
    for a in range(frame.movers.shape[0]):
        mover = frame.movers[a]
        if mover.shape < 0 or not near_mover(mover, ax, ay, az, bx, by, bz, margin):
            continue
        if world.blockage == 0 or a == frame.own or a in (first, second):
            moving_1, moving_2 = own_1 if a == first else nothing, own_2 if a == second else nothing
            if mover_hides(
                world.bodies, world.nodes, world.triangles, mover, ax, ay, az, bx, by, bz, moving_1, moving_2
            ):
                return np.inf
        else:
            loss += blockage_db(world, mover, ax, ay, az, bx, by, bz)
    return loss


@leaf
def blockage_db(world, mover, ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    """Loss past a mover, which counts as the box around its shape [dB]."""
    body = world.bodies[mover.shape]
    box = (mover.cx, mover.cy, mover.cz, body.length, body.width, body.height)
    if world.blockage == 1:
        return box_blockage_db(box, mover.cosine, mover.sine, ax, ay, az, bx, by, bz, world.wavelength)
    return blockage_model_b_db(box, mover.cosine, mover.sine, ax, ay, az, bx, by, bz, world.wavelength)
