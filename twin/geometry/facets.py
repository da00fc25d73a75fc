"""Facets and wedges of a triangle mesh: coplanar neighbours merged once, and the edges where facets meet."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from twin.errors import UserError
from twin.propagation.materials import RadioMaterial

__all__ = ["COPLANAR_M", "Body", "Facets", "Wedges", "facets_of", "is_closed", "wedges_of"]

COPLANAR_M = 5e-5
"""Neighbours belong to one facet when none of their corners is further than this from its plane [m]."""
WELD_M = 1e-6
"""Corners nearer than this are one [m]."""
SMALLEST_AREA_M2 = 1e-10
"""Triangles below this area are degenerate: they reflect nothing, and are dropped [m^2]."""
SHARPEST_STRAIGHT_RAD = 1e-3
"""Edges that bend less than this are no wedges [rad]."""


@dataclass(frozen=True, eq=False)
class Body:
    """A triangle mesh by itself: a building, the ground, or the shape of a vehicle in its own frame.

    Attributes:
        name: unique among its like.
        vertex_m: corners.
        face: indices of the corners of each triangle.
        material: what all of it is made of.

    Raises:
        UserError: no triangles, corners that are not numbers, indices beyond the corners.
    """

    name: str
    vertex_m: Float[np.ndarray, "vertex 3"]
    face: Int[np.ndarray, "triangle 3"]
    material: RadioMaterial

    def __post_init__(self) -> None:
        if len(self.face) == 0:
            raise UserError("holds no triangles", self.name, "give a mesh with faces")
        if not np.isfinite(self.vertex_m).all():
            raise UserError("has corners that are not finite numbers", self.name, "mend the mesh")
        if self.face.min() < 0 or self.face.max() >= len(self.vertex_m):
            raise UserError("has faces whose corners do not exist", self.name, "mend the mesh")

    @property
    def triangle_m(self) -> Float[np.ndarray, "triangle 3 3"]:
        """Corners of each triangle."""
        return self.vertex_m[self.face]

    @property
    def volume_m3(self) -> float:
        """Signed volume within: positive where the triangles of a closed mesh turn outwards."""
        a, b, c = np.moveaxis(self.triangle_m - self.vertex_m.mean(axis=0), 1, 0)
        return float((a * np.cross(b, c)).sum() / 6.0)

    @cached_property
    def facets(self) -> "Facets":
        """Its planar pieces, see `facets_of`."""
        return facets_of(self)

    @cached_property
    def wedges(self) -> "Wedges":
        """Its edges, see `wedges_of`."""
        return wedges_of(self, self.facets)

    @cached_property
    def closed(self) -> bool:
        """Whether it is the surface of a solid, see `is_closed`."""
        return is_closed(self)

    def holds(self, point_m: Float[np.ndarray, "3"]) -> bool:
        """Whether the (closed) surface winds around a point (van Oosterom and Strackee, 1983)."""
        a, b, c = np.moveaxis(self.triangle_m - point_m, 1, 0)
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        volume = (a * np.cross(b, c)).sum(axis=1)
        rest = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        return bool(abs(np.arctan2(volume, rest).sum()) > math.pi)


@dataclass(frozen=True)
class Facets:
    """Planar pieces of a body, largest triangle first in each.

    Attributes:
        normal: unit normal of each, by the winding of its largest triangle.
        offset_m: n . x of the points of its plane.
        center_m, radius_m: a circle around it.
        area_m2: its area.
        start: first of its triangles in `triangle`; one more entry at the end.
        triangle: indices of the body's triangles, facet by facet. Degenerate triangles are in none.
        of_triangle: facet of each of the body's triangles, -1 for degenerate ones.
    """

    normal: Float[np.ndarray, "facet 3"]
    offset_m: Float[np.ndarray, "facet"]
    center_m: Float[np.ndarray, "facet 3"]
    radius_m: Float[np.ndarray, "facet"]
    area_m2: Float[np.ndarray, "facet"]
    start: Int[np.ndarray, "start"]
    triangle: Int[np.ndarray, "piece"]
    of_triangle: Int[np.ndarray, "triangle"]


@dataclass(frozen=True)
class Wedges:
    """Edges where two facets of a body meet at an angle, or where a facet ends (then `facet_n` is -1).

    The normals point out of the wedge, whatever the winding: its interior angle is below 180 degrees. Pieces of one
    straight edge between the same facets are one wedge.

    Attributes:
        origin_m, direction, length_m: the edge.
        facet_0, facet_n: facets that meet there.
        normal_0, normal_n: their normals, out of the wedge; of a free edge the two sides of the facet.
    """

    origin_m: Float[np.ndarray, "wedge 3"]
    direction: Float[np.ndarray, "wedge 3"]
    length_m: Float[np.ndarray, "wedge"]
    facet_0: Int[np.ndarray, "wedge"]
    facet_n: Int[np.ndarray, "wedge"]
    normal_0: Float[np.ndarray, "wedge 3"]
    normal_n: Float[np.ndarray, "wedge 3"]


def _welded(body: Body) -> Int[np.ndarray, "triangle 3"]:
    """Faces whose equal corners have equal indices."""
    _, index = np.unique(np.round(body.vertex_m / WELD_M).astype(np.int64), axis=0, return_inverse=True)
    welded: np.ndarray = index.reshape(-1)[body.face]
    return welded


def _edges(face: Int[np.ndarray, "triangle 3"], kept: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """Triangles at each edge, which is named by its corners in ascending order."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number in np.flatnonzero(kept):
        a, b, c = (int(corner) for corner in face[number])
        for first, second in ((a, b), (b, c), (c, a)):
            if first != second:
                found[min(first, second), max(first, second)].append(int(number))
    return found


