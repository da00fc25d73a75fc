"""Knife edges against the Fresnel integral, and the obstruction of a box against brute force."""

import math

import numpy as np
import pytest
from scipy.special import fresnel

from twin.propagation.blockage import box_hides, box_obstruction, knife_edge_db

WAVELENGTH_M = 0.005


def hides(box, a, b):
    return box_hides(np.array(box), math.cos(box[6]), math.sin(box[6]), *a, *b)


def obstruction(box, a, b):
    return box_obstruction(np.array(box), math.cos(box[6]), math.sin(box[6]), *a, *b, WAVELENGTH_M)


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


def test_a_box_hides_what_lies_behind_it():
    seen = [0, 0]
    for box, a, b in random_worlds(2000):
        through = inside(box, a + np.linspace(0, 1, 2001)[:, None] * (b - a)).any()
        found = hides(box, a, b)
        if found and not through:  # a corner may be cut between two samples
            through = inside(box, a + np.linspace(0, 1, 400_001)[:, None] * (b - a)).any()
        assert found == through
        seen[int(through)] += 1
    assert min(seen) > 200


def test_an_obstruction_is_positive_exactly_when_the_box_hides_the_other_end():
    seen = [0, 0]
    for box, a, b in random_worlds(5000):
        nu = obstruction(box, a, b)
        if abs(nu) > 1e-2:
            assert (nu > 0) == hides(box, a, b)
            seen[int(nu > 0)] += 1
    assert min(seen) > 500


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)])
def test_a_vehicle_darkens_a_ray_steadily(direction):
    a, b = (0.0, 0.0, 5.0), (30.0, 4.0, 1.7)
    losses = []
    for step in np.arange(-8.0, 8.0, WAVELENGTH_M / 10):
        box = [20.0 + step * direction[0], 2.7 + step * direction[1], 1.6, 12.0, 2.5, 3.2, 0.0]
        losses.append(knife_edge_db(obstruction(box, a, b)))
    assert max(losses) > 15.0
    assert np.abs(np.diff(losses)).max() < 1.0


def test_what_stands_beside_or_beyond_the_ray_costs_nothing():
    a, b = (0.0, 0.0, 2.0), (30.0, 0.0, 2.0)
    assert obstruction([15.0, 10.0, 2.0, 8.0, 3.0, 4.0, 0.3], a, b) < -0.78
    assert obstruction([40.0, 0.0, 2.0, 8.0, 3.0, 4.0, 0.0], a, b) < -0.78
    assert obstruction([-10.0, 0.0, 2.0, 8.0, 3.0, 4.0, 0.0], a, b) < -0.78
