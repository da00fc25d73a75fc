"""Traffic lights take turns, nobody drives through red, and queues discharge on green."""

import numpy as np
import pytest

from twin.scenario.street import Junction
from twin.traffic.idm import UNSIGNALLED, Drivers, follow_lanes
from twin.traffic.signals import CROSSING, GREEN, RED, STREET, YELLOW, SignalPlan, signal_plan

IDM = (1.5, 2.0, 1.5, 2.0)
CAR_M = 4.6
LINE_M, EXIT_M = 200.0, 230.0
RATE_HZ = 50.0


def drive(arrival, desired, plan, seconds=60.0, phase=STREET, lane=None, walks=False, length=CAR_M, idm=IDM):
    """Front positions and speeds at 50 Hz of cars on lanes with a stop line at 200 m."""
    count = len(arrival)
    drivers = Drivers(
        lane=np.zeros(count, int) if lane is None else np.array(lane),
        arrival_s=np.array(arrival, float),
        length_m=np.full(count, length),
        desired_mps=np.array(desired, float),
        idm=np.tile(idm, (count, 1)),
        end_m=np.full(count, 500.0),
        line_m=np.full(count, LINE_M),
        exit_m=np.full(count, EXIT_M),
        phase=np.broadcast_to(phase, count),
        walks=np.full(count, walks),
    )
    return follow_lanes(drivers, plan, 0.0, 1 / RATE_HZ, int(seconds * RATE_HZ), 0.02)


def colour(plan, time_s, phase):
    """The colour told again: the street's green, yellow, all red, then those of the others."""
    into = (time_s + plan.offset_s) % (sum(plan.green_s) + 2 * (plan.yellow_s + plan.all_red_s))
    begin = 0.0 if phase == STREET else plan.green_s[0] + plan.yellow_s + plan.all_red_s
    if begin <= into < begin + plan.green_s[phase]:
        return GREEN
    return YELLOW if begin <= into < begin + plan.green_s[phase] + plan.yellow_s else RED


def test_the_two_phases_take_turns():
    plan = signal_plan(Junction(green_s=10, cross_green_s=7, yellow_s=3, all_red_s=2, offset_s=4))
    time_s = np.arange(0, 270, 0.01) + 0.005
    seen = plan.colours(time_s)
    assert ((seen == RED).sum(axis=1) >= 1).all()
    for phase, green_s in ((STREET, 10), (CROSSING, 7)):
        shares = [np.mean(seen[:, phase] == which) for which in (GREEN, YELLOW, RED)]
        assert shares == pytest.approx([green_s / 27, 3 / 27, (24 - green_s) / 27], abs=1e-3)
    assert np.mean((seen == RED).all(axis=1)) == pytest.approx(4 / 27, abs=1e-3)
    assert seen[0, 0] == GREEN
    assert seen[590, 0] == GREEN
    assert seen[610, 0] == YELLOW
    expected = [[colour(plan, time, phase) for phase in (STREET, CROSSING)] for time in time_s[:5400]]
    np.testing.assert_array_equal(seen[:5400], expected)


def test_at_red_a_car_stops_short_of_the_line_and_goes_on_at_green():
    plan = SignalPlan((5.0, 40.0), 3.0, 2.0, 0.0)
    position, speed = drive([0.0], [12.0], plan, 90)
    standing = position[int(45 * RATE_HZ), 0]
    assert LINE_M - 1.0 < standing < LINE_M
    assert speed[int(45 * RATE_HZ), 0] < 0.05
    assert (position[: int(50 * RATE_HZ), 0] < LINE_M).all()
    assert position[int(57 * RATE_HZ), 0] > LINE_M
    assert np.nanmin(np.diff(speed[:, 0])) * RATE_HZ > -4.5


@pytest.mark.parametrize(("away_m", "stops"), [(60.0, True), (26.0, True), (22.0, False), (5.0, False)])
def test_at_yellow_who_can_stop_with_3_mps2_stops(away_m, stops):
    """A car of 12 m/s needs 24 m."""
    reaches_s = (LINE_M - away_m) / 12.0
    plan = SignalPlan((50.0, 20.0), 3.0, 2.0, 50.0 - reaches_s)
    position, speed = drive([0.0], [12.0], plan, 35)
    passed = np.flatnonzero(position[:, 0] > LINE_M)
    if stops:
        assert not (passed / RATE_HZ < reaches_s + 20).any()
        assert np.diff(speed[:, 0])[: int((reaches_s + 10) * RATE_HZ)].min() * RATE_HZ > -4.5
    else:
        assert colour(plan, passed[0] / RATE_HZ, STREET) == YELLOW
        assert np.nanmin(speed[:, 0]) > 11.9


