"""The LiDAR reports the distances of what its rays meet, as far as enough of the light comes back."""

import math

import numpy as np
import pytest
import trimesh

from twin.geometry.scene import build_scene
from twin.scenario import load_scenario
from twin.scenario.sensors import Lidar
from twin.sensors.actors import Actors
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.lidar.sensor import LidarSensor
from twin.sensors.meshes import ActorMesh, actor_meshes
from twin.sensors.mount import Mount
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

SIZES = tuple(VEHICLE_CLASSES.values())
CAR, BUS = (list(VEHICLE_CLASSES).index(name) for name in ("car", "bus"))
REVOLUTION_S = 0.1
HEIGHT_M = 1.8
GROUND = 500.0 * np.array([[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0]]], float)
EXACT = Lidar(range_noise_m=0.0, rolling=0)


def surface(name):
    return SURFACE_NAMES.index(name)


def wall_all_around(range_m, sides, low_m=-20.0, high_m=20.0):
    """Triangles of an upright prism around the origin whose sides are `range_m` away."""
    corner = (np.arange(sides + 1) - 0.5) * 2 * np.pi / sides
    x, y = (range_m / math.cos(math.pi / sides) * f(corner) for f in (np.cos, np.sin))
    low, high = (np.stack([x, y, np.full_like(x, z)], axis=1) for z in (low_m, high_m))
    one = np.stack([low[:-1], low[1:], high[1:]], axis=1)
    return np.concatenate([one, np.stack([low[:-1], high[1:], high[:-1]], axis=1)])


def world_of(*parts, box="paint"):
    """A world of (triangles, surface), where actors are boxes of the surface `box`."""
    meshes = []
    for length, width, height in SIZES:
        body = trimesh.creation.box((length, width, height))
        body.apply_translation((0, 0, height / 2))
        meshes.append(ActorMesh(np.array(body.triangles), np.full(12, surface(box), np.uint8)))
    triangle_m = np.concatenate([np.empty((0, 3, 3)), *(part for part, _ in parts)])
    kinds = np.concatenate([np.empty(0), *(np.full(len(part), surface(name)) for part, name in parts)])
    return World(triangle_m, kinds.astype(np.uint8), np.zeros(len(kinds), np.int64), tuple(meshes))


def at(heading_rad=0.0, pitch_rad=0.0, height_m=HEIGHT_M):
    return Mount(np.array([0.0, 0.0, height_m]), heading_rad, pitch_rad)


def actors(*rows):
    """Actors on the ground from (class, x, y, heading, velocity north); the first is the UE."""
    kind = np.array([row[0] for row in rows], np.int64)
    box = np.array([[x, y, SIZES[k][2] / 2, *SIZES[k], heading] for k, x, y, heading, *_ in rows]).reshape(-1, 7)
    velocity = np.array([[0.0, row[4] if len(row) > 4 else 0.0, 0.0] for row in rows]).reshape(-1, 3)
    return Actors(np.arange(len(rows)), kind, box, velocity)


def angles(cloud):
    x, y, z = cloud.point_m.astype(float).T
    return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y)), np.sqrt(x * x + y * y + z * z)


# Where the points are


def test_a_wall_and_the_ground_are_as_far_as_geometry_says():
    world = world_of((GROUND, "asphalt"), (wall_all_around(12.0, 4), "wood"))  # which has no windows
    sensor = LidarSensor(world, EXACT, at(), REVOLUTION_S)
    cloud = sensor.scan(Actors.none(), np.random.default_rng(0))
    azimuth, elevation, range_m = angles(cloud)
    side = (azimuth + np.pi / 4) % (np.pi / 2) - np.pi / 4
    wall = 12.0 / (np.cos(side) * np.cos(elevation))
    with np.errstate(divide="ignore"):
        ground = np.where(elevation < 0, HEIGHT_M / np.sin(-elevation), np.inf)
    assert 0.2 < (ground < wall).mean() < 0.8
    np.testing.assert_allclose(range_m, np.minimum(wall, ground), rtol=1e-5)