def is_closed(body: Body) -> bool:
    """Whether the mesh is the surface of a solid: every edge is walked once each way."""
    face = _welded(body)
    width = int(face.max()) + 1
    face = face[(face != np.roll(face, 1, axis=1)).all(axis=1)]
    directed = np.concatenate([face[:, [0, 1]], face[:, [1, 2]], face[:, [2, 0]]])
    there, back = directed @ [width, 1], directed @ [1, width]
    return len(np.unique(there)) == len(there) and bool(np.isin(there, back).all())


def facets_of(body: Body) -> Facets:
    """Merge coplanar neighbours (triangles that share an edge) into facets, grown from the largest triangles.

    Raises:
        UserError: no triangle has an area.
    """
    triangles, face = body.triangle_m, _welded(body)
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = 0.5 * np.linalg.norm(cross, axis=1)
    kept = area > SMALLEST_AREA_M2
    if not kept.any():
        raise UserError("has only triangles without area", body.name, "mend the mesh")
    neighbours: dict[int, list[int]] = defaultdict(list)
    for those in _edges(face, kept).values():
        for number in those:
            neighbours[number].extend(other for other in those if other != number)

    of_triangle = np.full(len(face), -1, np.int32)
    normals, offsets = [], []
    groups: list[list[int]] = []
    for seed in np.argsort(-area, kind="stable"):
        if not kept[seed] or of_triangle[seed] >= 0:
            continue
        normal = cross[seed] / (2.0 * area[seed])
        offset = float(normal @ triangles[seed, 0])
        group, waiting = [int(seed)], [int(seed)]
        of_triangle[seed] = len(groups)
        while waiting:
            for other in neighbours[waiting.pop()]:
                if of_triangle[other] < 0 and np.abs(triangles[other] @ normal - offset).max() <= COPLANAR_M:
                    of_triangle[other] = len(groups)
                    group.append(other)
                    waiting.append(other)
        normals.append(normal)
        offsets.append(offset)
        groups.append(group)

    corners = [triangles[group].reshape(-1, 3) for group in groups]
    center = np.array([0.5 * (points.min(axis=0) + points.max(axis=0)) for points in corners])
    reach = [np.linalg.norm(points - middle, axis=1).max() for points, middle in zip(corners, center, strict=True)]
    return Facets(
        normal=np.array(normals),
        offset_m=np.array(offsets),
        center_m=center,
        radius_m=np.array(reach),
        area_m2=np.array([area[group].sum() for group in groups]),
        start=np.cumsum([0] + [len(group) for group in groups]).astype(np.int32),
        triangle=np.concatenate([np.array(group, np.int32) for group in groups]),
        of_triangle=of_triangle,
    )


