"""The depth image keeps the nearest range in every direction of the field of view."""

import math

import numpy as np
import pytest

from twin.sensors.lidar.depth_image import depth_image

ROWS, COLUMNS = 64, 256


def towards(azimuth_deg, elevation_deg, range_m):
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    flat = range_m * math.cos(elevation)
    return [flat * math.cos(azimuth), flat * math.sin(azimuth), range_m * math.sin(elevation)]


def pixels(image):
    return [tuple(int(n) for n in place) for place in np.argwhere(~np.isnan(image))]


def by_the_formula(point_m):
    """The image in whole-array steps: furthest points first, so that nearer ones write over them."""
    r = np.linalg.norm(point_m, axis=1)
    yaw, pitch = np.arctan2(point_m[:, 1], point_m[:, 0]), np.arcsin(point_m[:, 2] / r)
    up = down = np.deg2rad(15)
    u = np.clip(np.floor((1 - yaw / np.pi) / 2 * COLUMNS), 0, COLUMNS - 1).astype(int)
    v = np.clip(np.floor((1 - (pitch + down) / (up + down)) * ROWS), 0, ROWS - 1).astype(int)
    kept = np.flatnonzero((r > 0) & (r <= 100) & (pitch <= up) & (pitch >= -down))
    kept = kept[np.argsort(-r[kept])]
    image = np.full((ROWS, COLUMNS), np.nan)
    image[v[kept], u[kept]] = r[kept]
    return image.astype(np.float16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cloud_becomes_the_image_that_the_formula_gives(dtype):
    rng = np.random.default_rng(0)
    point_m = (rng.normal(0, [30, 30, 6], (40_000, 3))).astype(dtype)
    image = depth_image(point_m)
    assert image.dtype == np.float16
    assert image.shape == (ROWS, COLUMNS)
    expected = by_the_formula(point_m.astype(np.float64))
    assert 0.1 < np.isnan(expected).mean() < 0.8
    np.testing.assert_array_equal(image, expected)


def test_the_optical_axis_falls_in_the_middle_and_left_is_left():
    assert pixels(depth_image(np.array([towards(-0.1, 0.1, 10)]))) == [(31, 128)]
    ((_, left),) = pixels(depth_image(np.array([towards(30, 1, 10)])))
    ((_, right),) = pixels(depth_image(np.array([towards(-30, 1, 10)])))
    assert left < COLUMNS // 2 < right
    assert left == math.floor((1 - 30 / 180) / 2 * COLUMNS)


def test_the_top_of_the_view_is_the_first_row():
    ((top, _),) = pixels(depth_image(np.array([towards(0, 14.9, 10)])))
    ((bottom, _),) = pixels(depth_image(np.array([towards(0, -14.9, 10)])))
    assert (top, bottom) == (0, ROWS - 1)


def test_what_is_straight_behind_falls_in_the_outer_columns():
    behind = np.array([[-10.0, 0.0, 0.1], [-10.0, -0.0, 0.1], [-10.0, 1e-9, -0.1]])
    assert {column for _, column in pixels(depth_image(behind))} == {0, COLUMNS - 1}


def test_the_nearer_of_two_points_is_kept_whatever_their_order():
    point_m = np.array([towards(20, 3, 40), towards(20, 3, 12.5), towards(20, 3, 70)])
    for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
        image = depth_image(point_m[order])
        assert image[~np.isnan(image)].tolist() == [12.5]


@pytest.mark.parametrize(
    "point_m",
    [
        [0.0, 0.0, 0.0],
        [np.nan, 1.0, 0.0],
        [10.0, np.nan, 0.0],
        [10.0, 1.0, np.nan],
        [np.inf, 1.0, 0.0],
        [10.0, -np.inf, 0.0],
        [1e200, 1.0, 0.0],
        towards(40, 15.1, 10),
        towards(40, -15.1, 10),
        towards(40, 0, 100.1),
        [0.0, 0.0, 5.0],
    ],
)
def test_what_is_no_return_or_out_of_view_leaves_no_trace(point_m):
    assert np.isnan(depth_image(np.array([point_m]))).all()
    seen = [point_m, towards(-90, 2, 25)]
    assert pixels(depth_image(np.array(seen))) == pixels(depth_image(np.array(seen[1:])))


def test_no_points_give_an_empty_image():
    image = depth_image(np.empty((0, 3)))
    assert image.shape == (ROWS, COLUMNS)
    assert np.isnan(image).all()


def test_another_sensor_may_have_another_view():
    image = depth_image(np.array([towards(0, 20, 150)]), 16, 90, lowest_deg=-25, highest_deg=25, farthest_m=200)
    assert pixels(image) == [(math.floor((1 - 45 / 50) * 16), 45)]
