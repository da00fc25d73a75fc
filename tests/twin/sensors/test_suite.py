"""Camera, LiDAR, radar and radio look at one world: what one of them sees, the others see in the same place."""

import math
from dataclasses import replace

import numpy as np
import pytest

from twin.errors import UserError
from twin.recording import MODALITIES
from twin.scenario import Template
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.meshes import actor_meshes
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


def met_by_hand(simulator):
    """Of every ray of a frame, its range and the identity of the actor that it meets: -1 for the ground, inf and -2 for
    nothing. Each triangle of each actor, one after another, by Cramer's rule."""
    lidar, box = simulator.sensors.lidar, simulator.sensors.actors("lidar", 0).box
    origin = np.array([0.0, 0.0, HEIGHT_M])
    azimuth = -np.pi + 2 * np.pi * (np.arange(lidar.lidar.azimuth_steps) + 0.5) / lidar.lidar.azimuth_steps
    elevation = np.radians(np.linspace(lidar.lidar.lowest_deg, lidar.lidar.highest_deg, lidar.lidar.rings))
    up, turn = (a.ravel() for a in np.meshgrid(elevation, azimuth + np.pi / 2, indexing="ij"))  # it looks north
    way = np.stack([np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up)], -1)
    with np.errstate(divide="ignore"):
        range_m = np.where(way[:, 2] < 0, -HEIGHT_M / way[:, 2], np.inf)
    range_m[range_m > lidar.lidar.farthest_m] = np.inf
    actor = np.where(np.isfinite(range_m), -1, -2)
    for number, (kind, place) in enumerate(zip(simulator.traffic.actor_class[0], box, strict=True)):
        on_the_ground = (*place[:2], 0.0)
        for a, b, c in actor_meshes()[kind].triangle_m + on_the_ground:
            one, two, far = b - a, c - a, origin - a
            normal = np.cross(one, two)
            with np.errstate(divide="ignore", invalid="ignore"):
                determinant = -(way @ normal)
                t = far @ normal / determinant
                u = np.cross(far, way) @ two / determinant
                v = np.cross(far, way) @ -one / determinant
                nearer = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < range_m)
            range_m[nearer], actor[nearer] = t[nearer], number
    return range_m, actor


@pytest.mark.parametrize("others", [(), (("van", -3.0, NEAR_M), ("pedestrian", 5.0, 7.0))])
def test_the_lidar_range_is_the_distance_to_the_side_of_the_car(others):
    simulator = simulated(UE, *others)
    lidar = simulator.sensors.lidar
    echoes = lidar.echoes(simulator.sensors.actors("lidar", 0))
    range_m, actor = met_by_hand(simulator)
    same = np.isclose(echoes.range_m, range_m, rtol=0, atol=1e-9)
    assert same.mean() > 0.9999, "but for rays along an edge"
    assert (echoes.actor[same] == np.maximum(actor, -1)[same]).all()
    assert ((actor == 0) & same).sum() > 50
    doors = (actor == 0) & same & (np.abs(lidar.elevation_rad.repeat(len(lidar.azimuth_rad))) < math.radians(15))
    sine = range_m[doors] * lidar.mount.direction_to_local(lidar.direction[doors])[:, 1]
    assert sine.min() == pytest.approx(FAR_M - VEHICLE_CLASSES["car"][1] / 2, abs=0.15)


def test_the_lidar_measures_the_distance_with_its_noise(alone):
    """One draw a ray and frame: the mean of n is known to sigma / sqrt(n), the deviation to sigma / sqrt(2 n)."""
    sigma_m, errors_m, on_the_car = alone.scenario.lidar.range_noise_m, [], []
    for k in range(alone.frames):
        cloud = alone.sensors.cloud(k)
        echoes = alone.sensors.lidar.echoes(alone.sensors.actors("lidar", k))
        np.testing.assert_array_equal(cloud.actor, echoes.actor[cloud.ray])
        measured_m = np.linalg.norm(cloud.point_m.astype(float), axis=1)
        errors_m.append(measured_m - echoes.range_m[cloud.ray])
        on_the_car.append(cloud.actor == 0)
        way = cloud.point_m / measured_m[:, None]
        np.testing.assert_allclose(way, alone.sensors.lidar.direction[cloud.ray], atol=1e-6)
    every, of_the_car = np.concatenate(errors_m), np.concatenate(errors_m)[np.concatenate(on_the_car)]
    for error_m in (every, of_the_car):
        assert len(error_m) > 300
        assert abs(error_m.mean()) < 5 * sigma_m / math.sqrt(len(error_m))
        assert error_m.std() == pytest.approx(sigma_m, rel=0.15)


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


def test_what_would_not_fit_into_memory_is_not_kept():
    large = simulated(UE, radar={"antennas": 16, "samples": 512, "chirps": 1000, "sample_rate_hz": 1e7})
    with pytest.raises(UserError, match=r"radar_cube of 100 frames take 6.6 GB"):
        large.sensors.record(100, ["radar"], ["radar_cube"])


def test_boxes_and_pixels_of_the_truth_agree(kept):
    arrays = kept.arrays
    for k in range(kept.frames):
        for a in range(2):
            rows, columns = np.nonzero(arrays["truth/camera_instance"][k] == arrays["truth/actor_id"][k, a])
            assert len(rows) == arrays["truth/actor_pixels"][k, a]
            left, top, right, bottom = arrays["truth/actor_box_px"][k, a]
            if len(rows):
                assert left - 1 <= columns.min() <= columns.max() <= right + 1
                assert top - 1 <= rows.min() <= rows.max() <= bottom + 1


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
