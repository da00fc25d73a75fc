"""What a box in the way of a ray takes from it: over its roof and around its sides.

A box is a tuple (x, y, z of its middle, length, width, height) with the cosine and the sine of its heading. Its loss is
that of knife edges (ITU-R P.526-15, clause 4), or that of a screen in its place (3GPP TR 38.901, clause 7.6.4.2).
"""

import math

from twin.compiled import leaf

__all__ = [
    "blockage_model_b_db",
    "box_blockage_db",
    "double_knife_edge_db",
    "knife_edge_db",
    "reach_m",
]

CLEAR_NU = -0.78
"""Diffraction parameter nu below which an edge costs nothing (ITU-R P.526-15, eq. 31)."""
END_M = 0.05
"""Edges nearer to an antenna than this count as this far away [m]."""
COMPARABLE_DB = (10.0, 15.0)
"""Two edges are comparable when the lesser loss reaches the second value; from the first on the methods are mixed."""
NEGLIGIBLE_DB = 20.0
"""A way past a box that loses so much more than another carries nothing."""


@leaf
def reach_m(length: float, wavelength: float) -> float:
    """How far from a knife edge a ray of that length passes at most and still loses something [m]: in its middle."""
    return -CLEAR_NU * math.sqrt(wavelength * length / 8.0)


@leaf
def knife_edge_db(nu: float) -> float:
    """Loss of a single knife edge J(nu) [dB] (ITU-R P.526-15, eq. 31): 6.0 at nu = 0, 0 from -0.78 downwards."""
    if nu <= CLEAR_NU:
        return 0.0
    shifted = nu - 0.1
    return max(0.0, 6.9 + 20.0 * math.log10(math.sqrt(shifted * shifted + 1.0) + shifted))


@leaf
def double_knife_edge_db(h1, h2, a, b, c, wavelength):  # type: ignore[no-untyped-def]
    """Loss [dB] of two edges at heights h1, h2 [m] over the ray, a, b and c [m] apart along it, from end to end.

    ITU-R P.526-15, clause 4.3, has two methods. With p, q the parameters nu of the edges alone, and nu1, nu2 those of
    the sub-paths (end, first, second edge) and (first, second edge, end):

    - comparable edges, valid when J(nu1) and J(nu2) exceed about 15 dB: J(nu1) + J(nu2) + L_c,
      L_c = 10 log10[(a + b) (b + c) / (b (a + b + c))].
    - one dominates, the one with the larger nu, here p: J(p) + J(nu2) - T_c,
      T_c = [12 - 20 log10(2 / (1 - alpha / pi))] (q / p)^(2p), tan(alpha) = sqrt(b (a + b + c) / (a c)).

    The first is used where it is valid, the second below 10 dB, between them a mixture. The second is continued to
    where its formula does not reach: the lesser edge never gives anything back; for 0 < p < 1 the ratio is
    (q + s) / (p + s), s = 0.78 (1 - p), so that q may pass through zero; for p < 0 the ratio is 1, and the lesser edge
    fades out with the dominant one as 1 - exp(-J(p) / 6) (the T of the cascaded edges of ITU-R P.526-11). Steady in all
    arguments, the same from either end, and within 1.5 dB of the double integral of Fresnel and Kirchhoff, whose
    fringes in front of clear edges it leaves out.
    """
    b = max(b, 1e-9)
    total = a + b + c
    p = h1 * math.sqrt(2.0 * total / (wavelength * a * (b + c)))
    q = h2 * math.sqrt(2.0 * total / (wavelength * (a + b) * c))
    before = (h1 - h2 * a / (a + b)) * math.sqrt(2.0 * (a + b) / (wavelength * a * b))
    after = (h2 - h1 * c / (b + c)) * math.sqrt(2.0 * (b + c) / (wavelength * b * c))
    if p < q:
        p, q = q, p
        before, after = after, before
    if p <= CLEAR_NU or after <= CLEAR_NU:
        return knife_edge_db(p)
    dominant, lesser = knife_edge_db(p), knife_edge_db(after)
    share = 1.0
    if p > 0.0:
        shift = max(0.0, -CLEAR_NU * (1.0 - p))
        share = (max(0.0, q + shift) / (p + shift)) ** (2.0 * p)
    alpha = math.atan(math.sqrt(b * total / (a * c)))
    extra = max(0.0, lesser - share * (12.0 + 20.0 * math.log10(0.5 - 0.5 * alpha / math.pi)))
    if p < 0.0:
        extra *= (1.0 - math.exp(-dominant / 6.0)) / (1.0 - math.exp(-1.0))
    loss = dominant + extra
    least = min(lesser, knife_edge_db(before))
    if least > COMPARABLE_DB[0]:
        first = knife_edge_db(before) + lesser + 10.0 * math.log10((a + b) * (b + c) / (b * total))
        mixture = min(1.0, (least - COMPARABLE_DB[0]) / (COMPARABLE_DB[1] - COMPARABLE_DB[0]))
        loss += mixture * (first - loss)
    return loss