@pytest.mark.parametrize("seed", range(6))
def test_nobody_passes_the_line_at_red(seed):
    """Six lanes of two phases, dense, with short greens."""
    rng = np.random.default_rng(seed)
    plan = SignalPlan((rng.uniform(4, 15), rng.uniform(4, 15)), 3.2, 1.0, rng.uniform(0, 30))
    lane = np.repeat(np.arange(6), 25)
    arrival = np.concatenate([np.sort(rng.uniform(0, 200, 25)) for _ in range(6)])
    phase = lane % 2
    position, _ = drive(arrival, rng.uniform(4, 19, 150), plan, 300, phase, lane)
    for i in range(150):
        after = np.flatnonzero(position[:, i] > LINE_M)
        if len(after):
            assert colour(plan, (after[0] - 1) / RATE_HZ, phase[i]) != RED
    passed = np.nanmax(position, axis=0) > LINE_M
    assert passed.sum() > 60


def test_a_queue_discharges_on_green():
    """With the IDM's headway of 1.5 s and its acceleration a car passes about every two and a half seconds."""
    plan = SignalPlan((60.0, 60.0), 3.0, 2.0, 68.0)
    position, speed = drive(np.arange(0.0, 30, 3), np.full(10, 12.0), plan, 120)
    green_s = 130.0 - 68.0
    queue = position[int((green_s - 1) * RATE_HZ)]
    assert (np.diff(queue) < -CAR_M - 1.5).all()
    assert (np.diff(queue) > -CAR_M - 3.0).all()
    assert speed[int((green_s - 1) * RATE_HZ)].max() < 0.2
    passed_s = np.array([np.flatnonzero(position[:, i] > LINE_M)[0] for i in range(10)]) / RATE_HZ - green_s
    assert 0 < passed_s[0] < 2
    assert (np.diff(passed_s) > 1.8).all()
    assert np.median(np.diff(passed_s)) == pytest.approx(2.5, abs=0.3)
    assert np.diff(passed_s).max() < 4.5


def test_the_others_wait_until_the_junction_is_clear():
    """A slow one who entered late is still inside when the other phase gets green."""
    plan = SignalPlan((66.2, 60.0), 1.0, 0.5, 0.0)
    position, _ = drive([0.0, 0.0], [3.0, 10.0], plan, 140, [STREET, CROSSING], [0, 1])
    left_s = np.flatnonzero(position[:, 0] - CAR_M > EXIT_M)[0] / RATE_HZ
    entered_s = np.flatnonzero(position[:, 1] > LINE_M)[0] / RATE_HZ
    assert colour(plan, left_s - 5, CROSSING) == GREEN
    assert left_s < entered_s < left_s + 5


def test_who_walks_starts_only_with_time_enough_to_finish():
    """30 m at 1.5 m/s take 20 s; the way is open for 30."""
    walker = (0.5, 0.8, 1.0, 1.5)
    plan = SignalPlan((160.0, 27.0), 3.0, 2.0, 0.0)
    arrival = np.arange(0.0, 60.0, 4.0)
    position, speed = drive(arrival, np.full(15, 1.5), plan, 600, CROSSING, walks=True, length=0.5, idm=walker)
    starts = []
    for i in range(15):
        on_road = np.flatnonzero((position[:, i] > LINE_M) & (position[:, i] - 0.5 < EXIT_M)) / RATE_HZ
        if len(on_road):
            starts.append(on_road[0] % 197)
            assert {colour(plan, time, CROSSING) for time in on_road[:: int(RATE_HZ / 5)]} <= {GREEN, YELLOW}
            assert colour(plan, on_road[-1], CROSSING) != RED
            assert speed[int(on_road[-1] * RATE_HZ), i] > 1.2
    assert len(starts) > 6
    assert all(165 <= start < 195 - 30 / 1.5 for start in starts)


def test_without_a_signal_lines_mean_nothing():
    position, _ = drive([0.0], [12.0], None, 30, UNSIGNALLED)
    assert position[int(20 * RATE_HZ), 0] == pytest.approx(240, abs=0.5)
