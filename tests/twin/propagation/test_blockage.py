"""Knife edges against the integrals of Fresnel and Kirchhoff, and boxes against brute force and edges."""

import math

import numpy as np
import pytest
from scipy.special import fresnel, wofz

from twin.propagation.blockage import (
    blockage_model_b_db,
    box_blockage_db,
    double_knife_edge_db,
    knife_edge_db,
)

WAVELENGTH_M = 0.005
NODE, WEIGHT = np.polynomial.legendre.leggauss(800)


def hides(box, a, b):
    """Whether the segment runs through the box, side by side in the box's own frame."""
    c, s = math.cos(box[6]), math.sin(box[6])
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    start, way = turn @ (np.array(a) - box[:3]), turn @ (np.array(b) - np.array(a))
    half = np.array(box[3:6]) / 2
    first, last = np.sort([(-half - start) / way, (half - start) / way], axis=0)
    return max(0.0, *first) < min(1.0, *last)


def blockage(box, a, b):
    return box_blockage_db(np.array(box), math.cos(box[6]), math.sin(box[6]), *a, *b, WAVELENGTH_M)


def model_b(box, a, b):
    return blockage_model_b_db(np.array(box), math.cos(box[6]), math.sin(box[6]), *a, *b, WAVELENGTH_M)


def inside(box, points):
    c, s = math.cos(box[6]), math.sin(box[6])
    x, y, z = (points - np.array(box[:3])).T
    along, across = x * c + y * s, y * c - x * s
    return (np.abs(along) < box[3] / 2) & (np.abs(across) < box[4] / 2) & (np.abs(z) < box[5] / 2)


@pytest.mark.parametrize("nu", [-0.5, 0.0, 0.5, 1.0, 2.4, 5.0, 20.0])
def test_the_knife_edge_is_the_fresnel_integral(nu):
    s, c = fresnel(nu)
    exact_db = -20.0 * math.log10(math.hypot(1.0 - c - s, c - s) / 2.0)
    assert knife_edge_db(nu) == pytest.approx(exact_db, abs=0.5)


def test_an_edge_far_below_the_ray_costs_nothing():
    assert knife_edge_db(-0.8) == 0.0
    assert knife_edge_db(-0.779) == pytest.approx(0.0, abs=0.05)


def random_worlds(count):
    """Boxes on the ground and two points outside; every other segment is aimed at the box."""
    rng = np.random.default_rng(5)
    for number in range(count):
        height = rng.uniform(1.0, 4.0)
        box = [*rng.uniform(-8, 8, 2), height / 2, *rng.uniform(1.0, 12.0, 2), height, rng.uniform(-np.pi, np.pi)]
        a, b = rng.uniform([-15, -15, 0.5], [15, 15, 6.0], (2, 3))
        if number % 2:
            b = a + 1.9 * (np.array(box[:3]) + rng.uniform(-2.0, 2.0, 3) - a)
        if b[2] > 0.1 and not inside(box, np.stack([a, b])).any():
            yield box, a, b


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)])
def test_a_vehicle_darkens_a_ray_steadily(direction):
    a, b = (0.0, 0.0, 5.0), (30.0, 4.0, 1.7)
    losses = []
    for step in np.arange(-8.0, 8.0, WAVELENGTH_M / 10):
        box = [20.0 + step * direction[0], 2.7 + step * direction[1], 1.6, 12.0, 2.5, 3.2, 0.0]
        losses.append(blockage(box, a, b))
    assert max(losses) > 15.0
    assert np.abs(np.diff(losses)).max() < 1.0


def test_what_stands_beside_or_beyond_the_ray_costs_nothing():
    a, b = (0.0, 0.0, 2.0), (30.0, 0.0, 2.0)
    for box in ([15, 10, 2, 8, 3, 4, 0.3], [40, 0, 2, 8, 3, 4, 0], [-10, 0, 2, 8, 3, 4, 0]):
        assert blockage(box, a, b) == 0.0


