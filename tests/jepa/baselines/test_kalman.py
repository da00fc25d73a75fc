"""The turn-rate filter: an independent one agrees with it, and it does what a filter is for."""

import numpy as np
import pytest
import torch

from jepa.baselines import kalman as module
from jepa.baselines.extrapolation import constant_velocity, least_squares_velocity
from jepa.baselines.kalman import GATE, Kalman, Noise, ctrv_jacobian, ctrv_step, extrapolate, track
from jepa.data.samples import History, Samples
from twin.errors import UserError

DEVIATIONS = (0.02, 0.05, 0.01, 0.02, 0.05)
QUIET = Noise.of(*DEVIATIONS)


def drive(windows, seed, *, turn=0.0, speed=(0.3, 1.2), noise_m=0.0, jump=0.0):
    """Cars at constant speed [m a frame] and turn rate up to `turn` [rad a frame]; 13 measured and true positions."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(-turn, turn, (windows, 1))
    heading = rng.uniform(-np.pi, np.pi, (windows, 1)) + rate * np.arange(13)
    step = rng.uniform(*speed, (windows, 1, 1)) * np.stack([np.cos(heading), np.sin(heading)], -1)
    true = np.cumsum(step, 1) + rng.uniform(-50, 50, (windows, 1, 2))
    measured = true + noise_m * rng.normal(size=true.shape)
    later = np.arange(13)[:, None] >= rng.integers(1, 8, (windows, 1, 1))
    return torch.from_numpy(measured + later * jump * rng.normal(size=(windows, 1, 2))), torch.from_numpy(true)


def samples_of(position_m):
    """Samples in which only positions say anything."""
    windows = len(position_m)
    history = History({"gps": position_m[:, :8], "rf": torch.ones(windows, 8, 64)})
    beams = torch.zeros(windows, 5, dtype=torch.long)
    return Samples(
        history, torch.ones(windows, 5, 64), position_m[:, 8:], beams, torch.zeros(windows, dtype=torch.long)
    )


def fitted(**world):
    """A filter fitted on 150 windows, and the measured histories and true futures of 300 others."""
    kalman = Kalman()
    kalman.fit(samples_of(drive(150, 1, **world)[0]), samples_of(drive(50, 2, **world)[0]), 0)
    measured, true = drive(300, 3, **world)
    return kalman, samples_of(measured).history, true[:, 8:]


def error(predicted, true_m):
    return float((torch.as_tensor(predicted) - true_m).norm(dim=-1).mean())


def circle(state):
    """The motion as it is usually written: an arc v/w (sin(heading + w) - sin(heading), ...), or a straight line."""
    x, y, h, v, w = np.asarray(state)
    arc = v * np.array([np.cos(h), np.sin(h)])
    if abs(w) > 1e-8:
        arc = v / w * np.array([np.sin(h + w) - np.sin(h), np.cos(h) - np.cos(h + w)])
    return np.array([x + arc[0], y + arc[1], h + w, v, w])


def textbook(position, position_m, acceleration, yaw_acceleration, heading_rad, turn_rate):
    """An extended Kalman filter of one window: numerical derivatives, P - K S K^T, one matrix after another."""
    pairs = [(position[j] - position[i]) / (j - i) for i in range(8) for j in range(i + 1, 8)]
    velocity = np.median(pairs, 0)
    state = np.array([*position[0], np.arctan2(velocity[1], velocity[0]), np.hypot(*velocity), 0.0])
    p = np.diag([position_m, position_m, 0.5, 1.0, turn_rate]) ** 2
    for z in position[1:]:
        f = np.stack([(circle(state + d) - circle(state - d)) / 2e-5 for d in 1e-5 * np.eye(5)], 1)
        c, s = np.cos(state[2]), np.sin(state[2])
        g = np.array([[c / 2, 0], [s / 2, 0], [0, 0.5], [1, 0], [0, 1]])
        q = g @ np.diag([acceleration, yaw_acceleration]) ** 2 @ g.T
        q[2, 2] += heading_rad**2
        state, p = circle(state), f @ p @ f.T + q
        r = position_m**2 * np.eye(2)
        innovation, spread = z - state[:2], p[:2, :2] + r
        ratio = innovation @ np.linalg.inv(spread) @ innovation / GATE
        if ratio > 1:
            p[:2, :2] += (ratio - 1) * spread
        spread = p[:2, :2] + r
        gain = p[:, :2] @ np.linalg.inv(spread)
        state, p = state + gain @ innovation, p - gain @ spread @ gain.T
    found = []
    for _ in range(5):
        state = circle(state)
        found.append(state[:2])
    return np.array(found)


@pytest.mark.parametrize("jump", [0.0, 2.0])
def test_a_textbook_filter_predicts_the_same(jump):
    position = drive(30, 0, turn=0.1, noise_m=0.03, jump=jump)[0][:, :8]
    expected = np.stack([textbook(window, *DEVIATIONS) for window in position.numpy()])
    np.testing.assert_allclose(extrapolate(position, QUIET), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("turn", [0.0, 1e-9, 1e-4, -0.002, 0.3, -3.0])
def test_one_frame_is_an_arc_and_its_derivative_is_that(turn):
    state = torch.tensor([[3.0, -2.0, 2.9, 0.8, turn]], dtype=torch.double)
    np.testing.assert_allclose(ctrv_step(state)[0], circle(state[0]), atol=1e-8)
    nudge = 1e-5 * torch.eye(5)
    moved = (ctrv_step(state + nudge) - ctrv_step(state - nudge)) / 2e-5
    np.testing.assert_allclose(ctrv_jacobian(state)[0], moved.T, atol=1e-8)


def test_a_turning_car_is_followed_round_the_bend():
    kalman, history, true = fitted(turn=0.1)
    assert error(kalman.predict(history).trajectory_m, true) < 0.01
    assert error(constant_velocity(history.position_m), true) > 0.2


def test_noise_of_the_receiver_is_averaged_out():
    kalman, history, true = fitted(noise_m=0.3)
    found = error(kalman.predict(history).trajectory_m, true)
    assert found < 0.5 * error(constant_velocity(history.position_m), true)
    assert found < error(least_squares_velocity(history.position_m, 5), true)


def test_a_turn_is_seen_through_noise():
    measured, true = drive(300, 3, turn=0.1, noise_m=0.1)
    shown, true = measured[:, :8], true[:, 8:]
    found = error(extrapolate(shown, Noise.of(0.1, 1e-3, 1e-3, 1e-3, 0.06)), true)
    assert found < 0.7 * min(error(least_squares_velocity(shown, frames), true) for frames in range(2, 9))


def test_a_standing_car_stays():
    kalman, history, true = fitted(speed=(0.0, 0.0), noise_m=0.1)
    assert error(kalman.predict(history).trajectory_m, true) < 0.3 * error(constant_velocity(history.position_m), true)
    still = torch.full((4, 8, 2), 7.0)
    torch.testing.assert_close(extrapolate(still, kalman.noise), still[:, :5].double())


def test_a_car_that_starts_off_is_followed():
    """Six frames at rest say nothing about the direction."""
    position = torch.zeros(8, 8, 2)
    direction = torch.arange(8) * torch.pi / 4
    position[:, 6:] = torch.stack([direction.cos(), direction.sin()], -1)[:, None] * torch.tensor([[0.1], [0.3]])
    expected = position[:, -1] * (1 + 5 * 0.2 / 0.3)
    np.testing.assert_allclose(extrapolate(position, QUIET)[:, -1], expected, atol=0.2)


def test_a_jump_of_the_receiver_moves_the_track_and_not_its_velocity():
    straight = torch.stack([0.5 * torch.arange(13.0), torch.zeros(13)], -1)[None]
    for frame in range(1, 8):
        jumped = straight.clone()
        jumped[:, frame:, 1] += 3.0
        torch.testing.assert_close(
            extrapolate(jumped[:, :8], QUIET), jumped[:, 8:].double(), atol=0.35, rtol=0, msg=f"jump at {frame}"
        )


def test_all_directions_are_alike():
    """Headings cross pi in some of them."""
    position = drive(60, 5, turn=0.1, noise_m=0.05)[0][:, :8]
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.double)
    expected = extrapolate(position, QUIET)
    for _ in range(3):
        position, expected = position @ quarter, expected @ quarter
        torch.testing.assert_close(extrapolate(position, QUIET), expected, atol=1e-9, rtol=0)


def test_covariances_stay_symmetric_and_positive_whatever_is_measured():
    rng = np.random.default_rng(0)
    position = torch.from_numpy(rng.normal(size=(200, 8, 2)) * 10.0 ** rng.uniform(-9, 6, (200, 8, 1)))
    position[:40] = position[:40, :1]
    for noise in (QUIET, Noise.of(1e-5, 10.0, 10.0, 10.0, 10.0), Noise.of(10.0, 1e-5, 1e-5, 1e-5, 1e-5)):
        state, covariance = track(position, noise)
        assert torch.isfinite(state).all()
        assert torch.equal(covariance, covariance.mT)
        eigenvalue = torch.linalg.eigvalsh(covariance)
        assert (eigenvalue[:, 0] > -1e-12 * eigenvalue[:, -1]).all()


def test_the_fitted_noise_predicts_as_well_as_the_one_that_made_the_tracks():
    rng = np.random.default_rng(4)
    deviations = position_m, acceleration, yaw_acceleration, heading_rad, turn_rate = 0.05, 0.05, 0.02, 0.01, 0.05
    state = torch.zeros(450, 5, dtype=torch.double)
    state[:, 2] = torch.from_numpy(rng.uniform(-np.pi, np.pi, 450))
    state[:, 3], state[:, 4] = 0.8, torch.from_numpy(turn_rate * rng.normal(size=450))
    measured = []
    for _ in range(13):
        measured.append(state[:, :2] + torch.from_numpy(position_m * rng.normal(size=(450, 2))))
        push, twist, wander = torch.from_numpy(rng.normal(size=(3, 450)))
        state = ctrv_step(state)
        state[:, 0] += acceleration * push * state[:, 2].cos() / 2
        state[:, 1] += acceleration * push * state[:, 2].sin() / 2
        state[:, 2] += yaw_acceleration * twist / 2 + heading_rad * wander
        state[:, 3] += acceleration * push
        state[:, 4] += yaw_acceleration * twist
    tracks = torch.stack(measured, 1)
    kalman = Kalman()
    kalman.fit(samples_of(tracks[:150]), samples_of(tracks[150:200]), 0)
    shown, truth = tracks[200:, :8], tracks[200:, 8:]
    assert error(extrapolate(shown, kalman.noise), truth) < 1.05 * error(
        extrapolate(shown, Noise.of(*deviations)), truth
    )


def test_without_validation_it_is_chosen_on_train_and_twice_the_same(monkeypatch):
    monkeypatch.setattr(module, "PASSES", 5)
    train = samples_of(drive(40, 6, noise_m=0.1)[0])
    first, second = Kalman(), Kalman()
    first.fit(train, train.select(torch.arange(0)), 0)
    second.fit(train, train.select(torch.arange(0)), 1)
    assert first.noise == second.noise
    with pytest.raises(UserError, match="no training window"):
        Kalman().fit(train.select(torch.arange(0)), train, 0)
    assert first.predict(train.history.select(torch.arange(0))).trajectory_m.shape == (0, 5, 2)
