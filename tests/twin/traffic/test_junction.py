"""At the junction everybody obeys the signals, and nowhere do two boxes overlap."""

import numpy as np
import pytest

from twin.scenario.street_plan import junction_plan, street_areas
from twin.traffic.simulate import CLASSES

DENSE = {
    "traffic.arrivals_per_minute": 8,
    "traffic.warmup_s": 90,
    "traffic.cyclists.arrivals_per_minute": 8,
    "traffic.pedestrians.arrivals_per_minute": 4,
    "traffic.pedestrians.crossing_per_minute": 3,
    "junction.cross_street.arrivals_per_minute": 10,
    "junction.green_s": 12,
    "junction.all_red_s": 0,
}
MOTOR = ("car", "van", "bus", "truck")


def least_gap_m(seen):
    """Least distance between two boxes along any of their sides; negative when they overlap."""
    corners, box = seen.corners_m(), seen.trace.box
    least = np.inf
    for frame in range(seen.trace.frames):
        here = np.flatnonzero(seen.trace.actor_id[frame] >= 0)
        one, two = (here[pick] for pick in np.triu_indices(len(here), 1))
        near = np.hypot(*(box[frame, one, :2] - box[frame, two, :2]).T) < 13.0
        one, two = corners[frame, one[near]], corners[frame, two[near]]
        apart = np.full(len(one), -np.inf)
        for which in (one, two):
            for first, second in ((0, 1), (1, 2)):
                side = which[:, first] - which[:, second]
                side /= np.linalg.norm(side, axis=1, keepdims=True)
                a, b = (one * side[:, None]).sum(-1), (two * side[:, None]).sum(-1)
                apart = np.maximum(apart, np.maximum(a.min(1) - b.max(1), b.min(1) - a.max(1)))
        least = min(least, apart.min(initial=np.inf))
    return least


@pytest.mark.parametrize("name", ["intersection", "highway", "bus_blockage", "street_canyon"])
@pytest.mark.parametrize("number", range(3))
def test_nobody_touches_anybody(episode, name, number):
    assert least_gap_m(episode(name, number)) > 0.05


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("side", ["left", "right"])
def test_nobody_touches_anybody_in_dense_traffic_without_an_all_red(episode, number, side):
    assert least_gap_m(episode("intersection", number, {**DENSE, "street.drives_on": side})) > 0.05


@pytest.mark.long
@pytest.mark.parametrize("name", ["intersection", "highway", "bus_blockage"])
def test_nobody_touches_anybody_in_many_episodes(episode, name):
    changes = DENSE if name == "intersection" else {}
    assert min(least_gap_m(episode(name, number, changes)) for number in range(100, 160)) > 0.05


def test_gaps_are_told_from_overlaps(episode):
    """A box moved onto another is noticed."""
    seen = episode("highway")
    seen.trace.box[5, 1, :2] = seen.trace.box[5, 0, :2] + 0.5
    assert least_gap_m(seen) < -0.3


def test_no_vehicle_and_no_cyclist_passes_a_stop_line_at_red(episode):
    passed = [passes_of_stop_lines(episode("intersection", number, DENSE)) for number in range(6)]
    assert not any(at_red for of_episode in passed for at_red in of_episode)
    assert sum(map(len, passed)) > 80


def passes_of_stop_lines(seen):
    """Whether each pass of a stop line was at red."""
    plan, red = junction_plan(seen.scenario), seen.reddens()
    passed = []
    ways = (
        (0, seen.along_m - plan.middle_m, np.cos(seen.turn_rad), plan.stop_m, (*MOTOR, "cyclist")),
        (1, seen.across_m, np.sin(seen.turn_rad), plan.cross_stop_m, MOTOR),
    )
    for phase, place, direction, stop_m, classes in ways:
        on_it = seen.of(*classes) & (np.abs(direction) > 0.9)
        front = np.where(on_it, np.sign(direction) * place + seen.trace.box[..., 3] / 2, np.nan)
        for identity in np.unique(seen.trace.actor_id[on_it]):
            mine = np.where(seen.trace.actor_id == identity, front, np.nan)
            way = np.nanmax(mine, axis=1, initial=-np.inf, where=np.isfinite(mine))
            over = np.flatnonzero((way[:-1] <= -stop_m) & (way[1:] > -stop_m) & np.isfinite(way[:-1]))
            passed += [red[frame, phase] and red[frame + 1, phase] for frame in over]
    return passed


