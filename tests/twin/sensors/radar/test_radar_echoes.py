"""The cube of point scatterers is the sum of their tones, as the geometry and the radar equation make them."""

import math

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped
from scipy.stats import kstest

from twin.scenario.sensors import Radar
from twin.sensors.mount import Mount
from twin.sensors.radar.echoes import echo_cube
from twin.sensors.radar.range_angle import range_angle_map
from twin.sensors.radar.signal import Scatterers, map_bin_m, noise_w, thermal_noise

C = 299_792_458.0
RADAR = Radar()
MOUNT = Mount(np.array([3.0, -2.0, 5.0]), 0.8, -0.15)
AHEAD = Mount(np.zeros(3), 0.0)
SPREADING = 5e-5
"""Error of the nonuniform FFT against the largest amplitude."""


def points(*rows, mount=AHEAD):
    """Scatterers from (x, y, z, vx, vy, vz, rcs) in the sensor's frame."""
    table = np.array(rows, float).reshape(-1, 7)
    velocity = mount.direction_to_local(table[:, 3:6])
    return Scatterers(mount.to_local(table[:, :3]), velocity, table[:, 6])


def received_fw(radar, point_m, rcs_m2):
    """The radar equation in femtowatts; a gain of cos^n conserves energy when it is 2 (n + 1) on the axis."""
    gain = 10 ** (radar.antenna_gain_dbi / 10)
    range_m = np.linalg.norm(point_m)
    pattern = gain * (point_m[0] / range_m) ** (gain / 2 - 1)
    density = 10 ** (radar.tx_power_dbm / 10) * 1e12 * pattern / (4 * np.pi * range_m**2)
    back = density * rcs_m2 / (4 * np.pi * range_m**2)
    return back * pattern * (C / radar.carrier_hz) ** 2 / (4 * np.pi)


def sample_by_sample(radar, mount, scatterers):
    """The intermediate frequency of every sample from the distance at just that time, in double precision."""
    fast_s = np.arange(radar.samples)[:, None] / radar.sample_rate_hz
    slow_s = (np.arange(radar.chirps) - (radar.chirps - 1) / 2) * radar.chirp_interval_s
    number = np.arange(radar.antennas)[:, None, None]
    cube = np.zeros((radar.antennas, radar.samples, radar.chirps), complex)
    for place, velocity, rcs in zip(scatterers.position_m, scatterers.velocity_mps, scatterers.rcs_m2, strict=True):
        x, y, z = (mount.axes @ (place - mount.position_m)).tolist()
        way = (place - mount.position_m) + velocity * (slow_s + fast_s)[..., None]
        delay_s = 2 * np.linalg.norm(way, axis=-1) / C
        phase = 2 * np.pi * (radar.carrier_hz * delay_s + radar.slope_hz_per_s * delay_s * fast_s)
        sine = y / math.sqrt(x * x + y * y + z * z)
        power_fw = received_fw(radar, np.array([x, y, z]), rcs)
        cube += math.sqrt(power_fw) * np.exp(1j * (phase + np.pi * number * sine))
    return cube


def rms(values):
    return math.sqrt((np.abs(values) ** 2).mean())


@pytest.mark.parametrize(
    "radar",
    [
        RADAR,
        Radar(chirps=128),
        Radar(antennas=3, samples=100, chirps=7),
        Radar(samples=511, chirps=16, antennas=1, carrier_hz=60e9),
        Radar(chirps=1),
    ],
)
def test_still_points_give_their_tones(radar):
    rng = np.random.default_rng(1)
    reach_m = map_bin_m(radar) * min(radar.samples, 256) * 0.7
    rows = [(reach_m * rng.uniform(0.05, 1), *rng.uniform(-5, 5, 2), 0, 0, 0, rng.uniform(0, 10)) for _ in range(12)]
    scatterers = points(*rows, mount=MOUNT)
    expected = sample_by_sample(radar, MOUNT, scatterers)
    assert np.abs(echo_cube(radar, MOUNT, scatterers) - expected).max() < SPREADING * np.abs(expected).max()


