"""Cyclists keep to the kerb; people walk on sidewalks, and cross while their signal lets them."""

import numpy as np
import pytest

from twin.scenario.street_plan import junction_plan, street_areas
from twin.traffic.routes import rounded, straight

BUSY = {
    "traffic.cyclists.arrivals_per_minute": 5,
    "traffic.pedestrians.arrivals_per_minute": 3,
    "traffic.pedestrians.crossing_per_minute": 2.5,
}


def inside(corners, along, across):
    """Whether any corner lies strictly within a rectangle."""
    low, high = np.array([along[0], across[0]]) + 1e-6, np.array([along[1], across[1]]) - 1e-6
    return ((corners > low) & (corners < high)).all(-1).any(-1)


def test_cyclists_keep_to_the_kerb_and_ride_with_the_traffic(episode):
    seen = episode("intersection", 0, BUSY)
    cyclists = seen.of("cyclist")
    corners = np.abs(seen.corners_m()[cyclists][..., 1])
    assert corners.min() > seen.scenario.half_width_m
    assert corners.max() < seen.scenario.kerb_m
    heading, side = np.cos(seen.turn_rad[cyclists]), np.sign(seen.across_m[cyclists])
    np.testing.assert_allclose(heading, -side, atol=1e-9)  # here traffic keeps to the right
    assert len(np.unique(side)) == 2


@pytest.mark.parametrize("side", ["near", "far"])
def test_cyclists_ride_on_the_sides_that_are_asked_for(episode, side):
    seen = episode("intersection", 0, {**BUSY, "traffic.cyclists.sides": side})
    across = seen.across_m[seen.of("cyclist")]
    assert len(across)
    assert (across < 0).all() if side == "near" else (across > 0).all()


def test_speeds_are_those_of_cyclists_and_of_people(episode):
    """On a street without signals, with room to go: nobody overtakes."""
    free = {
        "junction": None,
        "traffic.cyclists": {"arrivals_per_minute": 1},
        "traffic.pedestrians": {"arrivals_per_minute": 0.3},
    }
    speeds = {"cyclist": [], "pedestrian": []}
    for number in range(25):
        seen = episode("intersection", number, free)
        speed = np.linalg.norm(seen.trace.velocity_mps, axis=-1)
        for name, found in speeds.items():
            for identity in np.unique(seen.trace.actor_id[seen.of(name)]):
                found.append(speed[seen.trace.actor_id == identity].max())
    assert np.mean(speeds["cyclist"]) == pytest.approx(5, abs=0.3)
    assert np.std(speeds["cyclist"]) == pytest.approx(0.7, abs=0.25)
    assert np.mean(speeds["pedestrian"]) == pytest.approx(1.4, abs=0.06)
    assert np.std(speeds["pedestrian"]) == pytest.approx(0.18, abs=0.06)
    assert min(speeds["pedestrian"]) >= 0.999 - 0.4
    assert max(speeds["pedestrian"]) <= 1.8


def test_people_walk_both_ways_on_both_sidewalks(episode):
    seen = episode("bus_blockage", 0, {"traffic.pedestrians.arrivals_per_minute": 5})
    people = seen.of("pedestrian")
    ways = {
        (int(np.sign(across)), round(float(np.cos(turn))))
        for across, turn in zip(seen.across_m[people], seen.turn_rad[people], strict=True)
    }
    assert ways == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    near, far = seen.scenario.sidewalk_m
    across = np.abs(seen.corners_m()[people][..., 1])
    assert across.min() > near
    assert across.max() < far


def test_people_arrive_at_their_rate(episode):
    """In equilibrium a sidewalk of 110 m holds rate times the mean time to walk it, on two sides and both ways."""
    counts = []
    for number in range(25):
        changes = {"traffic.pedestrians.arrivals_per_minute": 4, "traffic.warmup_s": 150, "frames": 1}
        counts.append(episode("bus_blockage", number, changes).of("pedestrian").sum())
    expected = 4 * 4 / 60 * 110.5 / 1.4
    assert np.mean(counts) == pytest.approx(expected, abs=3 * np.sqrt(expected / 25))


