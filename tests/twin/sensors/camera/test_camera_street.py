"""The street looks as it is built: markings where the lanes are, crosswalks, windows, and actors in lasting colours."""

import math
from pathlib import Path

import numpy as np
import pytest

from twin.geometry.scene import build_scene
from twin.scenario import Template
from twin.sensors.actors import Actors
from twin.sensors.camera.paint import PAINTS, Wardrobe
from twin.sensors.camera.sensor import CameraSensor
from twin.sensors.mount import Mount
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

CLASSES = tuple(VEHICLE_CLASSES)
LANE_M, MIDDLE_M, HEIGHT_M = 3.5, 14.0, 18.0


def made(street=None, seed=0, pitch_deg=-50, height_m=HEIGHT_M, **sections):
    """Camera of 800 x 600 pixels above a street to the east, and its scenario."""
    camera = {"noise": 0, "blur_px": 0, "cloud": 1, "width_px": 800, "height_px": 600, **sections.pop("camera", {})}
    scenario, _ = Template(
        {
            "name": "street",
            "site": {
                "latitude_deg": 33.4,
                "longitude_deg": -111.9,
                "bs_height_m": height_m,
                "street_distance_m": MIDDLE_M,
            },
            "street": {"length_m": 200, "lane_width_m": LANE_M, **(street or {})},
            "materials": {
                name: {"relative_permittivity": 3.18, "conductivity_s_per_m": 0.4}
                for name in ("asphalt", "concrete", "glass", "brick")
            },
            "camera": camera,
            **sections,
        },
        "test",
    ).draw(0, 0)
    mount = Mount(np.array([0.0, 0.0, height_m]), math.pi / 2, math.radians(pitch_deg))
    return CameraSensor(World.of(build_scene(scenario, Path())), scenario.camera, mount, scenario, seed), scenario


def photo(camera, who=None):
    return camera.capture(Actors.none() if who is None else who, np.random.default_rng(0)).image.astype(float)


def along_line(camera, image, along, across):
    """Colours of places in street coordinates."""
    along, across = np.broadcast_arrays(np.asarray(along, float), np.asarray(across, float))
    u, v, _ = np.moveaxis(camera.project(np.stack([along, across + MIDDLE_M, np.zeros(along.shape)], -1)), -1, 0)
    return image[v.astype(int), u.astype(int)]


STEPS = np.arange(-12, 12, 0.05)


def test_lines_are_where_the_lanes_end():
    camera, scenario = made({"lanes_forward": 2, "lanes_backward": 2})
    image = photo(camera)
    middle = along_line(camera, image, STEPS, scenario.lanes[0][0] + 1.2).mean(axis=0)
    edges = [along_line(camera, image, STEPS, side * (2 * LANE_M - 0.25)).mean(axis=0) for side in (-1, 1)]
    for edge in edges:
        assert edge.min() > 1.5 * middle.max()
        assert np.ptp(edge) < 0.15 * edge.mean()
    pair = [along_line(camera, image, STEPS, across).mean(axis=0) for across in (-0.12, 0.0, 0.12)]
    for yellow in (pair[0], pair[2]):
        assert yellow[0] > 1.4 * yellow[2]
    assert pair[1].mean() < 0.9 * pair[0].mean()
    for across in (-LANE_M, LANE_M):
        painted = along_line(camera, image, STEPS, across).mean(axis=1) > 1.4 * middle.mean()
        assert painted.mean() == pytest.approx(3 / 12, abs=0.06)
        assert np.abs(np.diff(painted.astype(int))).sum() <= 2 * math.ceil(24 / 12) + 1


def test_a_one_way_street_has_no_yellow_line_and_grass_lies_beyond_its_pavement():
    camera, _ = made({"lanes_forward": 2, "lanes_backward": 0})
    image = photo(camera)
    road = along_line(camera, image, *np.meshgrid(STEPS[::10], np.arange(-3.4, 3.4, 0.05)))
    assert (road[..., 0] < 1.25 * road[..., 2]).all()
    pavement, grass = (along_line(camera, image, STEPS, LANE_M * 1 + out).mean(axis=0) for out in (1.9, 5.0))
    assert pavement.mean() > 1.3 * road.mean()
    assert grass[1] > 1.15 * grass[2]
    assert grass[1] > grass[0]


def test_a_crosswalk_and_stop_lines_lie_where_the_junction_is():
    camera, scenario = made(
        {"lanes_forward": 1, "lanes_backward": 1, "sidewalk_width_m": 3},
        junction={"along_m": 0, "crosswalk_width_m": 4, "cross_street": None},
    )
    image = photo(camera)
    asphalt = along_line(camera, image, STEPS, 1.2)[np.abs(STEPS) > 5].mean()
    walk = along_line(camera, image, 0.0, np.arange(-3.3, 3.3, 0.02)).mean(axis=1) > 1.6 * asphalt
    assert walk.mean() == pytest.approx(0.5 / 1.1, abs=0.12)
    assert np.abs(np.diff(walk.astype(int))).sum() >= 10
    assert (walk == walk[::-1]).mean() > 0.9  # as far from both kerbs
    for across, direction in scenario.lanes:
        before = -direction * 3.2  # the half crosswalk, a metre and half of the line
        assert along_line(camera, image, before, across + 0.6).mean() > 1.6 * asphalt
        assert along_line(camera, image, -before, across + 0.6).mean() < 1.3 * asphalt


