"""An echo of the LiDAR is noticed when enough light comes back: by range, slope, surface and fog."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from twin.geometry.scene import build_scene
from twin.scenario import load_scenario
from twin.scenario.sensors import Lidar
from twin.sensors.actors import Actors
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.lidar.sensor import LidarSensor
from twin.sensors.mount import Mount
from twin.sensors.surfaces.ground import ground_of
from twin.sensors.surfaces.table import SURFACE_NAMES, SURFACES
from twin.sensors.world import World

REVOLUTION_S = 0.1
HEIGHT_M = 1.8
GROUND = 500.0 * np.array([[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0]]], float)
EXACT = Lidar(range_noise_m=0.0, rolling=0)


def world_of(triangle_m, name):
    """A world of triangles of one surface."""
    kinds = np.full(len(triangle_m), SURFACE_NAMES.index(name), np.uint8)
    return World(triangle_m, kinds, np.zeros(len(kinds), np.int64), ())


def wall_all_around(range_m, sides, low_m=-20.0, high_m=20.0):
    """Triangles of an upright prism around the origin whose sides are `range_m` away."""
    corner = (np.arange(sides + 1) - 0.5) * 2 * np.pi / sides
    x, y = (range_m / math.cos(math.pi / sides) * f(corner) for f in (np.cos, np.sin))
    low, high = (np.stack([x, y, np.full_like(x, z)], axis=1) for z in (low_m, high_m))
    one = np.stack([low[:-1], low[1:], high[1:]], axis=1)
    return np.concatenate([one, np.stack([low[:-1], high[1:], high[:-1]], axis=1)])


def at(height_m=HEIGHT_M):
    return Mount(np.array([0.0, 0.0, height_m]), 0.0)


def share_seen(range_m, name, half_range_m=60.0, visibility_m=math.inf, clouds=8):
    """Of rays that meet a wall at right angles, so many come back."""
    lidar = Lidar(rings=1, lowest_deg=0, highest_deg=0, azimuth_steps=4096, half_range_m=half_range_m, farthest_m=500)
    world = world_of(wall_all_around(range_m, 1024), name)  # each side too narrow for a window
    sensor = LidarSensor(world, lidar, at(height_m=0.0), REVOLUTION_S, visibility_m)
    rng = np.random.default_rng(0)
    return np.mean([len(sensor.scan(Actors.none(), rng).ray) for _ in range(clouds)]) / 4096


def range_like_ten_percent(name, range_m):
    """Where a wall sends back as much as one of 10 % does from `range_m`."""
    return range_m * math.sqrt(SURFACES[name].lidar_reflectance / 0.1)


@pytest.mark.parametrize("half_range_m", [30.0, 60.0])
@pytest.mark.parametrize("name", ["asphalt", "concrete"])
def test_half_of_the_pulses_on_ten_percent_come_back_from_the_half_range(name, half_range_m):
    at_half = share_seen(range_like_ten_percent(name, half_range_m), name, half_range_m)
    assert at_half == pytest.approx(0.5, abs=0.015)


def test_returns_fade_with_the_range_as_makers_quote_them():
    """90 % where the range is 45 m if it is 55 m for 50 %; nearly all in half the range, nearly none in twice it."""
    shares = [share_seen(range_like_ten_percent("concrete", 60.0 * part), "concrete") for part in (0.5, 45 / 55, 2.0)]
    assert shares[0] > 0.999
    assert shares[1] == pytest.approx(0.9, abs=0.02)
    assert shares[2] < 0.001


def test_fog_takes_its_share_both_ways():
    """At the meteorological visibility 5 % of the light are left: there and back 0.25 %."""
    visibility_m = 120.0
    for range_m in (40.0, 50.0, 60.0):
        strength = 3.5 * (60.0 / range_m) ** 2 * 0.05 ** (2 * range_m / visibility_m)
        expected = norm.cdf((strength - 1) / math.hypot(1 / 5, 0.2 * strength))
        assert share_seen(range_m, "concrete", visibility_m=visibility_m) == pytest.approx(expected, abs=0.02)
    assert share_seen(60.0, "concrete", visibility_m=visibility_m) < 0.5 < share_seen(60.0, "concrete")


def test_ground_that_is_grazed_drops_out():
    sensor = LidarSensor(world_of(GROUND, "asphalt"), EXACT, at(), REVOLUTION_S)
    cloud = sensor.scan(Actors.none(), np.random.default_rng(0))
    per_ring = np.bincount(cloud.ring, minlength=32)
    steep = sensor.elevation_rad < -math.radians(6)
    grazing = sensor.elevation_rad > -math.radians(3)
    geometric = np.isfinite(sensor.echoes(Actors.none()).range_m).reshape(32, -1).sum(axis=1)
    assert (per_ring[steep] > 0.99 * 1024).all()
    assert (per_ring[grazing] < 0.01 * 1024).all()
    assert geometric[grazing].max() == 1024


def test_intensity_is_reflectance_times_the_cosine_of_incidence():
    world = world_of(wall_all_around(10.0, 4), "wood")  # which has no windows
    lidar = Lidar(rings=1, lowest_deg=0, highest_deg=0, azimuth_steps=1024, range_noise_m=0.0)
    sensor, rng = LidarSensor(world, lidar, at(height_m=0.0), REVOLUTION_S), np.random.default_rng(0)
    clouds = [sensor.scan(Actors.none(), rng) for _ in range(50)]
    assert all(len(cloud.ray) == 1024 for cloud in clouds)
    azimuth = np.arctan2(clouds[0].point_m[:, 1], clouds[0].point_m[:, 0])
    slope = (azimuth + np.pi / 4) % (np.pi / 2) - np.pi / 4
    measured = np.mean([cloud.intensity for cloud in clouds], axis=0)
    expected = SURFACES["wood"].lidar_reflectance * np.cos(slope)
    np.testing.assert_allclose(measured, expected, rtol=0.15)
    assert (measured / expected).mean() == pytest.approx(1.0, abs=0.01)


def test_bright_surfaces_have_higher_intensities_whatever_their_range():
    means = []
    for name, range_m in (("marking", 20.0), ("concrete", 8.0), ("asphalt", 15.0), ("tyre", 6.0)):
        sensor = LidarSensor(world_of(wall_all_around(range_m, 64), name), Lidar(), at(), REVOLUTION_S)
        means.append(sensor.scan(Actors.none(), np.random.default_rng(0)).intensity.mean())
    assert means == sorted(means, reverse=True)
    assert means[0] > 1.5 * means[1] > 1.5 * means[2]


def test_a_mirror_returns_light_only_head_on():
    """A long pane flashes where it is met at right angles, and is missing from the cloud elsewhere."""
    front = np.array([[[15, -40, -1], [15, 40, -1], [15, 40, 1]], [[15, -40, -1], [15, 40, 1], [15, -40, 1]]], float)
    share = {}
    for name in ("glass", "concrete"):
        sensor = LidarSensor(world_of(front, name), Lidar(), at(height_m=0.0), REVOLUTION_S)
        cloud = sensor.scan(Actors.none(), np.random.default_rng(0))
        echoes = sensor.echoes(Actors.none())
        off_rad = np.arccos(np.clip(echoes.cosine, 0, 1))
        seen = np.isin(np.arange(len(off_rad)), cloud.ray)
        met = np.isfinite(echoes.range_m)
        bands = [(0.0, 2.0), (15.0, 60.0)]
        share[name] = [seen[met & (off_rad >= np.radians(a)) & (off_rad < np.radians(b))].mean() for a, b in bands]
    assert share["concrete"] == pytest.approx([1.0, 1.0], abs=0.01)
    assert share["glass"][0] > 0.95
    assert share["glass"][1] < 0.3


def deepsense32():
    """The sensor over the scenario, nobody in the street, and the scenario."""
    template = load_scenario("deepsense32")
    scenario, _ = template.draw(0, 0)
    toward = scenario.local_m(0.0, 0.0)
    mount = Mount(np.array([0.0, 0.0, scenario.site.bs_height_m]), math.atan2(toward[1], toward[0]))
    world = World.of(build_scene(scenario, template.folder))
    fog_m, ground = scenario.camera.visibility_m, ground_of(scenario)
    return LidarSensor(world, scenario.lidar, mount, REVOLUTION_S, fog_m, ground), scenario


def test_a_revolution_over_deepsense32_has_about_as_many_points_as_the_real_files():
    """These hold about 18,000. Here some 20,600 rays meet anything, 3,000 of them a pane: there are no trees, and there
    is nothing behind the base station. 32 rings over 45 degrees leave most rows of the depth image, 64 over 30 degrees,
    empty.
    """
    sensor, scenario = deepsense32()
    cloud = sensor.scan(Actors.none(), np.random.default_rng(0))
    assert 16_000 < len(cloud.ray) < 20_000
    filled = ~np.isnan(depth_image(cloud.point_m))
    assert filled.any(axis=0).all()
    spacing_deg = (scenario.lidar.highest_deg - scenario.lidar.lowest_deg) / (scenario.lidar.rings - 1)
    assert filled.any(axis=1).sum() == pytest.approx(30.0 / spacing_deg, abs=1)


def test_lines_on_the_road_and_the_grass_beside_it_stand_out():
    sensor, scenario = deepsense32()
    cloud = sensor.scan(Actors.none(), np.random.default_rng(0))
    place = sensor.mount.to_local(cloud.point_m.astype(float))
    on_ground = np.abs(place[:, 2]) < 0.2
    normal = scenario.local_m(0.0, 1.0) - scenario.local_m(0.0, 0.0)
    across = (place[:, :2] - scenario.local_m(0.0, 0.0)) @ normal
    aside, half = np.abs(across), scenario.half_width_m
    line = on_ground & (np.abs(aside - (half - 0.25)) < 0.03)
    lane = on_ground & (aside > 1.0) & (aside < half - 1.0)
    grass = on_ground & (across < -half - 3.5)
    rings = [ring for ring in range(8) if all((part & (cloud.ring == ring)).any() for part in (line, lane, grass))]
    assert len(rings) >= 3
    for ring in rings:
        means = [cloud.intensity[part & (cloud.ring == ring)].mean() for part in (line, grass, lane)]
        assert means == sorted(means, reverse=True)
        assert means[0] > 2.5 * means[2]
