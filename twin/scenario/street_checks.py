"""Whether the street, its junction and those who use it can be: what single fields cannot tell."""

import math

import numpy as np

from twin.errors import UserError
from twin.scenario.fields import Scenario
from twin.scenario.street import ClassShares, Junction, Parked
from twin.scenario.street_plan import Area, JunctionPlan, junction_plan, street_areas
from twin.traffic.idm import STOPS_MPS2
from twin.traffic.lanes import FASTEST
from twin.traffic.vehicles import MOTOR_CLASSES, VEHICLE_CLASSES
from twin.traffic.walkers import STRIP_M, sidewalk_strips, slowest_walker_mps, walking_time_s

__all__ = ["check_street"]

GANTRY_CLEAR_M = 5.0
"""A gantry over the carriageway hangs at least so high."""
LEAST_CYCLE_LANE_M = 1.0
LEAST_CROSSWALK_M = 2.0
_SQUARE = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def check_street(scenario: Scenario, where: object) -> None:
    """Refuse a street that cannot be.

    Raises:
        UserError: a lane is not there, too narrow or without classes; cyclists or people have no place; the junction
            is off the street or its lights too short; the base station, a building or a parked vehicle stands where
            somebody goes.
    """
    _check_lanes(scenario, where)
    _check_cyclists_and_people(scenario, where)
    plan = junction_plan(scenario)
    if plan is not None and scenario.junction is not None:
        _check_junction(scenario, scenario.junction, plan, where)
    _check_base_station(scenario, where)
    _check_parked(scenario, where)
    _check_buildings(scenario, where)


def _check_lanes(scenario: Scenario, where: object) -> None:
    count, traffic = len(scenario.lanes), scenario.traffic
    named = [("ue.lane", scenario.ue.lane)]
    named += [(f"traffic.lanes.{number}.lane", own.lane) for number, own in enumerate(traffic.lanes)]
    for field, lane in named:
        if not -count <= lane < count:
            raise UserError(f"{field} = {lane}", where, f"the street has {count} lanes, counted from 0")
    seen = [own.lane % count for own in traffic.lanes]
    if len(set(seen)) < len(seen):
        raise UserError("traffic.lanes names a lane twice", where, "say everything of a lane at once")
    shares = {"traffic.shares": traffic.shares}
    shares |= {f"traffic.lanes.{n}.shares": own.shares for n, own in enumerate(traffic.lanes) if own.shares}
    driven = {scenario.ue.vehicle_class}
    _check_width(
        "street.lane_width_m", scenario.street.lane_width_m, driven.union(*map(_driven, shares.values())), where
    )
    cross = scenario.junction.cross_street if scenario.junction else None
    if cross is not None:
        shares["junction.cross_street.shares"] = cross.shares
        _check_width("junction.cross_street.lane_width_m", cross.lane_width_m, _driven(cross.shares), where)
        if cross.lanes_forward + cross.lanes_backward == 0:
            raise UserError("junction.cross_street has no lane", where, "give it one, or leave it out")
    for field, given in shares.items():
        if not _driven(given):
            raise UserError(f"{field} are all zero", where, "give at least one class a share above 0")


def _driven(shares: ClassShares) -> set[str]:
    return {name for name in MOTOR_CLASSES if getattr(shares, name) > 0}


def _check_width(field: str, width_m: float, driven: set[str], where: object) -> None:
    widest_m = max((VEHICLE_CLASSES[name][1] for name in driven), default=0.0)
    if width_m < widest_m:
        raise UserError(
            f"{field} = {width_m:g}: vehicles in neighbouring lanes would overlap",
            where,
            f"give at least {widest_m:g}, the width of the widest class driven",
        )


def _check_cyclists_and_people(scenario: Scenario, where: object) -> None:
    street, traffic, junction = scenario.street, scenario.traffic, scenario.junction
    if traffic.cyclists.arrivals_per_minute > 0 and street.cycle_lane_width_m < LEAST_CYCLE_LANE_M:
        what = f"street.cycle_lane_width_m = {street.cycle_lane_width_m:g} is too narrow for traffic.cyclists"
        raise UserError(what, where, f"give at least {LEAST_CYCLE_LANE_M:g}, or no cyclists")
    least_m = STRIP_M * sidewalk_strips(traffic.pedestrians)
    if street.sidewalk_width_m < least_m - 1e-9:
        what = f"street.sidewalk_width_m = {street.sidewalk_width_m:g} is too narrow for traffic.pedestrians"
        raise UserError(what, where, f"give at least {least_m:g}, or fewer kinds of them")
    if traffic.pedestrians.crossing_per_minute > 0:
        if junction is None:
            raise UserError("traffic.pedestrians.crossing_per_minute needs a junction", where, "give one, or 0")
        if junction.crosswalk_width_m < LEAST_CROSSWALK_M:
            what = f"junction.crosswalk_width_m = {junction.crosswalk_width_m:g} is too narrow to cross"
            raise UserError(what, where, f"give at least {LEAST_CROSSWALK_M:g}, or let nobody cross")