@leaf
def _weight(s, run, scale, wavelength):  # type: ignore[no-untyped-def]
    """sqrt(2 (d1 + d2) / (lambda d1 d2)) [1/m] of an edge at s of a ray whose plan length is `run`."""
    d1 = max(s * scale, END_M)
    d2 = max((run - s) * scale, END_M)
    return math.sqrt(2.0 * (d1 + d2) / (wavelength * d1 * d2))


@leaf
def _corner(k, box, c, s, ex, ey):  # type: ignore[no-untyped-def]
    """Corner k = 0 .. 3 of the plan, around it, from the middle: along and to the left of the unit vector e [m]."""
    forward = 0.5 * box[3] * (1.0 if k == 0 or k == 3 else -1.0)
    left = 0.5 * box[4] * (1.0 if k < 2 else -1.0)
    x, y = forward * c - left * s, forward * s + left * c
    return x * ex + y * ey, y * ex - x * ey


@leaf
def _clip(s1, o1, s2, o2, low, high):  # type: ignore[no-untyped-def]
    """The part of a side of the plan with low <= s <= high, as (s, o, s, o); the first s is NaN when there is none."""
    if low <= min(s1, s2) and max(s1, s2) <= high:
        return s1, o1, s2, o2
    if high < min(s1, s2) or max(s1, s2) < low:
        return math.nan, 0.0, 0.0, 0.0
    scale = 1.0 / (s2 - s1)
    first, second = (low - s1) * scale, (high - s1) * scale
    t1, t2 = max(0.0, min(first, second)), min(1.0, max(first, second))
    if t2 < 1.0:
        return s1 + t1 * (s2 - s1), o1 + t1 * (o2 - o1), s1 + t2 * (s2 - s1), o1 + t2 * (o2 - o1)
    return s1 + t1 * (s2 - s1), o1 + t1 * (o2 - o1), s2, o2


@leaf
def _side_db(box, c, s, ex, ey, middle_s, middle_o, main_s, main_o, sign, run, scale, wavelength):  # type: ignore[no-untyped-def]
    """Loss [dB] on one side: the corner that rises most there, and the one that rises most over the lines to it."""
    other_s, other_o, highest = main_s, main_o, -1e18
    s1, o1 = _corner(3, box, c, s, ex, ey)
    for k in range(4):
        s2, o2 = _corner(k, box, c, s, ex, ey)
        sa, oa, sb, ob = _clip(middle_s + s1, middle_o + o1, middle_s + s2, middle_o + o2, 0.0, run)
        s1, o1 = s2, o2
        if math.isnan(sa):
            continue
        for end in range(1 if sb == middle_s + s2 else 2):
            se, oe = (sa, sign * oa) if end == 0 else (sb, sign * ob)
            gap = abs(se - main_s)
            if gap < 1e-9:
                continue
            if se < main_s:
                away, line = se, main_o * se / main_s
            else:
                away, line = run - se, main_o * (run - se) / (run - main_s)
            away = max(away * scale, END_M)
            gap *= scale
            rise = (oe - line) * math.sqrt(2.0 * (away + gap) / (wavelength * away * gap))
            if rise > highest:
                other_s, other_o, highest = se, oe, rise
    if highest <= CLEAR_NU:
        return knife_edge_db(main_o * _weight(main_s, run, scale, wavelength))
    if other_s < main_s:
        main_s, main_o, other_s, other_o = other_s, other_o, main_s, main_o
    return double_knife_edge_db(
        main_o,
        other_o,
        max(main_s * scale, END_M),
        (other_s - main_s) * scale,
        max((run - other_s) * scale, END_M),
        wavelength,
    )


