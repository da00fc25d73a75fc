"""Road users in the way of waves: people and cyclists shade a little, and do not mirror as metal does."""

import math

import numpy as np
import pytest

from twin.geometry.scene import vehicle_shapes
from twin.propagation.movers import Movers
from twin.propagation.tracer import Tracer
from twin.traffic.simulate import CLASSES

CARRIER_HZ = 60e9
BS_M, UE_M = np.array([0.0, 0.0, 3.0]), np.array([[20.0, 0.0, 1.5]])


def paths(kind, x, y, heading=0.0, blockage="double_knife_edge", bs_m=BS_M):
    """Paths between antennas 20 m apart with one road user at (x, y)."""
    tracer = Tracer((), bs_m, CARRIER_HZ, vehicle_shapes(), 1, 12, diffraction=False, blockage=blockage)
    movers = Movers(np.array([[CLASSES.index(kind)]]), np.array([[[x, y, 0.0, heading]]]), np.zeros((1, 1, 3)))
    return tracer.paths(UE_M, np.zeros((1, 3)), movers)


def shade_db(kind, x, y, **how):
    """What the direct path has lost to the road user."""
    found = paths(kind, x, y, **how)
    direct = np.flatnonzero(found.valid[0] & (found.order[0] == 0))
    return float(found.blockage_db[0, direct[0]])


def test_there_is_a_shape_for_every_class_and_only_what_drives_is_of_metal():
    shapes = vehicle_shapes()
    assert [shape.name for shape in shapes] == list(CLASSES)
    assert [shape.material.conductivity_s_per_m > 1e6 for shape in shapes] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("blockage", ["double_knife_edge", "model_b"])
def test_a_person_between_car_and_base_station_shades_and_less_than_a_bus(blockage):
    """The ray passes 18 m away at a height of 1.65 m, just under the crown of the head."""
    person = shade_db("pedestrian", 18.0, 0.0, blockage=blockage)
    assert 3 < person < 25
    assert shade_db("bus", 13.0, 0.0, heading=math.pi / 2, blockage=blockage) > person
    assert paths("pedestrian", 18.0, 0.0).blocked.all()


@pytest.mark.parametrize("blockage", ["double_knife_edge", "model_b"])
def test_a_person_beside_the_ray_or_far_below_it_shades_nothing(blockage):
    assert shade_db("pedestrian", 18.0, 1.5, blockage=blockage) < 0.3
    assert shade_db("pedestrian", 5.0, 0.0, blockage=blockage) < 0.3
    assert not paths("pedestrian", 18.0, 1.5).blocked.any()


def test_the_shade_of_a_person_falls_off_within_half_a_metre():
    """The ray's first Fresnel zone is 10 cm wide there: sqrt(lambda d1 d2 / d)."""
    losses = [shade_db("pedestrian", 18.0, y) for y in (0.0, 0.2, 0.3, 0.4, 0.6)]
    assert (np.diff(losses) < 0.1).all()
    assert losses[0] > 3
    assert losses[-1] == 0


def test_skin_reflects_less_than_metal():
    """Fresnel at the angle of the mirrored ray, eta = 7.98 - j 36.4 / (2 pi f epsilon_0), either polarisation."""
    gains = {}
    for kind in ("pedestrian", "bus"):
        side_m = {"pedestrian": 0.3, "bus": 1.275}[kind]
        found = paths(kind, 10.0, 2.0 + side_m, bs_m=UE_M[0] * [0, 1, 1])
        mirrored = np.flatnonzero(found.valid[0] & (found.order[0] == 1))
        gains[kind] = np.abs(found.gain[0, mirrored]).max()
    eta = 7.98 - 36.4j / (2 * np.pi * CARRIER_HZ * 8.8541878128e-12)
    cosine = 2.0 / math.hypot(10.0, 2.0)
    root = np.sqrt(eta - (1 - cosine**2))
    across = (cosine - root) / (cosine + root)
    share = gains["pedestrian"] / gains["bus"]
    assert share == pytest.approx(abs(across), rel=0.01)
