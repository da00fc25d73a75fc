"""The radar sees the street: vehicles where they are, walls where they stand, and what the clutter removal leaves."""

import math
from functools import cache

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from twin.scenario.sensors import Radar
from twin.sensors.actors import Actors
from twin.sensors.meshes import actor_meshes
from twin.sensors.mount import Mount
from twin.sensors.radar.clutter import ClutterPatches
from twin.sensors.radar.sensor import RadarSensor, range_angle_map
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

CLASSES = tuple(VEHICLE_CLASSES)
BIN_M = 299_792_458.0 * 5e6 / (2 * 15.015e12 * 256)
MOUNT = Mount(np.array([0.0, 0.0, 2.0]), 0.0)
GROUND = 300.0 * np.array([[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0]]], float)
QUIET = {"noise_figure_db": 0.0, "tx_power_dbm": 40.0}
"""Thermal noise 43 dB further below the echoes."""


def actors(*rows):
    """From (class, x, y, heading [deg], vx, vy)."""
    kind = np.array([CLASSES.index(row[0]) for row in rows])
    size = [VEHICLE_CLASSES[row[0]] for row in rows]
    box = [(x, y, s[2] / 2, *s, math.radians(h)) for (_, x, y, h, _, _), s in zip(rows, size, strict=True)]
    return Actors(np.arange(len(rows)), kind, np.array(box), np.array([(vx, vy, 0.0) for *_, vx, vy in rows]))


def wall(x, low=-30.0, high=30.0, height=12.0):
    a, b, c, d = (x, low, 0), (x, high, 0), (x, high, height), (x, low, height)
    return np.array([(a, b, c), (a, c, d)], float)


def world(*parts):
    """A world of (triangles, surface)."""
    triangle_m = np.concatenate([np.empty((0, 3, 3)), *(part for part, _ in parts)])
    kinds = [SURFACE_NAMES.index(name) for part, name in parts for _ in part]
    return World(triangle_m, np.array(kinds, np.uint8), np.zeros(len(kinds), np.int64), actor_meshes())


EMPTY, STREET = world(), world((GROUND, "asphalt"), (wall(30.0), "brick"))


@cache
def sensor(where=EMPTY, **fields):
    return RadarSensor(where, Radar(**fields), MOUNT)


def measured(where, who, seed=0, **fields):
    return sensor(where, **fields).measure(who, np.random.default_rng(seed))


def peak(map_db):
    return np.unravel_index(map_db.astype(float).argmax(), map_db.shape)


def bins_off(who, map_db):
    """By how many bins of angle and of range the map peaks beside the box of the one actor; negative within it."""
    x, y, z, length, width, height, heading_rad = who.box[0]
    c, s = math.cos(heading_rad), math.sin(heading_rad)
    grid = np.stack(np.meshgrid(*(np.linspace(-0.5, 0.5, 9) for _ in range(3))), -1).reshape(-1, 3)
    body = grid * (length, width, height) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + (x, y, z)
    way = body - MOUNT.position_m
    range_m = np.linalg.norm(way, axis=1)
    found = peak(map_db)
    return [
        max(wanted.min() - bin_, bin_ - wanted.max())
        for wanted, bin_ in zip((32 + 32 * way[:, 1] / range_m, range_m / BIN_M), found, strict=True)
    ]


def driving(name, x, y, heading_deg):
    c, s = math.cos(math.radians(heading_deg)), math.sin(math.radians(heading_deg))
    return actors((name, x, y, heading_deg, 6 * c - 3, 6 * s + 2))


@pytest.mark.parametrize("antennas", [4, 16])
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("x", "y"), [(12.0, 0.0), (16.0, 7.0), (25.0, -8.0)])
@pytest.mark.parametrize("heading_deg", [0.0, 70.0, 250.0])
def test_the_map_peaks_within_the_vehicle_and_a_bin(name, x, y, heading_deg, antennas):
    """Four antennas have a beam of 14 bins (0.886 * 2 / 4 of 2 / 64), but it is centred on what echoes."""
    who = driving(name, x, y, heading_deg)
    assert max(bins_off(who, measured(EMPTY, who, antennas=antennas).map_db)) <= 1


