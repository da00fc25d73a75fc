"""Walls are made of what the camera paints on them: panes are glass, what is around them is not."""

import math

import numpy as np
import pytest

from twin.geometry.scene import build_scene
from twin.scenario import load_scenario
from twin.scenario.sensors import Lidar
from twin.sensors.actors import Actors
from twin.sensors.lidar.sensor import LidarSensor
from twin.sensors.mount import Mount
from twin.sensors.surfaces.facade import facade, walls_of
from twin.sensors.surfaces.of_walls import facade_surface
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.sensors.world import World

SQUARE = np.array([[[0, 0, 0], [0, 1, 0], [0, 1, 1]], [[0, 0, 0], [0, 1, 1], [0, 0, 1]]], float)
GROUND = 500.0 * np.array([[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0]]], float)
EAST_M, WIDTH_M, HEIGHT_M = 22.0, 48.0, 14.4
EYE_M = 2.0
SLANTED = math.cos(math.radians(12))


def world_of(triangle_m, name, body=0):
    """A world of triangles of one surface; the number of the body is what its windows are drawn with."""
    kinds = np.full(len(triangle_m), SURFACE_NAMES.index(name), np.uint8)
    return World(triangle_m, kinds, np.full(len(kinds), body, np.int64), ())


def front(width_m=WIDTH_M, height_m=HEIGHT_M):
    """A wall in the east, which faces west."""
    return SQUARE * [1, width_m, height_m] + [EAST_M, -width_m / 2, 0]


def places(count=20_000, width_m=WIDTH_M, height_m=HEIGHT_M, seed=0):
    """Places all over the front."""
    rng = np.random.default_rng(seed)
    north, up = rng.uniform(-width_m / 2, width_m / 2, count), rng.uniform(0, height_m, count)
    return np.stack([np.full(count, EAST_M), north, up], axis=1)


def names(world, place_m):
    """What the places on the world's first triangle's wall are made of."""
    return np.array(SURFACE_NAMES)[facade_surface(world, np.zeros(len(place_m), np.int64), place_m)]


def painted(world, triangle, place_m):
    """Albedo (place, 3) and mirror reflectance that the camera paints; NaN where there is no wall."""
    count = len(world.still_triangle_m)
    of, walls = walls_of(world.still_triangle_m, world.normal[:count], world.surface[:count], world.body)
    found = np.full((len(place_m), 4), np.nan)
    for k in np.flatnonzero(of[triangle] >= 0):
        found[k] = facade(walls[of[triangle[k]]], *place_m[k], 0.0, 0)[:4]
    return found[:, :3], found[:, 3]


def looking_east(world, **fields):
    lidar = Lidar(range_noise_m=0.0, rolling=0, **fields)
    return LidarSensor(world, lidar, Mount(np.array([0.0, 0.0, EYE_M]), 0.0), 0.1)


def ends(sensor, echoes):
    """Where the rays end, in the local frame."""
    range_m = np.where(np.isfinite(echoes.range_m), echoes.range_m, 0.0)
    return sensor.mount.to_local(sensor.direction * range_m[:, None])


def test_across_a_storey_windows_alternate_with_the_wall_and_under_the_roof_there_are_none():
    world = world_of(front(), "brick")
    north = np.linspace(-WIDTH_M / 2, WIDTH_M / 2, 4801)
    per_height = []
    for up_m in np.arange(0.05, HEIGHT_M, 0.1):
        found = names(world, np.stack([np.full_like(north, EAST_M), north, np.full_like(north, up_m)], axis=1))
        assert set(found) <= {"brick", "glass"}
        per_height.append((found == "glass").mean())
        if up_m > HEIGHT_M - 0.4 or up_m < 0.3:
            assert (found == "brick").all()
    assert (np.array(per_height) == 0).sum() > 30
    assert 0.3 < max(per_height) < 0.95


@pytest.mark.parametrize(("name", "body"), [("brick", 0), ("concrete", 0), ("concrete", 2), ("glass", 1)])
def test_the_camera_paints_a_mirror_where_there_is_glass_and_nowhere_else(name, body):
    """Bare glass mirrors 4 % or more at either face; coated panes mirror more than the panels beside them."""
    world, place_m = world_of(front(), name, body), places(6000)
    found = names(world, place_m)
    albedo, mirror = painted(world, np.zeros(len(place_m), np.int64), place_m)
    pane = found == "glass"
    assert 0.1 < pane.mean() < 0.9
    assert mirror[pane].min() > (0.19 if name == "glass" else 0.06)
    assert mirror[~pane].max() < (0.17 if name == "glass" else 0.03)
    if name != "glass":
        assert set(found[~pane]) == {name}
    else:
        assert set(found[~pane]) == {"metal", "trim"}
        assert albedo[found == "trim"].max() < 0.1 < albedo[found == "metal"].min()


