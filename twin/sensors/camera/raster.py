"""Which triangle of which actor each sample sees: a z-buffer of 1 / depth, which is linear on the picture."""

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import kernel, leaf
from twin.sensors.camera.view import NEAR_M

__all__ = ["Buffer", "draw_actors"]

EDGE_PX = 1e-6
"""Samples so little outside of an edge count as inside, so that nothing shines through between neighbours [px]."""


class Buffer(NamedTuple):
    """What samples of the picture see; (row, column).

    Attributes:
        samples: a side of a pixel.
        nearness: 1 / depth along the optical axis [1/m].
        triangle: number in the world, -1 for what stands still.
        actor: row of the actor, -1 for what stands still.
    """

    samples: int
    nearness: np.ndarray
    triangle: np.ndarray
    actor: np.ndarray


@kernel
def draw_actors(corner, first, actors, count, seen, eye, axes, focal, fine, plain, touched):  # type: ignore[no-untyped-def]
    """Draw actors into two buffers, where they are nearer than what is there.

    Args:
        corner: (triangle, 3, 3) of all meshes, wound outwards, of which the world's number of the first is `first`.
        actors, count, seen: array of `ACTOR`, how many triangles each has, and whether it may be in view.
        eye, axes, focal: of the pinhole.
        fine, plain: `Buffer` of several samples a pixel, and of one.
        touched: (row, column) set for pixels in which something may have been drawn.
    """
    turn, point, polygon = np.empty((3, 3)), np.empty((3, 3)), np.empty((4, 3))
    for a in range(actors.shape[0]):
        if not seen[a]:
            continue
        actor = actors[a]
        for i in range(3):
            turn[i, 0] = axes[i, 0] * actor.cosine + axes[i, 1] * actor.sine
            turn[i, 1] = axes[i, 1] * actor.cosine - axes[i, 0] * actor.sine
            turn[i, 2] = axes[i, 2]
        x, y, z = actor.x - eye[0], actor.y - eye[1], actor.z - eye[2]
        for k in range(actor.first - first, actor.first - first + count[a]):
            for n in range(3):
                px, py, pz = corner[k, n, 0], corner[k, n, 1], corner[k, n, 2]
                for i in range(3):
                    shift = axes[i, 0] * x + axes[i, 1] * y + axes[i, 2] * z
                    point[n, i] = turn[i, 0] * px + turn[i, 1] * py + turn[i, 2] * pz + shift
            sides = _cut(point, polygon)
            for n in range(sides):
                w = 1.0 / polygon[n, 0]
                polygon[n, 0] = w
                polygon[n, 1], polygon[n, 2] = -focal[0] * polygon[n, 1] * w, -focal[1] * polygon[n, 2] * w
            for n in range(2, sides):
                if _fill(polygon, n, first + k, a, fine, touched):
                    _fill(polygon, n, first + k, a, plain, touched)


@leaf
def _cut(point, polygon):  # type: ignore[no-untyped-def]
    """The part of a triangle before the near plane; how many corners it has."""
    sides = 0
    for n in range(3):
        m = (n + 1) % 3
        x, y, z = point[n, 0], point[n, 1], point[n, 2]
        if x >= NEAR_M:
            polygon[sides, 0], polygon[sides, 1], polygon[sides, 2] = x, y, z
            sides += 1
        if (x >= NEAR_M) != (point[m, 0] >= NEAR_M):
            share = (NEAR_M - x) / (point[m, 0] - x)
            polygon[sides, 0] = NEAR_M
            polygon[sides, 1] = y + share * (point[m, 1] - y)
            polygon[sides, 2] = z + share * (point[m, 2] - z)
            sides += 1
    return sides


@leaf
def _fill(polygon, n, triangle, actor, buffer, touched):  # type: ignore[no-untyped-def]
    """Draw the corners 0, n - 1 and n of a polygon of (1 / depth, u, v), u and v in pixels from the middle.

    False for a triangle that is seen from behind."""
    rows, columns = buffer.nearness.shape
    s = buffer.samples
    u0, v0, u1, v1 = polygon[0, 1] * s, polygon[0, 2] * s, polygon[n - 1, 1] * s, polygon[n - 1, 2] * s
    u2, v2 = polygon[n, 1] * s, polygon[n, 2] * s
    area = (u2 - u0) * (v1 - v0) - (u1 - u0) * (v2 - v0)
    if area <= 0.0:
        return False
    shift_u, shift_v = 0.5 * columns, 0.5 * rows
    u0, u1, u2, v0, v1, v2 = u0 + shift_u, u1 + shift_u, u2 + shift_u, v0 + shift_v, v1 + shift_v, v2 + shift_v
    top, bottom = (
        math.ceil(max(0.0, min(v0, min(v1, v2)) - 0.5)),
        math.floor(min(rows - 0.5, max(v0, max(v1, v2)) - 0.5)),
    )
    w0, w1, w2 = polygon[0, 0], polygon[n - 1, 0] - polygon[0, 0], polygon[n, 0] - polygon[0, 0]
    slope_u = (w2 * (v1 - v0) - w1 * (v2 - v0)) / area
    slope_v = (w1 * (u2 - u0) - w2 * (u1 - u0)) / area
    for row in range(int(top), int(bottom) + 1):
        v = row + 0.5
        left, right = 0.0, float(columns)
        left, right = _within(u0, v0, u1, v1, v, left, right)
        left, right = _within(u1, v1, u2, v2, v, left, right)
        left, right = _within(u2, v2, u0, v0, v, left, right)
        start, stop = math.ceil(max(left - 0.5, 0.0)), math.floor(min(right - 0.5, columns - 1.0)) + 1
        if start >= stop:
            continue
        for column in range(start // s, (stop - 1) // s + 1):
            touched[row // s, column] = 1
        w = w0 + slope_v * (v - v0) + slope_u * (start + 0.5 - u0)
        for column in range(start, stop):
            if w > buffer.nearness[row, column]:
                buffer.nearness[row, column], buffer.triangle[row, column] = w, triangle
                buffer.actor[row, column] = actor
            w += slope_u
    return True


@leaf
def _within(ua, va, ub, vb, v, left, right):  # type: ignore[no-untyped-def]
    """The part left .. right of the line at v on the inner side of the edge from a to b."""
    rise = vb - va
    if rise == 0.0:
        inside = (ub - ua) * (v - va) <= EDGE_PX
        return (left, right) if inside else (left, -1.0)
    u = ua + (v - va) * (ub - ua) / rise
    return (left, min(right, u + EDGE_PX)) if rise < 0.0 else (max(left, u - EDGE_PX), right)
