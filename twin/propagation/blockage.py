"""What stands in the way of a ray: boxes (tested directly) and triangles, and the loss over and around a box.

A box is a row (x, y, z of its centre, length, width, height, heading), its edges along the rotated axes and z.
Kernels: plain floats in, no allocation, so that one frame is one iteration of the tracer's parallel loop.
"""

import math

from numba import njit

__all__ = ["box_hides", "box_obstruction", "knife_edge_db", "triangle_hides"]

GRAZE_M = 1e-4
"""A ray is hidden by a box when it runs at least so far inside it [m]; less is touching."""
CLEAR_NU = -0.78
"""Diffraction parameter nu below which an edge costs nothing (ITU-R P.526-15, eq. 31)."""
END_M = 0.05
"""Edges nearer to an antenna than this count as this far away [m]."""


@njit(cache=True, error_model="numpy")
def knife_edge_db(nu: float) -> float:
    """Loss of a single knife edge J(nu) [dB] (ITU-R P.526-15, eq. 31): 6.0 at nu = 0, 0 from -0.78 downwards."""
    if nu <= CLEAR_NU:
        return 0.0
    shifted = nu - 0.1
    return max(0.0, 6.9 + 20.0 * math.log10(math.sqrt(shifted * shifted + 1.0) + shifted))