def two_screens_db(h1, h2, a, b, c):
    """Exact loss of two half screens: the double integral of Fresnel and Kirchhoff over what lies above them.

    A = K int_h1^inf int_h2^inf exp(-j pi / lambda [y1^2 / a + (y2 - y1)^2 / b + y2^2 / c]) dy2 dy1: the chance that two
    normal numbers exceed p and q, were their variance -j / pi and not real; p, q are the parameters nu of either edge.
    """
    total = a + b + c
    p = h1 * math.sqrt(2 * total / (WAVELENGTH_M * a * (b + c)))
    q = h2 * math.sqrt(2 * total / (WAVELENGTH_M * (a + b) * c))
    return -20 * math.log10(abs(above(p, q, math.sqrt(a * c / ((a + b) * (b + c))))))


def above(p, q, correlation):
    if p < 0:  # what passes the second edge, without what passes below the first
        return above_one(q) - above(-p, q, -correlation)
    if q < 0:
        return above_one(p) - above(p, -q, -correlation)
    p, q = max(p, q), min(p, q)
    turn = np.exp(-0.25j * np.pi)  # the direction in which the outer integral decays
    u = (NODE + 1) / 2
    x = p + 8 * u**3 * turn
    z = math.sqrt(math.pi / 2) / turn * (q - correlation * x) / math.sqrt(1 - correlation**2)
    outer = -0.5j * np.pi * x**2
    side = np.where(z.real < 0, -1, 1)  # erfc(z) = 2 - erfc(-z), and erfc(z) = exp(-z^2) w(j z)
    inner = np.where(side < 0, np.exp(outer), 0) + side * np.exp(outer - z**2) * wofz(1j * side * z) / 2
    return (WEIGHT * 12 * u**2 * inner).sum() / math.sqrt(2)


def above_one(nu):
    s, c = fresnel(nu)
    return (1 + 1j) / 2 * ((0.5 - c) - 1j * (0.5 - s))


def test_the_exact_screens_have_their_known_limits():
    assert two_screens_db(-9.0, -9.0, 10.0, 5.0, 20.0) == pytest.approx(0.0, abs=0.1)
    assert two_screens_db(0.0, -9.0, 10.0, 5.0, 20.0) == pytest.approx(6.02, abs=0.1)
    share = 0.25 + math.asin(math.sqrt(10 * 20 / (15 * 25))) / (2 * math.pi)  # both edges on the line of sight
    assert two_screens_db(0.0, 0.0, 10.0, 5.0, 20.0) == pytest.approx(-20 * math.log10(share), abs=1e-6)


@pytest.mark.parametrize(("a", "b", "c"), [(30, 0.2, 20), (12, 2.5, 30), (10, 12, 8), (3, 12, 40), (2, 60, 5)])
def test_two_edges_are_those_of_the_double_integral(a, b, c):
    """Up to the fringes in front of edges that stand clear of the ray, which J(nu) leaves out as well."""
    heights = (-0.3, -0.15, -0.08, -0.04, 0.0, 0.01, 0.03, 0.06, 0.11, 0.2, 0.5, 1.2, 2.5)
    errors = []
    for h1 in heights:
        for h2 in heights:
            found, exact = double_knife_edge_db(h1, h2, a, b, c, WAVELENGTH_M), two_screens_db(h1, h2, a, b, c)
            if found == 0.0:
                assert abs(exact) < 3.0
            else:
                errors.append(found - exact)
    assert np.abs(errors).max() < 1.5
    assert np.std(errors) < 0.6


