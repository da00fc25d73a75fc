"""Camera, LiDAR, radar and radio look at one world: what one of them sees, the others see in the same place."""

import math
from dataclasses import replace

import numpy as np
import pytest

from twin.errors import UserError
from twin.recording import MODALITIES
from twin.scenario import Template
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.radar.range_angle import range_angle_map
from twin.sensors.suite import KEEPABLE
from twin.simulator import Simulator
from twin.traffic.simulate import CLASSES, TrafficTrace
from twin.traffic.vehicles import VEHICLE_CLASSES

HEIGHT_M, NEAR_M, FAR_M = 3.0, 10.0, 18.0
"""Of the base station; distance from it to the near and the far lane."""
STREET = {
    "name": "two lanes",
    "frame_rate_hz": 10,
    "frames": 20,
    "site": {
        "latitude_deg": 33.42,
        "longitude_deg": -111.93,
        "bs_height_m": HEIGHT_M,
        "street_distance_m": (NEAR_M + FAR_M) / 2,
    },
    "street": {"length_m": 100, "lane_width_m": FAR_M - NEAR_M},
    "materials": {"asphalt": {"relative_permittivity": 3.18, "conductivity_s_per_m": 0.4}},
    "radio": {"codebook": {"field_of_view_deg": 120}},
    "lidar": {"rolling": 0},
}


def standing(*actors, speed_mps=0.0, frames=6):
    """Actors (class, along, across) that drive east, the UE first."""
    kind = np.array([CLASSES.index(name) for name, _, _ in actors])
    size = np.array([VEHICLE_CLASSES[name] for name, _, _ in actors])
    box = np.zeros((frames, len(actors), 7))
    box[..., 0] = [x for _, x, _ in actors] + speed_mps * np.arange(frames)[:, None] / 10
    box[..., 1], box[..., 2], box[..., 3:6] = [y for _, _, y in actors], size[:, 2] / 2, size
    velocity = np.tile([speed_mps, 0.0], (frames, len(actors), 1))
    identity = np.tile(np.arange(len(actors)), (frames, 1))
    return TrafficTrace(identity, np.tile(kind, (frames, 1)), box, velocity)


def simulated(*actors, speed_mps=0.0, **sections):
    simulator = Simulator(Template({**STREET, **sections}, "two lanes"), 3)
    simulator.__dict__["traffic"] = standing(*actors, speed_mps=speed_mps)
    return simulator


UE = ("car", 4.0, FAR_M)
BUS = ("bus", 2.3, NEAR_M)


@pytest.fixture(scope="module")
def alone():
    return simulated(UE, speed_mps=8.0)


def test_a_bus_between_darkens_camera_lidar_radar_and_radio_alike(alone):
    hidden = simulated(UE, BUS, speed_mps=8.0)
    assert (alone.sensors.picture(0).instance == 0).sum() > 100
    assert (hidden.sensors.picture(0).instance == 0).sum() < 10
    assert (alone.sensors.cloud(0).actor == 0).sum() > 50
    assert (hidden.sensors.cloud(0).actor == 0).sum() < 5
    clear, blocked = alone.paths(0, 1), hidden.paths(0, 1)
    assert 10 * np.log10(alone.rsrp_w(clear).max() / hidden.rsrp_w(blocked).max()) > 6
    assert blocked.blocked[0]
    assert not clear.blocked[0]
    at = tuple(np.round(ue_bins(alone)).astype(int))
    near = (slice(at[0] - 2, at[0] + 3), slice(at[1] - 8, at[1] + 9))
    fall_db = alone.sensors.echo(0).map_db[near].max() - hidden.sensors.echo(0).map_db[near].max()
    assert fall_db > 10


def ue_bins(simulator):
    """Where the map shows the middle of the UE, by the formulas of an FMCW radar and a uniform array."""
    radar = simulator.scenario.radar
    box = simulator.traffic.box[0, 0]
    x, y, z = box[0], box[1], box[2] - simulator.scenario.site.bs_height_m
    r = math.sqrt(x * x + y * y + z * z)
    sine = -x / r  # the sensor looks north, its left is west
    bandwidth_hz = radar.slope_hz_per_s * radar.samples / radar.sample_rate_hz
    return 32 + 32 * sine, r * 2 * bandwidth_hz / 299_792_458.0


def test_all_of_them_see_the_car_where_it_is(alone):
    box = alone.traffic.box[0, 0]
    half_rad = math.atan2(box[3] / 2, box[1]) + 0.01
    truth_rad = math.atan2(box[1], box[0]) - math.pi / 2

    cloud = alone.sensors.cloud(0)
    x, y, _ = cloud.point_m[cloud.actor == 0].T
    assert abs(np.arctan2(y, x).mean() - truth_rad) < half_rad

    column = np.nonzero(alone.sensors.picture(0).instance == 0)[1].mean()
    width, view_deg = alone.scenario.camera.width_px, alone.scenario.camera.horizontal_view_deg
    across = (1 - 2 * (column + 0.5) / width) * math.tan(math.radians(view_deg / 2))
    assert abs(math.atan(across) - truth_rad) < half_rad

    angle, distance = np.unravel_index(alone.sensors.echo(0).map_db.argmax(), (64, 256))
    wanted_angle, wanted_range = ue_bins(alone)
    assert abs(angle - wanted_angle) <= 1 + 32 * math.sin(half_rad)
    half_extent_m = math.hypot(box[3], box[4]) / 2
    assert abs(distance - wanted_range) <= 1 + half_extent_m / 0.195

    best = int(alone.rsrp_w(alone.paths(0, 1))[0].argmax())
    field_rad = math.radians(alone.scenario.radio.codebook.field_of_view_deg)
    assert abs((best - 31.5) / 64 * field_rad - truth_rad) < 0.06