def wedges_of(body: Body, facets: Facets) -> Wedges:
    """Edges between two facets, and free edges of facets; an edge of more than two facets is none."""
    face, triangles = _welded(body), body.triangle_m
    place = {int(corner): point for corners, points in zip(face, triangles, strict=True)
             for corner, point in zip(corners, points, strict=True)}  # fmt: skip
    pieces: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray, int, int]]] = defaultdict(list)
    for (first, second), those in _edges(face, facets.of_triangle >= 0).items():
        if len(those) > 2:
            continue
        pair = [int(facets.of_triangle[number]) for number in those]
        if len(those) == 2 and pair[0] == pair[1]:
            continue
        order = np.argsort(pair)
        low, high = (those[order[0]], those[order[1]]) if len(those) == 2 else (those[0], -1)
        key = (int(facets.of_triangle[low]), -1 if high < 0 else int(facets.of_triangle[high]))
        pieces[key].append((place[first], place[second], low, high))

    rows = [row for key, those in sorted(pieces.items()) for row in _joined(key, those, triangles, facets)]

    def column(index: int, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
        return np.array([row[index] for row in rows], dtype).reshape(len(rows), *shape)

    return Wedges(
        origin_m=column(0, (3,)),
        direction=column(1, (3,)),
        length_m=column(2, ()),
        facet_0=column(3, (), np.int32),
        facet_n=column(4, (), np.int32),
        normal_0=column(5, (3,)),
        normal_n=column(6, (3,)),
    )


def _joined(
    key: tuple[int, int],
    pieces: list[tuple[np.ndarray, np.ndarray, int, int]],
    triangles: np.ndarray,
    facets: Facets,
) -> list[tuple]:
    """Wedges of one pair of facets: collinear pieces that touch become one."""
    lines: list[tuple[np.ndarray, np.ndarray, list[tuple[float, float]], int, int]] = []
    for start, end, low, high in sorted(pieces, key=lambda piece: -float(np.linalg.norm(piece[1] - piece[0]))):
        for origin, along, spans, _, _ in lines:
            both = np.stack([start, end]) - origin
            s = both @ along
            if np.linalg.norm(both - s[:, None] * along, axis=1).max() <= COPLANAR_M:
                spans.append((float(s.min()), float(s.max())))
                break
        else:
            length = float(np.linalg.norm(end - start))
            lines.append((start, (end - start) / length, [(0.0, length)], low, high))
    rows = []
    for origin, along, spans, low, high in lines:
        normal_0 = _away(facets.normal[key[0]], origin, triangles[high] if high >= 0 else None)
        normal_n = _away(facets.normal[key[1]], origin, triangles[low]) if high >= 0 else -normal_0
        if high >= 0 and np.arccos(np.clip(normal_0 @ normal_n, -1.0, 1.0)) < SHARPEST_STRAIGHT_RAD:
            continue
        for first, last in _merged(spans):
            rows.append((origin + first * along, along, last - first, key[0], key[1], normal_0, normal_n))
    return rows


def _away(normal: np.ndarray, origin: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """The normal of a face, turned away from the other face of the wedge."""
    if other is None:
        return normal
    return -normal if (other.mean(axis=0) - origin) @ normal > 0 else normal


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1] + COPLANAR_M:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined
