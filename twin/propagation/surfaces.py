"""Bodies, facets and triangles in flat records, as the kernels read them.

The records of what stands still and of the shapes of movers lie in the same arrays. A kernel takes the arrays that it
reads and the number of a record; fields are plain numbers, so that a call costs little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twin.compiled import inlined, leaf
from twin.geometry.bvh import build_bvh, joined
from twin.geometry.facets import Body, Facets

__all__ = ["BODY", "FACET", "PIECE", "Surfaces", "facet_at", "height_over", "in_facet", "reaches_across", "surfaces_of"]

INSIDE = 1e-9
"""Barycentric margin of a point on a facet [1]: a point on the seam of two triangles belongs to the facet."""
CLEARANCE_M = 1e-6
"""What is nearer to a plane than this lies in it [m]."""


def _record(reals: str, integers: str) -> np.dtype:
    fields = [(name, np.float64) for name in reals.split()] + [(name, np.int64) for name in integers.split()]
    return np.dtype(fields)


FACET = _record("nx ny nz offset cx cy cz radius ex ey ez e0 e1 g0 g1", "side body first stop")
"""A facet: plane n . x = offset, a circle around it (c, radius) [m]; 1 where only the side of the normal can be lit, -1
where only the other, 0 both; a rectangle around it, e0 <= e . x <= e1 and g0 <= (n x e) . x <= g1 [m]; its body (or
mover); its pieces first .. stop - 1 (of a placed facet: those of the shape, in its own frame)."""
PIECE = _record("x y z ux uy uz vx vy vz px py pz qx qy qz", "")
"""A triangle of a facet: a corner, its edges u and v from there [m], and the vectors p and q of its plane [1/m] with
which the barycentric coordinates of a point are (point - corner) . p and (point - corner) . q."""
BODY = _record("cx cy cz radius length width height", "first stop root end convex closed holds_bs material")
"""A body: a sphere and a box around it [m], its facets first .. stop - 1, its tree root .. end - 1, whether no path
bounces from it to itself, whether it is closed, whether the base station is inside, and its material."""


@dataclass(frozen=True)
class Surfaces:
    """Records of the static bodies, which share one tree, and after them of the shapes of movers, with a tree each.

    `still` and `still_facets` count the static ones; the static tree has the nodes 0 .. `still_nodes` - 1. `parts` are
    the facets of each body."""

    body: np.ndarray
    facet: np.ndarray
    piece: np.ndarray
    node: np.ndarray
    triangle: np.ndarray
    still: int
    still_facets: int
    still_nodes: int
    parts: tuple[Facets, ...]

    @cached_property
    def facet_of_piece(self) -> np.ndarray:
        """The facet of each static piece."""
        facet = self.facet[: self.still_facets]
        return np.repeat(np.arange(len(facet)), facet["stop"] - facet["first"])


def surfaces_of(bodies: Sequence[Body], shapes: Sequence[Body], bs_position_m: np.ndarray) -> Surfaces:
    """The records of static bodies and of shapes, as the base station sees them."""
    everything = (*bodies, *shapes)
    closed = [body.closed for body in everything]
    within = [shut and body.holds(bs_position_m) for body, shut in zip(bodies, closed, strict=False)]
    within += [False] * len(shapes)
    sides = [_lit_side(body, shut, inside) for body, shut, inside in zip(everything, closed, within, strict=True)]
    parts = tuple(body.facets for body in everything)
    triangle_m = [body.triangle_m[part.triangle] for body, part in zip(everything, parts, strict=True)]
    still_m = np.concatenate([np.empty((0, 3, 3)), *triangle_m[: len(bodies)]])
    forest, roots = joined([build_bvh(still_m), *(build_bvh(part) for part in triangle_m[len(bodies) :])])

    body = np.zeros(len(everything), BODY)
    for number, (this, part) in enumerate(zip(everything, parts, strict=True)):
        center = 0.5 * (this.vertex_m.min(axis=0) + this.vertex_m.max(axis=0))
        tree = max(0, number - len(bodies) + 1)
        body[number] = (
            *center,
            0.5 * np.linalg.norm(np.ptp(this.vertex_m, axis=0)),
            *np.ptp(this.vertex_m, axis=0),
            0,
            len(part.normal),
            roots[tree],
            roots[tree + 1],
            sides[number] == 1 and _is_convex(this, part),
            closed[number],
            within[number],
            number,
        )
    body["stop"] = np.cumsum(body["stop"])
    body["first"][1:] = body["stop"][:-1]
    piece = _piece_records(np.concatenate([still_m, *triangle_m[len(bodies) :]]))
    return Surfaces(
        body=body,
        facet=_facet_records(parts, sides, piece),
        piece=piece,
        node=forest.node,
        triangle=forest.triangle,
        still=len(bodies),
        still_facets=sum(len(part.normal) for part in parts[: len(bodies)]),
        still_nodes=int(roots[1]),
        parts=parts,
    )


def _lit_side(body: Body, closed: bool, holds_bs: bool) -> int:
    """1 where only the side of the normals can be lit, -1 only the other, 0 both: a mesh with holes has no inside."""
    if not closed:
        return 0
    outward = 1 if body.volume_m3 > 0 else -1
    return -outward if holds_bs else outward


def _facet_records(parts: Sequence[Facets], sides: Sequence[int], piece: np.ndarray) -> np.ndarray:
    facet = np.zeros(sum(len(part.normal) for part in parts), FACET)
    first, pieces = 0, 0
    for number, (part, side) in enumerate(zip(parts, sides, strict=True)):
        rows = facet[first : first + len(part.normal)]
        for axis, name in enumerate("xyz"):
            rows[f"n{name}"], rows[f"c{name}"] = part.normal[:, axis], part.center_m[:, axis]
        rows["offset"], rows["radius"], rows["side"], rows["body"] = part.offset_m, part.radius_m, side, number
        rows["first"], rows["stop"] = pieces + part.start[:-1], pieces + part.start[1:]
        _set_rectangles(rows, piece[pieces : pieces + len(part.triangle)], part.start[:-1])
        first, pieces = first + len(part.normal), pieces + len(part.triangle)
    return facet


def _set_rectangles(facet: np.ndarray, piece: np.ndarray, start: np.ndarray) -> None:
    """The smallest rectangle around each facet with a side along one of the edges of its largest triangle."""
    if not len(facet):
        return
    corner, u, v = (np.stack([piece[f"{name}{axis}"] for axis in "xyz"], -1) for name in ("", "u", "v"))
    normal = np.stack([facet[f"n{axis}"] for axis in "xyz"], -1)
    number = np.repeat(np.arange(len(facet)), np.diff(np.append(start, len(piece))))
    area = np.full(len(facet), np.inf)
    for edge in (u, v, v - u):
        e = edge[start] / np.linalg.norm(edge[start], axis=1)[:, None]
        spans = []
        for axis in (e, np.cross(normal, e)):
            along = np.stack([(point * axis[number]).sum(axis=1) for point in (corner, corner + u, corner + v)])
            spans += [np.minimum.reduceat(along.min(axis=0), start), np.maximum.reduceat(along.max(axis=0), start)]
        size = (spans[1] - spans[0]) * (spans[3] - spans[2])
        better = size < area
        area[better] = size[better]
        for name, values in zip(("ex", "ey", "ez", "e0", "e1", "g0", "g1"), (*e.T, *spans), strict=True):
            facet[name][better] = values[better]


def _piece_records(triangle_m: np.ndarray) -> np.ndarray:
    u, v = triangle_m[:, 1] - triangle_m[:, 0], triangle_m[:, 2] - triangle_m[:, 0]
    uu, uv, vv = ((a * b).sum(axis=1)[:, None] for a, b in ((u, u), (u, v), (v, v)))
    scale = 1.0 / (uu * vv - uv**2)
    p, q = scale * (vv * u - uv * v), scale * (uu * v - uv * u)
    columns = np.concatenate([triangle_m[:, 0], u, v, p, q], axis=1)
    piece = np.zeros(len(triangle_m), PIECE)
    for number, name in enumerate(PIECE.names or ()):
        piece[name] = columns[:, number]
    return piece


def _is_convex(body: Body, facets: Facets) -> bool:
    """Whether no point lies in front of any facet, so that no path bounces from the body to itself."""
    if len(facets.normal) * len(body.vertex_m) > 1_000_000:
        return False
    height = facets.normal @ body.vertex_m.T - facets.offset_m[:, None]
    return bool((height <= 1e-4).all())


@inlined
def facet_at(facets, placed, still, f):  # type: ignore[no-untyped-def]
    """Record of facet f of a frame: one of those that stand still, or a placed one after them."""
    return facets[f] if f < still else placed[f - still]


@leaf
def height_over(facet, x, y, z):  # type: ignore[no-untyped-def]
    """Signed height over the plane of a facet record [m]."""
    return facet.nx * x + facet.ny * y + facet.nz * z - facet.offset


@leaf
def can_light(facet, height):  # type: ignore[no-untyped-def]
    """Whether a source at that height lights a side of the facet that can be lit."""
    return (height > CLEARANCE_M and facet.side >= 0) or (height < -CLEARANCE_M and facet.side <= 0)


@leaf
def in_facet(pieces, first, stop, x, y, z):  # type: ignore[no-untyped-def]
    """Whether a point in the plane of the pieces lies on one of them."""
    for k in range(first, stop):
        piece = pieces[k]
        px, py, pz = x - piece.x, y - piece.y, z - piece.z
        u = px * piece.px + py * piece.py + pz * piece.pz
        if u < -INSIDE or u > 1.0 + INSIDE:
            continue
        v = px * piece.qx + py * piece.qy + pz * piece.qz
        if v >= -INSIDE and u + v <= 1.0 + INSIDE:
            return True
    return False


@leaf
def reaches_across(pieces, first, stop, nx, ny, nz, offset, sign):  # type: ignore[no-untyped-def]
    """Whether any of the pieces lies on the side `sign` of the plane n . x = offset."""
    for k in range(first, stop):
        piece = pieces[k]
        height = sign * (nx * piece.x + ny * piece.y + nz * piece.z - offset)
        if height > CLEARANCE_M:
            return True
        if height + sign * (nx * piece.ux + ny * piece.uy + nz * piece.uz) > CLEARANCE_M:
            return True
        if height + sign * (nx * piece.vx + ny * piece.vy + nz * piece.vz) > CLEARANCE_M:
            return True
    return False
