"""A scenario file is a world, or a line that names the field, the value and what is allowed."""

import json
import math

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.errors import UserError
from twin.scenario import Template, json_schema, load_scenario, scenario_names
from twin.scenario.distribution import leaves

ALL = ("bus_blockage", "deepsense32", "drive_by", "highway", "intersection", "street_canyon")


def raw(name="street_canyon"):
    return yaml.safe_load(load_scenario(name).where.read_text())


def changed(of="street_canyon", /, **fields):
    """The street canyon, or another scenario, with fields replaced; `site__bs_height_m` means site.bs_height_m."""
    scenario = raw(of)
    for path, value in fields.items():
        *parents, last = path.split("__")
        place = scenario
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        place[last] = value
    return scenario


def test_the_projects_scenarios_are_found_and_load():
    assert scenario_names() == list(ALL)
    for name in ALL:
        assert load_scenario(name).name == name


def test_an_episode_is_drawn_from_seed_and_number_alone():
    template = load_scenario("drive_by")
    first, drawn = template.draw(seed=3, episode=7)
    again, _ = load_scenario("drive_by").draw(seed=3, episode=7)
    assert first == again
    assert template.draw(seed=3, episode=8)[0] != first
    assert template.draw(seed=4, episode=7)[0] != first
    assert drawn["site.street_distance_m"] == first.site.street_distance_m


def test_draws_fill_their_range_and_stay_in_it():
    template = load_scenario("drive_by")
    speeds = np.array([template.draw(0, n)[1]["ue.speed_mps"] for n in range(300)])
    assert 2 <= speeds.min() < 3 < 13 < speeds.max() <= 14
    assert speeds.mean() == pytest.approx(8, abs=0.7)
    floors = np.log([template.draw(0, n)[1]["radio.floor_share"] for n in range(300)])
    assert np.mean(floors) == pytest.approx(np.log([0.02, 0.5]).mean(), abs=0.25)


def test_a_field_added_elsewhere_changes_no_draw():
    before = Template(changed(ue__speed_mps={"uniform": [3, 9]}), "x").draw(1, 1)[1]["ue.speed_mps"]
    wider = changed(ue__speed_mps={"uniform": [3, 9]}, site__bs_height_m={"uniform": [3, 4]})
    assert Template(wider, "x").draw(1, 1)[1]["ue.speed_mps"] == before


@pytest.mark.parametrize("kind", ["uniform", "loguniform", "normal", "integers", "choice"])
def test_every_kind_of_distribution(kind):
    values = {"normal": [10, 1], "choice": [4, 6, 9]}.get(kind, [4, 9])
    template = Template(changed(ue__speed_mps={kind: values}), "x")
    drawn = [template.draw(0, n)[0].ue.speed_mps for n in range(50)]
    assert len(set(drawn)) > 2
    assert all(4 <= value <= 13 for value in drawn)


