"""The GPS error has the autocorrelation that its parameters say."""

import numpy as np
import pytest

from twin.geometry.coordinates import equirectangular_m
from twin.sensors.gps import GpsSensor

ORIGIN_DEG = np.array([33.42, -111.93])
INTERVAL_S = 0.1


def errors_m(frames, sigma_m, tau_s, white_m, seed=0):
    sensor = GpsSensor(ORIGIN_DEG, INTERVAL_S, sigma_m, tau_s, white_m)
    truth, rng = np.array([12.0, -30.0]), np.random.default_rng(seed)
    fixes = np.stack([sensor.measure(truth, rng) for _ in range(frames)])
    return equirectangular_m(fixes, ORIGIN_DEG) - truth


def test_without_errors_the_position_comes_back():
    np.testing.assert_allclose(errors_m(3, 0.0, 10.0, 0.0), 0.0, atol=1e-6)


def test_the_autocorrelation_falls_with_tau():
    error = errors_m(60_000, sigma_m=0.5, tau_s=2.0, white_m=0.0)
    assert error.std() == pytest.approx(0.5, rel=0.05)
    for lag in (5, 10, 20, 40):
        expected = 0.25 * np.exp(-lag * INTERVAL_S / 2.0)
        assert (error[lag:] * error[:-lag]).mean() == pytest.approx(expected, abs=0.012)


def test_white_noise_adds_its_variance_and_no_memory():
    error = errors_m(40_000, sigma_m=0.0, tau_s=2.0, white_m=0.3)
    assert error.std() == pytest.approx(0.3, rel=0.02)
    assert (error[1:] * error[:-1]).mean() == pytest.approx(0.0, abs=0.002)


def test_the_error_is_stationary_from_the_first_frame():
    first = np.concatenate([errors_m(1, 0.5, 30.0, 0.0, seed) for seed in range(2000)])
    assert first.std() == pytest.approx(0.5, rel=0.05)
