"""Traffic of one episode: who drives where, as boxes in the local frame."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from twin.errors import UserError
from twin.scenario_fields import Scenario
from twin.traffic.idm import follow_lanes
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["CLASSES", "TrafficTrace", "simulate_traffic"]

CLASSES = tuple(VEHICLE_CLASSES)
"""Vehicle classes in the order of `actor_class`."""
STREAM_TRAFFIC = 2
UE = 0
"""Identity of the served vehicle; it is the first actor of every frame."""


@dataclass(frozen=True)
class TrafficTrace:
    """Vehicles of every frame, the UE first, absent ones at the end.

    Attributes:
        actor_id: -1 for no actor, 0 the UE.
        actor_class: index into `CLASSES`.
        box: centre x, y, z, length, width, height [m], heading [rad].
        velocity_mps: east and north.
    """

    actor_id: Int[np.ndarray, "frame actor"]
    actor_class: Int[np.ndarray, "frame actor"]
    box: Float[np.ndarray, "frame actor 7"]
    velocity_mps: Float[np.ndarray, "frame actor 2"]

    @property
    def frames(self) -> int:
        """Number of frames: until the UE leaves the street."""
        return len(self.actor_id)

    def cut(self, start: int, stop: int) -> "TrafficTrace":
        """The frames from `start` to `stop`."""
        part = slice(start, stop)
        return TrafficTrace(self.actor_id[part], self.actor_class[part], self.box[part], self.velocity_mps[part])


@dataclass(frozen=True)
class _Vehicles:
    """All vehicles of an episode, by lane in the order of arrival."""

    identity: np.ndarray
    kind: np.ndarray
    lane: np.ndarray
    arrival_s: np.ndarray
    desired_mps: np.ndarray


def simulate_traffic(scenario: Scenario, frames: int, seed: int, episode: int) -> TrafficTrace:
    """The vehicles of an episode of at most `frames` frames, from the UE's entry into the street to its leaving.

    Arrivals are Poisson a lane, with keyed random numbers.
    """
    interval_s = 1 / scenario.frame_rate_hz
    vehicles = _arrivals(scenario, frames * interval_s, seed, episode)
    sizes = np.array([VEHICLE_CLASSES[name] for name in CLASSES])[vehicles.kind]
    idm = scenario.traffic.idm
    along, speed = follow_lanes(
        vehicles.lane,
        vehicles.arrival_s,
        sizes[:, 0],
        vehicles.desired_mps,
        (idm.time_headway_s, idm.minimum_gap_m, idm.acceleration_mps2, idm.deceleration_mps2),
        scenario.street.length_m,
        scenario.traffic.warmup_s,
        interval_s,
        frames + _QUEUE_FRAMES,
        scenario.traffic.substep_s,
    )
    present = np.isfinite(along)
    ue = int(np.flatnonzero(vehicles.identity == UE)[0])
    on_street = np.flatnonzero(present[:, ue])
    if len(on_street) == 0:
        raise UserError(
            "the UE cannot enter the street within its queue: the traffic stands",
            f"scenario {scenario.name}, episode {episode}",
            "lower traffic.arrivals_per_minute or raise traffic.speed_mps",
        )
    rows = on_street[:frames]
    return _pack(scenario, vehicles, sizes, along[rows], speed[rows], ue)


_QUEUE_FRAMES = 200
"""Frames that the UE may have to wait for a gap before it enters."""


def _arrivals(scenario: Scenario, duration_s: float, seed: int, episode: int) -> _Vehicles:
    traffic, lanes = scenario.traffic, scenario.lanes
    end_s = traffic.warmup_s + duration_s + _QUEUE_FRAMES / scenario.frame_rate_hz
    shares = np.array([getattr(traffic.shares, name) for name in CLASSES])
    ue_lane = scenario.ue.lane % len(lanes)
    found: list[tuple[float, int, int, float, int]] = []
    next_id = 1
    for lane in range(len(lanes)):
        rng = np.random.default_rng([seed, episode, STREAM_TRAFFIC, lane])
        count = rng.poisson(traffic.arrivals_per_minute * end_s / 60)
        times = np.sort(rng.uniform(0, end_s, count))
        kinds = rng.choice(len(CLASSES), count, p=shares / shares.sum())
        wishes = rng.normal(traffic.speed_mps, traffic.speed_deviation_mps, count)
        wishes = np.clip(wishes, 0.5 * traffic.speed_mps, 1.5 * traffic.speed_mps)
        for time, kind, wish in zip(times, kinds, wishes, strict=True):
            found.append((float(time), lane, int(kind), float(wish), next_id))
            next_id += 1
    found.append((traffic.warmup_s, ue_lane, CLASSES.index(scenario.ue.vehicle_class), scenario.ue.speed_mps, UE))
    found.sort(key=lambda vehicle: (vehicle[1], vehicle[0], vehicle[4]))
    time, lane_of, kind_of, wish_of, identity = (np.array(column) for column in zip(*found, strict=True))
    return _Vehicles(identity, kind_of, lane_of, time, wish_of)


def _pack(
    scenario: Scenario, vehicles: _Vehicles, sizes: np.ndarray, along: np.ndarray, speed: np.ndarray, ue: int
) -> TrafficTrace:
    """Boxes of the vehicles on the street, the UE first, then by identity; parked vehicles are always there."""
    frames = len(along)
    lanes = scenario.lanes
    across, direction = (np.array([lanes[lane][side] for lane in vehicles.lane], float) for side in (0, 1))
    half_m = scenario.street.length_m / 2
    centre = direction * (along - sizes[:, 0] / 2 - half_m)
    place = scenario.local_m(centre, np.broadcast_to(across, centre.shape))
    heading = scenario.street_heading_rad + np.where(direction > 0, 0.0, math.pi)
    heading = (heading + math.pi) % (2 * math.pi) - math.pi
    box = np.empty((frames, len(vehicles.kind), 7))
    box[..., :2], box[..., 2] = place, sizes[:, 2] / 2
    box[..., 3:6], box[..., 6] = sizes, heading
    velocity = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    rank = np.where(np.isfinite(along), vehicles.identity, np.iinfo(np.int32).max)
    rank[:, ue] = -1
    width = int(np.isfinite(along).sum(1).max())
    order = np.argsort(rank, axis=1, kind="stable")[:, :width]
    there = np.take_along_axis(np.isfinite(along), order, 1)
    identity = np.where(there, vehicles.identity[order], -1)
    kind = np.where(there, vehicles.kind[order], -1)
    box = np.where(there[..., None], np.take_along_axis(box, order[..., None], 1), np.nan)
    velocity = np.where(there[..., None], np.take_along_axis(velocity, order[..., None], 1), 0.0)
    return _with_parked(scenario, TrafficTrace(identity, kind, box, velocity))


def _with_parked(scenario: Scenario, trace: TrafficTrace) -> TrafficTrace:
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
    first = int(trace.actor_id.max()) + 1
    identity = np.broadcast_to(np.arange(first, first + count), (frames, count))
    ue, others = slice(0, 1), slice(1, None)

    def put(values: np.ndarray, still: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:, ue], np.broadcast_to(still, (frames, *still.shape)), values[:, others]], 1)

    return TrafficTrace(
        np.concatenate([trace.actor_id[:, ue], identity, trace.actor_id[:, others]], 1),
        put(trace.actor_class, np.array(kinds)),
        put(trace.box, np.array(boxes)),
        put(trace.velocity_mps, np.zeros((count, 2))),
    )