def test_of_a_curtain_of_glass_so_much_is_opaque_as_mullions_and_floors_take():
    """Panels of 1.5 m between mullions of 7 cm; of 3.6 m a storey the lowest 94 cm hide the floor."""
    found = names(world_of(front(), "glass"), places())
    panes = (1 - 0.07 / 1.5) * (1 - 0.94 / 3.6)
    assert (found != "glass").mean() == pytest.approx(1 - panes, abs=0.01)


@pytest.mark.parametrize("name", ["brick", "concrete"])
def test_a_window_returns_less_off_normal_than_the_wall_around_it(name):
    world = world_of(front(), name)
    sensor = looking_east(world)
    echoes, cloud = sensor.echoes(Actors.none()), sensor.scan(Actors.none(), np.random.default_rng(0))
    met = np.flatnonzero(np.isfinite(echoes.range_m))
    _, mirror = painted(world, np.zeros(len(met), np.int64), ends(sensor, echoes)[met])
    slanted = echoes.cosine[met] < SLANTED
    window = met[slanted & (mirror > 0.05)]
    wall = met[slanted & (mirror == 0)]
    assert min(len(window), len(wall)) > 300
    assert np.isin(wall, cloud.ray).mean() > 0.99
    assert np.isin(window, cloud.ray).mean() < 0.05
    window_returned, wall_returned = (
        echoes.strength[part] * echoes.range_m[part] ** 2 / echoes.cosine[part] for part in (window, wall)
    )
    assert window_returned.max() < 0.05 * wall_returned.min()


def test_a_glass_front_still_returns_from_its_mullions_and_floors():
    world = world_of(front(), "glass")
    sensor = looking_east(world)
    echoes, cloud = sensor.echoes(Actors.none()), sensor.scan(Actors.none(), np.random.default_rng(0))
    place_m = ends(sensor, echoes)
    slanted = np.isfinite(echoes.range_m) & (echoes.cosine < SLANTED) & (echoes.range_m < 30)
    seen = np.flatnonzero(slanted & np.isin(np.arange(len(slanted)), cloud.ray))
    along, up = (place_m[seen, 1] + WIDTH_M / 2) % 1.5, place_m[seen, 2] % 3.6
    on_frame = (np.minimum(along, 1.5 - along) < 0.036) | (up < 0.941)
    assert on_frame.mean() > 0.9
    assert 0.25 < len(seen) / slanted.sum() < 0.45


@pytest.mark.parametrize("name", ["deepsense32", "intersection"])
def test_on_every_wall_of_a_street_the_lidar_meets_what_the_camera_paints(name):
    """The share of what is opaque is the same for both, and so is every single place."""
    template = load_scenario(name)
    scenario, _ = template.draw(0, 0)
    world = World.of(build_scene(scenario, template.folder))
    toward = scenario.local_m(0.0, 0.0)
    mount = Mount(np.array([0.0, 0.0, scenario.site.bs_height_m]), math.atan2(toward[1], toward[0]))
    sensor = LidarSensor(world, scenario.lidar, mount, 0.1)
    hits = world.cast_static(mount.position_m, mount.direction_to_local(sensor.direction), scenario.lidar.farthest_m)
    met = np.flatnonzero(np.isfinite(hits.distance_m))
    echoes = sensor.echoes(Actors.none())
    _, mirror = painted(world, hits.triangle[met], ends(sensor, echoes)[met])
    wall = np.isfinite(mirror)
    assert wall.sum() > 5000
    own, found = (np.array(SURFACE_NAMES)[kinds[met]] for kinds in (hits.surface, echoes.surface))
    np.testing.assert_array_equal(found[~wall], own[~wall])
    pane = np.where(own[wall] == "glass", mirror[wall] > 0.18, mirror[wall] > 0.05)
    assert ((found[wall] == "glass") == pane).mean() > 0.999  # but for roundings at the edges of panes
    assert 0.2 < (found[wall] == "glass").mean() < 0.8


def test_what_nobody_lives_in_has_no_windows():
    place_m = places(2000, 40.0, 2.0)
    assert set(names(world_of(front(40.0, 2.0), "concrete"), place_m)) == {"concrete"}  # lower than a storey
    assert set(names(world_of(front(40.0, 2.0), "glass"), place_m)) == {"glass"}
    assert set(names(world_of(front(), "wood"), places(2000))) == {"wood"}
    slim = np.concatenate(
        [front(), front() + [0.3, 0, 0], SQUARE[..., [1, 0, 2]] * [0.3, 1, HEIGHT_M] + [EAST_M, 0, 0]]
    )
    assert set(names(world_of(slim, "concrete"), places(2000))) == {"concrete"}


def test_a_world_without_walls_is_what_it_was():
    place_m = places(50) * [1, 1, 0]
    assert set(names(world_of(GROUND, "glass"), place_m)) == {"glass"}
    nothing = np.zeros(0, np.int64)
    assert facade_surface(world_of(np.empty((0, 3, 3)), "glass"), nothing, np.empty((0, 3))).shape == (0,)
    assert not len(
        looking_east(world_of(np.empty((0, 3, 3)), "glass")).scan(Actors.none(), np.random.default_rng(0)).ray
    )