@pytest.mark.parametrize("antennas", [4, 16])
def test_the_map_peaks_within_the_vehicle_wherever_it_is(antennas):
    """The noise is set aside: beyond 20 m and off the axis it is as strong as a pedestrian."""
    rng = np.random.default_rng(1)
    for k in range(120):
        distance_m, azimuth_rad, heading_deg = rng.uniform((8, -0.8, 0), (40, 0.8, 360))
        x, y = distance_m * math.cos(azimuth_rad), distance_m * math.sin(azimuth_rad)
        who = driving(CLASSES[k % len(CLASSES)], x, y, heading_deg)
        assert max(bins_off(who, measured(EMPTY, who, k, antennas=antennas, **QUIET).map_db)) <= 1


def test_echo_power_averages_to_the_radar_equation_of_the_cross_section():
    """Speckle makes a single frame stronger or weaker; over many aspects it is the sum of its points' powers."""
    radar = sensor(chirps=2, **QUIET)
    rng, ratios = np.random.default_rng(5), []
    for _ in range(400):
        x, y, heading_deg = rng.uniform((18, 1, 30), (22, 5, 50))
        who = actors(("car", x, y, heading_deg, 5.0, 0.0))
        points = radar.scatterers(who)
        way = points.position_m - MOUNT.position_m
        range_m = np.linalg.norm(way, axis=1)
        power_w = 10.0 * 10**2 * (way[:, 0] / range_m) ** 8 * (299_792_458 / 77e9) ** 2 * points.rcs_m2
        power_w /= (4 * np.pi) ** 3 * range_m**4
        cube = radar.measure(who, np.random.default_rng(0)).cube()
        ratios.append((np.abs(cube) ** 2).mean() * 1e-15 / power_w.sum())
    assert np.mean(ratios) == pytest.approx(1.0, abs=4 * np.std(ratios) / math.sqrt(len(ratios)))
    assert np.std(ratios) > 0.2


@pytest.mark.parametrize(("vx", "sign"), [(8.0, 1), (-8.0, -1)])
def test_what_recedes_turns_forward_and_what_approaches_backward(vx, sign):
    cube = measured(EMPTY, actors(("car", 20.0, 0.0, 0.0, vx, 0.0))).cube()
    spectrum = np.abs(np.fft.fft2(cube[0]))
    _, chirp = np.unravel_index(spectrum.argmax(), spectrum.shape)
    found_mps = np.fft.fftfreq(250, 65e-6)[chirp] * 299_792_458 / 77e9 / 2
    assert found_mps == pytest.approx(8.0 * sign, abs=0.25)


def test_a_car_on_the_left_is_in_the_upper_half():
    for y, side in ((8.0, 1), (-8.0, -1)):
        assert (peak(measured(EMPTY, actors(("car", 15.0, y, 0.0, 5.0, 0.0))).map_db)[0] - 32) * side > 5


def test_a_turned_radar_sees_a_car_ahead_of_it_in_the_middle():
    turned = RadarSensor(EMPTY, Radar(), Mount(np.array([4.0, -3.0, 2.0]), math.radians(120), 0.0))
    ahead = 18.0 * np.array([math.cos(math.radians(120)), math.sin(math.radians(120))])
    who = actors(("car", 4 + ahead[0], -3 + ahead[1], 30.0, 5.0, 1.0))
    angle, distance = peak(turned.measure(who, np.random.default_rng(0)).map_db)
    assert abs(angle - 32) <= 5
    assert distance * BIN_M == pytest.approx(17.2, abs=1.2)


def test_a_bus_between_takes_a_car_out_of_the_map():
    car, bus = ("car", 26.0, 0.0, 90.0, 1.0, 7.0), ("bus", 12.0, 0.0, 90.0, 0.0, 0.0)
    bins = slice(int(24.8 / BIN_M), int(27.2 / BIN_M))
    free, silent = (measured(EMPTY, who).map_db.astype(float) for who in (actors(car), Actors.none()))
    hidden = measured(EMPTY, actors(car, bus)).map_db.astype(float)
    assert free[:, bins].max() > silent[:, bins].max() + 20
    assert hidden[:, bins] == pytest.approx(silent[:, bins], abs=0.05)