def test_the_rays_spread_over_rings_and_a_revolution():
    lidar = Lidar(rings=5, azimuth_steps=360, lowest_deg=-10, highest_deg=10, range_noise_m=0, rolling=0)
    sensor = LidarSensor(world_of((wall_all_around(10.0, 90), "concrete")), lidar, at(), REVOLUTION_S)
    cloud = sensor.scan(Actors.none(), np.random.default_rng(0))
    azimuth, elevation, _ = angles(cloud)
    assert len(cloud.ray) == 5 * 360
    np.testing.assert_array_equal(cloud.ray, cloud.ring * 360 + np.arange(5 * 360) % 360)
    np.testing.assert_allclose(np.degrees(elevation), np.array([-10, -5, 0, 5, 10])[cloud.ring], atol=1e-4)
    np.testing.assert_allclose(np.degrees(azimuth), -180 + (cloud.ray % 360 + 0.5), atol=1e-4)


def test_range_noise_has_its_standard_deviation_and_leaves_the_direction():
    lidar = Lidar(range_noise_m=0.03, rolling=0)
    world = world_of((wall_all_around(9.0, 64), "concrete"))
    sensor, truth = (LidarSensor(world, fields, at(), REVOLUTION_S) for fields in (lidar, EXACT))
    noisy, clean = (s.scan(Actors.none(), np.random.default_rng(1)) for s in (sensor, truth))
    np.testing.assert_array_equal(noisy.ray, clean.ray)
    error = angles(noisy)[2] - angles(clean)[2]
    assert error.std() == pytest.approx(0.03, rel=0.02)
    assert abs(error.mean()) < 4 * 0.03 / math.sqrt(len(error))
    for k in (0, 1):
        np.testing.assert_allclose(angles(noisy)[k], angles(clean)[k], atol=1e-6)


