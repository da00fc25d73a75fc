"""A receiver's errors over a drive have the law that their parameters say: what wanders, what stays, what jumps."""

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped
from scipy.linalg import expm
from scipy.signal import lfilter

from twin.geometry.coordinates import equirectangular_m, geodetic_deg
from twin.scenario import Template, load_scenario
from twin.scenario.sensors import Gps
from twin.sensors.gps import gps_fixes
from twin.simulator import Simulator

ORIGIN_DEG = np.array([33.42, -111.93])
INTERVAL_S = 0.1
TRUTH_M = np.array([12.0, -30.0])
QUIET = {"sigma_m": 0.0, "white_m": 0.0}
NOWHERE_M = np.array([np.inf, np.inf])

fixes = jaxtyped(typechecker=beartype)(gps_fixes)


def drive(gps, frames, wall_m=NOWHERE_M, seed=0):
    """Fixes of a car that stands still."""
    rngs = (np.random.default_rng([seed, k]) for k in range(frames))
    return fixes(gps, ORIGIN_DEG, np.tile(TRUTH_M, (frames, 1)), np.tile(wall_m, (frames, 1)), INTERVAL_S, rngs)


def long_drive(gps, frames, wall_m=NOWHERE_M, seed=0):
    """The same with one generator for all frames, which is faster."""
    one = np.random.default_rng(seed)
    rngs = (one for _ in range(frames))
    return fixes(gps, ORIGIN_DEG, np.tile(TRUTH_M, (frames, 1)), np.tile(wall_m, (frames, 1)), INTERVAL_S, rngs)


def errors_m(found):
    return equirectangular_m(found[0], ORIGIN_DEG) - TRUTH_M


def runs(inside):
    """Lengths of the stretches of True, without those at the ends."""
    edges = np.flatnonzero(np.diff(inside.astype(int), prepend=0, append=0)).reshape(-1, 2)
    whole = edges[(edges[:, 0] > 0) & (edges[:, 1] < len(inside))]
    return whole[:, 1] - whole[:, 0]


def chance_to_stay(begin_rate, end_rate):
    """In a spell still (or again) a frame later: the master equation of the two states."""
    return expm(np.array([[-begin_rate, begin_rate], [end_rate, -end_rate]]) * INTERVAL_S)[1, 1]


def test_without_errors_the_position_comes_back():
    found = drive(Gps(**QUIET), 3)
    np.testing.assert_allclose(errors_m(found), 0.0, atol=1e-6)
    assert found[1].all()


def test_a_car_that_moves_is_reported_where_it_is():
    rng = np.random.default_rng(1)
    position_m = rng.normal(0, 40, (50, 2))
    found, _ = fixes(Gps(**QUIET), ORIGIN_DEG, position_m, position_m * np.inf, INTERVAL_S, [rng] * 50)
    np.testing.assert_allclose(found, geodetic_deg(position_m, ORIGIN_DEG), rtol=1e-12)


def test_what_wanders_and_what_is_white_come_from_the_first_four_numbers_of_each_frame():
    sigma, tau, white, frames = 0.5, 2.0, 0.3, 40
    error = errors_m(drive(Gps(sigma_m=sigma, tau_s=tau, white_m=white), frames, seed=3))
    n = np.stack([np.random.default_rng([3, k]).standard_normal(4) for k in range(frames)])
    rho = np.exp(-INTERVAL_S / tau)
    n[1:, :2] *= np.sqrt(1 - rho**2)
    wandering = lfilter([sigma], [1, -rho], n[:, :2], axis=0)
    np.testing.assert_allclose(error, wandering + white * n[:, 2:], atol=1e-6)


def test_the_autocorrelation_falls_with_tau():
    error = errors_m(long_drive(Gps(sigma_m=0.5, tau_s=2.0, white_m=0.0), 60_000))
    assert error.std() == pytest.approx(0.5, rel=0.05)
    for lag in (5, 10, 20, 40):
        expected = 0.25 * np.exp(-lag * INTERVAL_S / 2.0)
        assert (error[lag:] * error[:-lag]).mean() == pytest.approx(expected, abs=0.012)


