"""The sweep kernel against the formula, the receiver's statistics against the sum over symbols that they stand for."""

import numba
import numpy as np
import pytest

from twin.radio.array import direction_sine, ula_response
from twin.radio.codebook import uniform_angle
from twin.radio.sweep import beam_power, best_beam, measure_sweep

FLOAT32_SHARE = 1e-5
"""Error of the float32 kernel as a share of the strongest beam."""


def paths(frames=200, count=8, seed=0):
    rng = np.random.default_rng(seed)
    gain = rng.normal(size=(frames, count)) + 1j * rng.normal(size=(frames, count))
    return gain.astype(np.complex64), rng.uniform(-1.0, 1.0, (frames, count))


def power_by_hand(gain, sine, weights, tx_power_w):
    """P_tx |h^H f|^2 with h = sqrt(N) sum alpha a(u), element by element in complex128."""
    out = np.zeros((len(gain), len(weights)))
    for t in range(len(gain)):
        h = np.zeros(16, complex)
        for alpha, u in zip(gain[t], sine[t], strict=True):
            h += np.sqrt(16) * alpha * np.exp(1j * np.pi * np.arange(16) * u) / np.sqrt(16)
        out[t] = tx_power_w * np.abs([np.vdot(h, f) for f in weights]) ** 2
    return out


def test_the_kernel_is_the_formula():
    gain, sine = paths()
    expected = power_by_hand(gain, sine, uniform_angle(), 0.1)
    found = beam_power(gain, sine, uniform_angle(), 0.1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=FLOAT32_SHARE * expected.max())


def test_results_do_not_depend_on_the_number_of_threads_or_on_the_other_frames():
    gain, sine = paths(frames=501)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = beam_power(gain, sine, uniform_angle())
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(one, beam_power(gain, sine, uniform_angle()))
    np.testing.assert_array_equal(one[17:18], beam_power(gain[17:18], sine[17:18], uniform_angle()))


def test_a_single_path_gets_the_array_gain():
    sine = np.sin(np.radians(np.linspace(-45, 45, 64)))[:, None]
    power = beam_power(np.full((64, 1), 1e-5), sine, uniform_angle())
    np.testing.assert_array_equal(best_beam(power), np.arange(64))
    np.testing.assert_allclose(power.max(axis=1), 16 * 1e-10, rtol=1e-4)


def test_the_best_beam_grows_with_the_azimuth_and_falls_with_elevation_towards_broadside():
    azimuth = np.radians(np.linspace(-44, 44, 45))
    level = direction_sine(azimuth, np.full(45, np.pi / 2), 0.0)[:, None]
    best = best_beam(beam_power(np.ones((45, 1)), level, uniform_angle()))
    assert (np.diff(best) > 0).all()
    steep = direction_sine(azimuth, np.full(45, np.pi / 4), 0.0)[:, None]
    below = best_beam(beam_power(np.ones((45, 1)), steep, uniform_angle()))
    assert below[-1] < best[-1]
    assert below[0] > best[0]


def test_no_path_is_darkness():
    power = beam_power(np.zeros((3, 4), np.complex64), np.zeros((3, 4)), uniform_angle())
    assert (power == 0).all()
    assert (best_beam(power) == -1).all()


@pytest.mark.parametrize("symbols", [1, 4, 32])
@pytest.mark.parametrize("signal_w", [0.0, 0.3, 5.0])
def test_a_measured_sweep_has_the_statistics_of_averaged_symbols(symbols, signal_w):
    noise_w, count = 0.7, 40_000
    rng = np.random.default_rng(symbols)
    noise = rng.normal(size=(count, symbols, 2)) @ [1, 1j] * np.sqrt(noise_w / 2)
    explicit = (np.abs(np.sqrt(signal_w) + noise) ** 2).mean(axis=1)
    drawn = measure_sweep(np.full(count, signal_w), noise_w, symbols, np.random.default_rng(99))
    sd = np.sqrt((2 * signal_w * noise_w + noise_w**2) / symbols)
    assert drawn.mean() == pytest.approx(signal_w + noise_w, abs=5 * sd / np.sqrt(count))
    assert drawn.std() == pytest.approx(sd, rel=0.05)
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    np.testing.assert_allclose(np.quantile(drawn, shares), np.quantile(explicit, shares), atol=0.05 * sd)


def test_the_noise_floor_is_sigma_squared():
    floor = measure_sweep(np.zeros((2000, 64)), 1e-10, 64, np.random.default_rng(0))
    assert floor.mean() == pytest.approx(1e-10, rel=0.002)


def test_without_noise_the_sweep_is_the_power():
    power = np.random.default_rng(0).uniform(size=(5, 64)).astype(np.float32)
    np.testing.assert_array_equal(measure_sweep(power, 0.0, 8, np.random.default_rng(0)), power)


def test_the_response_used_by_the_codebook_is_of_unit_norm():
    np.testing.assert_allclose(np.linalg.norm(ula_response(np.linspace(-1, 1, 9)), axis=-1), 1.0)
