"""What buildings look like: rows of windows by storey and bay, in concrete, brick or a curtain of glass."""

import math

import numpy as np
from jaxtyping import Float, Int, UInt8

from twin.compiled import leaf
from twin.sensors.surfaces.noise import cell_noise, ripple, value_noise
from twin.sensors.surfaces.table import SURFACE_NAMES, SURFACES

__all__ = ["WALL", "facade", "walls_of"]

WALL = np.dtype(
    [(name, np.float64) for name in ("start", "width", "foot", "height", "nx", "ny", "r", "g", "b")]
    + [(name, np.int64) for name in ("style", "seed")]
)
"""A wall: where it starts along (-ny, nx), its width, foot and height [m], its normal, albedo and `style`, and the
number of its body, which its windows are drawn with."""
PUNCHED, RIBBON, CURTAIN, PLAIN = 0, 1, 2, 3
"""Styles: windows one by one, in bands, all of glass, none."""
UPRIGHT = 0.5
"""Largest z of the unit normal of a wall."""
SLIM_M = 2.0
STOREY_M, GROUND_STOREY_M, BAY_M = 3.3, 4.2, 3.1
_PLASTERS = ((0.46, 0.41, 0.33), (0.42, 0.41, 0.39), (0.58, 0.56, 0.52), (0.50, 0.33, 0.22), (0.34, 0.36, 0.39))
"""Albedos of what concrete is painted with."""
_PANE, _PANE_GLOSS = SURFACES["glass"].albedo, SURFACES["glass"].gloss
LIT_RGB = (0.075, 0.056, 0.032)
"""Radiance of a lit window by night."""
LIT_SHARE = 0.25


def walls_of(
    triangle_m: Float[np.ndarray, "triangle 3 3"],
    normal: Float[np.ndarray, "triangle 3"],
    surface: UInt8[np.ndarray, "triangle"],
    body: Int[np.ndarray, "triangle"],
) -> tuple[Int[np.ndarray, "triangle"], np.ndarray]:
    """Coplanar upright triangles of a body are a wall: the wall of each triangle (-1 for none), and the walls."""
    upright = np.flatnonzero(np.abs(normal[:, 2]) < UPRIGHT)
    which = np.full(len(triangle_m), -1, np.int64)
    if not len(upright):
        return which, np.zeros(0, WALL)
    level = normal[upright, :2] / np.linalg.norm(normal[upright, :2], axis=1, keepdims=True)
    turned = np.where((level[:, 0] < -1e-9) | ((np.abs(level[:, 0]) <= 1e-9) & (level[:, 1] < 0)), -1.0, 1.0)
    level *= turned[:, None]
    offset = (triangle_m[upright, 0, :2] * level).sum(axis=1)
    azimuth = np.degrees(np.arctan2(level[:, 1], level[:, 0]))
    key = np.stack([body[upright], surface[upright], np.round(azimuth), np.round(offset / 0.05)], -1).astype(np.int64)
    _, first, of = np.unique(key, axis=0, return_index=True, return_inverse=True)
    which[upright] = of = of.reshape(-1)
    along = triangle_m[upright, :, 1] * level[:, :1] - triangle_m[upright, :, 0] * level[:, 1:]
    wall = np.zeros(len(first), WALL)
    low, high = np.full((2, len(first)), np.inf), np.full((2, len(first)), -np.inf)
    for k, value in enumerate((along, triangle_m[upright, :, 2])):
        np.minimum.at(low[k], of, value.min(axis=1))
        np.maximum.at(high[k], of, value.max(axis=1))
    wall["start"], wall["foot"] = low
    wall["width"], wall["height"] = high - low
    wall["nx"], wall["ny"] = level[first].T
    wall["seed"] = body[upright][first]
    slim = _slim_bodies(wall)
    for k, number in enumerate(surface[upright][first]):
        style, (wall["r"][k], wall["g"][k], wall["b"][k]) = _style(SURFACE_NAMES[number], wall[k])
        wall["style"][k] = PLAIN if int(wall["seed"][k]) in slim else style
    return which, wall


def _slim_bodies(wall: np.ndarray) -> set[int]:
    """Bodies of few walls that are too thin to live in: walls by themselves, rails, masts."""
    body, count = np.unique(wall["seed"], return_counts=True)
    return {int(b) for b in body[count <= 4] if wall["width"][wall["seed"] == b].min() < SLIM_M}


