"""The nearest wall of a scene is where its ground plan says."""

import dataclasses

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from twin.geometry.scene import VEHICLE_MATERIAL, box_body, build_scene
from twin.scenario import load_scenario
from twin.sensors.walls import Walls

ROOF_M = 1.7
to_nearest = jaxtyped(typechecker=beartype)(Walls.to_nearest)


def turned_box(length_m, width_m, height_m, turn_rad=0.0, at_m=(0.0, 0.0), above_m=0.0):
    box = box_body("box", length_m, width_m, height_m, VEHICLE_MATERIAL)
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    vertex_m = box.vertex_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [*at_m, above_m]
    return dataclasses.replace(box, vertex_m=vertex_m)


def test_the_nearest_wall_of_a_turned_building_is_on_its_outline():
    turn, at = 0.6, np.array([5.0, -20.0])
    walls = Walls.of([turned_box(30, 12, 9, turn, at)], ROOF_M)
    points = np.random.default_rng(0).uniform(-60, 60, (400, 2))
    way = to_nearest(walls, points)
    c, s = np.cos(turn), np.sin(turn)
    x, y = ((points - at) @ np.array([[c, -s], [s, c]])).T
    beyond = np.stack([np.abs(x) - 15, np.abs(y) - 6])
    outline_m = np.where((beyond < 0).all(0), -beyond.max(0), np.linalg.norm(np.maximum(beyond, 0), axis=0))
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), outline_m, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(to_nearest(walls, points + way), axis=1), 0.0, atol=1e-9)


def test_of_two_buildings_the_nearer_one_counts():
    walls = Walls.of([turned_box(10, 10, 9, at_m=(0, 15)), turned_box(10, 10, 9, at_m=(0, -13))], ROOF_M)
    np.testing.assert_allclose(to_nearest(walls, np.array([[1.0, 0.0], [-2.0, 2.0]])), [[0, -8], [0, 8]], atol=1e-9)


def test_the_ground_and_a_kerb_are_no_walls():
    kerb = turned_box(100, 1, 0.15)
    assert np.isinf(to_nearest(Walls.of([kerb], ROOF_M), np.array([[3.0, 4.0]]))).all()
    flat = dataclasses.replace(kerb, vertex_m=kerb.vertex_m * [1, 1, 0] + [0, 0, 5])
    assert np.isinf(to_nearest(Walls.of([flat], ROOF_M), np.array([[3.0, 4.0]]))).all()
    assert np.isinf(to_nearest(Walls.of([], ROOF_M), np.array([[3.0, 4.0]]))).all()


def test_a_wall_high_up_counts():
    walls = Walls.of([turned_box(20, 10, 6, above_m=4.0)], ROOF_M)
    np.testing.assert_allclose(to_nearest(walls, np.array([[0.0, 9.0]])), [[0, -4]], atol=1e-9)


def test_the_street_has_its_walls_where_the_scenario_puts_them():
    template = load_scenario("deepsense32")
    scenario, _ = template.draw(0, 0)
    walls = Walls.of(build_scene(scenario, template.folder).bodies, ROOF_M)
    middle = scenario.local_m(np.array([-30.0, 32.0]), np.array([0.0, 0.0]))
    distance = np.linalg.norm(to_nearest(walls, middle), axis=1)
    assert distance == pytest.approx([19 - 6, 20 - 6])