def test_a_turned_and_pitched_sensor_puts_the_same_surfaces_at_the_same_places():
    there = actors((CAR, 9.0, 5.0, 0.6))
    world = world_of((GROUND, "asphalt"))
    for heading, pitch in ((0.0, 0.0), (0.4, 0.0), (-0.7, -0.2), (2.0, 0.15)):
        mount = at(heading, pitch, 2.5)
        sensor = LidarSensor(world, EXACT, mount, REVOLUTION_S)
        cloud = sensor.scan(there, np.random.default_rng(0))
        place = mount.to_local(cloud.point_m.astype(float))
        on_car = cloud.actor == 0
        assert on_car.sum() > 100
        assert np.abs(place[~on_car, 2]).max() < 1e-4
        c, s = np.cos(0.6), np.sin(0.6)
        own = (place[on_car] - there.box[0, :3]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        from_faces = np.abs(np.abs(own) - there.box[0, 3:6] / 2)
        assert from_faces.min(axis=1).max() < 1e-4
        assert (np.abs(own) - there.box[0, 3:6] / 2).max() < 1e-4


def test_a_car_to_the_left_appears_left_of_the_middle_of_the_depth_image():
    sensor = LidarSensor(world_of(), EXACT, at(heading_rad=1.0), REVOLUTION_S)
    left = Mount(sensor.mount.position_m, 1.0).to_local(np.array([10.0, 4.0, 0.0]))
    cloud = sensor.scan(actors((CAR, left[0], left[1], 1.0)), np.random.default_rng(0))
    assert (cloud.point_m[:, 1] > 0).all()
    columns = np.flatnonzero(~np.isnan(depth_image(cloud.point_m)).all(axis=0))
    assert len(columns)
    assert (columns < 128).all()


def test_an_empty_world_gives_an_empty_cloud():
    cloud = LidarSensor(world_of(), Lidar(), at(), REVOLUTION_S).scan(Actors.none(), np.random.default_rng(0))
    assert cloud.point_m.shape == (0, 3)
    assert np.isnan(depth_image(cloud.point_m)).all()


# Actors


def test_no_ray_misses_an_actor_wherever_it_is():
    """Also right beside, behind, above and under the sensor, and for one that looks down or up."""
    rng, met = np.random.default_rng(5), 0
    world = world_of((GROUND, "asphalt"))
    for trial in range(24):
        mount = at(rng.uniform(-3, 3), rng.uniform(-0.5, 0.5), rng.uniform(0.5, 6.0))
        spread = 4.0 if trial % 2 else 25.0
        kind = rng.integers(0, len(SIZES), 6)
        there = actors(*((k, *rng.uniform(-spread, spread, 2), rng.uniform(-3, 3)) for k in kind))
        lidar = Lidar(rolling=0, azimuth_steps=256, lowest_deg=-40, highest_deg=30)
        sensor = LidarSensor(world, lidar, mount, REVOLUTION_S)
        echoes = sensor.echoes(there)
        direction = mount.direction_to_local(sensor.direction)
        hits = world.cast(mount.position_m, direction, there, lidar.farthest_m)
        np.testing.assert_array_equal(echoes.range_m, hits.distance_m)
        np.testing.assert_array_equal(echoes.actor, hits.actor)
        np.testing.assert_array_equal(echoes.surface, hits.surface)
        np.testing.assert_allclose(echoes.cosine, -(hits.normal * direction).sum(axis=1), atol=1e-12)
        met += (hits.actor >= 0).sum()
    assert met > 5000


def test_a_bus_hides_the_car_behind_it():
    world = world_of((GROUND, "asphalt"))
    sensor = LidarSensor(world, EXACT, at(), REVOLUTION_S)
    car = (CAR, 12.0, 0.0, np.pi / 2)
    alone = sensor.scan(actors(car), np.random.default_rng(0))
    behind = sensor.scan(actors(car, (BUS, 8.0, 0.0, np.pi / 2)), np.random.default_rng(0))
    assert (alone.actor == 0).sum() > 100
    assert (behind.actor == 0).sum() == 0
    assert (behind.actor == 1).sum() > (alone.actor == 0).sum()


def test_rays_that_an_actor_does_not_touch_return_the_same_with_and_without_it():
    sensor = LidarSensor(world_of((GROUND, "asphalt")), Lidar(), at(), REVOLUTION_S)
    there = actors((CAR, 10.0, 3.0, 0.3, 8.0))
    alone, with_car = (sensor.scan(a, np.random.default_rng(3)) for a in (Actors.none(), there))
    touched = np.flatnonzero(sensor.echoes(there).actor == 0)
    rest, same = ~np.isin(alone.ray, touched), with_car.actor == -1
    np.testing.assert_array_equal(alone.ray[rest], with_car.ray[same])
    np.testing.assert_array_equal(alone.point_m[rest], with_car.point_m[same])
    np.testing.assert_array_equal(alone.intensity[rest], with_car.intensity[same])


def test_an_absent_actor_is_not_seen():
    there = actors((CAR, 10.0, 3.0, 0.3), (CAR, 12.0, -3.0, 0.3))
    nan = np.array([[1.0], [np.nan]])
    gone = Actors(np.array([0, -1]), np.array([CAR, -1]), there.box * nan, there.velocity_mps * nan)
    sensor = LidarSensor(world_of(), EXACT, at(), REVOLUTION_S)
    assert set(sensor.scan(gone, np.random.default_rng(0)).actor) == {0}


def test_what_is_out_of_reach_is_not_met():
    for farthest_m, met in ((40.0, False), (60.0, True)):
        lidar = EXACT.model_copy(update={"farthest_m": farthest_m})
        sensor = LidarSensor(world_of((wall_all_around(55.0, 8), "concrete")), lidar, at(), REVOLUTION_S)
        echoes = sensor.echoes(actors((BUS, 50.0, 0.0, 0.0)))
        assert np.isfinite(echoes.range_m).any() == (echoes.actor == 0).any() == met


def test_during_a_revolution_a_car_at_the_side_drives_on():
    """What lies to the left is seen a quarter of a revolution late, what lies to the right as much early."""
    speed_mps = 20.0
    for side in (1, -1):
        there = actors((CAR, 0.0, 8.0 * side, np.pi / 2))
        moving = Actors(there.identity, there.kind, there.box, np.array([[speed_mps, 0.0, 0.0]]))
        places = []
        for rolling in (0, 1):
            lidar = EXACT.model_copy(update={"rolling": rolling, "azimuth_steps": 4096})
            sensor = LidarSensor(world_of(), lidar, at(), REVOLUTION_S)
            point_m = sensor.scan(moving, np.random.default_rng(0)).point_m
            places.append(0.5 * (point_m[:, 0].min() + point_m[:, 0].max()))
        assert places[1] - places[0] == pytest.approx(side * speed_mps * REVOLUTION_S / 4, abs=0.05)


def test_each_ray_sees_the_world_of_its_own_time(box_range):
    """Ray by ray against a box that is moved by hand; also where the seam behind the sensor cuts through it."""
    rng, met = np.random.default_rng(2), 0
    world = world_of()
    for _ in range(12):
        velocity = np.append(rng.uniform(-30, 30, 2), 0.0)
        there = actors((BUS, *rng.uniform(-12, 12, 2), rng.uniform(-3, 3)))
        there = Actors(there.identity, there.kind, there.box, velocity[None])
        lidar = Lidar(azimuth_steps=180, lowest_deg=-30, highest_deg=20)
        mount = at(rng.uniform(-3, 3), rng.uniform(-0.3, 0.3), 4.0)
        sensor = LidarSensor(world, lidar, mount, REVOLUTION_S)
        direction = mount.direction_to_local(sensor.direction)
        expected = np.full(len(direction), np.inf)
        for step in range(180):
            time_s = (-180 + 2 * (step + 0.5)) / 360 * REVOLUTION_S
            box = there.box[0] + np.pad(velocity * time_s, (0, 4))
            expected[step::180] = box_range(mount.position_m, direction[step::180], box)
        expected[expected > lidar.farthest_m] = np.inf
        np.testing.assert_allclose(sensor.echoes(there).range_m, expected, atol=1e-6)
        met += np.isfinite(expected).sum()
    assert met > 2000


def test_the_same_generator_gives_the_same_cloud():
    sensor = LidarSensor(world_of((GROUND, "asphalt")), Lidar(), at(), REVOLUTION_S)
    one, same, other = (sensor.scan(Actors.none(), np.random.default_rng(seed)) for seed in (7, 7, 8))
    for name in ("point_m", "intensity", "actor", "ring", "ray"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert len(one.ray) != len(other.ray) or (one.point_m != other.point_m).any()


# Whole scenes


def street(name):
    """A scenario's scene and an actor of every class on its street."""
    template = load_scenario(name)
    scenario, _ = template.draw(0, 0)
    heading = scenario.street_heading_rad
    rows = [(k, *scenario.local_m(9.0 * k - 22.0, 1.5 - k % 3), heading + 0.2 * k) for k in range(len(SIZES))]
    return scenario, build_scene(scenario, template.folder), actors(*rows)


def looking_across(scenario, scene, lidar):
    toward = scenario.local_m(0.0, 0.0)
    mount = at(math.atan2(toward[1], toward[0]), 0.0, scenario.site.bs_height_m)
    return LidarSensor(World.of(scene), lidar, mount, 1 / scenario.frame_rate_hz)


@pytest.mark.parametrize("name", ["deepsense32", "street_canyon"])
def test_an_independent_caster_finds_the_same_ranges(embree, name):
    """Within 1 mm on 99.9 % of the rays, those on actors by themselves too."""
    scenario, scene, there = street(name)
    sensor = looking_across(scenario, scene, EXACT)
    triangles = [body.triangle_m for body in scene.bodies]
    for kind, box in zip(there.kind, there.box, strict=True):
        c, s = np.cos(box[6]), np.sin(box[6])
        turned = actor_meshes()[kind].triangle_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        triangles.append(turned + [box[0], box[1], 0.0])
    corner = np.concatenate(triangles).reshape(-1, 3)
    mesh = trimesh.Trimesh(corner, np.arange(len(corner)).reshape(-1, 3), process=False)
    origin, direction = sensor.mount.position_m, sensor.mount.direction_to_local(sensor.direction)
    _, ray, place = embree(mesh).intersects_id(
        np.broadcast_to(origin, direction.shape), direction, multiple_hits=False, return_locations=True
    )
    expected = np.full(len(direction), np.inf)
    expected[ray] = np.linalg.norm(place - origin, axis=1)
    expected[expected > EXACT.farthest_m] = np.inf
    echoes = sensor.echoes(there)
    with np.errstate(invalid="ignore"):
        agree = (np.abs(echoes.range_m - expected) < 1e-3) | (np.isinf(expected) & np.isinf(echoes.range_m))
    assert agree.mean() >= 0.999
    on_actor = echoes.actor >= 0
    assert on_actor.sum() > 500
    assert agree[on_actor].mean() >= 0.999
