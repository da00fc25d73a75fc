"""Vehicles keep their distance, their lane and their dimensions."""

import numpy as np
import pytest

from twin.scenario import Template, load_scenario
from twin.traffic.idm import UNSIGNALLED, Drivers, follow_lanes
from twin.traffic.simulate import CLASSES, simulate_traffic
from twin.traffic.vehicles import VEHICLE_CLASSES

IDM = (1.5, 2.0, 1.5, 2.0)


def follow(arrival, desired, street=1000.0, frames=600, length=4.6):
    count = len(arrival)
    drivers = Drivers(
        lane=np.zeros(count, int),
        arrival_s=np.array(arrival, float),
        length_m=np.full(count, length),
        desired_mps=np.array(desired, float),
        idm=np.tile(IDM, (count, 1)),
        end_m=np.full(count, street),
        line_m=np.full(count, np.inf),
        exit_m=np.full(count, np.inf),
        phase=np.full(count, UNSIGNALLED),
        walks=np.zeros(count, bool),
    )
    return follow_lanes(drivers, None, 0.0, 0.1, frames, 0.02)


def test_alone_on_the_road_a_driver_drives_as_desired():
    position, speed = follow([0.0], [12.0])
    assert np.nanmax(np.abs(speed - 12.0)) < 1e-9
    np.testing.assert_allclose(position[:100, 0], 1.2 * np.arange(100), atol=0.05)


def test_a_faster_follower_settles_at_the_gap_of_the_model():
    """In equilibrium s = (s_0 + v T) / sqrt(1 - (v / v_0)^4) (Treiber et al., 2000)."""
    position, speed = follow([0.0, 6.0], [8.0, 16.0], street=5000, frames=3000)
    gap = position[-1, 0] - 4.6 - position[-1, 1]
    assert speed[-1, 1] == pytest.approx(8.0, abs=0.01)
    assert gap == pytest.approx((2.0 + 8.0 * 1.5) / np.sqrt(1 - (8 / 16) ** 4), rel=0.01)


def test_a_follower_never_hits_its_leader_and_nobody_drives_backwards():
    rng = np.random.default_rng(0)
    position, speed = follow(np.sort(rng.uniform(0, 60, 25)), rng.uniform(3, 20, 25), frames=1500)
    for ahead, behind in zip(range(24), range(1, 25), strict=True):
        gap = position[:, ahead] - 4.6 - position[:, behind]
        assert np.nanmin(gap) > 0.5
    assert np.nanmin(speed) >= 0
    assert (np.diff(position, axis=0)[np.isfinite(np.diff(position, axis=0))] >= 0).all()


def test_an_episode_begins_when_the_ue_enters_and_ends_when_it_has_left():
    scenario, _ = load_scenario("street_canyon").draw(0, 0)
    trace = simulate_traffic(scenario, 2000, 0, 0)
    assert trace.frames < 2000
    assert (trace.actor_id[:, 0] == 0).all()
    centre = trace.box[:, 0, :2]
    driven = np.linalg.norm(centre[-1] - centre[0])
    assert scenario.street.length_m * 0.97 < driven <= scenario.street.length_m + 5


def test_vehicles_have_the_size_of_their_class_and_stand_on_the_road():
    scenario, _ = load_scenario("street_canyon").draw(0, 1)
    trace = simulate_traffic(scenario, 100, 0, 1)
    there = trace.actor_id >= 0
    sizes = np.array([VEHICLE_CLASSES[name] for name in CLASSES])[trace.actor_class[there]]
    np.testing.assert_allclose(trace.box[there][:, 3:6], sizes)
    np.testing.assert_allclose(trace.box[there][:, 2], sizes[:, 2] / 2)
    across = trace.box[there][:, 1] - scenario.site.street_distance_m
    assert (np.abs(across) < scenario.half_width_m).all()
    assert np.isnan(trace.box[~there]).all()


