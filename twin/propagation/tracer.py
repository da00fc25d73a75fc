"""The tracer: paths from a base station to receivers, by images, in numba.

What stands still is prepared once: facets, a hierarchy for occlusion, wedges, and the chains of facets that can mirror
the base station. In each frame the movers' facets are placed and the chains that run over them are added; each
receiver then keeps the chains whose bounces lie on their facets and whose legs nothing hides. Geometry and phases are
formed in float64. Every job writes its own rows, so results are the same for any number of threads.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba
import numpy as np
from jaxtyping import Bool, Float
from numba import njit

from twin.compiled import leaf
from twin.errors import UserError
from twin.geometry.facets import Body
from twin.propagation.bounces import add_direct, add_reflected, bounce_points
from twin.propagation.diffraction import HOLM, SIONNA
from twin.propagation.edges import WEDGE, add_diffracted, wedge_records
from twin.propagation.enclosure import are_shut_in, is_enclosed
from twin.propagation.frustums import frustums_of, in_frustum, static_frustums
from twin.propagation.images import LAUNCHED_RAYS, moving_chains, static_chains
from twin.propagation.materials import RadioMaterial
from twin.propagation.movers import Movers, place, top_m
from twin.propagation.paths import DEFAULT_MAX_PATHS, SPEED_OF_LIGHT_MPS, Paths
from twin.propagation.rows import Rows, empty_rows, paths_of
from twin.propagation.scattering import SPOT, add_scattered, lit_spots
from twin.propagation.surfaces import surfaces_of
from twin.propagation.world import BLOCKAGE, SUBSTANCE, Frame, World

__all__ = ["DEFAULT_ORDER", "Tracer", "checked_limits"]

DEFAULT_ORDER = 2
"""Specular bounces at most."""
LARGEST_ORDER = 3
WEDGE_RULES = {"holm": HOLM, "sionna": SIONNA}
PARTS_A_THREAD = 8
"""Pieces into which the jobs are cut for each thread, so that threads end together."""
RECEIVERS_A_JOB = 64
"""Receivers of one frame that share what is prepared for it."""


@leaf
def _add_block(  # type: ignore[no-untyped-def]
    rows, world, frame, frustums, ue, velocity, first_link, low, x, y, z, first, last, level, points, bounced, inside,
    field, transfer,
):  # fmt: skip
    """Add the paths along some chains of one order to a block of receivers."""
    known = world.tree.shape[0]
    for number in range(first, last):
        frustum = world.tree_frustums[number] if number < known else frustums[number - known]
        if in_frustum(frustum, level, x, y, z, inside) == 0:
            continue
        for k in range(x.shape[0]):
            if inside[k] and bounce_points(
                world.tree, frame.chains, number, level, world.facets, world.pieces, frame.movers, frame.placed,
                world.still_facets, x[k], y[k], z[k], points, bounced,
            ):  # fmt: skip
                r = low + k
                add_reflected(
                    rows, first_link + r, world, frame, ue[r], velocity[r], level, points, bounced, field, transfer
                )


@njit(cache=True, nogil=True, error_model="numpy")
def _trace_jobs(world, shape, pose, mover_velocity, own, ue, velocity, rows, first, last):  # type: ignore[no-untyped-def]
    """Fill the rows of some jobs; a job is a block of the receivers of a frame, link t * receivers + r."""
    receivers = ue.shape[1]
    blocks = (receivers + RECEIVERS_A_JOB - 1) // RECEIVERS_A_JOB
    order, known = world.order, world.tree.shape[0]
    points, bounced = np.empty((order + 1, 3)), np.empty(order + 1, np.int64)
    field, transfer = np.empty((2, 3), np.complex128), np.empty((2, 2), np.complex128)
    inside = np.empty(RECEIVERS_A_JOB, np.uint8)
    for job in range(first, last):
        t, block = job // blocks, job % blocks
        movers, placed = place(world.bodies, world.facets, world.still_bodies, shape[t], pose[t], mover_velocity[t])
        chains, begin = moving_chains(
            world.tree, world.tree_begin, world.bodies, world.facets, world.pieces, movers, placed, world.still_facets,
            world.still_bodies, world.bs[0], world.bs[1], world.bs[2], order, own,
        )  # fmt: skip
        frame = Frame(movers, top_m(world.bodies, movers), placed, chains, begin, own)
        low, high = block * RECEIVERS_A_JOB, min(receivers, (block + 1) * RECEIVERS_A_JOB)
        for r in range(low, high):
            add_direct(rows, t * receivers + r, world, frame, ue[t, r], velocity[t, r], field, transfer)
        x, y, z = ue[t, low:high, 0].copy(), ue[t, low:high, 1].copy(), ue[t, low:high, 2].copy()
        frustums = frustums_of(chains, begin, order, world.tree_frustums, world.facets, placed, world.still_facets)
        for level in range(order):
            for part in range(2):
                first_chain = world.tree_begin[level] if part == 0 else known + begin[level]
                last_chain = world.tree_begin[level + 1] if part == 0 else known + begin[level + 1]
                _add_block(
                    rows, world, frame, frustums, ue[t], velocity[t], t * receivers, low, x, y, z, first_chain,
                    last_chain, level, points, bounced, inside, field, transfer,
                )  # fmt: skip
        for r in range(low, high):
            link, here = t * receivers + r, ue[t, r]
            for number in range(world.wedges.shape[0]):
                add_diffracted(rows, link, world, frame, world.wedges[number], here, velocity[t, r], field, transfer)
            for number in range(world.spots.shape[0]):
                add_scattered(rows, link, world, frame, world.spots[number], here, velocity[t, r], field, transfer)
            if not rows.clear[link] and is_enclosed(world, frame, here[0], here[1], here[2]):
                rows.enclosed[link], rows.number[link] = True, 0


class Tracer:
    """Paths from one base station in one static world, past whatever moves.

    Faces and edges that lie in one place (within `GRAZE_M`) count once: those of the body that comes first.

    Args:
        bodies: what stands still.
        bs_position_m: the base station's antenna.
        carrier_hz: carrier frequency.
        shapes: what movers can look like, each in its own frame: x along its heading, z up.
        order: specular bounces at most, 0 to 3, over static and moving facets in any mix.
        max_paths: P_max, strongest paths kept a link, by their power between isotropic antennas of both polarisations.
        diffraction: whether single edges of static bodies diffract, in the shadow and out of it.
        blockage: how paths fade behind movers: "none" (they vanish), "double_knife_edge" (ITU-R P.526) or "model_b"
            (3GPP TR 38.901, clause 7.6.4.2).
        specular_loss: whether scattering takes sqrt(1 - S^2) off reflections.
        diffuse: whether what it takes comes back as first-order diffuse paths, off what stands still. They are many
            and weak, up to `scattering.SCATTERING_RAYS`: with a small `max_paths` most of their power is cut off.
        rays: launched from the base station when there are too many facets to try every chain.
        wedge_rule: heuristic for wedges that are no conductors, "holm", or "sionna" for comparisons with that program.

    Raises:
        UserError: an order or a blockage model that there is not, a carrier or a position that is no number or of
            another shape.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        bs_position_m: Float[np.ndarray, "3"],
        carrier_hz: float,
        shapes: Sequence[Body] = (),
        order: int = DEFAULT_ORDER,
        max_paths: int = DEFAULT_MAX_PATHS,
        *,
        diffraction: bool = False,
        blockage: str = "none",
        specular_loss: bool = False,
        diffuse: bool = False,
        rays: int = LAUNCHED_RAYS,
        wedge_rule: str = "holm",
    ) -> None:
        order, max_paths = checked_limits(order, max_paths)
        if blockage not in BLOCKAGE:
            raise UserError(
                f"there is no blockage model {blockage!r}", "blockage", f"choose from {', '.join(BLOCKAGE)}"
            )
        if wedge_rule not in WEDGE_RULES:
            raise UserError(f"there is no rule {wedge_rule!r}", "wedge_rule", f"choose from {', '.join(WEDGE_RULES)}")
        self.bs_m = _finite("the base station", bs_position_m)
        if self.bs_m.shape != (3,):
            raise UserError(f"a position of shape {self.bs_m.shape}", "bs_position_m", "give x, y and z")
        if not (math.isfinite(carrier_hz) and carrier_hz > 0.0):
            raise UserError(f"{carrier_hz} Hz is no carrier", "carrier", "give a positive frequency")
        self.bodies, self.shapes = tuple(bodies), tuple(shapes)
        self.order, self.max_paths, self.blockage = order, max_paths, blockage
        self.wavelength_m = SPEED_OF_LIGHT_MPS / carrier_hz
        surfaces = surfaces_of(self.bodies, self.shapes, self.bs_m)
        tree, tree_begin = static_chains(surfaces, self.bs_m, order, rays)
        self.world = World(
            bodies=surfaces.body,
            facets=surfaces.facet,
            pieces=surfaces.piece,
            nodes=surfaces.node,
            triangles=surfaces.triangle,
            substances=_substances([body.material for body in (*bodies, *shapes)], carrier_hz, specular_loss),
            wedges=wedge_records(self.bodies, surfaces, self.bs_m) if diffraction else np.zeros(0, WEDGE),
            spots=lit_spots(surfaces, self.bs_m) if diffuse else np.zeros(0, SPOT),
            owner=surfaces.facet["body"][surfaces.facet_of_piece],
            tree=tree,
            tree_begin=tree_begin,
            tree_frustums=static_frustums(tree, tree_begin, order, surfaces.facet, surfaces.still_facets),
            bs=self.bs_m,
            still_facets=surfaces.still_facets,
            still_bodies=surfaces.still,
            still_nodes=surfaces.still_nodes,
            wavelength=self.wavelength_m,
            order=order,
            blockage=BLOCKAGE[blockage],
            wedge_rule=WEDGE_RULES[wedge_rule],
        )

    def paths(
        self,
        ue_position_m: Float[np.ndarray, "*link 3"],
        ue_velocity_mps: Float[np.ndarray, "*link 3"] | None = None,
        movers: Movers | None = None,
        ue_mover: int | None = None,
    ) -> Paths:
        """Paths of every frame and receiver, between isotropic antennas of vertical polarisation.

        Args:
            ue_position_m: receivers' antennas, (T, 3) or (T, R, 3).
            ue_velocity_mps: their velocities, for the Doppler shift.
            movers: what moves, in the same T frames.
            ue_mover: slot of the UE's own body among the movers. It neither hides the direct path nor reflects to its
                own antenna, but hides what comes from below.

        Raises:
            UserError: a position that is no number, or that of the base station, or arrays of other shapes; movers of
            other frames.
        """
        rows = self.rows(ue_position_m, ue_velocity_mps, movers, ue_mover)
        found = paths_of(rows, np.shape(ue_position_m)[:-1], self.wavelength_m)
        return replace(found, blockage_model=self.blockage)

    def shut_in(self, point_m: Float[np.ndarray, "point 3"]) -> Bool[np.ndarray, "point"]:
        """Whether there are surfaces of standing bodies on all sides of some points.

        In houses that are not closed, of which `Paths.enclosed` knows nothing, it is so; but also in rooms and deep
        yards.
        """
        world, point_m = self.world, _finite("a point", point_m)
        return are_shut_in(world.nodes, world.triangles, 0, world.still_nodes, point_m)

    def rows(
        self,
        ue_position_m: Float[np.ndarray, "*link 3"],
        ue_velocity_mps: Float[np.ndarray, "*link 3"] | None = None,
        movers: Movers | None = None,
        ue_mover: int | None = None,
    ) -> Rows:
        """What `paths` makes paths of, as the kernel leaves it."""
        ue = _finite("a receiver", ue_position_m)
        if ue.ndim not in (2, 3) or ue.shape[-1] != 3:
            raise UserError(f"positions of shape {ue.shape}", "ue_position_m", "give (T, 3) or (T, R, 3)")
        if (np.linalg.norm(ue - self.bs_m, axis=-1) < 1e-3).any():
            raise UserError("a receiver stands where the base station does", "ue_position_m", "move one of them")
        frames = ue.shape[0]
        receivers = ue.shape[1] if ue.ndim == 3 else 1
        velocity = np.zeros_like(ue) if ue_velocity_mps is None else _finite("a velocity", ue_velocity_mps)
        if velocity.shape != ue.shape:
            what = f"velocities of shape {velocity.shape} for positions of shape {ue.shape}"
            raise UserError(what, "ue_velocity_mps", "give one for each")
        ue = ue.reshape(frames, receivers, 3)
        movers = movers or Movers.none(frames)
        _check_movers(movers, frames, len(self.shapes), ue_mover)
        rows = empty_rows(frames * ue.shape[1], self.max_paths, max(self.order, 1))
        arguments = (
            self.world,
            np.array(movers.shape, np.int64),
            np.array(movers.pose, np.float64),
            np.array(movers.velocity_mps, np.float64),
            -1 if ue_mover is None else ue_mover,
            ue,
            velocity.reshape(ue.shape),
            rows,
        )
        jobs = frames * -(-ue.shape[1] // RECEIVERS_A_JOB)
        threads = min(numba.get_num_threads(), jobs)
        if threads <= 1:
            _trace_jobs(*arguments, 0, jobs)
            return rows
        cuts = np.linspace(0, jobs, PARTS_A_THREAD * threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda first, last: _trace_jobs(*arguments, first, last), cuts[:-1], cuts[1:]))
        return rows