@pytest.mark.parametrize("speed_mps", [-15.0, -0.3, 4.0, 15.0])
def test_a_point_that_moves_along_the_line_of_sight_gives_its_tones(speed_mps):
    scatterers = points((21.0, 4.0, -2.0, speed_mps, 0, 0, 3.0), mount=MOUNT)
    expected = sample_by_sample(RADAR, MOUNT, scatterers)
    ramp_s = RADAR.samples / RADAR.sample_rate_hz
    walk_rad = 2 * np.pi * RADAR.slope_hz_per_s * 2 * abs(speed_mps) / C * ramp_s**2
    assert rms(echo_cube(RADAR, MOUNT, scatterers) - expected) < (1e-4 + walk_rad / 2) * rms(expected)


def test_a_point_that_passes_by_gives_its_tones_and_their_bend():
    scatterers = points((9.0, 0.0, -1.0, 0, 14.0, 0, 3.0), mount=MOUNT)
    expected = sample_by_sample(RADAR, MOUNT, scatterers)
    assert rms(echo_cube(RADAR, MOUNT, scatterers) - expected) < 2e-3 * rms(expected)
    straight = expected[:, :, :1] * np.ones(RADAR.chirps)
    assert rms(straight - expected) > 0.3 * rms(expected)


@pytest.mark.parametrize("point", [(8.0, 0.0, 0.0), (20.0, 6.0, -3.0), (40.0, -11.0, 2.0), (12.0, -9.0, -4.0)])
def test_the_map_peaks_within_a_bin_of_the_range_and_the_direction(point):
    point = np.array(point)
    cube = echo_cube(RADAR, MOUNT, points((*point, 0, 0, 0, 1.0), mount=MOUNT))
    found = range_angle_map(cube, "none").astype(float)
    angle, distance = np.unravel_index(found.argmax(), found.shape)
    range_m = np.linalg.norm(point)
    assert abs(distance * C * 5e6 / (2 * 15.015e12 * 256) - range_m) <= map_bin_m(RADAR)
    assert abs((angle - 32) / 32 - point[1] / range_m) <= 1 / 32


def test_a_default_bin_is_195_mm():
    assert map_bin_m(RADAR) == pytest.approx(0.195, abs=5e-4)
    assert map_bin_m(Radar(samples=512)) == pytest.approx(map_bin_m(RADAR) / 2)
    assert map_bin_m(Radar(samples=64)) == pytest.approx(map_bin_m(RADAR))


def test_left_is_up_in_the_map_and_right_is_down():
    for y, side in ((6.0, 1), (-6.0, -1)):
        found = range_angle_map(echo_cube(RADAR, AHEAD, points((15.0, y, 0, 0, 0, 0, 1.0))), "none")
        assert (np.unravel_index(found.argmax(), found.shape)[0] - 32) * side > 5


@pytest.mark.parametrize("speed_mps", [-12.0, -3.0, 0.0, 1.0, 9.0])
def test_the_doppler_spectrum_tells_the_speed_and_its_sign(speed_mps):
    cube = echo_cube(RADAR, AHEAD, points((22.0, 3.0, 0, *(speed_mps * np.array([22.0, 3.0, 0]) / np.hypot(22, 3)), 1)))
    ranges = np.fft.fft(cube[0], axis=0)
    spectrum = np.abs(np.fft.fft(ranges[np.abs(ranges[:, 125]).argmax()]))
    frequency_hz = np.fft.fftfreq(RADAR.chirps, RADAR.chirp_interval_s)
    fastest_mps = C / 77e9 / (4 * RADAR.chirp_interval_s)
    assert abs(speed_mps) < fastest_mps
    found_mps = frequency_hz[spectrum.argmax()] * C / 77e9 / 2
    assert abs(found_mps - speed_mps) < 2 * fastest_mps / RADAR.chirps


def test_power_follows_the_radar_equation_absolutely():
    """12 dBm, twice 10 dBi, 1 m^2 at 10 m and 77 GHz: 12 + 20 - 48.2 - 33 - 40 = -89.2 dBm."""
    cube = echo_cube(RADAR, AHEAD, points((10.0, 0, 0, 0, 0, 0, 1.0)))
    assert 10 * np.log10((np.abs(cube) ** 2).mean()) - 120 == pytest.approx(-89.2, abs=0.05)


def test_twice_as_far_is_12_db_weaker():
    powers = [
        (np.abs(echo_cube(RADAR, AHEAD, points((r, 0, 0, 0, 0, 0, 1.0)))) ** 2).mean() for r in (10.0, 20.0, 40.0)
    ]
    assert powers[0] / powers[1] == pytest.approx(16, rel=1e-3)
    assert powers[1] / powers[2] == pytest.approx(16, rel=1e-3)


