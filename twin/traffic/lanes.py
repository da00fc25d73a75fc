"""Lanes of vehicles and cyclists: where they lead, where they stop, and who arrives."""

from dataclasses import dataclass

import numpy as np

from twin.scenario.fields import Scenario
from twin.scenario.street import ClassShares, Idm, LaneTraffic
from twin.scenario.street_plan import cross_lanes, junction_plan
from twin.traffic.routes import Route, straight
from twin.traffic.signals import CROSSING, STREET
from twin.traffic.vehicles import MOTOR_CLASSES, VEHICLE_CLASSES

__all__ = ["Demand", "Lane", "StopLine", "cross_street_lanes", "cycle_lanes", "draw_arrivals", "idm_row", "motor_lanes"]

SLOWEST, FASTEST = 0.5, 1.5
"""Desired speeds lie between these multiples of their mean."""
CYCLIST_IDM = Idm(time_headway_s=1.0, minimum_gap_m=1.0, acceleration_mps2=1.0, deceleration_mps2=1.5)
KEY_CROSS_STREET, KEY_CYCLISTS = 100, 200
"""Keys of the random streams of lanes: the number of a motor lane is its own."""


@dataclass(frozen=True)
class Demand:
    """Who arrives at a lane: a Poisson process.

    Attributes:
        kinds: indices into `VEHICLE_CLASSES`.
        shares: of each kind, in any unit.
        speed_mps, deviation_mps: of the normal distribution of desired speeds, cut at `limits_mps`.
        key: of the lane's random stream.
    """

    arrivals_per_minute: float
    kinds: tuple[int, ...]
    shares: tuple[float, ...]
    speed_mps: float
    deviation_mps: float
    limits_mps: tuple[float, float]
    key: int


@dataclass(frozen=True)
class StopLine:
    """A stop line `line_m` along the lane; what it keeps clear ends at `exit_m`. `walks`: those on foot stop there."""

    line_m: float
    exit_m: float
    phase: int
    walks: bool = False


@dataclass(frozen=True)
class Lane:
    """A lane: its way, how one follows the one ahead, who arrives, and its stop line if it has one."""

    route: Route
    idm: tuple[float, float, float, float]
    demand: Demand
    stop: StopLine | None = None


def idm_row(idm: Idm) -> tuple[float, float, float, float]:
    """Headway [s], gap [m], acceleration and deceleration [m/s^2]."""
    return idm.time_headway_s, idm.minimum_gap_m, idm.acceleration_mps2, idm.deceleration_mps2


def motor_lanes(scenario: Scenario) -> list[Lane]:
    """The lanes of the street, in the order of `Scenario.lanes`."""
    traffic, half_m = scenario.traffic, scenario.street.length_m / 2
    special = {own.lane % len(scenario.lanes): own for own in traffic.lanes}
    found = []
    for number, (across_m, direction) in enumerate(scenario.lanes):
        own = special.get(number, LaneTraffic(lane=number))
        demand = _motor_demand(
            _given(own.arrivals_per_minute, traffic.arrivals_per_minute),
            _given(own.speed_mps, traffic.speed_mps),
            _given(own.speed_deviation_mps, traffic.speed_deviation_mps),
            own.shares or traffic.shares,
            number,
        )
        route = straight((-direction * half_m, across_m), (direction * half_m, across_m))
        found.append(Lane(route, idm_row(traffic.idm), demand, _street_stop(scenario, direction)))
    return found


def cross_street_lanes(scenario: Scenario) -> list[Lane]:
    """The lanes of the cross street; none without one."""
    plan, junction = junction_plan(scenario), scenario.junction
    if plan is None or junction is None or junction.cross_street is None:
        return []
    cross, half_m = junction.cross_street, junction.cross_street.length_m / 2
    stop = StopLine(half_m - plan.cross_stop_m, half_m + plan.cross_stop_m, CROSSING)
    found = []
    for number, (along_m, direction) in enumerate(cross_lanes(scenario)):
        demand = _motor_demand(
            cross.arrivals_per_minute,
            cross.speed_mps,
            cross.speed_deviation_mps,
            cross.shares,
            KEY_CROSS_STREET + number,
        )
        route = straight((along_m, -direction * half_m), (along_m, direction * half_m))
        found.append(Lane(route, idm_row(scenario.traffic.idm), demand, stop))
    return found


def cycle_lanes(scenario: Scenario) -> list[Lane]:
    """The cycle lanes along the kerbs on which somebody rides, each in the direction of the lane beside it."""
    cyclists, half_m = scenario.traffic.cyclists, scenario.street.length_m / 2
    if cyclists.arrivals_per_minute == 0 or scenario.street.cycle_lane_width_m == 0:
        return []
    middle_m = scenario.half_width_m + scenario.street.cycle_lane_width_m / 2
    sides = (("near", -middle_m, scenario.lanes[0][1]), ("far", middle_m, scenario.lanes[-1][1]))
    found = []
    for number, (side, across_m, direction) in enumerate(sides):
        if cyclists.sides in ("both", side):
            demand = Demand(
                cyclists.arrivals_per_minute,
                (list(VEHICLE_CLASSES).index("cyclist"),),
                (1.0,),
                cyclists.speed_mps,
                cyclists.speed_deviation_mps,
                (SLOWEST * cyclists.speed_mps, FASTEST * cyclists.speed_mps),
                KEY_CYCLISTS + number,
            )
            route = straight((-direction * half_m, across_m), (direction * half_m, across_m))
            found.append(Lane(route, idm_row(CYCLIST_IDM), demand, _street_stop(scenario, direction)))
    return found


def _given(own: float | None, usual: float) -> float:
    return usual if own is None else own


def _motor_demand(
    arrivals_per_minute: float, speed_mps: float, deviation_mps: float, shares: ClassShares, key: int
) -> Demand:
    return Demand(
        arrivals_per_minute,
        tuple(range(len(MOTOR_CLASSES))),
        tuple(getattr(shares, name) for name in MOTOR_CLASSES),
        speed_mps,
        deviation_mps,
        (SLOWEST * speed_mps, FASTEST * speed_mps),
        key,
    )


def _street_stop(scenario: Scenario, direction: int) -> StopLine | None:
    """The stop line of a lane that follows the street."""
    plan = junction_plan(scenario)
    if plan is None:
        return None
    middle_m = scenario.street.length_m / 2 + direction * plan.middle_m
    return StopLine(middle_m - plan.stop_m, middle_m + plan.stop_m, STREET)


def draw_arrivals(
    demand: Demand, duration_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times [s], kinds and desired speeds [m/s] of those who arrive at a lane, by time."""
    count = rng.poisson(demand.arrivals_per_minute * duration_s / 60)
    time_s = np.sort(rng.uniform(0, duration_s, count))
    shares = np.array(demand.shares)
    kind = np.array(demand.kinds)[rng.choice(len(shares), count, p=shares / shares.sum())]
    wish_mps = np.clip(rng.normal(demand.speed_mps, demand.deviation_mps, count), *demand.limits_mps)
    return time_s, kind, wish_mps