def test_white_noise_adds_its_variance_and_no_memory():
    error = errors_m(long_drive(Gps(sigma_m=0.0, white_m=0.3), 40_000))
    assert error.std() == pytest.approx(0.3, rel=0.02)
    assert (error[1:] * error[:-1]).mean() == pytest.approx(0.0, abs=0.002)


def test_the_wandering_error_is_stationary_from_the_first_frame():
    first = np.concatenate([errors_m(drive(Gps(sigma_m=0.5, white_m=0.0), 1, seed=seed)) for seed in range(2000)])
    assert first.std() == pytest.approx(0.5, rel=0.05)


def test_an_offset_stays_for_a_drive_and_differs_from_drive_to_drive():
    drives = np.stack([errors_m(drive(Gps(**QUIET, bias_m=1.5), 4, seed=seed)) for seed in range(2000)])
    np.testing.assert_allclose(np.ptp(drives, axis=1), 0.0, atol=1e-6)
    assert drives[:, 0].std(axis=0) == pytest.approx([1.5, 1.5], rel=0.05)
    assert drives[:, 0].mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.1)


@pytest.mark.parametrize(("share", "mean_s"), [(0.05, 2.0), (0.3, 0.5)])
def test_the_fix_is_lost_for_its_share_of_the_time_and_for_its_mean_duration(share, mean_s):
    found, fixed = long_drive(Gps(**QUIET, loss_share=share, loss_s=mean_s), 120_000)
    assert (~fixed).mean() == pytest.approx(share, rel=0.15)
    begin_rate = share / (1 - share) / mean_s
    lengths = runs(~fixed)
    assert lengths.mean() == pytest.approx(1 / (1 - chance_to_stay(begin_rate, 1 / mean_s)), rel=0.08)
    assert lengths.mean() * INTERVAL_S == pytest.approx(mean_s, rel=0.2)
    assert lengths.std() == pytest.approx(lengths.mean(), rel=0.15), "durations are exponential"
    np.testing.assert_array_equal(np.isnan(found), np.repeat(~fixed[:, None], 2, axis=1))


def test_a_drive_begins_without_a_fix_as_often_as_any_later_frame():
    lost = np.mean([not drive(Gps(loss_share=0.4, loss_s=5.0), 1, seed=seed)[1][0] for seed in range(2000)])
    assert lost == pytest.approx(0.4, abs=0.04)


@pytest.mark.parametrize("distance_m", [0.5, 10.0, 30.0])
def test_jumps_become_rarer_away_from_the_walls_and_last_as_long(distance_m):
    reach_m, mean_s = 15.0, 1.0
    gps = Gps(**QUIET, multipath_m=4.0, multipath_reach_m=reach_m, multipath_s=mean_s)
    jumped = np.linalg.norm(errors_m(long_drive(gps, 120_000, np.array([0.0, distance_m]))), axis=1) > 1e-3
    ratio = np.exp(-distance_m / reach_m)
    assert jumped.mean() == pytest.approx(ratio / (1 + ratio), rel=0.1)
    stay = chance_to_stay(ratio / mean_s, 1 / mean_s)
    assert runs(jumped).mean() == pytest.approx(1 / (1 - stay), rel=0.08)


def test_a_jump_has_its_size_and_points_at_the_wall_or_away_from_it():
    gps = Gps(**QUIET, multipath_m=4.0, multipath_s=0.3)
    angle = np.radians(35)
    toward = np.array([np.cos(angle), np.sin(angle)])
    error = errors_m(long_drive(gps, 200_000, toward))
    begins = np.flatnonzero((np.abs(np.diff(error, axis=0)) > 1e-6).any(axis=1)) + 1
    jump_m = error[begins][np.linalg.norm(error[begins], axis=1) > 1e-6]
    assert len(jump_m) > 5000
    assert np.sqrt((jump_m**2).sum(axis=1).mean()) == pytest.approx(4.0, rel=0.03)
    across, along = jump_m @ toward, jump_m @ np.array([-np.sin(angle), np.cos(angle)])
    assert across.std() / along.std() == pytest.approx(2.0, rel=0.05)
    assert across.mean() == pytest.approx(0.0, abs=0.15)