def test_the_antennas_radiate_what_they_are_fed():
    """The mean of the gain over all directions is 1."""
    cosines = np.linspace(0, 1, 101)[1:]
    single = Radar(antennas=1, chirps=1)
    rows = [(10 * x, 10 * math.sqrt(1 - x * x), 0, 0, 0, 0, 1.0) for x in cosines]
    power = np.array([(np.abs(echo_cube(single, AHEAD, points(row))) ** 2).mean() for row in rows])
    isotropic = received_fw(single, np.array([10.0, 0, 0]), 1.0) / 100
    assert np.trapezoid(np.sqrt(power / isotropic), cosines) / 2 == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("place", [(-10.0, 0, 0), (-0.1, 12.0, 0), (0.0, 0, -5.0), (60.0, 0, 0)])
def test_nothing_is_heard_from_behind_and_beyond_the_last_bin(place):
    assert not echo_cube(RADAR, AHEAD, points((*place, 0, 0, 0, 100.0))).any()


def test_echoes_add_up():
    one, two = (20.0, 1.0, 0, 3, 0, 0, 1.0), (30.0, -4.0, 0, -5, 0, 0, 4.0)
    both = echo_cube(RADAR, AHEAD, points(one, two))
    apart = echo_cube(RADAR, AHEAD, points(one)) + echo_cube(RADAR, AHEAD, points(two))
    assert np.abs(both - apart).max() < 1e-5 * np.abs(both).max()


def test_one_chirp_of_what_stands_still_is_all_of_them():
    still = points((20.0, 1.0, 0, 0, 0, 0, 1.0))
    one = echo_cube(RADAR, AHEAD, still, chirps=1)
    whole = echo_cube(RADAR, AHEAD, still)
    assert one.shape == (4, 256, 1)
    assert np.abs(whole - one).max() < 1e-5 * np.abs(one).max()


def test_no_scatterers_give_silence():
    silence = echo_cube(RADAR, AHEAD, points())
    assert silence.shape == (4, 256, 250)
    assert not silence.any()


def test_noise_is_white_and_has_the_power_of_kTBF():
    """-174 dBm/Hz + 67 dB Hz + 15 dB = -92 dBm."""
    noise = thermal_noise(RADAR, np.random.default_rng(0))
    assert noise.shape == (4, 256, 250)
    power = (np.abs(noise) ** 2).mean()
    assert 10 * np.log10(power) - 120 == pytest.approx(-92.0, abs=0.05)
    assert power == pytest.approx(noise_w(RADAR) * 1e15, rel=0.01)
    assert (np.abs(np.fft.fft(noise, axis=1)) ** 2).mean(axis=(0, 2)) == pytest.approx(256 * power, rel=0.2)
    assert abs((noise[0].conj() * noise[1]).mean()) < 0.02 * power
    assert abs((noise**2).mean()) < 0.02 * power
    assert kstest(noise.real.ravel()[::5] / math.sqrt(noise_w(RADAR) * 1e15 / 2), "norm").pvalue > 1e-3


def test_the_signal_to_noise_ratio_of_the_map_is_that_of_the_radar_equation():
    """Range and angle DFTs gain N M = 1024 in power over a sample."""
    echoes = echo_cube(RADAR, AHEAD, points((64 * map_bin_m(RADAR), 0, 0, 0, 0, 0, 1.0)))
    peak_db = range_angle_map(echoes, "none").astype(float).max()
    floor = 10 ** (range_angle_map(thermal_noise(RADAR, np.random.default_rng(1)), "none").astype(float) / 20)
    floor_db = 20 * np.log10(floor.mean() / (np.sqrt(np.pi) / 2))
    sample_db = 10 * np.log10(
        received_fw(RADAR, np.array([64 * map_bin_m(RADAR), 0, 0]), 1.0) / (noise_w(RADAR) * 1e15)
    )
    assert peak_db - floor_db == pytest.approx(sample_db + 10 * np.log10(1024), abs=0.2)


def test_the_annotated_shapes_are_true():
    scatterers = points((20.0, 1.0, 0, 3, 0, 0, 1.0))
    assert jaxtyped(typechecker=beartype)(echo_cube)(RADAR, AHEAD, scatterers).shape == (4, 256, 250)
    assert jaxtyped(typechecker=beartype)(thermal_noise)(RADAR, np.random.default_rng(0)).shape == (4, 256, 250)
