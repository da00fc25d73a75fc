"""Light does in the picture what it does in a street: shadows, exposure, fog, noise, blur and night."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from twin.geometry.scene import build_scene
from twin.scenario import Template
from twin.sensors.actors import Actors
from twin.sensors.camera.sensor import CameraSensor
from twin.sensors.meshes import actor_meshes
from twin.sensors.mount import Mount
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

CLASSES = tuple(VEHICLE_CLASSES)
HEIGHT_M, MIDDLE_M = 8.0, 16.0
"""Of the camera, and from it to the middle of the street, which runs east."""


def camera_at(north_deg=0.0, pitch_deg=-25.0, height_m=HEIGHT_M, parked=(), buildings=(), **camera):
    """A camera without noise and blur that looks so far counterclockwise from north; `camera` are its fields."""
    scenario, _ = Template(
        {
            "name": "light",
            "site": {
                "latitude_deg": 33.4,
                "longitude_deg": -111.9,
                "bs_height_m": height_m,
                "street_distance_m": MIDDLE_M,
            },
            "street": {"length_m": 200, "lane_width_m": 4},
            "materials": {
                "asphalt": {"relative_permittivity": 3.18, "conductivity_s_per_m": 0.4},
                "concrete": {"relative_permittivity": 5.24, "conductivity_s_per_m": 1.13},
            },
            "camera": {"noise": 0, "blur_px": 0, "cloud": 0, **camera},
            "parked": list(parked),
            "buildings": list(buildings),
        },
        "test",
    ).draw(0, 0)
    mount = Mount(np.array([0.0, 0.0, height_m]), math.pi / 2 + math.radians(north_deg), math.radians(pitch_deg))
    return CameraSensor(World.of(build_scene(scenario, Path())), scenario.camera, mount, scenario, 0)


def actor(name, east, north, heading_deg=0.0):
    size = VEHICLE_CLASSES[name]
    box = np.array([[east, north, size[2] / 2, *size, math.radians(heading_deg)]])
    return Actors(np.array([0]), np.array([CLASSES.index(name)]), box, np.zeros((1, 3)))


NOBODY = Actors.none()


def picture(camera, who=NOBODY, draw=0):
    return camera.capture(who, np.random.default_rng(draw))


def linear(image):
    """Linear values of sRGB bytes (IEC 61966-2-1)."""
    value = image / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def brightness(camera, who=NOBODY):
    """Linear luminance of each pixel."""
    return linear(picture(camera, who).image) @ [0.2126, 0.7152, 0.0722]


def ground_m(camera, frame):
    """East and north of what each pixel sees, NaN for what is not on the ground."""
    place = camera.view.rays() * frame.depth_m[..., None] + camera.view.mount.position_m
    return np.where((np.abs(place[..., 2:]) < 0.01) & (frame.instance == -1)[..., None], place, np.nan)[..., :2]


def at(camera, image, east, north, up=0.0):
    """The pixel that shows a place."""
    u, v, _ = camera.project(np.array([east, north, up]))
    return image[int(v), int(u)]


# --- The sun and its shadows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("azimuth_deg", [20, 80, 135, 200, 265, 330])
@pytest.mark.parametrize("elevation_deg", [30, 45])
def test_a_shadow_lies_away_from_the_sun_and_reaches_as_far_as_its_height_says(azimuth_deg, elevation_deg):
    sun = {"sun_azimuth_deg": azimuth_deg, "sun_elevation_deg": elevation_deg}
    camera = camera_at(pitch_deg=-62, height_m=32, width_px=400, height_px=400, **sun)
    bus = actor("bus", 0, 16)
    frame = picture(camera, bus)
    dark = brightness(camera, bus) < 0.45 * brightness(camera)
    shadow_m = ground_m(camera, frame)[dark] - bus.box[0, :2]
    shadow_m = shadow_m[np.isfinite(shadow_m).all(axis=1)]
    assert len(shadow_m) > 60
    away = -np.array([math.cos(math.radians(azimuth_deg)), math.sin(math.radians(azimuth_deg))])
    corner = actor_meshes()[CLASSES.index("bus")].triangle_m.reshape(-1, 3)
    thrown = corner[:, :2] + away * corner[:, 2:] / math.tan(math.radians(elevation_deg))
    assert (shadow_m @ away).max() == pytest.approx((thrown @ away).max(), abs=0.4)
    side = np.array([-away[1], away[0]])
    assert (shadow_m @ side).max() < (thrown @ side).max() + 0.4
    assert (shadow_m @ side).min() > (thrown @ side).min() - 0.4
    assert (shadow_m @ away).mean() > 1


def test_the_sun_does_not_reach_the_street_behind_a_house_and_a_car_there_has_no_shadow():
    house = {"along_m": 0, "across_m": 10, "length_m": 80, "depth_m": 4, "height_m": 30}
    sun = {"sun_azimuth_deg": 90, "sun_elevation_deg": 40}
    behind, free = camera_at(buildings=[house], **sun), camera_at(**sun)
    car = actor("car", 0, 16)
    assert at(behind, brightness(behind), 4, 13) < 0.4 * at(free, brightness(free), 4, 13)
    lee = (0, 14.4)  # where the car's shadow lies when the sun shines
    assert at(free, brightness(free, car), *lee) < 0.4 * at(free, brightness(free), *lee)
    assert at(behind, brightness(behind, car), *lee) > 0.7 * at(behind, brightness(behind), *lee)
    roof = (0, 16, 1.5)
    assert at(behind, brightness(behind, car), *roof) < 0.6 * at(free, brightness(free, car), *roof)


def test_under_an_overcast_sky_nobody_throws_a_shadow_but_it_is_dark_under_a_bus():
    camera = camera_at(cloud=1)
    bus = actor("bus", 0, 18)
    ratio = brightness(camera, bus) / np.maximum(brightness(camera), 1e-6)
    place = ground_m(camera, picture(camera, bus))
    past = np.abs(place - bus.box[0, :2]) - np.array(VEHICLE_CLASSES["bus"][:2]) / 2
    away = np.hypot(*np.maximum(past, 0).transpose(2, 0, 1))
    assert np.quantile(ratio[away > 2], 0.005) > 0.97  # but for pixels at its edges
    assert ratio[away < 0.2].mean() < 0.7


def test_a_second_car_is_dark_in_the_shadow_of_a_bus():
    camera = camera_at(sun_azimuth_deg=90, sun_elevation_deg=25, exposure_ev=1)
    alone = actor("car", 0, 14)
    bus = actor("bus", 0, 18)
    both = Actors(
        np.array([0, 1]), np.concatenate([alone.kind, bus.kind]), np.concatenate([alone.box, bus.box]), np.zeros((2, 3))
    )
    roof = (0, 14, 1.5)
    assert at(camera, brightness(camera, both), *roof) < 0.6 * at(camera, brightness(camera, alone), *roof)


def test_the_sky_is_brightest_at_the_sun():
    camera = camera_at(north_deg=20, pitch_deg=15, sun_azimuth_deg=95, sun_elevation_deg=22, exposure_ev=-4)
    glow = gaussian_filter(brightness(camera), 2)
    row, column = np.unravel_index(glow.argmax(), glow.shape)
    sun = np.array([math.cos(math.radians(95)), math.sin(math.radians(95)), math.tan(math.radians(22))])
    u, v, _ = camera.project(1e4 * sun)
    assert (column, row) == pytest.approx((u, v), abs=4)


def test_a_low_sun_is_red():
    house = {"along_m": 0, "across_m": 16, "length_m": 80, "depth_m": 4, "height_m": 12}

    def redness(elevation_deg):
        camera = camera_at(pitch_deg=0, buildings=[house], sun_elevation_deg=elevation_deg, sun_azimuth_deg=270)
        red, _, blue = linear(picture(camera).image)[95:108, 80:140].mean(axis=(0, 1))
        return red / blue

    assert redness(4) > 1.5 * redness(45)


# --- The film ---------------------------------------------------------------------------------------------------------


def test_a_stop_more_doubles_the_light():
    low, high = camera_at(exposure_ev=-1), camera_at(exposure_ev=0)
    car = actor("car", 2, 16)
    dark, bright = (linear(picture(camera, car).image) for camera in (low, high))
    fit = (bright < 0.9) & (dark > 0.02)
    assert fit.mean() > 0.5
    assert np.median(bright[fit] / dark[fit]) == pytest.approx(2, rel=0.01)
    assert np.quantile(np.abs(bright[fit] / dark[fit] - 2), 0.99) < 0.1


def test_a_clear_day_is_well_exposed():
    for azimuth_deg, elevation_deg, cloud in [(225, 45, 0.2), (225, 10, 0.2), (45, 70, 0.0), (0, 45, 1.0)]:
        camera = camera_at(
            pitch_deg=0, sun_azimuth_deg=azimuth_deg, sun_elevation_deg=elevation_deg, cloud=cloud, blur_px=0.5
        )
        image = picture(camera, actor("car", 0, 16)).image
        assert 80 < image.mean() < 180
        assert (image == 255).mean() < 0.1
        assert (image == 0).mean() < 0.01


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise_is_as_strong_as_its_field_says(noise):
    camera = camera_at(noise=noise)
    clean = linear(picture(camera_at()).image)
    values = np.stack([linear(picture(camera, draw=k).image) for k in range(60)])
    for share in (0.2, 0.5, 0.8):
        level = np.quantile(clean[clean < 0.4], share)
        where = np.abs(clean / level - 1) < 0.05
        assert where.sum() > 300
        measured = math.sqrt(values[:, where].var(axis=0).mean())
        shot_and_read = noise * math.sqrt(0.2 + 0.8 * level / 0.18)
        step = 1 / 255 / (1.055 / 2.4 * level ** (1 / 2.4 - 1))  # of a byte at that level
        assert measured == pytest.approx(math.hypot(shot_and_read, step / math.sqrt(12)), rel=0.06)
        assert values[:, where].mean() == pytest.approx(clean[where].mean(), rel=0.02)


def test_blur_spreads_light_as_a_gaussian():
    car = actor("van", 0, 16)
    sharp = linear(picture(camera_at(), car).image)
    soft = linear(picture(camera_at(blur_px=2.0), car).image)
    expected = gaussian_filter(sharp, (2, 2, 0), mode="nearest")
    inside = (sharp < 1).all(axis=2)[8:-8, 8:-8]
    assert np.abs(soft - expected)[8:-8, 8:-8][inside].max() < 0.02
    assert np.abs(sharp - expected).max() > 0.1


# --- Fog --------------------------------------------------------------------------------------------------------------


def test_fog_takes_contrast_away_as_koschmieder_says():
    """Differences between neighbouring pixels fall with exp(-beta d), beta = 3.912 / visibility."""
    thin_m, thick_m = 2000.0, 100.0
    house = {"along_m": 0, "across_m": 16, "length_m": 60, "depth_m": 10, "height_m": 20}
    cameras = [
        camera_at(pitch_deg=-8, cloud=1, visibility_m=far_m, exposure_ev=-0.5, buildings=[house])
        for far_m in (thin_m, thick_m)
    ]
    frames = [picture(camera, actor("truck", 0, 16)) for camera in cameras]
    depth = np.nan_to_num(frames[0].depth_m, posinf=1e9)
    even = (maximum_filter(depth, 5) < 1.1 * minimum_filter(depth, 5))[:, 1:]
    depth = depth[:, 1:]
    thin, thick = (np.diff(linear(frame.image)[..., 1], axis=1) for frame in frames)
    gain = 3.912 / thick_m - 3.912 / thin_m
    for low, high in [(10, 14), (14, 20), (28, 32), (32, 38)]:
        pairs = even & (depth > low) & (depth < high) & (np.abs(thin) > 0.02)
        assert pairs.sum() > 50
        weight = thin[pairs] ** 2
        measured = (thick[pairs] * thin[pairs]).sum() / weight.sum()
        expected = (np.exp(-gain * depth[pairs]) * weight).sum() / weight.sum()
        assert measured == pytest.approx(expected, rel=0.05)


def test_what_is_far_in_fog_has_the_colour_of_the_fog():
    camera = camera_at(pitch_deg=0, visibility_m=30)
    image = picture(camera).image.astype(int)
    far = picture(camera).depth_m > 80
    assert far.sum() > 1000
    assert np.ptp(image[far].reshape(-1, 3), axis=0).max() < 12


# --- Night ------------------------------------------------------------------------------------------------------------


def test_night_is_darker():
    car = actor("car", 0, 16)
    assert picture(camera_at(night=1), car).image.mean() < 0.5 * picture(camera_at(), car).image.mean()


@pytest.mark.parametrize(("heading_deg", "ahead"), [(0, 1), (180, -1)])
def test_headlights_light_the_road_ahead(heading_deg, ahead):
    camera = camera_at(night=1)
    car = actor("car", 0, 16, heading_deg)
    lit, dark = brightness(camera, car), brightness(camera)
    front = VEHICLE_CLASSES["car"][0] / 2
    gains = [at(camera, lit, ahead * (front + way), 16) / at(camera, dark, ahead * (front + way), 16) for way in (3, 6)]
    assert min(gains) > 1.5
    assert at(camera, lit, -ahead * (front + 4), 16) == pytest.approx(
        at(camera, dark, -ahead * (front + 4), 16), rel=0.1
    )


def test_who_is_parked_has_the_lamps_off():
    north = MIDDLE_M - 6
    camera = camera_at(night=1, pitch_deg=-40, parked=[{"along_m": 0, "across_m": -6}])
    parked, driving = actor("car", 0, north), actor("car", 0.5, north)
    dark = at(camera, brightness(camera), 6.5, north)
    assert at(camera, brightness(camera, parked), 6.5, north) == pytest.approx(dark, rel=0.05)
    assert at(camera, brightness(camera, driving), 6.5, north) > 1.5 * dark


def test_lamps_and_windows_shine_by_night_alone():
    house = {"along_m": 0, "across_m": 16, "length_m": 60, "depth_m": 10, "height_m": 20}
    night, day = (camera_at(pitch_deg=0, buildings=[house], night=n, sun_azimuth_deg=90) for n in (1, 0))
    depth = np.nan_to_num(picture(night).depth_m, posinf=1e4)
    up = HEIGHT_M + (night.view.rays() * depth[..., None])[..., 2]
    for low, high, least, most in ((0.5, 4, 0.3, 0.95), (5, 19, 0.03, 0.4)):  # shops, and flats above them
        wall = (depth < 60) & (up > low) & (up < high)
        lit = linear(picture(night).image)[wall].max(axis=1) > 0.1
        assert least < lit.mean() < most
        by_day = linear(picture(day).image)[wall].max(axis=1)
        assert (by_day > 4 * np.median(by_day)).mean() < 0.01


def test_an_oncoming_car_dazzles_by_night():
    """Its headlights spread a glow around them; the same car seen from behind does not."""
    camera = camera_at(north_deg=-90, pitch_deg=0, height_m=2, night=1)

    def around(heading_deg):
        car = actor("car", 25, 0, heading_deg)
        left, top, right, bottom = camera.boxes_px(car)[0].astype(int)
        gain = brightness(camera, car) - brightness(camera)
        gain[picture(camera, car).instance == 0] = 0
        return gain[top - 4 : bottom, left - 4 : right + 4].mean()

    assert around(180) > 0.005
    assert around(180) > 5 * abs(around(0))
