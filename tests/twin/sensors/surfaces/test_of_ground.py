"""The ground is made of what the camera paints it as."""

import numpy as np
import pytest

from twin.scenario import load_scenario
from twin.sensors.surfaces.ground import ground_colour, ground_of
from twin.sensors.surfaces.of_ground import ground_surface, is_ground
from twin.sensors.surfaces.table import SURFACE_NAMES, SURFACES


def names(ground, place_m):
    return np.array(SURFACE_NAMES)[ground_surface(ground, place_m)]


def test_across_a_street_come_asphalt_a_line_the_pavement_and_grass():
    template = load_scenario("deepsense32")
    scenario, _ = template.draw(0, 0)
    half = scenario.half_width_m
    across = np.array([-half + 2, 0.12, half - 0.25, half + 0.5, half + 2.5, -half - 3.5])
    found = names(ground_of(scenario), scenario.local_m(np.full(6, -70.0), across))
    assert found.tolist() == ["asphalt", "marking", "marking", "sidewalk", "sidewalk", "grass"]
    house = scenario.buildings[0]
    behind = house.across_m + house.depth_m / 2
    found = names(ground_of(scenario), scenario.local_m([house.along_m] * 2, [behind + 4.0, behind + 6.0]))
    assert found.tolist() == ["sidewalk", "grass"]


@pytest.mark.parametrize("name", ["deepsense32", "street_canyon"])
def test_the_camera_paints_the_same_plan(name):
    """Each place has the colour that the camera gives its surface, but for light and dark spots."""
    scenario, _ = load_scenario(name).draw(0, 0)
    ground = ground_of(scenario)
    rng = np.random.default_rng(0)
    place = scenario.local_m(rng.uniform(-60, 60, 4000), rng.uniform(-30, 30, 4000))
    colour = np.array([ground_colour(ground, x, y, 0.01) for x, y in place])
    found = names(ground, place)
    assert {"asphalt", "sidewalk", "marking", "grass"} == set(found)
    grey = colour.max(axis=1) < 1.25 * colour.min(axis=1)
    assert (grey[found == "asphalt"] & (colour.max(axis=1)[found == "asphalt"] < 0.2)).all()
    assert grey[found == "sidewalk"].all()
    assert not grey[found == "grass"].any()
    bright = colour.max(axis=1)[found == "marking"]
    assert bright.min() > 2 * SURFACES["asphalt"].albedo[0]


def test_only_what_is_low_and_level_is_ground():
    place = np.array([[3.0, 4.0, 0.0], [3.0, 4.0, 2.0], [3.0, 4.0, 0.1]])
    normal = np.array([[0.0, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert is_ground(place, normal).tolist() == [True, False, False]