def _check_junction(scenario: Scenario, junction: Junction, plan: JunctionPlan, where: object) -> None:
    street_mps = _fastest_mps(scenario)
    before_m = scenario.street.length_m / 2 - abs(plan.middle_m) - plan.stop_m
    _check_room("junction.along_m", plan.middle_m, "street", before_m, street_mps, where)
    fastest_mps = street_mps
    if junction.cross_street is not None:
        cross = junction.cross_street
        cross_mps = FASTEST * cross.speed_mps
        before_m = cross.length_m / 2 - plan.cross_stop_m
        _check_room("junction.cross_street.length_m", cross.length_m, "cross street", before_m, cross_mps, where)
        fastest_mps = max(fastest_mps, cross_mps)
    shortest_s = fastest_mps / (2 * STOPS_MPS2)
    if junction.yellow_s < shortest_s:
        what = f"junction.yellow_s = {junction.yellow_s:g} is too short for {fastest_mps:g} m/s"
        raise UserError(what, where, f"give at least {shortest_s:.2f}")
    people = scenario.traffic.pedestrians
    ways = {"green_s": (people.arrivals_per_minute, 2 * plan.half_width_m)}
    ways["cross_green_s"] = (people.crossing_per_minute, 2 * scenario.kerb_m)
    for field, (per_minute, way_m) in ways.items():
        needed_s = walking_time_s(way_m, slowest_walker_mps(people))
        lasts_s = getattr(junction, field) + junction.yellow_s
        if per_minute > 0 and way_m > 0 and lasts_s < needed_s:
            what = f"junction.{field} = {getattr(junction, field):g} is too short to walk {way_m:g} m"
            raise UserError(what, where, f"with the yellow give at least {needed_s:.1f}")


def _fastest_mps(scenario: Scenario) -> float:
    """The greatest desired speed on the street, of vehicles and cyclists."""
    traffic = scenario.traffic
    means = [traffic.speed_mps, traffic.cyclists.speed_mps, *(own.speed_mps or 0.0 for own in traffic.lanes)]
    return max(FASTEST * max(means), scenario.ue.speed_mps)


def _check_room(field: str, value: float, name: str, before_m: float, fastest_mps: float, where: object) -> None:
    """A stop line has room before it to stop."""
    least_m = fastest_mps**2 / (2 * STOPS_MPS2)
    if before_m < least_m:
        what = f"{field} = {value:g}: only {max(before_m, 0):.1f} m of the {name} lie before the stop line"
        raise UserError(what, where, f"vehicles of {fastest_mps:g} m/s need {least_m:.1f} m to stop")


def _check_base_station(scenario: Scenario, where: object) -> None:
    site, kerb_m = scenario.site, scenario.kerb_m
    if site.gantry and site.bs_height_m >= GANTRY_CLEAR_M:
        return
    if kerb_m > site.street_distance_m:
        remedy = f"give more than half its width, {kerb_m:g} m"
        if site.gantry:
            remedy = f"a gantry hangs at {GANTRY_CLEAR_M:g} m or higher"
        what = f"site.street_distance_m = {site.street_distance_m:g} puts the base station on the carriageway"
        raise UserError(what, where, remedy)
    foot = np.array([[0.0, -site.street_distance_m]]) + 1e-6 * np.array(_SQUARE)
    for area in _walked_and_driven(scenario):
        if _overlap(foot, _rectangle(area)):
            raise UserError(f"the base station stands on the {_named(area)}", where, "move one of them")