WRONG = {
    "a misspelt field": (changed(site__bs_hight_m=4), r"unknown field site.bs_hight_m; did you mean bs_height_m"),
    "a negative height": (changed(site__bs_height_m=-1), r"site.bs_height_m = -1.*greater than 0"),
    "a size of zero": (changed(buildings__0__height_m=0), r"buildings.0.height_m = 0.*greater than 0"),
    "text for a number": (changed(frame_rate_hz="fast"), r"frame_rate_hz = 'fast'.*number"),
    "a distribution out of range": (
        changed(site__bs_height_m={"uniform": [-2, 4]}),
        r"bs_height_m = -2.*greater than 0",
    ),
    "a distribution that ends out of range": (changed(ue__speed_mps={"uniform": [5, 500]}), r"ue.speed_mps = 500"),
    "a distribution the wrong way round": (changed(ue__speed_mps={"uniform": [9, 2]}), r"uniform takes two numbers"),
    "a distribution of text": (changed(ue__speed_mps={"choice": ["a"]}), r"choice takes a list of numbers"),
    "a material that is not described": (changed(ground="grass"), r"ground = 'grass' is not in materials.*concrete"),
    "a misspelt distribution": (
        changed(frame_rate_hz={"unifrom": [3, 4]}),
        r"frame_rate_hz.*unifrom.*(distributions are uniform|did you mean)",
    ),
    "a lane that some episodes would not have": (changed(ue__lane={"integers": [0, 9]}), r"ue.lane = 9.*4 lanes"),
    "a vehicle beyond the world": (
        changed(parked=[{"along_m": 1e308, "across_m": 9.0}]),
        r"parked.0.along_m = 1e\+308.*10000",
    ),
    "a lane that is not there": (changed(ue__lane=4), r"ue.lane = 4.*4 lanes"),
    "a base station inside a building": (
        changed(buildings__4__across_m=-13, buildings__4__depth_m=10),
        r"base station stands inside buildings.4",
    ),
    "a base station on the road": (changed(site__street_distance_m=3), r"on the carriageway"),
    "a building on the road": (changed(buildings__0__across_m=2), r"buildings.0 stands on the carriageway"),
    "overlapping vehicles": (
        changed(parked=[{"along_m": 0, "across_m": 9}, {"along_m": 3, "across_m": 9}]),
        r"parked.1 overlaps parked.0",
    ),
    "a vehicle across the road": (
        changed(parked=[{"vehicle_class": "bus", "along_m": 20, "across_m": 0, "heading_deg": 90}]),
        r"parked.0 stands on the carriageway",
    ),
    "lanes narrower than their vehicles": (
        changed(street__lane_width_m=2.2),
        r"lane_width_m = 2.2: vehicles in neighbouring lanes would overlap.*at least 2.55",
    ),
    "a base station inside a parked truck": (
        changed(site__bs_height_m=2, parked=[{"vehicle_class": "truck", "along_m": 0, "across_m": -12}]),
        r"base station stands inside parked.0",
    ),
    "a place that is no number": (changed(buildings__0__along_m=float("nan")), r"along_m = nan.*finite"),
    "a wall without end": (changed(buildings__0__height_m=float("inf")), r"height_m = inf.*finite"),
    "a position error without end": (changed(gps__sigma_m=float("inf")), r"sigma_m = inf.*finite"),
    "a vehicle in a wall": (changed(parked=[{"along_m": -85, "across_m": 14}]), r"parked.0 overlaps buildings.0"),
    "a junction off the street": (
        changed("intersection", junction__along_m=90),
        r"junction.along_m = 90: only 0.0 m of the street.*need \d",
    ),
    "a junction too near to the end to stop": (
        changed("intersection", junction__along_m=60),
        r"junction.along_m = 60: only 16.2 m of the street.*need 45.4 m to stop",
    ),
    "a cross street too short to stop": (
        changed("intersection", junction__cross_street__length_m=70),
        r"cross_street.length_m = 70: only .* need 30.4 m",
    ),
    "a cross street through a building": (
        changed("intersection", junction__along_m=20),
        r"buildings.1 stands on the cross street",
    ),
    "a cross street through the base station": (
        changed("intersection", junction__along_m=1, buildings=[]),
        r"the base station stands on the cross street",
    ),
    "a cross street without a lane": (
        changed("intersection", junction__cross_street__lanes_forward=0, junction__cross_street__lanes_backward=0),
        r"cross_street has no lane",
    ),
    "a yellow too short to stop in": (
        changed("intersection", junction__yellow_s=1),
        r"yellow_s = 1 is too short for 16",
    ),
    "a green too short to walk in": (
        changed("intersection", junction__cross_green_s=8),
        r"cross_green_s = 8 is too short to walk 16.2 m.*at least 20",
    ),
    "people without a sidewalk": (
        changed("intersection", street__sidewalk_width_m=2),
        r"sidewalk_width_m = 2 is too narrow for traffic.pedestrians.*at least 3.6",
    ),
    "cyclists without a lane": (
        changed("intersection", street__cycle_lane_width_m=0),
        r"cycle_lane_width_m = 0 is too narrow for traffic.cyclists",
    ),
    "people who cross without a signal": (
        changed("bus_blockage", traffic__pedestrians__crossing_per_minute=1, street__sidewalk_width_m=4),
        r"crossing_per_minute needs a junction",
    ),
    "people who cross where there is no crosswalk": (
        changed("intersection", junction__crosswalk_width_m=0),
        r"crosswalk_width_m = 0 is too narrow to cross",
    ),
    "a base station on the sidewalk": (
        changed("intersection", site__street_distance_m=10),
        r"base station stands on the sidewalk",
    ),
    "a bus on the sidewalk": (
        changed("bus_blockage", parked=[{"vehicle_class": "bus", "along_m": 0, "across_m": 9}]),
        r"parked.0 stands on the sidewalk",
    ),
    "a low gantry over the road": (
        changed("highway", site__bs_height_m=4),
        r"street_distance_m = .*gantry hangs at 5 m",
    ),
    "a building on the sidewalk": (
        changed("intersection", buildings__0__across_m=-20),
        r"buildings.0 stands on the sidewalk",
    ),
    "traffic on a lane that is not there": (
        changed("highway", traffic__lanes__0__lane=6),
        r"traffic.lanes.0.lane = 6.*6 lanes",
    ),
    "a lane described twice": (changed("highway", traffic__lanes__0__lane=2), r"names a lane twice"),
    "a lane with nobody to choose from": (
        changed("highway", traffic__lanes__0__shares={"car": 0, "van": 0, "bus": 0, "truck": 0}),
        r"traffic.lanes.0.shares are all zero",
    ),
    "a LiDAR upside down": (
        changed(lidar={"lowest_deg": 10, "highest_deg": -10}),
        r"lidar.lowest_deg = 10 is above highest_deg = -10",
    ),
    "a LiDAR whose lowest ring is drawn above the highest": (
        changed(lidar={"lowest_deg": {"uniform": [20, 40]}, "highest_deg": 15}),
        r"lidar.lowest_deg = \S+ is above highest_deg = 15",
    ),
    "a radar cube beyond any memory": (
        changed(radar={"antennas": 64, "samples": 1024, "chirps": 1024}),
        r"radar.antennas x samples x chirps = 67108864.*at most 64000000",
    ),
    "a radar of one chirp, less its mean": (
        changed(radar={"chirps": 1}),
        r"radar.chirps = 1 leaves nothing",
    ),
    "a chirp that begins before the last has been sampled": (
        changed(radar={"chirp_interval_s": 1e-6}),
        r"longer than chirp_interval_s = 1e-06",
    ),
    "a radar that is not done before the next frame": (
        changed(radar={"chirp_interval_s": 1e-3}),
        r"radar.chirps x chirp_interval_s is longer than a frame",
    ),
    "a picture that takes all memory": (
        changed(camera={"width_px": 4096, "height_px": 4096}),
        r"camera.width_px x height_px = 16777216.*at most 4000000",
    ),
    "no traffic class": (
        changed(traffic__shares={"car": 0, "van": 0, "bus": 0, "truck": 0}),
        r"traffic.shares are all zero",
    ),
}


