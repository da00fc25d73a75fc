"""A bounding volume hierarchy over triangles, and the segments and rays that meet them, in numba.

Nodes are stored in the order of a walk, each with the node to go on with when it is missed, so that a walk needs no
stack. Several trees may lie in one forest of arrays; a tree is named by its first node and the one after its last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from twin.compiled import kernel, leaf

__all__ = ["GRAZE_M", "Bvh", "build_bvh", "crossings", "hides", "joined", "nearest"]

GRAZE_M = 1e-4
"""What a segment meets nearer than this to one of its ends does not hide the other [m]."""
LEAF = 4
"""Triangles in a leaf at most."""
EDGE = 1e-9
"""Barycentric margin, so that nothing slips through between two neighbours [1]."""
_BINS = 12


NODE = np.dtype(
    [(name, np.float64) for name in ("x0", "y0", "z0", "x1", "y1", "z1")]
    + [(name, np.int32) for name in ("skip", "first", "stop", "_")],
    align=True,
)
"""A node: its box [m], the node after its subtree, and its triangles (none of an inner node)."""
TRIANGLE = np.dtype(
    [(name, np.float64) for name in ("x", "y", "z", "ux", "uy", "uz", "vx", "vy", "vz")] + [("number", np.int64)],
    align=True,
)
"""A triangle: a corner, the two edges from there [m], and its number before sorting."""


@dataclass(frozen=True)
class Bvh:
    """A forest: the nodes of its trees, and the triangles in the order of their leaves."""

    node: np.ndarray
    triangle: np.ndarray


@kernel
def _split(middle, low, high, order, begin, end):  # type: ignore[no-untyped-def]
    """Sort order[begin:end] around the cheapest of some planes (surface area heuristic); where it is cut."""
    best_cost, best_axis, best_at = np.inf, -1, 0.0
    span_low, span_high = np.full(3, np.inf), np.full(3, -np.inf)
    for k in range(begin, end):
        for axis in range(3):
            span_low[axis] = min(span_low[axis], middle[order[k], axis])
            span_high[axis] = max(span_high[axis], middle[order[k], axis])
    for axis in range(3):
        width = span_high[axis] - span_low[axis]
        if width <= 0.0:
            continue
        counts = np.zeros(_BINS, np.int64)
        lows, highs = np.full((_BINS, 3), np.inf), np.full((_BINS, 3), -np.inf)
        for k in range(begin, end):
            b = min(_BINS - 1, int((middle[order[k], axis] - span_low[axis]) / width * _BINS))
            counts[b] += 1
            for j in range(3):
                lows[b, j] = min(lows[b, j], low[order[k], j])
                highs[b, j] = max(highs[b, j], high[order[k], j])
        for cut in range(1, _BINS):
            cost = 0.0
            for part in range(2):
                box_low, box_high, number = np.full(3, np.inf), np.full(3, -np.inf), 0
                for b in range(0 if part == 0 else cut, cut if part == 0 else _BINS):
                    number += counts[b]
                    for j in range(3):
                        box_low[j], box_high[j] = min(box_low[j], lows[b, j]), max(box_high[j], highs[b, j])
                if number == 0:
                    cost = np.inf
                    break
                x, y, z = box_high - box_low
                cost += number * (x * y + y * z + z * x)
            if cost < best_cost:
                best_cost, best_axis, best_at = cost, axis, span_low[axis] + width * cut / _BINS
    if best_axis < 0:
        return (begin + end) // 2
    left = begin
    for k in range(begin, end):
        if middle[order[k], best_axis] < best_at:
            order[k], order[left] = order[left], order[k]
            left += 1
    return left if begin < left < end else (begin + end) // 2


@kernel
def _build(low, high):  # type: ignore[no-untyped-def]
    count = low.shape[0]
    middle = 0.5 * (low + high)
    order = np.arange(count)
    size = max(1, 2 * count)
    node_low, node_high = np.empty((size, 3)), np.empty((size, 3))
    skip, first, number = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32)
    nodes = 0
    stack = [(0, count, -1)]
    parents = np.full(size, -1, np.int32)
    while len(stack) > 0:
        begin, end, parent = stack.pop()
        this = nodes
        nodes += 1
        parents[this] = parent
        for j in range(3):
            node_low[this, j], node_high[this, j] = np.inf, -np.inf
        for k in range(begin, end):
            for j in range(3):
                node_low[this, j] = min(node_low[this, j], low[order[k], j])
                node_high[this, j] = max(node_high[this, j], high[order[k], j])
        if end - begin <= LEAF:
            first[this], number[this] = begin, end - begin
            continue
        cut = _split(middle, low, high, order, begin, end)
        stack.append((cut, end, this))
        stack.append((begin, cut, this))
    for this in range(nodes):
        skip[this] = this + 1
    for this in range(nodes - 1, 0, -1):
        skip[parents[this]] = max(skip[parents[this]], skip[this])
    return node_low[:nodes], node_high[:nodes], skip[:nodes], first[:nodes], number[:nodes], order


def build_bvh(triangle_m: Float[np.ndarray, "triangle 3 3"]) -> Bvh:
    """The hierarchy of some triangles, cut by the surface area heuristic."""
    triangle_m = np.ascontiguousarray(triangle_m, np.float64)
    if len(triangle_m) == 0:
        return Bvh(np.empty(0, NODE), np.empty(0, TRIANGLE))
    low, high, skip, first, count, order = _build(triangle_m.min(axis=1), triangle_m.max(axis=1))
    pad = 1e-9 + 1e-12 * np.abs(triangle_m).max()
    node, triangle = np.zeros(len(skip), NODE), np.zeros(len(order), TRIANGLE)
    for axis, name in enumerate("xyz"):
        node[f"{name}0"], node[f"{name}1"] = low[:, axis] - pad, high[:, axis] + pad
        corner = triangle_m[order, 0, axis]
        triangle[name] = corner
        triangle[f"u{name}"], triangle[f"v{name}"] = (triangle_m[order, k, axis] - corner for k in (1, 2))
    node["skip"], node["first"], node["stop"] = skip, first, first + count
    triangle["number"] = order
    return Bvh(node, triangle)


def joined(trees: Sequence[Bvh]) -> tuple[Bvh, np.ndarray]:
    """A forest of some trees, and where the nodes of each begin (one more entry at the end)."""
    starts = np.cumsum([0] + [len(tree.node) for tree in trees])
    nodes, done = [np.empty(0, NODE)], 0
    for tree, start in zip(trees, starts[:-1], strict=True):
        moved = tree.node.copy()
        moved["skip"] += start
        moved["first"] += done
        moved["stop"] += done
        nodes.append(moved)
        done += len(tree.triangle)
    return Bvh(np.concatenate(nodes), np.concatenate([np.empty(0, TRIANGLE), *(t.triangle for t in trees)])), starts


@leaf
def _crosses_box(node, ax, ay, az, ix, iy, iz, reach):  # type: ignore[no-untyped-def]
    """Whether a + t d, 0 <= t <= reach, passes the node's box; i = 1 / d."""
    x1, x2 = (node.x0 - ax) * ix, (node.x1 - ax) * ix
    y1, y2 = (node.y0 - ay) * iy, (node.y1 - ay) * iy
    z1, z2 = (node.z0 - az) * iz, (node.z1 - az) * iz
    enter = max(max(min(x1, x2), min(y1, y2)), max(min(z1, z2), 0.0))
    leave = min(min(max(x1, x2), max(y1, y2)), min(max(z1, z2), reach))
    return enter <= leave


