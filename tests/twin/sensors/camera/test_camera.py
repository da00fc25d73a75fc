"""What the camera sees is where it is: projection, boxes, instances and depth against geometry worked out here."""

import math
from pathlib import Path

import numpy as np
import pytest
import trimesh

from twin.geometry.scene import build_scene
from twin.scenario import Template
from twin.sensors.actors import Actors
from twin.sensors.camera.sensor import CameraSensor
from twin.sensors.meshes import actor_meshes
from twin.sensors.mount import Mount
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

CLASSES = tuple(VEHICLE_CLASSES)
HEIGHT_M, MIDDLE_M = 4.0, 14.0
"""Of the camera, and from it to the middle of the street, which runs east."""
SITE = {
    "name": "one street",
    "site": {"latitude_deg": 33.4, "longitude_deg": -111.9, "bs_height_m": HEIGHT_M, "street_distance_m": MIDDLE_M},
    "street": {"length_m": 200},
    "materials": {
        "asphalt": {"relative_permittivity": 3.18, "conductivity_s_per_m": 0.4},
        "concrete": {"relative_permittivity": 5.24, "conductivity_s_per_m": 1.13},
    },
    "camera": {"noise": 0, "blur_px": 0},
}
HOUSE = {"along_m": 0, "across_m": 16, "length_m": 30, "depth_m": 12, "height_m": 9}


def camera_at(north_deg=0.0, pitch_deg=0.0, seed=0, **sections):
    """A camera that looks so far counterclockwise from north; `sections` of the scenario."""
    sections = {**sections, "camera": {**SITE["camera"], **sections.get("camera", {})}}
    scenario, _ = Template({**SITE, **sections}, "test").draw(0, 0)
    mount = Mount(np.array([0.0, 0.0, HEIGHT_M]), math.pi / 2 + math.radians(north_deg), math.radians(pitch_deg))
    return CameraSensor(World.of(build_scene(scenario, Path())), scenario.camera, mount, scenario, seed)


def actors(*placed):
    """Actors (class, east, north, heading in degrees), the UE first."""
    kind = np.array([CLASSES.index(name) for name, *_ in placed])
    size = np.array([VEHICLE_CLASSES[name] for name, *_ in placed])
    east, north, heading = np.array([place for _, *place in placed], float).T
    box = np.column_stack([east, north, size[:, 2] / 2, size, np.radians(heading)])
    return Actors(np.arange(len(placed)), kind, box, np.zeros((len(placed), 3)))


def seen(camera, *placed):
    return camera.capture(actors(*placed), np.random.default_rng(0))