@pytest.mark.parametrize(("scenario", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_scenario_names_field_value_and_what_is_allowed(scenario, message):
    with pytest.raises(UserError, match=message) as error:
        Template(scenario, "scenario.yaml").draw(0, 0)
    assert "\n" not in str(error.value)


def test_a_single_ring_and_a_large_radar_cube_are_a_world():
    level = {"rings": 1, "lowest_deg": 3, "highest_deg": 3}
    large = {"antennas": 64, "samples": 1000, "chirps": 1000, "sample_rate_hz": 20e6}
    scenario, _ = Template(changed(lidar=level, radar=large), "x").draw(0, 0)
    assert scenario.lidar.lowest_deg == scenario.lidar.highest_deg == 3
    assert scenario.radar.antennas * scenario.radar.samples * scenario.radar.chirps == 64_000_000


def test_a_missing_field_is_named():
    scenario = raw()
    del scenario["site"]["latitude_deg"]
    with pytest.raises(UserError, match=r"field site\.latitude_deg is missing"):
        Template(scenario, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "is no YAML"),
        ("", "holds no fields"),
        ("- 1\n", "holds no fields"),
        ("a: &x {b: *x}", "unknown field|no YAML|nested|missing"),
    ],
)
def test_a_file_that_is_no_scenario(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_scenario(path)


def test_a_name_that_is_nearly_right_is_guessed():
    with pytest.raises(UserError, match="did you mean street_canyon"):
        load_scenario("street_cannon")


def test_the_json_schema_allows_a_distribution_wherever_a_number_is():
    schema = json_schema()
    height = schema["$defs"]["Site"]["properties"]["bs_height_m"]["anyOf"]
    assert {"$ref": "#/$defs/Distribution"} in height
    assert any(option.get("exclusiveMinimum") == 0 for option in height)
    json.dumps(schema)


leaf = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=5)
anything = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_scenario_is_a_world_or_a_users_error(data):
    scenario = raw(data.draw(st.sampled_from(ALL)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = scenario
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = data.draw(anything)
            break
    try:
        drawn, _ = Template(scenario, "x").draw(0, 0)
    except UserError as error:
        assert "\n" not in str(error)
        return
    for place, value in leaves(drawn.model_dump()):
        assert not isinstance(value, float) or math.isfinite(value), place


@pytest.mark.parametrize("sensor", ["camera", "lidar", "radar", "gps"])
def test_drive_by_draws_every_number_of_every_sensor_but_the_size_of_its_files(sensor):
    fixed = {"width_px", "height_px", "samples", "antennas", "clutter"}
    drawn = load_scenario("drive_by").draw(0, 0)[1]
    fields = set(type(getattr(load_scenario("drive_by").draw(0, 0)[0], sensor)).model_fields)
    assert {name for name in fields - fixed if f"{sensor}.{name}" not in drawn} == set()
