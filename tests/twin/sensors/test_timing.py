"""A sensor shows the world as it was when it looked: late, not evenly, and some frames never come."""

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from twin.scenario.sensors import Timed
from twin.sensors import timing
from twin.simulator import Simulator
from twin.traffic.simulate import TrafficTrace

FRAMES = 20_000
FRAME_TIME_S = np.arange(FRAMES) / 10.0
capture_times = jaxtyped(typechecker=beartype)(timing.capture_times)
actors_at = jaxtyped(typechecker=beartype)(timing.actors_at)


def ages_s(timed, seed=0):
    captured, kept = capture_times(timed, FRAME_TIME_S, np.random.default_rng(seed))
    return FRAME_TIME_S - captured, kept


def test_a_perfect_sensor_sees_every_frame_when_it_is_due():
    captured, kept = capture_times(Timed(), FRAME_TIME_S, np.random.default_rng(0))
    np.testing.assert_array_equal(captured, FRAME_TIME_S)
    assert kept.all()


def test_frames_are_late_by_the_latency_give_or_take_the_jitter():
    age, _ = ages_s(Timed(latency_s=0.2, jitter_s=0.03))
    assert age.mean() == pytest.approx(0.2, abs=0.001)
    assert age.std() == pytest.approx(0.03, rel=0.03)
    assert np.corrcoef(age[1:], age[:-1])[0, 1] == pytest.approx(0.0, abs=0.03)


def test_no_frame_is_captured_after_it_is_due():
    age, _ = ages_s(Timed(jitter_s=0.1))
    assert age.min() >= 0
    assert (age < 1e-9).mean() == pytest.approx(0.5, abs=0.02)
    assert age.mean() == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=0.03)


def test_the_share_of_lost_frames_is_what_it_should_be_and_late_frames_are_not_lost_more_often():
    age, kept = ages_s(Timed(latency_s=0.2, jitter_s=0.05, drop_share=0.3))
    assert (~kept).mean() == pytest.approx(0.3, abs=0.015)
    assert (kept[1:] & kept[:-1]).mean() == pytest.approx(0.49, abs=0.02)
    assert np.corrcoef(age, kept)[0, 1] == pytest.approx(0.0, abs=0.03)
    assert not ages_s(Timed(drop_share=1.0))[1].any()


def test_equal_keys_give_equal_times_and_more_frames_change_none():
    timed = Timed(latency_s=0.1, jitter_s=0.05, drop_share=0.3)
    for again, count in ((7, 50), (7, 20)):
        captured, kept = capture_times(timed, FRAME_TIME_S[:count], np.random.default_rng(again))
        all_captured, all_kept = capture_times(timed, FRAME_TIME_S, np.random.default_rng(7))
        np.testing.assert_array_equal(captured, all_captured[:count])
        np.testing.assert_array_equal(kept, all_kept[:count])
    assert not np.array_equal(ages_s(timed, 7)[0], ages_s(timed, 8)[0])


@pytest.fixture
def passing_car():
    """Three frames at 10 Hz: a car along x at 10 m/s, with a second one that comes in the second frame."""
    box = np.full((3, 2, 7), np.nan)
    box[:, 0] = [0.0, 4.0, 0.75, 4.6, 1.8, 1.5, 0.0]
    box[:, 0, 0] = [5.0, 6.0, 7.0]
    box[1:, 1] = [50.0, -4.0, 0.75, 4.6, 1.8, 1.5, np.pi]
    velocity = np.zeros((3, 2, 2))
    velocity[:, 0] = [10.0, -1.0]
    identity = np.array([[0, -1], [0, 3], [0, 3]])
    return TrafficTrace(identity, np.where(identity < 0, -1, 0), box, velocity)


@pytest.mark.parametrize("time_s", [-0.25, 0.0, 0.04, 0.0999, 0.1, 0.17, 0.2, 0.55])
def test_between_frames_a_car_is_moved_on_by_its_velocity(passing_car, time_s):
    actors = actors_at(passing_car, time_s, 10.0)
    assert actors.box[0, 0] == pytest.approx(5.0 + 10.0 * time_s)
    frame = np.clip(np.floor(time_s * 10), 0, 2)
    assert actors.box[0, 1] == pytest.approx(4.0 - (time_s - frame / 10))
    np.testing.assert_array_equal(actors.box[0, 2:], passing_car.box[0, 0, 2:])
    np.testing.assert_array_equal(actors.velocity_mps[0], [10.0, -1.0, 0.0])


def test_who_is_there_is_who_was_there_in_the_frame_before(passing_car):
    assert actors_at(passing_car, 0.09, 10.0).identity.tolist() == [0, -1]
    assert actors_at(passing_car, 0.11, 10.0).identity.tolist() == [0, 3]
    assert actors_at(passing_car, -1.0, 10.0).kind.tolist() == [0, -1]
    assert passing_car.box[0, 0, 0] == 5.0, "the trace itself stays as it is"


def test_at_a_frame_everybody_is_exactly_where_that_frame_says():
    simulator = Simulator("deepsense32", 0, 0)
    rate_hz, trace = simulator.scenario.frame_rate_hz, simulator.traffic
    times_s, _ = capture_times(Timed(), np.arange(trace.frames) / rate_hz, np.random.default_rng(0))
    for k, time_s in enumerate(times_s):
        actors = actors_at(trace, float(time_s), rate_hz)
        np.testing.assert_array_equal(actors.box, trace.box[k])
        np.testing.assert_array_equal(actors.identity, trace.actor_id[k])