def test_nothing_is_seen_behind_the_radar():
    noise = measured(EMPTY, Actors.none()).map_db
    assert np.array_equal(measured(EMPTY, actors(("bus", -15.0, 2.0, 30.0, 4.0, 0.0))).map_db, noise)


def test_without_anything_there_is_thermal_noise():
    """k T B F = -92 dBm in a sample: 1024 times less in a cell, a factor 4 / 64 for the DFTs' lengths."""
    found = 10 ** (measured(EMPTY, Actors.none(), clutter="none").map_db.astype(float) / 20)
    cell_dbf = 10 * math.log10(1.380649e-23 * 290 * 5e6 * 1e15) + 15 - 10 * math.log10(256) + 10 * math.log10(4 / 64**2)
    assert 20 * math.log10(found.mean() / (math.sqrt(math.pi) / 2)) == pytest.approx(cell_dbf, abs=0.05)


def test_a_wall_stands_at_its_distance_until_the_mean_over_chirps_removes_it():
    where = world((wall(20.0), "brick"))
    kept = measured(where, Actors.none(), clutter="none").map_db.astype(float)
    removed = measured(where, Actors.none(), clutter="chirp_mean").map_db.astype(float)
    noise = measured(EMPTY, Actors.none()).map_db.astype(float)
    profile = kept.max(axis=0)
    assert abs(profile.argmax() * BIN_M - 20.0) < 1.5
    assert profile[: int(19.0 / BIN_M)].max() < profile.max() - 15
    assert profile.max() > noise.max() + 10
    assert removed == pytest.approx(noise, abs=0.05)


def test_a_standing_car_goes_with_the_clutter_and_a_moving_one_stays():
    standing, moving = (measured(EMPTY, actors(("car", 15.0, 2.0, 0.0, v, 0.0))).map_db for v in (0.0, 6.0))
    assert peak(moving)[1] * BIN_M == pytest.approx(13.5, abs=1.5)
    assert moving.max() > standing.max() + 20
    assert standing == pytest.approx(measured(EMPTY, Actors.none()).map_db, abs=0.05)


def test_the_mean_over_antennas_is_a_null_in_front():
    found = measured(STREET, Actors.none(), clutter="antenna_mean").map_db.astype(float)
    assert found[32].max() < np.median(found) - 60


def test_phase_noise_brings_the_clutter_back():
    steady, shaky = (measured(STREET, Actors.none(), phase_noise_deg=p).map_db.astype(float) for p in (0.0, 20.0))
    still = measured(STREET, Actors.none(), clutter="none").map_db.astype(float)
    cell = np.unravel_index(still.argmax(), still.shape)
    assert shaky[cell] > steady[cell] + 10
    share = 1 - math.exp(-(math.radians(20.0) ** 2))
    assert shaky[cell] == pytest.approx(
        still[cell] + 10 * math.log10(share) + 20 * math.log10(math.sqrt(2 / np.pi)), abs=1
    )


def test_phase_noise_takes_from_the_line_of_what_moves():
    """Of the power that adds up over chirps, exp(-variance) is left."""
    who, lines = actors(("car", 15.0, 0.0, 0.0, 6.0, 0.0)), []
    for phase_noise_deg in (0.0, 40.0):
        cube = measured(EMPTY, who, phase_noise_deg=phase_noise_deg, **QUIET).cube()
        lines.append((np.abs(np.fft.fft2(cube[0])) ** 2).max())
    assert lines[1] / lines[0] == pytest.approx(math.exp(-(math.radians(40.0) ** 2)), rel=0.15)


@pytest.mark.parametrize("fields", [{}, {"phase_noise_deg": 5.0}, {"clutter": "antenna_mean"}, {"clutter": "none"}])
def test_the_map_is_the_map_of_the_cube(fields):
    who = actors(("car", 15.0, 2.0, 0.0, 6.0, 0.0), ("bus", 25.0, -5.0, 20.0, 0.0, 0.0))
    frame = measured(STREET, who, **fields)
    cube = frame.cube()
    assert cube.shape == (4, 256, 250)
    assert cube.dtype == np.complex64
    again = range_angle_map(cube, fields.get("clutter", "chirp_mean")).astype(float)
    seen = again > again.max() - 100
    assert frame.map_db[seen].astype(float) == pytest.approx(again[seen], abs=0.05)