@leaf
def _meets(triangle, ax, ay, az, dx, dy, dz):  # type: ignore[no-untyped-def]
    """t with a + t d on the triangle (Moeller and Trumbore, 1997); -1 where it passes by."""
    ux, uy, uz, vx, vy, vz = triangle.ux, triangle.uy, triangle.uz, triangle.vx, triangle.vy, triangle.vz
    hx, hy, hz = dy * vz - dz * vy, dz * vx - dx * vz, dx * vy - dy * vx
    det = ux * hx + uy * hy + uz * hz
    if det == 0.0:
        return -1.0
    scale = 1.0 / det
    px, py, pz = ax - triangle.x, ay - triangle.y, az - triangle.z
    first = (px * hx + py * hy + pz * hz) * scale
    if first < -EDGE or first > 1.0 + EDGE:
        return -1.0
    qx, qy, qz = py * uz - pz * uy, pz * ux - px * uz, px * uy - py * ux
    second = (dx * qx + dy * qy + dz * qz) * scale
    if second < -EDGE or first + second > 1.0 + EDGE:
        return -1.0
    return (vx * qx + vy * qy + vz * qz) * scale


@leaf
def _inverse(d):  # type: ignore[no-untyped-def]
    return 1.0 / d if abs(d) > 1e-30 else 1e30


@leaf
def hides(nodes, triangles, root, stop, ax, ay, az, bx, by, bz, own_1=(0, 0), own_2=(0, 0)):  # type: ignore[no-untyped-def]
    """Whether a triangle of the tree root .. stop lies between a and b, further than `GRAZE_M` from both.

    Triangles with numbers in the ranges `own_1` and `own_2` do not count: those of the facets on which a and b lie,
    which are plane but for rounding, and would hide grazing rays."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    if length <= 2.0 * GRAZE_M:
        return False
    margin = GRAZE_M / length
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    k = root
    while k < stop:
        if not _crosses_box(nodes[k], ax, ay, az, ix, iy, iz, 1.0):
            k = nodes[k].skip
            continue
        for n in range(nodes[k].first, nodes[k].stop):
            t = _meets(triangles[n], ax, ay, az, dx, dy, dz)
            if margin < t < 1.0 - margin:
                number = triangles[n].number
                if not (own_1[0] <= number < own_1[1] or own_2[0] <= number < own_2[1]):
                    return True
        k += 1
    return False


@leaf
def nearest(nodes, triangles, root, stop, ax, ay, az, dx, dy, dz, beyond):  # type: ignore[no-untyped-def]
    """Distance t > beyond to the first triangle along the unit vector d, and its number.

    (inf, -1) where there is none.
    """
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    best, which = np.inf, -1
    k = root
    while k < stop:
        if not _crosses_box(nodes[k], ax, ay, az, ix, iy, iz, best):
            k = nodes[k].skip
            continue
        for n in range(nodes[k].first, nodes[k].stop):
            t = _meets(triangles[n], ax, ay, az, dx, dy, dz)
            if beyond < t < best:
                best, which = t, triangles[n].number
        k += 1
    return best, which


@leaf
def crossings(nodes, triangles, root, stop, ax, ay, az, dx, dy, dz, owner, odd):  # type: ignore[no-untyped-def]
    """Toggle odd[owner] for every triangle that the ray from a along d meets; odd[0] where there are no owners."""
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    k = root
    while k < stop:
        if not _crosses_box(nodes[k], ax, ay, az, ix, iy, iz, np.inf):
            k = nodes[k].skip
            continue
        for n in range(nodes[k].first, nodes[k].stop):
            if _meets(triangles[n], ax, ay, az, dx, dy, dz) > 0.0:
                which = owner[triangles[n].number] if owner.shape[0] > 0 else 0
                odd[which] = not odd[which]
        k += 1