def _style(surface: str, wall: np.ndarray) -> tuple[int, tuple[float, float, float]]:
    albedo, seed = SURFACES[surface].albedo, int(wall["seed"])
    if wall["width"] < 2.0 or wall["height"] < 2.5:
        return PLAIN, albedo
    if surface == "glass":
        return CURTAIN, (0.10, 0.11, 0.12)
    if surface == "brick":
        return PUNCHED, albedo
    if surface == "concrete":
        return (RIBBON if seed % 3 == 2 else PUNCHED), _PLASTERS[(seed * 7 + 3) % len(_PLASTERS)]
    return PLAIN, albedo


@leaf
def facade(wall, x, y, z, seen, night):  # type: ignore[no-untyped-def]
    """Albedo, mirror reflectance at normal incidence, and radiance of what shines by itself, at a place on a wall."""
    along, up = y * wall.nx - x * wall.ny - wall.start, z - wall.foot
    shade = 1.0 + 0.16 * ripple(along, up, 31 + wall.seed, 4.0, seen) + 0.12 * ripple(along, up, 32, 0.3, seen)
    shade *= 1.0 - 0.22 * math.exp(-up / 0.5)  # the splashed foot
    r, g, b = wall.r * shade, wall.g * shade, wall.b * shade
    if wall.style == PLAIN:
        return r, g, b, 0.0, 0.0, 0.0, 0.0
    if wall.style == CURTAIN:
        return _curtain(wall, along, up, r, g, b, night)
    if wall.r > 1.8 * wall.b and wall.style == PUNCHED and wall.g < 0.2:
        r, g, b = _bricks(along, up, seen, r, g, b)
    if wall.height - up < 0.45:  # the parapet
        return 1.12 * r, 1.12 * g, 1.12 * b, 0.0, 0.0, 0.0, 0.0
    tall = wall.height > GROUND_STOREY_M + STOREY_M
    shop = GROUND_STOREY_M if tall else 0.0
    if up < shop:
        return _shop(wall, along, up, r, g, b, night)
    storeys = max(1.0, math.floor((wall.height - 0.5 - shop) / STOREY_M + 0.5))
    storey_m = (wall.height - 0.5 - shop) / storeys
    bays = max(1.0, math.floor(wall.width / (BAY_M + 0.4 * (wall.seed % 3)) + 0.5))
    bay_m = wall.width / bays
    j, i = math.floor((up - shop) / storey_m), math.floor(along / bay_m)
    v, u = (up - shop) - j * storey_m, abs(along - (i + 0.5) * bay_m)
    half = 0.5 * bay_m - 0.03 if wall.style == RIBBON else (0.27 + 0.04 * (wall.seed % 3)) * bay_m
    sill, lintel = 0.28 * storey_m, 0.80 * storey_m
    if u > half or v < sill or v > lintel:
        if v < sill and v > sill - 0.12 and u < half + 0.1:
            return 1.2 * r, 1.2 * g, 1.2 * b, 0.0, 0.0, 0.0, 0.0
        return r, g, b, 0.0, 0.0, 0.0, 0.0
    if u > half - 0.07 or lintel - v < 0.07 or v - sill < 0.07 or (u < 0.03 and wall.style == PUNCHED):
        return 0.45, 0.45, 0.44, 0.0, 0.0, 0.0, 0.0
    return _pane(int(i), int(j), wall.seed, (lintel - v) / (lintel - sill), night)


@leaf
def _pane(i, j, seed, drop, night):  # type: ignore[no-untyped-def]
    """A window; `drop` is the share of it above. Blinds hang down to different heights, some rooms are lit by night."""
    blind = cell_noise(i, j, 41 + seed)
    lit = 1.0 if night == 1 and cell_noise(i, j, 42 + seed) < LIT_SHARE else 0.0
    lit *= 0.15 + 0.85 * cell_noise(i, j, 43 + seed) ** 2
    cool = 0.5 * cell_noise(i, j, 44 + seed)
    er, eg, eb = lit * LIT_RGB[0], lit * LIT_RGB[1] * (1.0 + 0.3 * cool), lit * LIT_RGB[2] * (1.0 + 1.2 * cool)
    if blind < 0.45 and drop < 0.25 + 1.6 * blind:
        return (
            0.30,
            0.29,
            0.26,
            0.5 * _PANE_GLOSS,
            0.4 * lit * LIT_RGB[0],
            0.4 * lit * LIT_RGB[1],
            0.4 * lit * LIT_RGB[2],
        )
    deep = 1.0 if drop > 0.12 else 0.5  # the reveal above throws a shadow
    r, g, b = _PANE
    return deep * r, deep * g, deep * b, _PANE_GLOSS, er, eg, eb


