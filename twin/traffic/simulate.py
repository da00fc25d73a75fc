"""Traffic of one episode: who drives, rides and walks where, as boxes in the local frame."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from twin.errors import UserError
from twin.scenario.fields import Scenario
from twin.traffic.idm import UNSIGNALLED, Drivers, follow_lanes
from twin.traffic.lanes import Lane, StopLine, cross_street_lanes, cycle_lanes, draw_arrivals, motor_lanes
from twin.traffic.signals import signal_plan
from twin.traffic.vehicles import VEHICLE_CLASSES
from twin.traffic.walkers import walker_lanes

__all__ = ["CLASSES", "TrafficTrace", "simulate_traffic"]

CLASSES = tuple(VEHICLE_CLASSES)
"""Classes of road users in the order of `actor_class`."""
STREAM_TRAFFIC = 2
UE = 0
"""Identity of the served vehicle; it is the first actor of every frame."""
_QUEUE_FRAMES = 200
"""Frames that the UE may have to wait for a gap before it enters."""
_NO_STOP = StopLine(math.inf, math.inf, UNSIGNALLED)


@dataclass(frozen=True)
class TrafficTrace:
    """Road users of every frame, the UE first, absent ones at the end.

    Attributes:
        actor_id: -1 for no actor, 0 the UE.
        actor_class: index into `CLASSES`.
        box: centre x, y, z, length, width, height [m], heading [rad].
        velocity_mps: east and north.
        first: number of the first frame, counted from when the UE was due: it may have had to wait. The clock of
            the signals.
    """

    actor_id: Int[np.ndarray, "frame actor"]
    actor_class: Int[np.ndarray, "frame actor"]
    box: Float[np.ndarray, "frame actor 7"]
    velocity_mps: Float[np.ndarray, "frame actor 2"]
    first: int = 0

    @property
    def frames(self) -> int:
        """Number of frames: until the UE leaves the street."""
        return len(self.actor_id)

    def cut(self, start: int, stop: int) -> "TrafficTrace":
        """The frames from `start` to `stop`, which are not negative."""
        part = slice(start, stop)
        return TrafficTrace(
            self.actor_id[part],
            self.actor_class[part],
            self.box[part],
            self.velocity_mps[part],
            self.first + min(start, self.frames),
        )


@dataclass(frozen=True)
class _Crowd:
    """All road users of an episode but the parked ones, by lane in the order of arrival."""

    identity: np.ndarray
    kind: np.ndarray
    lane: np.ndarray
    arrival_s: np.ndarray
    desired_mps: np.ndarray

    @property
    def size_m(self) -> np.ndarray:
        """Length, width, height (n, 3)."""
        return np.array([VEHICLE_CLASSES[name] for name in CLASSES])[self.kind]


def simulate_traffic(scenario: Scenario, frames: int, seed: int, episode: int) -> TrafficTrace:
    """The road users of an episode of at most `frames` frames, from the UE's entry into the street to its leaving.

    Arrivals are Poisson a lane, with keyed random numbers; up to `scenario.frames` they do not depend on `frames`.

    Raises:
        UserError: the UE finds no gap to enter.
    """
    interval_s = 1 / scenario.frame_rate_hz
    lanes = motor_lanes(scenario) + cross_street_lanes(scenario) + cycle_lanes(scenario) + walker_lanes(scenario)
    crowd = _arrivals(scenario, lanes, max(frames, scenario.frames) * interval_s, seed, episode)
    way_m, speed_mps = follow_lanes(
        _drivers(lanes, crowd),
        signal_plan(scenario.junction),
        scenario.traffic.warmup_s,
        interval_s,
        frames + _QUEUE_FRAMES,
        scenario.traffic.substep_s,
    )
    ue = int(np.flatnonzero(crowd.identity == UE)[0])
    on_street = np.flatnonzero(np.isfinite(way_m[:, ue]))
    if len(on_street) == 0:
        raise UserError(
            "the UE cannot enter the street within its queue: the traffic stands",
            f"scenario {scenario.name}, episode {episode}",
            "lower traffic.arrivals_per_minute or raise traffic.speed_mps",
        )
    rows = on_street[:frames]
    trace = _pack(scenario, lanes, crowd, way_m[rows], speed_mps[rows], ue, int(rows[0]))
    return _with_parked(scenario, trace, len(crowd.identity))


def _arrivals(scenario: Scenario, lanes: list[Lane], duration_s: float, seed: int, episode: int) -> _Crowd:
    warmup_s = scenario.traffic.warmup_s
    end_s = warmup_s + duration_s + _QUEUE_FRAMES / scenario.frame_rate_hz
    found: list[tuple[float, int, int, float, int]] = []
    next_id = UE + 1
    for number, lane in enumerate(lanes):
        rng = np.random.default_rng([seed, episode, STREAM_TRAFFIC, lane.demand.key])
        for time_s, kind, wish_mps in zip(*draw_arrivals(lane.demand, end_s, rng), strict=True):
            found.append((float(time_s), number, int(kind), float(wish_mps), next_id))
            next_id += 1
    own = scenario.ue
    found.append((warmup_s, own.lane % len(scenario.lanes), CLASSES.index(own.vehicle_class), own.speed_mps, UE))
    found.sort(key=lambda user: (user[1], user[0], user[4]))
    arrival_s, lane_of, kind_of, wish_of, identity = (np.array(column) for column in zip(*found, strict=True))
    return _Crowd(identity, kind_of, lane_of, arrival_s, wish_of)


def _drivers(lanes: list[Lane], crowd: _Crowd) -> Drivers:
    stops = [lane.stop or _NO_STOP for lane in lanes]
    return Drivers(
        crowd.lane,
        crowd.arrival_s,
        crowd.size_m[:, 0],
        crowd.desired_mps,
        np.array([lane.idm for lane in lanes])[crowd.lane],
        np.array([lane.route.length_m for lane in lanes])[crowd.lane],
        np.array([stop.line_m for stop in stops])[crowd.lane],
        np.array([stop.exit_m for stop in stops])[crowd.lane],
        np.array([stop.phase for stop in stops])[crowd.lane],
        np.array([stop.walks for stop in stops])[crowd.lane],
    )


def _pack(
    scenario: Scenario,
    lanes: list[Lane],
    crowd: _Crowd,
    way_m: np.ndarray,
    speed_mps: np.ndarray,
    ue: int,
    first: int,
) -> TrafficTrace:
    """Boxes of those who are there, the UE first, then by identity."""
    size = crowd.size_m
    centre_m = way_m - size[:, 0] / 2
    along, across, turn = (np.empty_like(way_m) for _ in range(3))
    for number, lane in enumerate(lanes):
        on_it = crowd.lane == number
        along[:, on_it], across[:, on_it], turn[:, on_it] = lane.route.place(centre_m[:, on_it])
    heading = (scenario.street_heading_rad + turn + math.pi) % (2 * math.pi) - math.pi
    box = np.empty((*way_m.shape, 7))
    box[..., :2], box[..., 2] = scenario.local_m(along, across), size[:, 2] / 2
    box[..., 3:6], box[..., 6] = size, heading
    velocity = speed_mps[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    present = np.isfinite(way_m)
    rank = np.where(present, crowd.identity, np.iinfo(np.int32).max)
    rank[:, ue] = -1
    order = np.argsort(rank, axis=1, kind="stable")[:, : int(present.sum(1).max())]
    there = np.take_along_axis(present, order, 1)
    return TrafficTrace(
        np.where(there, crowd.identity[order], -1),
        np.where(there, crowd.kind[order], -1),
        np.where(there[..., None], np.take_along_axis(box, order[..., None], 1), np.nan),
        np.where(there[..., None], np.take_along_axis(velocity, order[..., None], 1), 0.0),
        first,
    )


def _with_parked(scenario: Scenario, trace: TrafficTrace, first_id: int) -> TrafficTrace:
    """The trace with the parked vehicles, which are always there, behind the UE."""
    if not scenario.parked:
        return trace
    boxes, kinds = [], []
    for vehicle in scenario.parked:
        length, width, height = VEHICLE_CLASSES[vehicle.vehicle_class]
        place = scenario.local_m(vehicle.along_m, vehicle.across_m)
        heading = scenario.street_heading_rad + math.radians(vehicle.heading_deg)
        boxes.append([*place, height / 2, length, width, height, heading])
        kinds.append(CLASSES.index(vehicle.vehicle_class))
    frames, count = trace.frames, len(boxes)
    identity = np.broadcast_to(np.arange(first_id, first_id + count), (frames, count))
    ue, others = slice(0, 1), slice(1, None)

    def put(values: np.ndarray, still: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:, ue], np.broadcast_to(still, (frames, *still.shape)), values[:, others]], 1)

    return TrafficTrace(
        np.concatenate([trace.actor_id[:, ue], identity, trace.actor_id[:, others]], 1),
        put(trace.actor_class, np.array(kinds)),
        put(trace.box, np.array(boxes)),
        put(trace.velocity_mps, np.zeros((count, 2))),
        trace.first,
    )