def checked_limits(order: int, max_paths: int) -> tuple[int, int]:
    """Order and P_max, as whole numbers.

    Raises:
        UserError: one of them is out of range, or not whole.
    """
    if order not in range(LARGEST_ORDER + 1):
        raise UserError(f"{order} bounces cannot be traced", "order", f"give 0 to {LARGEST_ORDER}")
    if not 1 <= max_paths < math.inf or max_paths != int(max_paths):
        raise UserError(f"{max_paths} paths cannot be kept", "max_paths", "give 1 or more")
    return int(order), int(max_paths)


def _finite(what: str, values: np.ndarray) -> np.ndarray:
    copy = np.array(values, dtype=np.float64, order="C")
    if not np.isfinite(copy).all():
        raise UserError(f"{what} has coordinates that are no finite numbers", "position", "give metres")
    return copy


def _check_movers(movers: Movers, frames: int, shapes: int, ue_mover: int | None) -> None:
    """Movers are of these frames and shapes, and each that is there has a place and a velocity."""
    count = movers.shape.shape[1] if movers.shape.ndim == 2 else -1
    if movers.shape.shape != (frames, count):
        raise UserError(f"movers of shape {movers.shape.shape}", "movers", f"give {frames} frames, as of receivers")
    for name, array, width in (("pose", movers.pose, 4), ("velocity_mps", movers.velocity_mps, 3)):
        if array.shape != (frames, count, width):
            raise UserError(f"{name} has the shape {array.shape}", "movers", f"give {(frames, count, width)}")
        if not np.isfinite(array[movers.shape >= 0]).all():
            raise UserError(
                f"{name} of a mover that is there is no finite number", "movers", "give numbers, or shape -1"
            )
    if count and movers.shape.max() >= shapes:
        raise UserError(f"there is no shape {movers.shape.max()}", "movers", "give the tracer that shape")
    if ue_mover is not None and not 0 <= ue_mover < count:
        raise UserError(
            f"there is no mover {ue_mover}", "ue_mover", f"give 0 to {count - 1}" if count else "leave it out"
        )


def _substances(materials: Sequence[RadioMaterial], carrier_hz: float, specular_loss: bool) -> np.ndarray:
    records = np.zeros(len(materials), SUBSTANCE)
    for record, material in zip(records, materials, strict=True):
        eta, scatter = material.permittivity(carrier_hz), material.scattering_coefficient
        record["eta_re"], record["eta_im"], record["thickness"] = eta.real, eta.imag, material.thickness_m
        record["share"] = math.sqrt(1.0 - scatter**2) if specular_loss else 1.0
        record["roughness"], record["scatter"] = material.roughness_m, scatter
    return records