@leaf
def box_blockage_db(box, c, s, ax, ay, az, bx, by, bz, wavelength):  # type: ignore[no-untyped-def]
    """Loss [dB] of the ray from a to b past a box that reaches down to the ground.

    The heading of the box has cosine c and sine s.

    Three ways lead past it: over the roof, where the edges are those that the ray crosses, and around the left and the
    right side, where they are two upright ones (`double_knife_edge_db` each). Their powers are added, for their phases
    turn against each other within wavelengths: the mean over these fringes, never more than the free field. Where one
    way is clear, nothing is lost. Steady when anything moves: at the boundary of two cases they agree.
    """
    run = math.hypot(bx - ax, by - ay)
    length = math.sqrt(run * run + (bz - az) ** 2)
    if run < END_M:
        return 0.0
    ex, ey = (bx - ax) / run, (by - ay) / run
    rx, ry = box[0] - ax, box[1] - ay
    radius = 0.5 * math.hypot(box[3], box[4])
    middle_s, middle_o = rx * ex + ry * ey, ry * ex - rx * ey
    margin = reach_m(length, wavelength)
    roof = box[2] + 0.5 * box[5]
    if abs(middle_o) > radius + margin or middle_s < -radius or middle_s > run + radius:
        return 0.0
    if roof + margin < min(az, bz):
        return 0.0
    scale, slope = length / run, (bz - az) / run
    left = right = -1e9
    left_s = left_o = right_s = right_o = 0.0
    low_s, high_s = 1e18, -1e18
    s1, o1 = _corner(3, box, c, s, ex, ey)
    for k in range(4):
        s2, o2 = _corner(k, box, c, s, ex, ey)
        sa, oa, sb, ob = _clip(middle_s + s1, middle_o + o1, middle_s + s2, middle_o + o2, 0.0, run)
        s1, o1 = s2, o2
        if math.isnan(sa):
            continue
        for end in range(1 if sb == middle_s + s2 else 2):  # where a side ends, unless cut, the next one begins
            se, oe = (sa, oa) if end == 0 else (sb, ob)
            nu = oe * _weight(se, run, scale, wavelength)
            if nu > left:
                left, left_s, left_o = nu, se, oe
            if -nu > right:
                right, right_s, right_o = -nu, se, -oe
        # The roof counts within the reach of the ray, so that none of its edges comes or goes at once.
        oa, sa, ob, sb = _clip(oa, sa, ob, sb, -margin, margin)
        if not math.isnan(oa):
            low_s, high_s = min(low_s, sa, sb), max(high_s, sa, sb)
    if left <= CLEAR_NU or right <= CLEAR_NU or low_s > high_s:
        return 0.0
    over_db = double_knife_edge_db(
        roof - (az + slope * low_s),
        roof - (az + slope * high_s),
        max(low_s * scale, END_M),
        (high_s - low_s) * scale,
        max((run - high_s) * scale, END_M),
        wavelength,
    )
    if over_db == 0.0:
        return 0.0
    power = 10.0 ** (-0.1 * over_db)
    if knife_edge_db(left) < over_db + NEGLIGIBLE_DB:
        loss = _side_db(box, c, s, ex, ey, middle_s, middle_o, left_s, left_o, 1.0, run, scale, wavelength)
        power += 10.0 ** (-0.1 * loss)
    if knife_edge_db(right) < over_db + NEGLIGIBLE_DB:
        loss = _side_db(box, c, s, ex, ey, middle_s, middle_o, right_s, right_o, -1.0, run, scale, wavelength)
        power += 10.0 ** (-0.1 * loss)
    return max(0.0, -10.0 * math.log10(power))


@leaf
def _screen_share(low, high, before, after, wavelength):  # type: ignore[no-untyped-def]
    """F_1 + F_2 of a screen from `low` to `high` across the ray, `before` and `after` away from its ends [m]."""
    total = 0.0
    for end in range(2):
        reach = high if end == 0 else -low
        # D1 + D2 - r without the difference of nearly equal numbers.
        detour = reach * reach * (1.0 / (math.hypot(before, reach) + before) + 1.0 / (math.hypot(after, reach) + after))
        value = math.atan(0.5 * math.pi * math.sqrt(math.pi / wavelength * detour)) / math.pi
        total += value if reach >= 0.0 else -value
    return total


@leaf
def blockage_model_b_db(box, c, s, ax, ay, az, bx, by, bz, wavelength):  # type: ignore[no-untyped-def]
    """Loss [dB] of the ray from a to b by blockage model B of 3GPP TR 38.901, clause 7.6.4.2, with a box as blocker.

    L = -20 log10[1 - (F_h1 + F_h2) (F_w1 + F_w2)], F = arctan(+-(pi / 2) sqrt((pi / lambda) (D1 + D2 - r))) / pi, D1
    and D2 from the ends over the edge and r between the ends, in the side view for the top and bottom edge h, in the
    top view for the side edges w. The sign is + for both edges of a pair between which the ray runs; when it runs
    beside them, - for the nearer one. The screen stands across the ray through the middle of the box, as wide and as
    high as the box is seen from there. Nothing is lost to a box whose middle is not between the ends. The amplitudes
    past all four edges add up, also below the bottom edge, which no ground closes: less loss than `box_blockage_db`.
    """
    dx, dy, dz = bx - ax, by - ay, bz - az
    run = math.hypot(dx, dy)
    length = math.sqrt(run * run + dz * dz)
    if run < END_M:
        return 0.0
    ex, ey, rise, level = dx / run, dy / run, dz / length, run / length
    rx, ry, rz = box[0] - ax, box[1] - ay, box[2] - az
    along = rx * ex + ry * ey
    before = along * level + rz * rise
    after = length - before
    if before <= 0.0 or after <= 0.0:
        return 0.0
    aside, above = ry * ex - rx * ey, rz * level - along * rise
    turn_c, turn_s = abs(c * ex + s * ey), abs(s * ex - c * ey)
    half_width = 0.5 * (box[3] * turn_s + box[4] * turn_c)
    half_height = 0.5 * (box[5] * level + (box[3] * turn_c + box[4] * turn_s) * abs(rise))
    wide = _screen_share(aside - half_width, aside + half_width, before, after, wavelength)
    high = _screen_share(above - half_height, above + half_height, before, after, wavelength)
    return max(0.0, -20.0 * math.log10(1.0 - wide * high))