def linear(image):
    """Linear values of sRGB bytes (IEC 61966-2-1)."""
    value = image / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def rays():
    """Unit vectors through the middles of the pixels of a level camera that looks north, from the angles alone."""
    shape = (224, 224)
    across, up = math.tan(math.radians(55)), math.tan(math.radians(35))
    row, column = np.mgrid[: shape[0], : shape[1]] + 0.5
    way = np.stack([(column / 112 - 1) * across, np.ones(shape), (1 - row / 112) * up], -1)
    return way / np.linalg.norm(way, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def level():
    return camera_at(buildings=[HOUSE])


def test_a_point_appears_where_its_angles_say():
    camera = camera_at(camera={"width_px": 300, "height_px": 200, "horizontal_view_deg": 100, "vertical_view_deg": 50})
    for right_deg, up_deg, away_m in [(0, 0, 5), (30, 0, 20), (-49, 10, 7), (20, -24, 100)]:
        right, up = math.tan(math.radians(right_deg)), math.tan(math.radians(up_deg))
        point = np.array([away_m * right, away_m, HEIGHT_M + away_m * up])
        u, v, depth = camera.project(point)
        assert u == pytest.approx(150 * (1 + right / math.tan(math.radians(50))))
        assert v == pytest.approx(100 * (1 - up / math.tan(math.radians(25))))
        assert depth == pytest.approx(away_m)
    behind = camera.project(np.array([[0.0, -5.0, 4.0], [1.0, 5.0, 4.0]]))
    assert np.isnan(behind[0, :2]).all()
    assert behind[0, 2] == pytest.approx(-5)
    assert np.isfinite(behind[1]).all()


def test_a_camera_that_looks_down_sees_the_ground_below_the_middle():
    camera = camera_at(north_deg=-30, pitch_deg=-40)
    away = HEIGHT_M / math.tan(math.radians(40))
    place = np.array([away * math.sin(math.radians(30)), away * math.cos(math.radians(30)), 0.0])
    u, v, depth = camera.project(place)
    assert (u, v) == pytest.approx((112, 112))
    frame = seen(camera, ("car", -100, -100, 0))
    assert frame.depth_m[111:113, 111:113].mean() == pytest.approx(depth, rel=1e-3)


@pytest.mark.parametrize("name", CLASSES)
def test_the_projected_box_holds_every_pixel_of_the_actor(name):
    for north_deg, pitch_deg, east, north, heading in [
        (0, 0, 0, 10, 0),
        (0, -20, 6, 9, 35),
        (70, -10, -30, 6, 180),
        (-80, 0, 7, 1.9, 90),
        (0, -50, 0.5, 5, -120),
    ]:
        camera = camera_at(north_deg, pitch_deg)
        placed = actors((name, east, north, heading))
        frame = camera.capture(placed, np.random.default_rng(0))
        left, top, right, bottom = camera.boxes_px(placed)[0]
        row, column = np.nonzero(frame.instance == 0)
        assert len(row) > 3
        assert left <= column.min() + 0.5
        assert column.max() + 0.5 <= right
        assert top <= row.min() + 0.5
        assert row.max() + 0.5 <= bottom
        assert 0 <= left < right <= 224
        assert 0 <= top < bottom <= 224


def test_a_box_seen_from_the_side_is_as_long_and_high_as_trigonometry_says():
    camera = camera_at()
    length, width, height = VEHICLE_CLASSES["bus"]
    left, top, right, bottom = camera.boxes_px(actors(("bus", 0, 20, 0)))[0]
    near, far = 20 - width / 2, 20 + width / 2
    across, up = 112 / math.tan(math.radians(55)), 112 / math.tan(math.radians(35))
    assert (left, right) == pytest.approx((112 - across * length / 2 / near, 112 + across * length / 2 / near))
    assert bottom == pytest.approx(112 + up * HEIGHT_M / near)
    assert top == pytest.approx(112 + up * (HEIGHT_M - height) / far)


def test_boxes_out_of_view_and_of_nobody_are_not_numbers():
    camera = camera_at()
    placed = actors(("car", 0, -10, 0), ("car", 60, 10, 0), ("car", 0, 12, 0), ("car", 0, 12, 0))
    placed.kind[3], placed.identity[3], placed.box[3] = -1, -1, np.nan
    assert np.isnan(camera.boxes_px(placed)).all(axis=1).tolist() == [True, True, False, True]
    frame = camera.capture(placed, np.random.default_rng(0))
    assert set(np.unique(frame.instance)) == {-2, -1, 2}


def test_an_actor_that_passes_beside_the_camera_is_cut_at_the_edge_of_the_picture():
    camera = camera_at(north_deg=-85)
    placed = actors(("bus", 2.0, 3.5, 0))
    frame = camera.capture(placed, np.random.default_rng(0))
    column = np.nonzero(frame.instance == 0)[1]
    left, _, right, bottom = camera.boxes_px(placed)[0]
    assert left == 0
    assert column.min() == 0
    assert column.max() < right < 112
    assert bottom == 224
    assert frame.depth_m[frame.instance == 0].min() > 3.5 - VEHICLE_CLASSES["bus"][1] / 2 - 1e-3


def test_a_nearer_car_hides_a_farther_one():
    camera = camera_at()
    both = seen(camera, ("car", 0, 18, 0), ("bus", 0, 12, 0))
    far, near = seen(camera, ("car", 0, 18, 0)), seen(camera, ("bus", 0, 12, 0))
    bus = near.instance == 0
    assert (far.instance[bus] == 0).sum() > 50
    assert (both.instance[bus] == 1).all()
    np.testing.assert_array_equal(both.depth_m[bus], near.depth_m[bus])
    beside = (far.instance == 0) & ~bus
    assert (both.instance[beside] == 0).all()
    pixels = both.instance == 0
    assert pixels.sum() == beside.sum() < (far.instance == 0).sum()


def test_depth_is_the_distance_to_ground_and_house_along_the_ray(level):
    frame = seen(level, ("car", 0, -30, 0))
    way = rays()
    ground = np.where(way[..., 2] < 0, -HEIGHT_M / np.minimum(way[..., 2], -1e-12), np.inf)
    front = (MIDDLE_M + HOUSE["across_m"] - HOUSE["depth_m"] / 2) / way[..., 1]
    place = way * front[..., None]
    on_front = (np.abs(place[..., 0]) < HOUSE["length_m"] / 2) & (place[..., 2] + HEIGHT_M < HOUSE["height_m"])
    expected = np.minimum(ground, np.where(on_front & (place[..., 2] > -HEIGHT_M), front, np.inf))
    near = expected < 150  # the ground ends somewhere
    np.testing.assert_allclose(frame.depth_m[near], expected[near], rtol=1e-5)
    sky = (way[..., 2] > 0) & ~on_front
    assert np.isinf(frame.depth_m[sky]).all()
    assert (frame.instance[sky] == -2).all()
    assert (frame.instance[near] == -1).all()


@pytest.mark.parametrize("name", CLASSES)
def test_an_actor_looks_as_an_independent_caster_sees_its_mesh(name, embree):
    camera = camera_at()
    east, north, heading = 2.0, 9.0, 25.0
    frame = seen(camera, (name, east, north, heading))
    way = rays().reshape(-1, 3)
    c, s = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    corner = actor_meshes()[CLASSES.index(name)].triangle_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    corner = corner + [east, north, -HEIGHT_M]
    mesh = trimesh.Trimesh(corner.reshape(-1, 3), np.arange(corner.size // 3).reshape(-1, 3), process=False)
    place, ray, _ = embree(mesh).intersects_location(np.zeros_like(way), way, multiple_hits=False)
    expected = np.full(len(way), np.inf)
    expected[ray] = np.linalg.norm(place, axis=1)
    expected[(way[:, 2] < 0) & (expected > -HEIGHT_M / np.minimum(way[:, 2], -1e-9))] = np.inf
    drawn = (frame.instance == 0).ravel()
    assert (drawn != np.isfinite(expected)).mean() < 1e-4
    both = drawn & np.isfinite(expected)
    assert both.sum() > 60
    off = np.abs(frame.depth_m.ravel()[both] - expected[both]) > 1e-3
    assert off.mean() < 0.01  # a ray along an edge may pass it on either side


@pytest.mark.parametrize(("width", "height"), [(17, 33), (640, 360), (1100, 1000)])
def test_any_size_shows_the_same_street(width, height, level):
    camera = camera_at(buildings=[HOUSE], camera={"width_px": width, "height_px": height})
    placed = ("bus", 3, 12, 10)
    frame, square = seen(camera, placed), seen(level, placed)
    assert frame.image.shape == (height, width, 3)
    assert frame.depth_m.shape == frame.instance.shape == (height, width)
    assert (frame.instance == 0).mean() == pytest.approx((square.instance == 0).mean(), rel=0.1)
    assert np.isinf(frame.depth_m).mean() == pytest.approx(np.isinf(square.depth_m).mean(), abs=0.03)
    means = [part.mean(axis=(0, 1)) for part in (frame.image, square.image)]
    np.testing.assert_allclose(*means, atol=4)
    scale = np.array([width, height, width, height]) / 224
    boxes = [c.boxes_px(actors(placed))[0] for c in (camera, level)]
    np.testing.assert_allclose(boxes[0], boxes[1] * scale)


def test_a_pixel_is_the_mean_of_what_lies_in_it(level):
    """A picture of half the size is nearer to the mean of four pixels than any one of them is."""
    large = camera_at(buildings=[HOUSE], camera={"width_px": 448, "height_px": 448})
    placed = (("bus", 3, 12, 10), ("car", -6, 16, 180))
    fine, coarse = (linear(seen(camera, *placed).image) for camera in (large, level))
    four = np.stack([fine[row::2, column::2] for row in (0, 1) for column in (0, 1)])
    error = np.abs(coarse - four.mean(axis=0)).mean()
    single = [np.abs(one - four.mean(axis=0)).mean() for one in four]
    assert error < 0.75 * min(single)


def test_the_same_draw_makes_the_same_bytes_and_frames_do_not_matter_to_each_other():
    noisy = {"camera": {"noise": 0.02, "blur_px": 0.7}}
    first, again = camera_at(**noisy), camera_at(**noisy)
    here, there = actors(("car", 0, 12, 0), ("van", 8, 16, 180)), actors(("car", 9, 12, 0), ("van", -8, 16, 180))
    image = first.capture(here, np.random.default_rng([1, 2])).image
    again.capture(there, np.random.default_rng(5))
    same = again.capture(here, np.random.default_rng([1, 2]))
    np.testing.assert_array_equal(same.image, image)
    assert (first.capture(here, np.random.default_rng([1, 3])).image != image).mean() > 0.3


def test_an_empty_street_and_a_world_without_anything_are_pictures_too():
    nobody = camera_at().capture(Actors.none(), np.random.default_rng(0))
    assert set(np.unique(nobody.instance)) == {-2, -1}
    nothing = camera_at(ground=None).capture(Actors.none(), np.random.default_rng(0))
    assert (nothing.instance == -2).all()
    assert np.isinf(nothing.depth_m).all()
    assert nothing.image.std() > 5