def test_vehicles_wait_in_front_of_the_crosswalk(episode):
    seen = episode("intersection", 1, DENSE)
    speed = np.linalg.norm(seen.trace.velocity_mps, axis=-1)
    standing = seen.of(*MOTOR, "cyclist") & (speed < 0.05)
    assert standing.sum() > 100
    corners = seen.corners_m()[standing]
    for area in street_areas(seen.scenario):
        if area.kind in ("crosswalk", "cross_street"):
            (left, right), (low, high) = area.along_m, area.across_m
            if area.kind == "cross_street":
                low, high = -seen.scenario.kerb_m, seen.scenario.kerb_m
            inside = (corners > [left, low]).all(-1) & (corners < [right, high]).all(-1)
            assert not inside.any()


def test_cross_traffic_goes_straight_over_the_street_both_ways(episode):
    seen = episode("intersection", 0, {"junction.cross_street.arrivals_per_minute": 10})
    across = seen.of(*MOTOR) & (np.abs(np.sin(seen.turn_rad)) > 0.9)
    plan = junction_plan(seen.scenario)
    np.testing.assert_allclose(np.abs(seen.along_m[across] - plan.middle_m), 3.25 / 2, atol=1e-9)
    assert {-1, 1} == set(np.sign(np.sin(seen.turn_rad[across])))
    assert seen.across_m[across].min() < -60
    assert seen.across_m[across].max() > 60
    # Who goes away from the base station, drives on the right: at the higher end along the street.
    assert (np.sign(seen.along_m[across] - plan.middle_m) == np.sign(np.sin(seen.turn_rad[across]))).all()


def test_cross_traffic_arrives_at_its_rate(episode):
    """People who pass the end of the cross street in an hour of episodes, on two lanes."""
    arrived, minutes = 0, 0.0
    for number in range(15):
        seen = episode("intersection", number, {"junction.cross_street.arrivals_per_minute": 5, "frames": 150})
        crossing = seen.of(*MOTOR) & (np.abs(np.sin(seen.turn_rad)) > 0.9)
        first = set(seen.trace.actor_id[0, crossing[0]])
        arrived += len(set(seen.trace.actor_id[crossing]) - first)
        minutes += seen.trace.frames / seen.scenario.frame_rate_hz / 60
    assert arrived == pytest.approx(2 * 5 * minutes, abs=3 * np.sqrt(2 * 5 * minutes))


def test_a_junction_without_a_cross_street_is_a_crosswalk_with_lights(episode):
    changes = {"junction.cross_street": None, "traffic.pedestrians.crossing_per_minute": 3}
    seen = episode("intersection", 2, changes)
    assert least_gap_m(seen) > 0.05
    assert not (seen.of(*MOTOR) & (np.abs(np.sin(seen.turn_rad)) > 0.5)).any()
    on_road = seen.of("pedestrian") & (np.abs(seen.across_m) < seen.scenario.kerb_m)
    assert on_road.any()
    assert np.abs(seen.along_m[on_road] - 13).max() < 3.5 / 2


def test_the_clock_of_a_trace_goes_on_when_it_is_cut(episode):
    trace = episode("intersection", 0).trace
    assert trace.cut(7, 50).first == trace.first + 7
    assert trace.cut(7, 50).cut(3, 9).first == trace.first + 10


def test_the_served_car_is_first_and_free_slots_are_marked(episode):
    seen = episode("intersection", 5)
    trace = seen.trace
    assert (trace.actor_id[:, 0] == 0).all()
    assert (trace.actor_class[:, 0] == CLASSES.index("car")).all()
    free = trace.actor_id < 0
    assert free.any()
    assert (trace.actor_class[free] == -1).all()
    for row in trace.actor_id:
        there = row[row >= 0]
        assert len(np.unique(there)) == len(there)
    assert set(np.unique(trace.actor_class)) >= {-1, 0, CLASSES.index("cyclist"), CLASSES.index("pedestrian")}


def test_new_road_users_change_nobody_who_was_there_before(episode):
    """Streams are keyed by lane: cyclists and people leave every vehicle where it was."""
    street = {"street.cycle_lane_width_m": 1.6, "street.sidewalk_width_m": 2.0, "buildings": ()}
    street = {"site.street_distance_m": 14, **street}
    traffic = {"traffic.cyclists": {"arrivals_per_minute": 5}, "traffic.pedestrians": {"arrivals_per_minute": 5}}
    without, with_them = episode("street_canyon", 0, street), episode("street_canyon", 0, {**street, **traffic})
    assert with_them.of("cyclist").any()
    assert with_them.of("pedestrian").any()
    for frame in (0, 50, 100):
        boxes = [seen.trace.box[frame, seen.of(*MOTOR)[frame]] for seen in (without, with_them)]
        np.testing.assert_array_equal(*boxes)