def test_a_jump_stays_until_it_ends():
    error = errors_m(long_drive(Gps(**QUIET, multipath_m=4.0, multipath_s=2.0), 20_000, np.array([3.0, 0.0])))
    moved = (np.abs(np.diff(error, axis=0)) > 1e-6).any(axis=1)
    out = np.linalg.norm(error, axis=1) < 1e-6
    assert moved.any()
    assert (out[1:] | out[:-1])[moved].all(), "between two displacements the fix comes back"


def test_there_are_no_jumps_where_there_are_no_walls():
    gps = Gps(**QUIET, multipath_m=50.0)
    np.testing.assert_allclose(errors_m(drive(gps, 300)), 0.0, atol=1e-6)


def test_a_car_against_a_wall_still_has_a_position():
    found, _ = drive(Gps(**QUIET, multipath_m=4.0), 50, wall_m=np.zeros(2))
    assert np.isfinite(found).all()


def test_the_first_frames_do_not_depend_on_how_many_follow():
    gps = Gps(bias_m=1.0, multipath_m=4.0, multipath_s=0.5, loss_share=0.3, loss_s=0.5)
    short, long = (drive(gps, frames, np.array([2.0, 1.0])) for frames in (30, 80))
    np.testing.assert_array_equal(long[0][:30], short[0])
    np.testing.assert_array_equal(long[1][:30], short[1])


def test_new_errors_leave_the_random_numbers_of_the_old_ones():
    plain = errors_m(drive(Gps(), 60))
    found = drive(Gps(loss_share=0.4, loss_s=0.5), 60)
    assert 10 < found[1].sum() < 60
    np.testing.assert_array_equal(errors_m(found)[found[1]], plain[found[1]])


def episode(**gps):
    template = load_scenario("deepsense32")
    return Simulator(Template({**template.raw, "gps": gps}, "here"), 0, 0)


def test_a_late_receiver_reports_where_the_car_was():
    late, prompt = episode(**QUIET, latency_s=0.5), episode(**QUIET)
    origin_deg = np.array([late.scenario.site.latitude_deg, late.scenario.site.longitude_deg])
    reported, now = (equirectangular_m(one.gps_deg, origin_deg) for one in (late, prompt))
    np.testing.assert_allclose(now, prompt.ue_m[:, :2], atol=1e-6)
    behind_m = np.linalg.norm(now - reported, axis=1)
    time_s = np.arange(late.frames) / late.scenario.frame_rate_hz
    travelled_m = np.concatenate([[0], np.linalg.norm(np.diff(now, axis=0), axis=1).cumsum()])
    expected = travelled_m - np.interp(time_s - 0.5, time_s, travelled_m)
    np.testing.assert_allclose(behind_m[6:], expected[6:], atol=0.05)
    assert behind_m[6:].min() > 1.0


def test_a_recording_marks_the_frames_without_a_fix():
    recording = episode(loss_share=0.4, loss_s=1.0, drop_share=0.2).run(modalities=["gps"])
    valid = recording.arrays["valid_gps"]
    assert 0.2 < valid.mean() < 0.8
    np.testing.assert_array_equal(np.isnan(recording.arrays["gps"]).any(axis=1), ~valid)
    np.testing.assert_array_equal(np.isnan(recording.position_m()).any(axis=1), ~valid)


def test_a_street_between_buildings_makes_the_position_jump():
    jumping = episode(**QUIET, multipath_m=6.0, multipath_reach_m=15.0)
    error_m = np.linalg.norm(jumping.gps_deg - episode(**QUIET).gps_deg, axis=1) * np.radians(6_371_000.0)
    assert 0.02 < (error_m > 0.5).mean() < 0.8
