"""Lanes of those on foot: along the sidewalks, and across the street at the crosswalks.

Each sidewalk has strips, one for each way that people go, from the kerb outwards: where some cross, an inner and an
outer one for them, then one for each direction along the street. Who crosses comes along a strip, turns to the
crosswalk, crosses, and goes back on the other side. Of the two directions one keeps to the inner strips on both sides
and the other to the outer ones, so that no two ways meet anywhere.
"""

from twin.scenario.fields import Scenario
from twin.scenario.street import Idm, Pedestrians
from twin.scenario.street_plan import JunctionPlan, junction_plan
from twin.traffic.idm import SHORT_OF_LINE, WALK_SLACK, WALK_START_S
from twin.traffic.lanes import Demand, Lane, StopLine, idm_row
from twin.traffic.routes import rounded, straight
from twin.traffic.signals import CROSSING, STREET
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["STRIP_M", "sidewalk_strips", "slowest_walker_mps", "walker_lanes", "walking_time_s"]

STRIP_M = 0.9
"""Least width of a strip."""
WAIT_M = 0.3
"""From where one waits to the carriageway."""
CORNER_M = 0.4
"""Radius of the turn to a crosswalk."""
CUT_DEVIATIONS = 2.0
"""Desired speeds are cut so many standard deviations from their mean."""
WALKER_IDM = Idm(time_headway_s=0.5, minimum_gap_m=0.8, acceleration_mps2=1.0, deceleration_mps2=1.5)
KEY_SIDEWALKS, KEY_CROSSWALKS = 300, 400


def slowest_walker_mps(pedestrians: Pedestrians) -> float:
    """Least desired speed."""
    mean = pedestrians.speed_mps
    return max(0.5 * mean, mean - CUT_DEVIATIONS * pedestrians.speed_deviation_mps)


def walking_time_s(way_m: float, speed_mps: float) -> float:
    """How long one who waits reckons to need across a carriageway."""
    short_m = WAIT_M + SHORT_OF_LINE * WALKER_IDM.minimum_gap_m
    length_m = VEHICLE_CLASSES["pedestrian"][0]
    return WALK_START_S + WALK_SLACK * (short_m + way_m + length_m) / speed_mps


def sidewalk_strips(pedestrians: Pedestrians) -> int:
    """How many strips a sidewalk has: two for those who cross, if any do, and two for the others, if there are any."""
    return 2 * (pedestrians.crossing_per_minute > 0) + 2 * (pedestrians.arrivals_per_minute > 0)


def walker_lanes(scenario: Scenario) -> list[Lane]:
    """All lanes of those on foot."""
    pedestrians, plan = scenario.traffic.pedestrians, junction_plan(scenario)
    strips = sidewalk_strips(pedestrians)
    if strips == 0:
        return []
    near_m, far_m = scenario.sidewalk_m
    strip_m = [near_m + (number + 0.5) * (far_m - near_m) / strips for number in range(strips)]
    found = []
    if pedestrians.arrivals_per_minute > 0:
        for number, across_m in enumerate((-strip_m[-2], -strip_m[-1], strip_m[-2], strip_m[-1])):
            found.append(_along(scenario, plan, across_m, 1 if number % 2 == 0 else -1, KEY_SIDEWALKS + number))
    if pedestrians.crossing_per_minute > 0 and plan is not None:
        for number in range(len(plan.crosswalk_m)):
            for outer in (0, 1):
                found.append(_across(scenario, plan, number, outer, strip_m[outer]))
    return found


def _demand(pedestrians: Pedestrians, per_minute: float, key: int) -> Demand:
    kind, slowest = list(VEHICLE_CLASSES).index("pedestrian"), slowest_walker_mps(pedestrians)
    mean = pedestrians.speed_mps
    limits = (slowest, 2 * mean - slowest)
    return Demand(per_minute, (kind,), (1.0,), mean, pedestrians.speed_deviation_mps, limits, key)


def _along(scenario: Scenario, plan: JunctionPlan | None, across_m: float, direction: int, key: int) -> Lane:
    """A strip along the street; it crosses the cross street with the street's green."""
    half_m, pedestrians = scenario.street.length_m / 2, scenario.traffic.pedestrians
    stop = None
    if plan is not None and plan.half_width_m > 0:
        middle_m = half_m + direction * plan.middle_m
        stop = StopLine(middle_m - plan.half_width_m - WAIT_M, middle_m + plan.half_width_m, STREET, walks=True)
    route = straight((-direction * half_m, across_m), (direction * half_m, across_m))
    return Lane(route, idm_row(WALKER_IDM), _demand(pedestrians, pedestrians.arrivals_per_minute, key), stop)


def _across(scenario: Scenario, plan: JunctionPlan, number: int, outer: int, strip_m: float) -> Lane:
    """The way over a crosswalk: along the kerb, across, and back; outer ways begin beyond the street, inner ones on the
    base station's side."""
    pedestrians, kerb_m = scenario.traffic.pedestrians, scenario.kerb_m
    low_m, high_m = plan.crosswalk_m[number]
    end = -1 if number == 0 else 1  # the end of the street from which they come: that on the crosswalk's side
    inward = low_m if end == -1 else high_m
    across_at = inward + -end * (0.75 if outer else 0.25) * (high_m - low_m)
    from_side = 1 if outer else -1
    start_m = end * scenario.street.length_m / 2
    corners = [
        (start_m, from_side * strip_m),
        (across_at, from_side * strip_m),
        (across_at, -from_side * strip_m),
        (start_m, -from_side * strip_m),
    ]
    route = rounded(corners, CORNER_M)
    half_m = route.length_m / 2
    stop = StopLine(half_m - kerb_m - WAIT_M, half_m + kerb_m, CROSSING, walks=True)
    key = KEY_CROSSWALKS + 2 * number + outer
    return Lane(route, idm_row(WALKER_IDM), _demand(pedestrians, pedestrians.crossing_per_minute, key), stop)