def test_the_lidar_range_is_the_distance_to_the_side_of_the_car(alone):
    cloud, box = alone.sensors.cloud(0), alone.traffic.box[0, 0]
    points = alone.sensors.mount("lidar").to_local(cloud.point_m[cloud.actor == 0].astype(float))
    noise_m = 5 * alone.scenario.lidar.range_noise_m
    assert (np.abs(points[:, 0] - box[0]) < box[3] / 2 + noise_m).all()
    assert (np.abs(points[:, 1] - box[1]) < box[4] / 2 + noise_m).all()
    assert (points[:, 2] < box[5] + noise_m).all()
    doors = points[(np.abs(points[:, 0] - box[0]) < 1.0) & (points[:, 2] < 0.7)]
    assert len(doors) > 5
    assert np.median(doors[:, 1]) == pytest.approx(box[1] - box[4] / 2, abs=0.15)


def test_latency_shows_the_world_as_it_was():
    speed_mps, latency_s = 20.0, 0.15
    late = {"latency_s": latency_s}
    now = simulated(UE, speed_mps=speed_mps)
    then = simulated(UE, speed_mps=speed_mps, camera=late, lidar={**STREET["lidar"], **late}, radar=late)
    for sensor in ("camera", "lidar", "radar"):
        lag_m = now.sensors.actors(sensor, 4).box[0, 0] - then.sensors.actors(sensor, 4).box[0, 0]
        assert lag_m == pytest.approx(speed_mps * latency_s)
    column = [np.nonzero(one.sensors.picture(4).instance == 0)[1].mean() for one in (now, then)]
    assert column[1] < column[0], "a car that drives to the right is seen further left"


def test_lost_frames_are_invalid_and_hold_nothing():
    lossy = {"drop_share": 0.5}
    simulator = simulated(UE, camera=lossy, lidar={**STREET["lidar"], **lossy}, radar=lossy)
    arrays = simulator.run().arrays
    for name in ("camera", "radar", "lidar"):
        lost = ~arrays[f"valid_{name}"]
        assert 0 < lost.sum() < len(lost)
        held = arrays[name].reshape(len(lost), -1)
        assert not held[lost].any() if name == "camera" else np.isnan(held[lost].astype(float)).all()
        assert (held[~lost].any(axis=1) & ~np.isnan(held[~lost].astype(float)).all(axis=1)).all()
    lost = [~arrays[f"valid_{name}"] for name in ("camera", "radar", "lidar")]
    assert not (lost[0] == lost[1]).all() or not (lost[1] == lost[2]).all(), "each sensor loses frames of its own"


@pytest.fixture(scope="module")
def kept():
    return simulated(UE, BUS).run(3, keep=tuple(KEEPABLE))


def test_what_is_kept_is_what_the_maps_were_made_of(kept):
    arrays = kept.arrays
    for k in range(kept.frames):
        again = range_angle_map(np.asarray(arrays["radar_cube"][k]))
        np.testing.assert_allclose(again, arrays["radar"][k], atol=0.13)
        np.testing.assert_array_equal(depth_image(arrays["lidar_points"][k, :, :3]), arrays["lidar"][k])
    assert arrays["truth/camera_depth_m"].shape == arrays["truth/camera_instance"].shape == (3, 224, 224)


def test_boxes_and_pixels_of_the_truth_agree(kept):
    arrays = kept.arrays
    for k in range(kept.frames):
        for a in range(2):
            rows, columns = np.nonzero(arrays["truth/camera_instance"][k] == arrays["truth/actor_id"][k, a])
            assert len(rows) == arrays["truth/actor_pixels"][k, a]
            left, top, right, bottom = arrays["truth/actor_box_px"][k, a]
            if len(rows):
                assert (left - 1 <= columns).all() and (columns <= right + 1).all()  # noqa: PT018
                assert (top - 1 <= rows).all() and (rows <= bottom + 1).all()  # noqa: PT018


def test_a_frame_does_not_depend_on_what_was_asked_before(kept):
    other = simulated(UE, BUS)
    np.testing.assert_array_equal(other.sensors.echo(2).map_db, kept.arrays["radar"][2])
    np.testing.assert_array_equal(other.run(3, modalities=("camera",)).arrays["camera"], kept.arrays["camera"])
    np.testing.assert_array_equal(other.run(3, modalities=("lidar", "rf")).arrays["lidar"], kept.arrays["lidar"])


def test_a_recording_with_everything_is_stored_and_read_back(kept, tmp_path):
    kept.save(tmp_path)
    from twin.recording import Recording, verify_dataset

    stored = Recording.open(tmp_path / kept.name)
    assert not any(verify_dataset(tmp_path).values())
    assert stored.modalities == MODALITIES
    assert stored.images(slice(1, 3)).shape == (2, 224, 224, 3)
    np.testing.assert_array_equal(stored.some("radar", slice(1, 2))[0], kept.arrays["radar"][1])
    assert stored.jpegs() == kept.jpegs()


def test_a_damaged_picture_is_named(kept, tmp_path):
    camera = np.array(kept.arrays["camera"])
    camera[1, 40:] = 0
    broken = replace(kept, name="broken", arrays={**kept.arrays, "camera": camera})
    with pytest.raises(UserError, match="the picture of frame 1 cannot be decoded"):
        broken.images()