def test_comparable_edges_add_their_losses_and_a_correction():
    """ITU-R P.526-15, clause 4.3, first method, by hand: edges 2 m high, 50 m, 20 m and 40 m."""
    nu1 = (2.0 - 2.0 * 50 / 70) * math.sqrt(2 * 70 / (WAVELENGTH_M * 50 * 20))
    nu2 = (2.0 - 2.0 * 40 / 60) * math.sqrt(2 * 60 / (WAVELENGTH_M * 20 * 40))
    correction = 10 * math.log10(70 * 60 / (20 * 110))
    assert min(knife_edge_db(nu1), knife_edge_db(nu2)) > 15.0
    expected = knife_edge_db(nu1) + knife_edge_db(nu2) + correction
    assert double_knife_edge_db(2.0, 2.0, 50.0, 20.0, 40.0, WAVELENGTH_M) == pytest.approx(expected, abs=1e-9)


def test_beside_a_dominant_edge_the_lesser_one_is_corrected():
    """ITU-R P.526-15, clause 4.3, second method, by hand."""
    h1, h2, a, b, c = 1.0, 0.7, 10.0, 12.0, 8.0
    p = h1 * math.sqrt(2 / WAVELENGTH_M * 30 / (a * 20))
    q = h2 * math.sqrt(2 / WAVELENGTH_M * 30 / (22 * c))
    lesser = (h2 - h1 * c / 20) * math.sqrt(2 * 20 / (WAVELENGTH_M * b * c))
    alpha = math.atan(math.sqrt(b * 30 / (a * c)))
    correction = (12 - 20 * math.log10(2 / (1 - alpha / math.pi))) * (q / p) ** (2 * p)
    before = (h1 - h2 * a / 22) * math.sqrt(2 * 22 / (WAVELENGTH_M * a * b))
    assert p > q > 0
    mixture = np.clip((min(knife_edge_db(lesser), knife_edge_db(before)) - 10) / 5, 0, 1)
    dominated = knife_edge_db(p) + knife_edge_db(lesser) - correction
    compared = knife_edge_db(before) + knife_edge_db(lesser) + 10 * math.log10(22 * 20 / (12 * 30))
    expected = dominated + mixture * (compared - dominated)
    assert double_knife_edge_db(h1, h2, a, b, c, WAVELENGTH_M) == pytest.approx(expected, abs=1e-9)
    assert abs(dominated - compared) < 2.0


@pytest.mark.parametrize("h", [-0.05, 0.0, 0.02, 0.3, 2.0])
def test_two_edges_in_one_place_are_one(h):
    single = knife_edge_db(h * math.sqrt(2 * 30 / (WAVELENGTH_M * 10 * 20)))
    assert double_knife_edge_db(h, h, 10.0, 1e-6, 20.0, WAVELENGTH_M) == pytest.approx(single, abs=0.1)
    assert double_knife_edge_db(h, -3.0, 10.0, 0.5, 19.5, WAVELENGTH_M) == pytest.approx(single, abs=1e-9)


def test_two_edges_are_steady_and_the_same_from_either_end():
    rng = np.random.default_rng(8)
    for _ in range(300):
        a, b, c = np.exp(rng.uniform(np.log([1, 0.05, 1]), np.log([60, 20, 60])))
        start, direction = rng.uniform(-0.5, 0.5, 2), rng.normal(size=2)
        heights = start + np.linspace(0, 0.5, 1001)[:, None] * direction / np.abs(direction).max()
        losses = [double_knife_edge_db(h1, h2, a, b, c, WAVELENGTH_M) for h1, h2 in heights]
        assert np.abs(np.diff(losses)).max() < 0.8
        assert double_knife_edge_db(*heights[0][::-1], c, b, a, WAVELENGTH_M) == pytest.approx(losses[0], abs=1e-9)
        assert min(losses) >= 0.0


BUS = [20.0, 0.0, 1.6, 12.0, 2.5, 3.2, 0.0]