def _walked_and_driven(scenario: Scenario) -> list[Area]:
    """Where somebody may go beside the carriageway: sidewalks that are used, the cross street, ways to crosswalks."""
    people, plan = scenario.traffic.pedestrians, junction_plan(scenario)
    kinds = {"cross_street"} | ({"sidewalk"} if sidewalk_strips(people) else set())
    areas = [area for area in street_areas(scenario) if area.kind in kinds]
    if plan is not None and people.crossing_per_minute > 0:
        far_m = scenario.sidewalk_m[1]
        areas += [Area("crosswalk", walk, (-far_m, far_m)) for walk in plan.crosswalk_m]
    return areas


def _named(area: Area) -> str:
    return {"cross_street": "cross street", "crosswalk": "way to a crosswalk"}.get(area.kind, area.kind)


def _check_parked(scenario: Scenario, where: object) -> None:
    """Parked vehicles stand beside the carriageway, out of the way, outside buildings and clear of each other."""
    corners = [_corners(vehicle) for vehicle in scenario.parked]
    for number, mine in enumerate(corners):
        if mine[:, 1].min() < scenario.kerb_m and mine[:, 1].max() > -scenario.kerb_m:
            raise UserError(f"parked.{number} stands on the carriageway", where, "move it off the lanes")
        foot = np.tile([[0.0, -scenario.site.street_distance_m]], (4, 1)) + 1e-6 * np.array(_SQUARE)
        height_m = VEHICLE_CLASSES[scenario.parked[number].vehicle_class][2]
        if _overlap(mine, foot) and scenario.site.bs_height_m < height_m:
            raise UserError(f"the base station stands inside parked.{number}", where, "move one of them")
        for area in _walked_and_driven(scenario):
            if _overlap(mine, _rectangle(area)):
                raise UserError(f"parked.{number} stands on the {_named(area)}", where, "move it out of the way")
        for other in range(number):
            if _overlap(mine, corners[other]):
                raise UserError(f"parked.{number} overlaps parked.{other}", where, "move one of them")
        for other, building in enumerate(scenario.buildings):
            if building.present and _overlap(mine, _footprint(scenario, other)):
                raise UserError(f"parked.{number} overlaps buildings.{other}", where, "move one of them")


def _check_buildings(scenario: Scenario, where: object) -> None:
    bs_across, kerb_m, median_m = -scenario.site.street_distance_m, scenario.kerb_m, scenario.street.median_width_m
    for number, building in enumerate(scenario.buildings):
        if not building.present:
            continue
        beside = abs(building.across_m) - building.depth_m / 2 >= kerb_m
        before = abs(building.along_m) - building.length_m / 2 >= scenario.street.length_m / 2
        between = abs(building.across_m) + building.depth_m / 2 <= median_m / 2
        if not beside and not before and not between:
            raise UserError(
                f"buildings.{number} stands on the carriageway", where, f"keep {kerb_m:g} m from its middle"
            )
        for area in _walked_and_driven(scenario):
            if _overlap(_footprint(scenario, number), _rectangle(area)):
                raise UserError(f"buildings.{number} stands on the {_named(area)}", where, "move one of them")
        under = abs(building.along_m) < building.length_m / 2
        under = under and abs(bs_across - building.across_m) < building.depth_m / 2
        if under and scenario.site.bs_height_m < building.height_m:
            raise UserError(f"the base station stands inside buildings.{number}", where, "move one of them")


def _footprint(scenario: Scenario, number: int) -> np.ndarray:
    building = scenario.buildings[number]
    half = np.array([building.length_m, building.depth_m]) / 2
    return np.array([building.along_m, building.across_m]) + half * _SQUARE


def _rectangle(area: Area) -> np.ndarray:
    (left, right), (low, high) = area.along_m, area.across_m
    return np.array([(right, high), (left, high), (left, low), (right, low)])


def _corners(vehicle: Parked) -> np.ndarray:
    length, width, _ = VEHICLE_CLASSES[vehicle.vehicle_class]
    c, s = math.cos(math.radians(vehicle.heading_deg)), math.sin(math.radians(vehicle.heading_deg))
    half = np.array(_SQUARE) * [length / 2, width / 2]
    return half @ np.array([[c, s], [-s, c]]) + [vehicle.along_m, vehicle.across_m]


def _overlap(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two rectangles overlap: no side of either separates them."""
    for corners in (one, two):
        for side in (corners[1] - corners[0], corners[2] - corners[1]):
            first, second = one @ side, two @ side
            if first.max() <= second.min() or second.max() <= first.min():
                return False
    return True
