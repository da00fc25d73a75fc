"""Array response and codebooks against plain geometry."""

from pathlib import Path

import numpy as np
import pytest

from twin.errors import UserError
from twin.radio import codebook
from twin.radio.array import direction_sine, ula_response

WAVELENGTH_M = 0.005


def unit(azimuth, zenith):
    return np.array([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])


@pytest.mark.parametrize(("azimuth", "zenith", "boresight"), [(0.3, 1.6, 0.0), (2.0, 1.1, 1.3), (-2.5, 2.4, -1.9)])
def test_the_response_is_the_phase_of_a_plane_wave_at_every_element(azimuth, zenith, boresight):
    axis = np.array([-np.sin(boresight), np.cos(boresight), 0.0])  # to the left of broadside, seen from above
    elements_m = np.arange(16)[:, None] * WAVELENGTH_M / 2.0 * axis
    expected = np.exp(2j * np.pi / WAVELENGTH_M * elements_m @ unit(azimuth, zenith)) / 4.0
    sine = direction_sine(np.array(azimuth), np.array(zenith), boresight)
    np.testing.assert_allclose(ula_response(sine), expected, atol=1e-12)


def test_straight_down_is_broadside():
    assert direction_sine(np.array(1.0), np.array(np.pi), 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("make", [codebook.uniform_angle, codebook.uniform_sine])
def test_beams_point_in_order_of_azimuth_over_the_field_of_view(make):
    weights = make(field_of_view_rad=np.radians(80.0))
    azimuth = np.radians(np.linspace(-60.0, 60.0, 24001))
    pattern = np.abs(ula_response(np.sin(azimuth)).conj() @ weights.T) ** 2
    peak = np.degrees(azimuth[pattern.argmax(axis=0)])
    assert (np.diff(peak) > 0).all()
    np.testing.assert_allclose([peak[0], peak[-1]], [-40.0, 40.0], atol=0.01)
    np.testing.assert_allclose(pattern.max(axis=0), 1.0, atol=1e-6)
    steps = np.diff(peak if make is codebook.uniform_angle else np.sin(np.radians(peak)))
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.02)


def test_the_reversed_order_numbers_the_same_beams_from_the_other_end():
    weights = codebook.uniform_angle()
    np.testing.assert_array_equal(codebook.reversed_order(weights)[::-1], weights)


def test_phase_errors_turn_elements_and_lose_gain_but_no_power():
    errors = np.random.default_rng(0).normal(0.0, 0.5, 16)
    ideal, real = codebook.uniform_angle(), codebook.with_phase_errors(codebook.uniform_angle(), errors)
    np.testing.assert_allclose(np.angle(real / ideal), np.broadcast_to(errors, real.shape), atol=1e-12)
    gain = np.abs((ideal.conj() * real).sum(axis=1)) ** 2
    np.testing.assert_allclose(gain, np.abs(np.exp(1j * errors).mean()) ** 2, rtol=1e-12)


def test_measured_weights_and_measured_patterns_give_the_same_beams(tmp_path):
    weights = codebook.with_phase_errors(codebook.uniform_sine(), np.random.default_rng(1).normal(0, 0.3, 16))
    azimuth = np.linspace(-np.pi / 2, np.pi / 2, 181)
    pattern = (np.exp(1j * np.pi * np.outer(np.sin(azimuth), np.arange(16))) / 4.0 @ weights.T).T
    np.savez(tmp_path / "weights.npz", weights=3.0 * weights)
    np.savez(tmp_path / "pattern.npz", pattern=pattern, azimuth_rad=azimuth)
    np.testing.assert_allclose(codebook.measured(tmp_path / "weights.npz"), weights, atol=1e-12)
    np.testing.assert_allclose(codebook.measured(tmp_path / "pattern.npz"), weights, atol=1e-6)


def test_magnitudes_alone_give_beams_that_point_where_they_were_measured(tmp_path):
    weights = codebook.with_phase_errors(codebook.uniform_angle(), np.random.default_rng(2).normal(0, 0.3, 16))
    angle_deg = np.linspace(0, 180, 211)
    steering = np.exp(1j * np.pi * np.outer(np.sin(np.radians(angle_deg - 90)), np.arange(16))) / 4.0
    magnitude = np.abs(steering @ weights.T).T
    np.savez(tmp_path / "pattern.npz", pattern=magnitude, angle_deg=angle_deg)
    found = np.abs(steering @ codebook.measured(tmp_path / "pattern.npz").T).T
    assert np.linalg.norm(found - magnitude) < 0.05 * np.linalg.norm(magnitude)
    turned_deg = angle_deg[found.argmax(1)] - angle_deg[magnitude.argmax(1)]
    assert np.abs(turned_deg).max() < 1.0


MEASURED = Path(__file__).parents[4] / "shared" / "data" / "deepsense" / "measured_codebook.npz"


@pytest.mark.skipif(not MEASURED.exists(), reason="needs ../shared/data/deepsense beside the checkout")
def test_the_measured_patterns_of_a_real_array_become_its_codebook():
    pattern = np.load(MEASURED)["pattern"]
    angle_deg = np.load(MEASURED)["angle_deg"]
    weights = codebook.measured(MEASURED)
    steering = np.exp(1j * np.pi * np.outer(np.sin(np.radians(angle_deg - 90)), np.arange(16))) / 4.0
    peak_deg = angle_deg[np.abs(steering @ weights.T).argmax(0)]
    alive = slice(1, 63)
    assert np.abs(peak_deg - angle_deg[pattern.argmax(1)])[alive].max() < 2.0


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"pattern": -np.ones((64, 90)), "angle_deg": np.linspace(0, 180, 90)},
        {"weights": np.ones((63, 16))},
        {"weights": np.zeros((64, 16))},
        {"weights": np.full((64, 16), np.nan)},
        {"weights": np.full((64, 16), "a")},
        {"weights": np.array(1.0)},
        {"pattern": np.ones((64, 90)), "azimuth_rad": np.array(1.0)},
        {"pattern": np.ones((64, 90)), "azimuth_rad": np.ones(91)},
        {"pattern": np.random.default_rng(0).normal(size=(64, 90)), "azimuth_rad": np.linspace(-1.5, 1.5, 90)},
    ],
)
def test_a_wrong_codebook_file_is_a_users_error(tmp_path, arrays):
    np.savez(tmp_path / "codebook.npz", **arrays)
    with pytest.raises(UserError, match=r"codebook\.npz"):
        codebook.measured(tmp_path / "codebook.npz")


def test_a_damaged_or_missing_codebook_file_is_a_users_error(tmp_path):
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    for name in ("cut.npz", "none.npz"):
        with pytest.raises(UserError, match=name):
            codebook.measured(tmp_path / name)


def test_a_field_of_view_of_nothing_is_a_users_error():
    with pytest.raises(UserError, match="field of view"):
        codebook.uniform_angle(field_of_view_rad=0.0)