@njit(cache=True, error_model="numpy")
def box_hides(box, c, s, ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    """Whether the segment from a to b runs through the box, whose heading has cosine c and sine s (slab test)."""
    px, py, pz = ax - box[0], ay - box[1], az - box[2]
    dx, dy, dz = bx - ax, by - ay, bz - az
    px, py = px * c + py * s, py * c - px * s
    dx, dy = dx * c + dy * s, dy * c - dx * s
    enter, leave = 0.0, 1.0
    for axis in range(3):
        if axis == 0:
            p, d, half = px, dx, 0.5 * box[3]
        elif axis == 1:
            p, d, half = py, dy, 0.5 * box[4]
        else:
            p, d, half = pz, dz, 0.5 * box[5]
        if abs(d) < 1e-12:
            if abs(p) >= half:
                return False
            continue
        first, second = (-half - p) / d, (half - p) / d
        enter, leave = max(enter, min(first, second)), min(leave, max(first, second))
        if enter >= leave:
            return False
    return (leave - enter) * math.sqrt(dx * dx + dy * dy + dz * dz) > GRAZE_M


@njit(cache=True, error_model="numpy")
def triangle_hides(tri, ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    """Whether the segment from a to b crosses the triangle (3 vertices x 3) between its ends (Moeller and Trumbore)."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    ux, uy, uz = tri[1, 0] - tri[0, 0], tri[1, 1] - tri[0, 1], tri[1, 2] - tri[0, 2]
    vx, vy, vz = tri[2, 0] - tri[0, 0], tri[2, 1] - tri[0, 1], tri[2, 2] - tri[0, 2]
    hx, hy, hz = dy * vz - dz * vy, dz * vx - dx * vz, dx * vy - dy * vx
    det = ux * hx + uy * hy + uz * hz
    if abs(det) < 1e-14:
        return False
    px, py, pz = ax - tri[0, 0], ay - tri[0, 1], az - tri[0, 2]
    first = (px * hx + py * hy + pz * hz) / det
    if first < 0.0 or first > 1.0:
        return False
    qx, qy, qz = py * uz - pz * uy, pz * ux - px * uz, px * uy - py * ux
    second = (dx * qx + dy * qy + dz * qz) / det
    if second < 0.0 or first + second > 1.0:
        return False
    along = (vx * qx + vy * qy + vz * qz) / det
    margin = GRAZE_M / math.sqrt(dx * dx + dy * dy + dz * dz)
    return margin < along < 1.0 - margin


@njit(cache=True, error_model="numpy")
def _weight(s, run, scale, wavelength):  # type: ignore[no-untyped-def]
    """sqrt(2 (d1 + d2) / (lambda d1 d2)) [1/m] of an edge at s of a ray whose plan length is `run`."""
    d1 = max(s * scale, END_M)
    d2 = max((run - s) * scale, END_M)
    return math.sqrt(2.0 * (d1 + d2) / (wavelength * d1 * d2))


@njit(cache=True, error_model="numpy")
def box_obstruction(box, c, s, ax, ay, az, bx, by, bz, wavelength):  # type: ignore[no-untyped-def]
    """Diffraction parameter nu of the easiest way from a to b past a box: over it, or around its left or right side.

    nu = h sqrt(2 (d1 + d2) / (lambda d1 d2)) with h [m] the height of the edge above the ray, negative when the ray
    clears it (ITU-R P.526-15, eq. 26). Positive exactly when the box hides b from a; it changes steadily when a box
    moves into the ray. The box reaches down to the ground. -1e9 when it is beside the segment altogether.

    In the plan, the part of the box between the end points is a polygon with offsets o from the ray. Passing it on the
    left costs the largest o, on the right the largest -o; passing over it costs what its roof rises above the ray where
    the ray crosses it, or next to the corner that is nearest to the ray when it does not.
    """
    run = math.hypot(bx - ax, by - ay)
    length = math.sqrt(run * run + (bz - az) ** 2)
    if run < END_M:
        return -1e9
    ex, ey = (bx - ax) / run, (by - ay) / run
    rx, ry = box[0] - ax, box[1] - ay
    radius = 0.5 * math.hypot(box[3], box[4])
    middle_s, middle_o = rx * ex + ry * ey, ry * ex - rx * ey
    margin = -CLEAR_NU * math.sqrt(wavelength * length / 8.0)
    roof = box[2] + 0.5 * box[5]
    if abs(middle_o) > radius + margin or middle_s < -radius or middle_s > run + radius:
        return -1e9
    if roof + margin < min(az, bz):
        return -1e9
    scale, slope = length / run, (bz - az) / run
    left = right = over = near_over = -1e9
    near = 1e18
    over_s_low, over_s_high = 1e18, -1e18
    for k in range(4):  # edges of the rectangle, each clipped to 0 <= s <= run
        f1 = 0.5 * box[3] * (1.0 if k == 0 or k == 3 else -1.0)
        w1 = 0.5 * box[4] * (1.0 if k < 2 else -1.0)
        f2 = 0.5 * box[3] * (1.0 if k == 3 or k == 2 else -1.0)
        w2 = 0.5 * box[4] * (1.0 if k == 3 or k == 0 else -1.0)
        x1, y1 = f1 * c - w1 * s, f1 * s + w1 * c
        x2, y2 = f2 * c - w2 * s, f2 * s + w2 * c
        s1, o1 = middle_s + x1 * ex + y1 * ey, middle_o + y1 * ex - x1 * ey
        s2, o2 = middle_s + x2 * ex + y2 * ey, middle_o + y2 * ex - x2 * ey
        t1, t2 = 0.0, 1.0
        if abs(s2 - s1) > 1e-12:
            first, second = -s1 / (s2 - s1), (run - s1) / (s2 - s1)
            t1, t2 = max(t1, min(first, second)), min(t2, max(first, second))
            if t1 > t2:
                continue
        elif s1 < 0.0 or s1 > run:
            continue
        sa, oa = s1 + t1 * (s2 - s1), o1 + t1 * (o2 - o1)
        sb, ob = s1 + t2 * (s2 - s1), o1 + t2 * (o2 - o1)
        for end in range(2):
            se, oe = (sa, oa) if end == 0 else (sb, ob)
            weight = _weight(se, run, scale, wavelength)
            left, right = max(left, oe * weight), max(right, -oe * weight)
            if abs(oe) < near:
                near = abs(oe)
                near_over = (roof - (az + slope * se)) * weight
        if oa * ob < 0.0:
            crossing = sa + oa / (oa - ob) * (sb - sa)
            over_s_low, over_s_high = min(over_s_low, crossing), max(over_s_high, crossing)
    if near > 1e17:
        return -1e9
    if over_s_low <= over_s_high:
        over = max(
            (roof - (az + slope * over_s_low)) * _weight(over_s_low, run, scale, wavelength),
            (roof - (az + slope * over_s_high)) * _weight(over_s_high, run, scale, wavelength),
        )
    else:
        over = near_over
    return min(left, right, over)