@pytest.mark.parametrize("number", range(4))
def test_people_are_on_the_road_only_at_crosswalks_and_in_their_phase(episode, number):
    seen = episode("intersection", number, BUSY)
    plan, red, corners = junction_plan(seen.scenario), seen.reddens(), seen.corners_m()
    people = seen.of("pedestrian")
    kerb_m, half_m = seen.scenario.kerb_m, plan.half_width_m
    on_street = people & inside(corners, (-200, 200), (-kerb_m, kerb_m))
    beside = (plan.middle_m - half_m, plan.middle_m + half_m)
    on_cross_street = people & inside(corners, beside, (-200, 200))
    assert on_street.any()
    assert on_cross_street.any()
    assert not (on_street & on_cross_street).any()
    assert red[np.flatnonzero(on_street.any(axis=1)), 0].all()
    assert red[np.flatnonzero(on_cross_street.any(axis=1)), 1].all()
    walks = [area for area in street_areas(seen.scenario) if area.kind == "crosswalk"]
    for frame, slot in np.argwhere(on_street | on_cross_street):
        middle = corners[frame, slot].mean(axis=0)
        assert any(
            area.along_m[0] - 0.8 <= middle[0] <= area.along_m[1] + 0.8
            and area.across_m[0] - 0.8 <= middle[1] <= area.across_m[1] + 0.8
            for area in walks
        )
    speed = np.linalg.norm(seen.trace.velocity_mps, axis=-1)
    waiting = people & (speed < 0.05)
    assert waiting.any()
    assert not (waiting & (on_street | on_cross_street)).any()


def test_who_crosses_comes_back_on_the_other_side(episode):
    """Most of those who cross are seen on both sides of the street, and turn without a jump."""
    seen = episode("intersection", 1, {**BUSY, "traffic.pedestrians.arrivals_per_minute": 0})
    people = seen.of("pedestrian")
    crossed = 0
    for identity in np.unique(seen.trace.actor_id[people]):
        frame, slot = np.nonzero(seen.trace.actor_id == identity)
        place = np.stack([seen.along_m[frame, slot], seen.across_m[frame, slot]], -1)
        step = np.linalg.norm(np.diff(place, axis=0), axis=1)
        assert step.max(initial=0.0) < 0.25
        turn = np.abs(np.angle(np.exp(1j * np.diff(seen.turn_rad[frame, slot]))))
        assert turn.max(initial=0.0) < 0.5
        crossed += place[:, 1].min() < -seen.scenario.kerb_m and place[:, 1].max() > seen.scenario.kerb_m
    assert crossed >= 3


def test_velocity_of_people_is_the_derivative_of_their_place(episode):
    seen = episode("intersection", 1, BUSY)
    trace = seen.trace
    slots = trace.actor_id.shape[1]
    same = (trace.actor_id[1:] == trace.actor_id[:-1]) & seen.of("pedestrian")[1:]
    moved = np.diff(trace.box[..., :2], axis=0) * seen.scenario.frame_rate_hz
    mean = (trace.velocity_mps[1:] + trace.velocity_mps[:-1]) / 2
    assert same.sum() > 10 * slots
    assert np.abs(moved - mean)[same].max() < 0.15


def test_a_straight_route_goes_on_beyond_its_ends():
    route = straight((-50.0, 3.0), (50.0, 3.0))
    along, across, turn = route.place(np.array([-5.0, 0.0, 60.0, 120.0]))
    np.testing.assert_allclose(along, [-55, -50, 10, 70])
    np.testing.assert_allclose(across, 3)
    np.testing.assert_allclose(turn, 0)


def test_a_rounded_corner_is_a_quarter_of_a_circle():
    route = rounded([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], 2.0)
    assert route.length_m == pytest.approx(16 + np.pi, abs=0.01)
    way = np.linspace(0, route.length_m, 400)
    along, across, turn = route.place(way)
    in_arc = (way > 8) & (way < 8 + np.pi)
    radius = np.hypot(along[in_arc] - 8, across[in_arc] - 2)
    np.testing.assert_allclose(radius, 2, atol=0.02)
    np.testing.assert_allclose(turn[in_arc], (way[in_arc] - 8) / 2, atol=0.02)
    assert turn[0] == 0
    assert turn[-1] == pytest.approx(np.pi / 2)
    assert np.isnan(route.place(np.array([np.nan]))[0]).all()