def test_a_cross_street_is_asphalt_without_a_kerb_in_between():
    camera, _ = made(
        {"lanes_forward": 1, "lanes_backward": 1, "sidewalk_width_m": 3},
        junction={"along_m": 6, "crosswalk_width_m": 0, "cross_street": {"lanes_forward": 1, "lanes_backward": 1}},
    )
    image = photo(camera)
    across = np.concatenate([np.arange(-3, 3.4, 0.1), np.arange(8.5, 10.5, 0.1)])
    through, beside = (along_line(camera, image, along, across) for along in (7.6, -3.0))
    assert np.ptp(through.mean(axis=1)) < 30
    edge = (across > 3.16) & (across < 3.34)  # the line at the edge goes on where the cross street does not
    assert beside[edge].mean(axis=1).min() > through.mean(axis=1).max() + 50
    green = [(colours[across > 8, 1] / colours[across > 8, 2]).mean() for colours in (through, beside)]
    assert green[0] < 1.05
    assert green[1] > 1.2


@pytest.mark.parametrize("material", ["concrete", "brick", "glass"])
def test_a_house_has_rows_of_windows_one_above_the_other(material):
    house = {
        "along_m": 0,
        "across_m": 20,
        "length_m": 44,
        "depth_m": 10,
        "height_m": 4.2 + 4 * 3.3 + 0.5,
        "material": material,
    }
    camera, _ = made(pitch_deg=5, height_m=6, buildings=[house])
    image = photo(camera)
    front = MIDDLE_M + 15

    def wall(east, up):
        u, v, _ = np.moveaxis(camera.project(np.stack(np.broadcast_arrays(east, front, up), -1)), -1, 0)
        return image[v.astype(int), u.astype(int)].mean(axis=-1)

    east, up = np.meshgrid(np.arange(-20, 20, 0.1), np.arange(4.6, 17.0, 0.1))
    seen = wall(east, up)
    rows = seen.mean(axis=1)
    rows = rows - rows.mean()
    spectrum = np.abs(np.fft.rfft(rows))
    period = len(rows) * 0.1 / (1 + np.argmax(spectrum[1:]))
    assert 2.5 < period < 4.5
    assert seen.std() > 0.1 * seen.mean()


def test_a_guard_rail_has_no_windows():
    rail = {"along_m": 0, "across_m": 8, "length_m": 80, "depth_m": 0.3, "height_m": 4.5}
    camera, _ = made(pitch_deg=0, height_m=3, buildings=[rail])
    frame = camera.capture(Actors.none(), np.random.default_rng(0))
    front = (frame.depth_m < 30) & (frame.instance == -1) & (camera.view.rays()[..., 2] > -0.02)
    wall = frame.image[front].astype(float)
    assert len(wall) > 1000
    assert wall.std(axis=0).max() < 0.1 * wall.mean()


# --- Colours ----------------------------------------------------------------------------------------------------------


def car_at(east, identity=0):
    size = VEHICLE_CLASSES["car"]
    box = np.array([[east, MIDDLE_M, size[2] / 2, *size, 0.0]])
    return Actors(np.array([identity]), np.array([0]), box, np.zeros((1, 3)))


def colour(camera, who):
    """Of the roof, which is painted."""
    u, v, _ = camera.project(who.box[0, :3] + [0, 0, who.box[0, 5] / 2])
    image = photo(camera, who)
    return image[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2].mean(axis=(0, 1))


def test_a_car_keeps_its_colour_all_episode():
    camera, _ = made(seed=4)
    for identity in (0, 5, 9, 12):
        places = np.array([colour(camera, car_at(east, identity)) for east in (-6, -2, 3, 6)])
        assert np.ptp(places, axis=0).max() < 25
    again, _ = made(seed=4)
    np.testing.assert_array_equal(photo(again, car_at(1, 5)), photo(camera, car_at(1, 5)))


def test_cars_and_episodes_differ_in_colour():
    camera, _ = made(seed=4)
    shown = np.array([colour(camera, car_at(0, identity)) for identity in range(12)])
    apart = np.abs(shown[:, None] - shown[None, :]).max(axis=-1)
    assert (apart > 20).mean() > 0.5
    other, _ = made(seed=5)
    changed = [np.abs(colour(other, car_at(0, identity)) - shown[identity]).max() > 20 for identity in range(12)]
    assert sum(changed) >= 6


def test_most_cars_are_white_black_or_grey():
    wardrobe, paint = Wardrobe(1), SURFACE_NAMES.index("paint")
    worn = np.array([wardrobe.albedo(identity, 0)[paint] for identity in range(1500)])
    grey = worn.max(axis=1) < 1.25 * worn.min(axis=1)
    assert grey.mean() == pytest.approx(sum(PAINTS[name][0] for name in ("white", "black", "grey", "silver")), abs=0.05)
    assert (worn[:, 0] > 4 * worn[:, 1]).mean() == pytest.approx(PAINTS["red"][0], abs=0.03)
    assert sum(share for share, _ in PAINTS.values()) == pytest.approx(1)
    assert (worn > 0).all()
    assert (worn < 0.85).all()
