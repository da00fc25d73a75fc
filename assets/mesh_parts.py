"""The pieces that the bodies of actors are made of: closed solids, and patches that lie on them.

Frame: x forward, y left, z up, metres. Every piece is of one surface, and its faces wind outwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import trimesh

__all__ = [
    "LIFT_M",
    "Part",
    "Width",
    "arch",
    "box",
    "end_pane",
    "hull",
    "line",
    "loft",
    "mirrored",
    "patch",
    "side_pane",
    "side_patch",
    "tube",
    "wheel",
    "within",
]

LIFT_M = 0.008
"""How far a patch floats before the surface that it lies on, so that a ray meets it first."""

Point = Sequence[float]
Width = Callable[[float], float]
"""Half-width [m] of a body at a height [m]."""


@dataclass(frozen=True)
class Part:
    """A solid or a patch of one surface."""

    surface: str
    vertex_m: np.ndarray
    face: np.ndarray


def loft(surface: str, *rings: Sequence[Point], endless: bool = False) -> Part:
    """The closed solid between rings of equally many points; `endless` joins the last ring to the first."""
    ring = np.array(rings, dtype=np.float64)
    count, sides, _ = ring.shape
    point = ring.reshape(-1, 3)
    face = []
    for a in range(count if endless else count - 1):
        for i in range(sides):
            b, j = (a + 1) % count, (i + 1) % sides
            (p, q), (s, r) = (a * sides + i, a * sides + j), (b * sides + i, b * sides + j)
            # The shorter diagonal, so that mirror images of bent quadrilaterals bend alike.
            straight = np.linalg.norm(point[p] - point[r]) <= np.linalg.norm(point[q] - point[s]) + 1e-9
            face += [(p, q, r), (p, r, s)] if straight else [(q, r, s), (q, s, p)]
    if not endless:
        end = (count - 1) * sides
        face += [(0, i + 1, i) for i in range(1, sides - 1)]
        face += [(end, end + i, end + i + 1) for i in range(1, sides - 1)]
    solid = trimesh.Trimesh(point, face, process=False)
    return Part(surface, solid.vertices, solid.faces if solid.volume > 0 else solid.faces[:, ::-1])


def patch(surface: str, corners: Sequence[Point], outward: Point, lift_m: float = LIFT_M) -> Part:
    """A convex plane polygon, lifted off the surface on which its corners lie, that faces the side of `outward`."""
    corner = np.array(corners, dtype=np.float64)
    if np.cross(corner[1] - corner[0], corner[2] - corner[0]) @ outward < 0:
        corner = corner[::-1]
    normal = np.cross(corner[1] - corner[0], corner[2] - corner[0])
    face = np.array([(0, i, i + 1) for i in range(1, len(corner) - 1)])
    return Part(surface, corner + lift_m * normal / np.linalg.norm(normal), face)


def box(surface: str, low: Point, high: Point) -> Part:
    """An upright box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    return loft(surface, *([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)] for x in (x0, x1)))


def tube(surface: str, sides: int, *stations: tuple[Point, float, float], reference: Point = (0, 1, 0)) -> Part:
    """A limb or a rod through stations: point, half-width along `reference`, half-width across it and the rod."""
    centre = np.array([point for point, _, _ in stations], dtype=np.float64)
    step = np.diff(centre, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    along = np.vstack([step[:1], step[:-1] + step[1:], step[-1:]])
    turn = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    rings = []
    for middle, direction, (_, wide_m, deep_m) in zip(centre, along, stations, strict=True):
        across = np.cross(direction, reference)
        across /= np.linalg.norm(across)
        sideways = np.cross(across, direction / np.linalg.norm(direction))
        rings.append(middle + wide_m * np.outer(np.cos(turn), sideways) + deep_m * np.outer(np.sin(turn), across))
    return loft(surface, *rings)


def disc(x: float, y: float, z: float, radius_m: float, sides: int, half: bool = False) -> list[Point]:
    """A polygon in the plane of y, with a corner at its lowest point; or its upper half."""
    turn = np.linspace(0, np.pi, sides) if half else 2 * np.pi * np.arange(sides) / sides - np.pi / 2
    return [(x + radius_m * np.cos(a), y, z + radius_m * np.sin(a)) for a in turn]


def mirrored(parts: Sequence[Part]) -> list[Part]:
    """The parts and their images on the other side of the plane y = 0."""
    return [*parts, *(Part(part.surface, part.vertex_m * (1, -1, 1), part.face[:, ::-1]) for part in parts)]


def within(quad: Sequence[Point], u: tuple[float, float], v: tuple[float, float]) -> list[Point]:
    """The part of a quadrilateral between shares `u` of its first side and `v` of its second."""
    a, b, c, d = (np.array(point, dtype=np.float64) for point in quad)
    shares = ((u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1]))
    return [tuple((a + s * (b - a)) * (1 - t) + (d + s * (c - d)) * t) for s, t in shares]


def hull(surface: str, *sections: tuple[float, float, Sequence[tuple[float, float]]]) -> Part:
    """A body through cross sections: x, a factor to all widths, and (half-width, height) from the sill to the roof."""
    rings = []
    for x, factor, outline in sections:
        left = [(x, factor * y, z) for y, z in outline]
        rings.append([*left, *((x, -y, z) for x, y, z in reversed(left))])
    return loft(surface, *rings)


def side_patch(surface: str, outline: Sequence[tuple[float, float]], width: Width, lift_m: float = LIFT_M) -> Part:
    """A patch on the left flank, from its outline in x and z."""
    return patch(surface, [(x, width(z), z) for x, z in outline], (0, 1, 0), lift_m)


def side_pane(surface: str, x: tuple[float, float], z: tuple[float, float], width: Width) -> Part:
    """A rectangle on the left flank."""
    return side_patch(surface, [(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])], width)


def end_pane(surface: str, x: float, y: tuple[float, float], z: tuple[float, float], lift_m: float = LIFT_M) -> Part:
    """A rectangle on the upright front (x > 0) or back."""
    return patch(surface, [(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])], (x, 0, 0), lift_m)


def wheel(x: float, outer_m: float, width_m: float, radius_m: float, sides: int = 10) -> list[Part]:
    """A wheel on the left with a rim of metal."""
    tyre = loft("tyre", *(disc(x, y, radius_m, radius_m, sides) for y in (outer_m - width_m, outer_m)))
    return [tyre, patch("metal", disc(x, outer_m, radius_m, 0.6 * radius_m, 6), (0, 1, 0))]


def arch(x: float, radius_m: float, height_m: float, width: Width) -> Part:
    """The dark gap around a wheel, on the left flank."""
    return side_patch("trim", [(px, pz) for px, _, pz in disc(x, 0, height_m, radius_m, 6, half=True)], width)


def line(z0: float, y0: float, z1: float, y1: float) -> Width:
    """The half-width that goes straight from y0 at z0 to y1 at z1."""
    return lambda z: y0 + (y1 - y0) * (z - z0) / (z1 - z0)