def test_two_ends_below_the_roof_of_a_bus_still_see_each_other_faintly():
    """Along the bus and across it: what gets over the roof, by the double integral, and around its ends."""
    a, b = (0.0, 0.0, 1.5), (40.0, 0.0, 1.5)
    over = two_screens_db(1.7, 1.7, 14.0, 12.0, 14.0)
    around = two_screens_db(1.25, 1.25, 14.0, 12.0, 14.0)
    exact = -10 * math.log10(10 ** (-over / 10) + 2 * 10 ** (-around / 10))
    assert 40.0 < exact < 60.0
    assert blockage(BUS, a, b) == pytest.approx(exact, abs=1.7)
    across = [*BUS[:6], math.pi / 2]
    assert blockage(across, a, b) == pytest.approx(two_screens_db(1.7, 1.7, 18.75, 2.5, 18.75), abs=1.7)


def test_a_bus_under_a_high_base_station_is_its_rear_edge():
    """The ray falls over the roof and meets the edge that is farther away."""
    a, b = (0.0, 0.0, 8.0), (40.0, 0.0, 1.5)
    at_edge = 8.0 - 26.0 / 40.0 * 6.5
    nu = (3.2 - at_edge) * math.sqrt(2 * 40 / (WAVELENGTH_M * 26 * 14))
    low = [*BUS[:5], 2 * 1.6, 0.0]
    assert nu < -0.78
    assert blockage(low, a, b) == 0.0
    b = (30.0, 0.0, 1.5)
    over = 3.2 - (8.0 - 26.0 / 30.0 * 6.5)
    assert over > 0
    assert blockage(BUS, a, b) == pytest.approx(
        knife_edge_db(over * math.sqrt(2 * 30 / (WAVELENGTH_M * 26 * 4))), abs=0.5
    )


@pytest.mark.parametrize("top", [1.4, 1.5, 1.53, 1.8, 3.0])
def test_a_thin_wide_box_is_a_knife_edge(top):
    a, b = (0.0, 0.0, 1.5), (30.0, 0.0, 1.5)
    box = [12.0, 0.0, top / 2, 1e-6, 80.0, top, 0.0]
    nu = (top - 1.5) * math.sqrt(2 * 30 / (WAVELENGTH_M * 12 * 18))
    assert blockage(box, a, b) == pytest.approx(knife_edge_db(nu), abs=0.1)


def test_the_loss_past_a_box_is_the_same_from_either_end():
    for box, a, b in random_worlds(500):
        assert blockage(box, a, b) == pytest.approx(blockage(box, b, a), abs=1e-6)
        assert model_b(box, a, b) == pytest.approx(model_b(box, b, a), abs=1e-6)


def test_hidden_ends_lose_something_and_ends_far_from_the_box_nothing():
    seen = [0, 0]
    for box, a, b in random_worlds(3000):
        if hides(box, a, b):
            assert blockage(box, a, b) > 3.0
            seen[0] += 1
        grown = [*box[:3], box[3] + 2.0, box[4] + 2.0, box[5] + 2.0, box[6]]
        if not hides(grown, a, b):
            assert blockage(box, a, b) == 0.0
            seen[1] += 1
    assert min(seen) > 300


def crossings():
    """Vehicles that move into a ray between a mast or a car's roof and another car: along, across, askew."""
    quarter = math.pi / 2
    ways = ((0.0, 0.0), (0.0, quarter), (0.02, quarter), (quarter, quarter), (0.6, 0.6))
    for height in (1.5, 5.0, 8.0):
        for end in ((40.0, 0.0, 1.5), (32.0, 3.0, 1.7)):
            for size in ((12.0, 2.5, 3.2), (4.5, 1.8, 1.5), (8.0, 2.4, 3.9)):
                for heading, drive in ways:
                    yield (0.0, 0.0, height), end, size, heading, drive


@pytest.mark.parametrize("loss", [blockage, model_b])
def test_moving_into_a_ray_darkens_it_steadily(loss):
    for a, b, (length, width, height), heading, drive in crossings():
        losses = []
        for step in np.arange(-4.0, 4.0, WAVELENGTH_M / 10):
            x, y = 18.0 + step * math.cos(drive), 0.2 + step * math.sin(drive)
            losses.append(loss([x, y, height / 2, length, width, height, heading], a, b))
        assert np.abs(np.diff(losses)).max() < 1.0
        assert min(losses) >= 0.0