@leaf
def _shop(wall, along, up, r, g, b, night):  # type: ignore[no-untyped-def]
    """The ground floor: panes between pillars, a door in some bays, a coloured board above."""
    wide = wall.width / max(1.0, math.floor(wall.width / 4.6 + 0.5))
    i = math.floor(along / wide)
    u = abs(along - (i + 0.5) * wide)
    unit = int(i) // 2
    if up > 3.1:
        if up > 3.85 or u > 0.5 * wide - 0.1:
            return r, g, b, 0.0, 0.0, 0.0, 0.0
        hue = cell_noise(unit, wall.seed, 51)
        sr, sg, sb = 0.08 + 0.4 * hue, 0.10 + 0.25 * cell_noise(unit, wall.seed, 52), 0.10 + 0.35 * (1.0 - hue)
        glow = 0.05 if night == 1 and cell_noise(unit, wall.seed, 53) < 0.5 else 0.0
        return sr, sg, sb, 0.0, glow * sr, glow * sg, glow * sb
    if u > 0.5 * wide - 0.35 or up < 0.35:
        return 0.8 * r, 0.8 * g, 0.8 * b, 0.0, 0.0, 0.0, 0.0
    if u > 0.5 * wide - 0.43 or abs(u - 0.55) < 0.04 or 3.1 - up < 0.08:
        return 0.10, 0.10, 0.10, 0.02, 0.0, 0.0, 0.0
    lit = 0.2 + cell_noise(unit, wall.seed, 56) if night == 1 and cell_noise(unit, wall.seed, 54) < 0.6 else 0.0
    inside = 0.5 + value_noise(along * 1.5, up * 1.5, 55 + wall.seed)
    return (
        0.05 * inside, 0.05 * inside, 0.05 * inside, _PANE_GLOSS,
        lit * inside * LIT_RGB[0], lit * inside * LIT_RGB[1], lit * inside * LIT_RGB[2],
    )  # fmt: skip


@leaf
def _curtain(wall, along, up, r, g, b, night):  # type: ignore[no-untyped-def]
    """Panels of 1.5 m between mullions; a dark band hides each floor."""
    wide = wall.width / max(1.0, math.floor(wall.width / 1.5 + 0.5))
    storeys = max(1.0, math.floor(wall.height / 3.6 + 0.5))
    storey_m = wall.height / storeys
    i, j = math.floor(along / wide), math.floor(up / storey_m)
    u, v = along - i * wide, up - j * storey_m
    if min(u, wide - u) < 0.035 or v < 0.06 or abs(v - 0.9) < 0.04:
        return 0.22, 0.23, 0.24, 0.05, 0.0, 0.0, 0.0
    if v < 0.9:
        return 0.05, 0.065, 0.075, 0.16, 0.0, 0.0, 0.0
    _, _, _, _, er, eg, eb = _pane(int(i) // 3, int(j), wall.seed, 1.0, night)
    inside = 0.6 + 0.8 * cell_noise(int(i), int(j), 61 + wall.seed)
    if cell_noise(int(i) // 2, int(j), 62 + wall.seed) < 0.2:
        return 0.11, 0.11, 0.105, 0.20, 0.6 * er, 0.6 * eg, 0.6 * eb
    return 0.025 * inside, 0.035 * inside, 0.042 * inside, 0.30, er, eg, eb


@leaf
def _bricks(along, up, seen, r, g, b):  # type: ignore[no-untyped-def]
    """Courses of 75 mm, each half a brick aside of the one below."""
    j = math.floor(up / 0.075)
    aside = along + (0.1125 if int(j) % 2 == 1 else 0.0)
    i = math.floor(aside / 0.225)
    fine = max(0.0, 1.0 - seen / 0.04)  # bricks too small to be seen melt with their joints
    shade = 0.94 + fine * (0.5 * cell_noise(int(i), int(j), 71) - 0.19)
    mortar = 0.17 + fine * (0.83 if up - 0.075 * j < 0.01 or aside - 0.225 * i < 0.01 else -0.17)
    return shade * r + mortar * (0.35 - r), shade * g + mortar * (0.33 - g), shade * b + mortar * (0.30 - b)