def test_the_cube_holds_what_stands_still():
    cube = measured(STREET, actors(("car", 15.0, 2.0, 0.0, 0.0, 0.0))).cube()
    kept = measured(STREET, actors(("car", 15.0, 2.0, 0.0, 0.0, 0.0)), clutter="none")
    assert np.abs(cube - kept.cube()).max() < 1e-5 * np.abs(cube).max()
    assert peak(range_angle_map(cube, "none"))[1] * BIN_M == pytest.approx(13.5, abs=1.5)


def test_a_bus_hides_the_wall_behind_it():
    where, bus = world((wall(20.0), "brick")), ("bus", 10.0, 0.0, 90.0, 0.0, 0.0)
    bins = slice(int(19.9 / BIN_M), int(21 / BIN_M))
    free, hidden = (measured(where, who, clutter="none").map_db for who in (Actors.none(), actors(bus)))
    assert hidden[32, bins].astype(float).mean() < free[32, bins].astype(float).mean() - 5


def test_a_wall_of_brick_echoes_more_than_one_of_glass():
    brick, glass = (
        measured(world((wall(20.0), s)), Actors.none(), clutter="none", **QUIET) for s in ("brick", "glass")
    )
    power = [10 * np.log10((np.abs(frame.cube()) ** 2).mean()) for frame in (brick, glass)]
    assert power[0] - power[1] == pytest.approx(5.0, abs=0.2)


def test_the_patches_of_a_wall_add_up_to_its_area():
    """sigma = integral of gamma cos(i) dA over what lies in the fan: +-60 degrees up, the whole half space across."""
    patches = ClutterPatches.of(world((wall(15.0, -10.0, 10.0, 9.0), "brick")), MOUNT, 100.0)
    y, z = np.meshgrid(np.linspace(-10, 10, 400), np.linspace(0, 9, 400))
    cosine = 15.0 / np.sqrt(15.0**2 + y**2 + (z - 2.0) ** 2)
    assert patches.scatterers.rcs_m2.sum() == pytest.approx(0.1 * cosine.mean() * 20 * 9, rel=0.03)


def test_equal_generators_give_equal_frames_and_others_do_not():
    who = actors(("car", 15.0, 2.0, 0.0, 6.0, 0.0))
    radar = sensor(STREET, phase_noise_deg=2.0)
    one, two, other = (radar.measure(who, np.random.default_rng(seed)) for seed in (7, 7, 8))
    fresh = RadarSensor(STREET, Radar(phase_noise_deg=2.0), MOUNT).measure(who, np.random.default_rng(7))
    assert one.map_db.tobytes() == two.map_db.tobytes() == fresh.map_db.tobytes()
    assert one.cube().tobytes() == two.cube().tobytes() == fresh.cube().tobytes()
    assert one.map_db.tobytes() != other.map_db.tobytes()


@pytest.mark.parametrize(
    "fields", [{"chirps": 128}, {"samples": 128}, {"samples": 512}, {"antennas": 1}, {"antennas": 9}, {"chirps": 1}]
)
def test_other_chirps_and_arrays_work_too(fields):
    frame = measured(STREET, actors(("car", 15.0, 0.0, 0.0, 6.0, 0.0)), clutter="none", **fields)
    radar = Radar(**fields)
    assert frame.cube().shape == (radar.antennas, radar.samples, radar.chirps)
    bin_m = BIN_M * 256 / max(256, radar.samples)
    assert peak(frame.map_db)[1] * bin_m == pytest.approx(13.5, abs=1.6)


def test_the_annotated_shapes_are_true():
    frame = measured(STREET, actors(("car", 15.0, 2.0, 0.0, 6.0, 0.0)))
    checked = jaxtyped(typechecker=beartype)
    assert checked(type(frame).cube)(frame).shape == (4, 256, 250)
    assert checked(RadarSensor.scatterers)(sensor(), Actors.none()).rcs_m2.size == 0
    assert len(checked(ClutterPatches.of.__func__)(ClutterPatches, STREET, MOUNT, 50.0).range_m) > 1000