def test_velocity_is_the_derivative_of_position():
    scenario, _ = load_scenario("drive_by").draw(0, 2)
    trace = simulate_traffic(scenario, 60, 0, 2)
    moved = np.diff(trace.box[:, 0, :2], axis=0) * scenario.frame_rate_hz
    np.testing.assert_allclose(moved, (trace.velocity_mps[:-1, 0] + trace.velocity_mps[1:, 0]) / 2, atol=0.05)
    heading = np.arctan2(moved[0, 1], moved[0, 0])
    assert np.cos(heading - trace.box[0, 0, 6]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_traffic_keeps_to_the_side_of_its_country(side):
    """Who drives on the right has the middle of the street on the left, seen along the heading."""
    raw = dict(load_scenario("street_canyon").raw)
    raw["street"] = {**raw["street"], "drives_on": side}
    scenario, _ = Template(raw, "x").draw(0, 3)
    trace = simulate_traffic(scenario, 100, 0, 3)
    there = trace.actor_id >= 0
    heading = trace.box[there][:, 6]
    to_middle = np.array([0.0, scenario.site.street_distance_m]) - trace.box[there][:, :2] * [0, 1]
    leftward = -np.sin(heading) * to_middle[:, 0] + np.cos(heading) * to_middle[:, 1]
    assert len(np.unique(np.sign(np.cos(heading)))) == 2
    assert (leftward > 0).all() if side == "right" else (leftward < 0).all()


def test_a_median_parts_the_directions():
    raw = dict(load_scenario("street_canyon").raw)
    raw["street"] = {**raw["street"], "median_width_m": 3.0}
    raw["site"] = {**raw["site"], "street_distance_m": 15}
    scenario, _ = Template(raw, "x").draw(0, 3)
    trace = simulate_traffic(scenario, 100, 0, 3)
    across = trace.box[trace.actor_id >= 0][:, 1] - 15
    assert np.unique(np.abs(across).round(6)) == pytest.approx([1.5 + 3.25 / 2, 1.5 + 3.25 * 1.5])


def test_a_lane_may_have_traffic_of_its_own():
    raw = dict(load_scenario("street_canyon").raw)
    own = {"lane": 0, "arrivals_per_minute": 12, "speed_mps": 5, "shares": {"car": 0, "van": 0, "bus": 1, "truck": 0}}
    raw["traffic"] = {**raw["traffic"], "arrivals_per_minute": 0, "lanes": [own], "warmup_s": 60}
    scenario, _ = Template(raw, "x").draw(0, 0)
    trace = simulate_traffic(scenario, 200, 0, 0)
    others = trace.actor_id > 0
    assert others.sum(axis=1).mean() > 3
    assert (trace.actor_class[others] == CLASSES.index("bus")).all()
    assert trace.box[others][:, 1] == pytest.approx(12 - 1.5 * 3.25)
    speed = np.linalg.norm(trace.velocity_mps[others], axis=-1)
    assert 3 < speed.mean() < 5.5


def test_the_beginning_does_not_depend_on_how_long_is_recorded():
    scenario, _ = load_scenario("street_canyon").draw(0, 4)
    short, long = (simulate_traffic(scenario, frames, 0, 4) for frames in (40, 120))
    slots = short.actor_id.shape[1]
    np.testing.assert_array_equal(long.actor_id[:40, :slots], short.actor_id)
    np.testing.assert_array_equal(long.box[:40, :slots], short.box)
    assert (long.actor_id[:40, slots:] == -1).all()


def test_arrivals_are_poisson_with_the_rate_of_the_scenario():
    raw = dict(load_scenario("street_canyon").raw)
    raw["traffic"] = {**raw["traffic"], "arrivals_per_minute": 6, "warmup_s": 60}
    counts = []
    for episode in range(25):
        scenario, _ = Template(raw, "x").draw(1, episode)
        trace = simulate_traffic(scenario, 1, 1, episode)
        counts.append((trace.actor_id >= 1).sum())
    dwell_s = (scenario.street.length_m + 5) / scenario.traffic.speed_mps
    assert np.mean(counts) == pytest.approx(4 * 6 / 60 * dwell_s, rel=0.25)


def test_a_parked_vehicle_is_always_there():
    raw = dict(load_scenario("street_canyon").raw)
    raw["parked"] = [{"vehicle_class": "truck", "along_m": 5, "across_m": 8.5}]
    scenario, _ = Template(raw, "x").draw(0, 0)
    trace = simulate_traffic(scenario, 50, 0, 0)
    np.testing.assert_allclose(trace.box[:, 1, :2], np.broadcast_to(scenario.local_m(5, 8.5), (50, 2)))
    assert (trace.velocity_mps[:, 1] == 0).all()
    assert (trace.actor_class[:, 1] == CLASSES.index("truck")).all()