def screen_db(box, a, b):
    """Blockage model B with the screen's edges set up in space and looked at from above and from the side."""
    a, b, middle = np.array(a), np.array(b), np.array(box[:3])
    ray = (b - a) / np.linalg.norm(b - a)
    aside = np.cross([0.0, 0.0, 1.0], ray)
    aside /= np.linalg.norm(aside)
    up = np.cross(ray, aside)
    c, s = math.cos(box[6]), math.sin(box[6])
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * box[3:6]
    corners = corners @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    shadow = []
    for axis in (aside, up):
        low, high = (corners @ axis).min(), (corners @ axis).max()
        share, reach = 0.0, []
        for offset in (low, high):
            edge = middle + offset * axis
            seen = [point @ np.stack([ray, axis]).T for point in (a, edge, b)]  # this view
            detour = np.linalg.norm(seen[1] - seen[0]) + np.linalg.norm(seen[2] - seen[1]) - np.linalg.norm(b - a)
            reach.append((edge - a) @ axis)
            share = np.append(
                share, math.atan(math.pi / 2 * math.sqrt(math.pi / WAVELENGTH_M * max(detour, 0))) / math.pi
            )
        low_share, high_share = share[1:]
        between = reach[0] < 0 < reach[1]
        shadow.append(low_share + high_share if between else abs(high_share - low_share))
    return -20 * math.log10(1 - shadow[0] * shadow[1])


def test_model_b_is_a_screen_in_the_place_of_the_box():
    compared = 0
    for box, a, b in random_worlds(1000):
        ray = (b - a) / np.linalg.norm(b - a)
        if 0.5 < (np.array(box[:3]) - a) @ ray < np.linalg.norm(b - a) - 0.5:
            assert model_b(box, a, b) == pytest.approx(screen_db(box, a, b), rel=1e-4, abs=1e-4)
            compared += 1
    assert compared > 300


@pytest.mark.parametrize("nu", [-0.5, 0.0, 0.5, 1.0, 2.4, 5.0])
def test_model_b_is_close_to_a_knife_edge_where_it_is_one(nu):
    """A wall without ends: its top edge alone."""
    rise = nu / math.sqrt(2 * 40 / (WAVELENGTH_M * 20 * 20))
    box = [20.0, 0.0, 3.0 + rise - 150.0, 0.01, 2000.0, 300.0, 0.0]
    s, c = fresnel(nu)
    exact_db = -20.0 * math.log10(math.hypot(1.0 - c - s, c - s) / 2.0)
    assert model_b(box, (0.0, 0.0, 3.0), (40.0, 0.0, 3.0)) == pytest.approx(exact_db, abs=1.5)


def test_model_b_forgets_boxes_that_are_not_between_the_ends():
    a, b = (0.0, 0.0, 2.0), (30.0, 0.0, 2.0)
    assert model_b([40.0, 0.0, 2.0, 8.0, 3.0, 4.0, 0.0], a, b) == 0.0
    assert model_b([-10.0, 0.0, 2.0, 8.0, 3.0, 4.0, 0.0], a, b) == 0.0
    assert model_b([15.0, 10.0, 2.0, 8.0, 3.0, 4.0, 0.3], a, b) < 0.02


def test_model_b_adds_what_four_edges_let_through():
    """Deep in the shadow of a screen: also what creeps below it, which the ground does not keep away."""
    rise, fall, aside = 1.7, 1.5, 6.0
    weight = math.sqrt(2 * 40 / (WAVELENGTH_M * 20 * 20))
    amplitude = sum(10 ** (-knife_edge_db(h * weight) / 20) for h in (rise, fall, aside, aside))
    box = [20.0, 0.0, 1.6, 0.01, 12.0, 3.2, 0.0]
    assert model_b(box, (0.0, 0.0, 1.5), (40.0, 0.0, 1.5)) == pytest.approx(-20 * math.log10(amplitude), abs=0.5)
