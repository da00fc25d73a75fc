"""Which parts of a picture an actor may darken or light: the ground around it, its shadow, the beam of its headlights.

Each is inside a convex hull. Its extent on the picture is sorted into square tiles, so that a pixel asks only those
actors that matter to it.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from twin.compiled import kernel
from twin.sensors.camera.beams import LIT_HEIGHT_M, WIDEST
from twin.sensors.camera.view import box_corners

__all__ = ["CONTACT_M", "TILE_PX", "Tiles", "around", "no_tiles", "shaded", "sorted_into_tiles", "within_beam"]

CONTACT_M = 1.3
"""An actor takes light of the sky from the ground around it as far as this [m]."""
TILE_PX = 16


class Tiles(NamedTuple):
    """The actors that matter to each square of `TILE_PX` pixels.

    Attributes:
        actor: (tile row, tile column, place) their rows.
        number: (tile row, tile column) how many.
    """

    actor: np.ndarray
    number: np.ndarray


def no_tiles(picture_px: tuple[int, ...], most: int) -> Tiles:
    """Tiles of a picture of so many rows and columns to which nobody matters yet; at most so many will."""
    shape = tuple(-(-side // TILE_PX) for side in picture_px)
    return Tiles(np.zeros((*shape, max(1, most)), np.int16), np.zeros(shape, np.int64))


@kernel
def sorted_into_tiles(extent, touched, tiles):  # type: ignore[no-untyped-def]
    """Add each actor whose extent (actor, 4) on the picture [px] is not NaN to the tiles, and mark its pixels."""
    for a in range(extent.shape[0]):
        if not extent[a, 0] >= 0.0:
            continue
        left, top = math.floor(extent[a, 0]), math.floor(extent[a, 1])
        right, bottom = math.ceil(extent[a, 2]), math.ceil(extent[a, 3])
        for row in range(top, bottom):
            for column in range(left, right):
                touched[row, column] = 1
        for row in range(top // TILE_PX, -(-bottom // TILE_PX)):
            for column in range(left // TILE_PX, -(-right // TILE_PX)):
                tiles.actor[row, column, tiles.number[row, column]] = a
                tiles.number[row, column] += 1


def around(boxes: Float[np.ndarray, "actor 7"]) -> Float[np.ndarray, "actor 8 3"]:
    """Corners of what lies within `CONTACT_M` of the foot of each actor."""
    wide = boxes.copy()
    wide[:, 2], wide[:, 5] = boxes[:, 2] - boxes[:, 5] / 2 + CONTACT_M / 2, CONTACT_M
    wide[:, 3:5] += 2 * CONTACT_M
    return box_corners(wide)


def shaded(boxes: Float[np.ndarray, "actor 7"], to_sun: tuple[float, float, float]) -> Float[np.ndarray, "actor 16 3"]:
    """Corners of boxes, and where the sun throws them on the ground: their hull holds all that they shade above it."""
    corner = box_corners(boxes)
    return np.concatenate([corner, corner - np.array(to_sun) * (corner[..., 2:] / to_sun[2])], axis=1)


def within_beam(beam: np.ndarray) -> Float[np.ndarray, "actor 8 3"]:
    """Corners of what headlights (array of `BEAM`) may light: a wedge from the lamps onward."""
    ahead = np.stack([np.zeros(len(beam)), beam["reach"]], -1)[:, :, None, None]
    aside = (1.0 + WIDEST * ahead) * np.array([-1.0, 1.0])[:, None]
    x0, y0, c, s = (beam[name][:, None, None, None] for name in ("x", "y", "cosine", "sine"))
    x, y = x0 + ahead * c - aside * s, y0 + ahead * s + aside * c
    z = np.broadcast_to(np.array([0.0, LIT_HEIGHT_M]), (len(beam), 2, 2, 2))
    corner: np.ndarray = np.stack(np.broadcast_arrays(x, y, z), -1).reshape(len(beam), 8, 3)
    return corner
