"""Where the parts of a street lie: carriageway, cycle lanes, sidewalks, cross street, crosswalks and stop lines.

All in street coordinates: along the street from the base station's foot point, across it from its middle [m].
"""

from dataclasses import dataclass

from twin.scenario.fields import Scenario

__all__ = ["Area", "JunctionPlan", "cross_lanes", "junction_plan", "street_areas"]

SETBACK_M = 1.0
"""From the carriageway of the cross street to the crosswalks."""
STOP_M = 1.0
"""From the stop line to what it keeps clear."""
STOP_LINE_WIDTH_M = 0.4


@dataclass(frozen=True)
class Area:
    """A rectangle of the ground; `along_m` and `across_m` are its lowest and highest coordinate.

    `kind`: carriageway (median and cycle lanes within), median, cycle_lane, verge, sidewalk, cross_street, crosswalk,
    stop_line.
    """

    kind: str
    along_m: tuple[float, float]
    across_m: tuple[float, float]


@dataclass(frozen=True)
class JunctionPlan:
    """The junction's measures.

    Attributes:
        middle_m: along the street.
        half_width_m: of the cross street's carriageway; 0 without one.
        crosswalk_m: lowest and highest along the street of each crosswalk over it, the lower one first.
        stop_m: from `middle_m` to the stop lines of the street, which are also where its vehicles have left.
        cross_stop_m: from the street's middle to the stop lines of the cross street.
    """

    middle_m: float
    half_width_m: float
    crosswalk_m: tuple[tuple[float, float], ...]
    stop_m: float
    cross_stop_m: float


def junction_plan(scenario: Scenario) -> JunctionPlan | None:
    """The plan of a scenario's junction, if it has one."""
    junction = scenario.junction
    if junction is None:
        return None
    cross, width_m, middle_m = junction.cross_street, junction.crosswalk_width_m, junction.along_m
    half_m = 0.0 if cross is None else (cross.lanes_forward + cross.lanes_backward) * cross.lane_width_m / 2
    low_m, high_m = (-width_m / 2, width_m / 2) if cross is None else (half_m + SETBACK_M, half_m + SETBACK_M + width_m)
    walks = [(middle_m + low_m, middle_m + high_m)] if width_m > 0 else []
    if cross is not None and width_m > 0:
        walks.insert(0, (middle_m - high_m, middle_m - low_m))
    clear_m = high_m if width_m > 0 else half_m
    return JunctionPlan(middle_m, half_m, tuple(walks), clear_m + STOP_M, scenario.sidewalk_m[1] + STOP_M)


def cross_lanes(scenario: Scenario) -> list[tuple[float, int]]:
    """Middle along the street of each lane of the cross street [m], and its direction (1: across grows)."""
    plan, junction = junction_plan(scenario), scenario.junction
    if plan is None or junction is None or junction.cross_street is None:
        return []
    cross, on_left = junction.cross_street, scenario.street.drives_on == "left"
    first, direction = (cross.lanes_forward, 1) if on_left else (cross.lanes_backward, -1)
    count = cross.lanes_forward + cross.lanes_backward
    return [
        (
            plan.middle_m + (number - (count - 1) / 2) * cross.lane_width_m,
            direction if number < first else -direction,
        )
        for number in range(count)
    ]


def street_areas(scenario: Scenario) -> tuple[Area, ...]:
    """What the ground is used for; what comes later is painted over what comes before.

    Parts of no width are left out. Stop lines are as wide as painted.
    """
    street, half_m, kerb_m = scenario.street, scenario.half_width_m, scenario.kerb_m
    along = (-street.length_m / 2, street.length_m / 2)
    median_m = street.median_width_m / 2
    near_m, far_m = scenario.sidewalk_m
    found = [Area("carriageway", along, (-kerb_m, kerb_m)), Area("median", along, (-median_m, median_m))]
    for kind, low_m, high_m in (("cycle_lane", half_m, kerb_m), ("verge", kerb_m, near_m), ("sidewalk", near_m, far_m)):
        found += [Area(kind, along, (-high_m, -low_m)), Area(kind, along, (low_m, high_m))]
    return tuple(area for area in found + _junction_areas(scenario) if area.across_m[0] < area.across_m[1])


def _junction_areas(scenario: Scenario) -> list[Area]:
    plan, junction = junction_plan(scenario), scenario.junction
    if plan is None or junction is None:
        return []
    middle_m, kerb_m, (near_m, far_m) = plan.middle_m, scenario.kerb_m, scenario.sidewalk_m
    beside = (middle_m - plan.half_width_m, middle_m + plan.half_width_m)
    found = []
    if junction.cross_street is not None:
        end_m = junction.cross_street.length_m / 2
        found += [Area("cross_street", beside, (-end_m, end_m))]
        found += [Area("crosswalk", beside, (-far_m, -near_m)), Area("crosswalk", beside, (near_m, far_m))]
        for across, direction in cross_lanes(scenario):
            low_m = direction * -plan.cross_stop_m
            half_m = junction.cross_street.lane_width_m / 2
            found.append(Area("stop_line", (across - half_m, across + half_m), _line(low_m, -direction)))
    found += [Area("crosswalk", walk, (-kerb_m, kerb_m)) for walk in plan.crosswalk_m]
    for across, direction in scenario.lanes:
        half_m = scenario.street.lane_width_m / 2
        place = _line(middle_m - direction * plan.stop_m, -direction)
        found.append(Area("stop_line", place, (across - half_m, across + half_m)))
    return found


def _line(at_m: float, side: int) -> tuple[float, float]:
    """The painted stop line that begins where vehicles stop at the latest and lies on their side."""
    other_m = at_m + side * STOP_LINE_WIDTH_M
    return min(at_m, other_m), max(at_m, other_m)
