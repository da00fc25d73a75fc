"""The range-angle map is what its definition says, however it is computed."""

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from twin.sensors.radar.range_angle import FLOOR_DB, angle_bin_sine, range_angle_map

CLUTTER = ("chirp_mean", "antenna_mean", "none")
DEEP_DB = 100.0
"""What lies so far below the strongest cell is rounding."""


def by_definition(cube, clutter):
    """Zero-padded numpy.fft in double precision, each divided by its length, broadside shifted to the middle."""
    cube = np.asarray(cube, complex)
    length = max(256, cube.shape[1])
    spectrum = np.fft.fft(cube, length, axis=1)[:, :256] / length
    if clutter == "chirp_mean":
        spectrum = spectrum - spectrum.mean(axis=2, keepdims=True)
    if clutter == "antenna_mean":
        spectrum = spectrum - spectrum.mean(axis=0, keepdims=True)
    angles = np.fft.fftshift(np.fft.fft(spectrum, 64, axis=0) / 64, axes=0)
    return 20 * np.log10(np.maximum(np.abs(angles).mean(axis=2), 10 ** (FLOOR_DB / 20)))


def some_cube(shape, seed=0):
    re, im = np.random.default_rng(seed).standard_normal((2, *shape))
    return (re + 1j * im).astype(np.complex64)


def tone(sine, cycles, turns=0.0, amplitude=1.0, shape=(4, 256, 32)):
    """A cube of one echo: its phase grows by pi sine an antenna, by `cycles` in a chirp and by `turns` a chirp."""
    n, m, c = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (amplitude * np.exp(2j * np.pi * (sine * n / 2 + cycles * m / shape[1] + turns * c))).astype(np.complex64)


@pytest.mark.parametrize("clutter", CLUTTER)
@pytest.mark.parametrize("shape", [(4, 256, 250), (4, 256, 128), (3, 100, 7), (8, 512, 16), (1, 256, 2), (64, 256, 1)])
def test_a_map_is_its_definition(shape, clutter):
    cube = some_cube(shape) + tone(0.3, 40.2, 0.1, 5.0, shape) + tone(-0.6, 90.0, 0.0, 30.0, shape)
    found, expected = range_angle_map(cube, clutter), by_definition(cube, clutter)
    assert found.shape == (64, 256)
    assert found.dtype == np.float16
    seen = expected > expected.max() - DEEP_DB
    assert np.all(found[~seen] < expected.max() - DEEP_DB + 1)
    ulp = np.spacing(np.abs(expected[seen]).astype(np.float16)).astype(float)
    assert np.all(np.abs(found[seen] - expected[seen]) <= 0.51 * ulp + 1e-3)


def test_the_clutter_of_still_echoes_is_removed_by_default():
    cube = some_cube((4, 256, 10))
    assert np.array_equal(range_angle_map(cube), range_angle_map(cube, "chirp_mean"))


@pytest.mark.parametrize(("sine", "cycles"), [(0.0, 0.0), (0.5, 20.0), (-0.5, 255.0), (31 / 32, 100.0), (-1.0, 3.0)])
def test_a_tone_lies_in_its_bin_with_its_amplitude_times_the_antennas_over_64(sine, cycles):
    found = range_angle_map(tone(sine, cycles, 0.25, amplitude=7.0), "none").astype(float)
    angle, distance = np.unravel_index(found.argmax(), found.shape)
    assert (angle, distance) == (round(32 + 32 * sine), cycles)
    assert found.max() == pytest.approx(20 * np.log10(7.0 * 4 / 64), abs=0.02)
    assert angle_bin_sine()[angle] == sine


def test_what_stands_still_is_taken_away_by_the_mean_over_chirps_alone():
    still, moving = tone(0.4, 50.0, amplitude=100.0), tone(-0.3, 80.0, turns=0.25)
    alone = range_angle_map(moving).astype(float)
    both = range_angle_map(still + moving).astype(float)
    assert both[:, 80] == pytest.approx(alone[:, 80], abs=0.02)
    assert both[:, 50].max() < both[:, 80].max() - 40
    for clutter in ("antenna_mean", "none"):
        assert range_angle_map(still + moving, clutter)[:, 50].max() > 15


def test_the_mean_over_antennas_is_a_null_in_front():
    cube = some_cube((4, 256, 20))
    found = range_angle_map(cube, "antenna_mean").astype(float)
    assert found[32].max() < found.max() - DEEP_DB
    assert np.median(found[32 + 16]) > found.max() - 20
    assert range_angle_map(cube, "none").astype(float)[32].max() > found.max() - 20


def test_white_noise_has_the_level_of_rayleigh_magnitudes():
    cube = some_cube((4, 256, 250))
    amplitude = 10 ** (range_angle_map(cube, "none").astype(float) / 20)
    assert amplitude.mean() == pytest.approx(np.sqrt(2 / 256) * np.sqrt(4) / 64 * np.sqrt(np.pi) / 2, rel=0.01)


def test_short_chirps_are_padded_and_of_long_ones_the_nearest_bins_are_kept():
    padded = range_angle_map(tone(0.0, 30.0, shape=(4, 128, 8)), "none").astype(float)
    assert np.unravel_index(padded.argmax(), padded.shape) == (32, 60)
    kept = range_angle_map(tone(0.0, 30.0, shape=(4, 512, 8)), "none").astype(float)
    assert np.unravel_index(kept.argmax(), kept.shape) == (32, 30)
    gone = range_angle_map(tone(0.0, 300.0, shape=(4, 512, 8)), "none").astype(float)
    assert gone.max() < -100


def test_silence_is_the_floor():
    assert np.all(range_angle_map(np.zeros((4, 256, 5), np.complex64)) == FLOOR_DB)


def test_the_order_of_the_cube_in_memory_does_not_matter():
    cube = some_cube((4, 256, 33))
    assert np.array_equal(range_angle_map(np.asfortranarray(cube)), range_angle_map(cube))


@pytest.mark.parametrize("shape", [(256, 250), (4, 256), (0, 256, 250), (4, 0, 250), (4, 256, 0), (1, 4, 256, 250)])
def test_what_is_no_cube_is_refused(shape):
    with pytest.raises(ValueError, match="antennas, samples and chirps"):
        range_angle_map(np.ones(shape, np.complex64))


def test_more_antennas_than_angles_are_refused():
    with pytest.raises(ValueError, match="65 antennas"):
        range_angle_map(np.ones((65, 8, 2), np.complex64))


@pytest.mark.parametrize("clutter", CLUTTER)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1j * np.inf, complex(0, np.nan)])
def test_a_cube_that_is_not_finite_is_refused(bad, clutter):
    cube = some_cube((4, 256, 9))
    cube[2, 100, 5] = bad
    with pytest.raises(ValueError, match="not finite"):
        range_angle_map(cube, clutter)


def test_the_annotated_shapes_are_true():
    checked = jaxtyped(typechecker=beartype)(range_angle_map)
    assert checked(some_cube((4, 256, 3))).shape == (64, 256)
    with pytest.raises(TypeCheckError):
        checked(np.ones((4, 256, 3)))
