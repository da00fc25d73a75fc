"""Car following: every road user of a lane by the Intelligent Driver Model, integrated in small steps."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from twin.compiled import kernel, leaf
from twin.traffic.signals import CROSSING, RED, STREET, YELLOW, SignalPlan, light

__all__ = ["SHORT_OF_LINE", "STOPS_MPS2", "UNSIGNALLED", "WALK_SLACK", "WALK_START_S", "Drivers", "follow_lanes"]

STOPS_MPS2 = 3.0
"""Whoever can stop before the line with this deceleration does so at yellow [m/s^2] (ITE, Traffic Engineering
Handbook: 10 ft/s^2)."""
HARDEST_STOP_MPS2 = 4.0
"""Nobody who can help it brakes harder than this for a line [m/s^2]."""
HARDEST_MPS2 = 9.0
"""What brakes can do [m/s^2]."""
SHORT_OF_LINE = 0.25
"""Share of the minimum gap at which one stops short of the line."""
WALK_START_S, WALK_SLACK = 1.5, 1.1
"""Those who cross on foot reckon with a start of this long, and with a pace that is this much slower."""
WALK_BEHIND_M = 3.0
"""One who has crossed and is no farther than this still slows those behind."""
UNSIGNALLED = -1


@dataclass(frozen=True)
class Drivers:
    """Who drives, rides or walks on which lane; those of a lane in the order of arrival, which they keep.

    Attributes:
        lane: number of the lane.
        arrival_s: after the traffic began.
        length_m: of the body.
        desired_mps: speed.
        idm: time headway [s], minimum gap [m], acceleration and comfortable deceleration [m/s^2].
        end_m: length of the lane.
        line_m: where its stop line is.
        exit_m: where the rear has left what the line keeps clear.
        phase: of the signal at the line; `UNSIGNALLED` for none.
        walks: passes the line only where there is time enough to reach `exit_m` before red.
    """

    lane: Int[np.ndarray, "driver"]
    arrival_s: Float[np.ndarray, "driver"]
    length_m: Float[np.ndarray, "driver"]
    desired_mps: Float[np.ndarray, "driver"]
    idm: Float[np.ndarray, "driver 4"]
    end_m: Float[np.ndarray, "driver"]
    line_m: Float[np.ndarray, "driver"]
    exit_m: Float[np.ndarray, "driver"]
    phase: Int[np.ndarray, "driver"]
    walks: Bool[np.ndarray, "driver"]


def follow_lanes(
    drivers: Drivers,
    signals: SignalPlan | None,
    start_s: float,
    interval_s: float,
    frames: int,
    substep_s: float,
) -> tuple[Float[np.ndarray, "frame driver"], Float[np.ndarray, "frame driver"]]:
    """Front position along the lane [m] and speed [m/s] of every driver at every frame; NaN off the lane.

    One enters at 0 with the desired speed, or that of the one ahead if that is slower, as soon as the gap allows it,
    and leaves when the rear has passed the lane's end. Acceleration:

        a (1 - (v / v_0)^4 - (s* / s)^2),  s* = s_0 + max(0, v T + v (v - v_ahead) / (2 sqrt(a b))).

    A line that is closed acts as one who stands there, with at most 4 m/s^2 while that is enough. It is closed at red;
    at yellow, for those who can stop with 3 m/s^2; for those who walk also when they would not get across in time; and
    while anyone of the other phase is still between line and exit.

    Frame 0 is at `start_s` after the traffic began; the clock of the signals starts there.
    """
    order = np.arange(len(drivers.lane))
    last = np.r_[-1, np.where(np.diff(drivers.lane) == 0, order[:-1], -1)] if len(order) else order
    plan = (1.0, 1.0, 0.0, 0.0, 0.0) if signals is None else signals.as_tuple()
    found: tuple[np.ndarray, np.ndarray] = _follow(
        last.astype(np.int64),
        drivers.arrival_s.astype(np.float64),
        drivers.length_m.astype(np.float64),
        drivers.desired_mps.astype(np.float64),
        np.ascontiguousarray(drivers.idm, np.float64),
        drivers.end_m.astype(np.float64),
        drivers.line_m.astype(np.float64),
        drivers.exit_m.astype(np.float64),
        drivers.phase.astype(np.int64),
        drivers.walks.astype(np.bool_),
        tuple(map(float, plan)),
        float(start_s),
        float(interval_s),
        int(frames),
        float(substep_s),
    )
    return found


@leaf
def _pull(v, desired, gap, closing, idm):  # type: ignore[no-untyped-def]
    """Acceleration over a: 1 - (v / v_0)^4 - (s* / s)^2."""
    wanted = idm[1] + max(0.0, v * idm[0] + v * closing / (2 * math.sqrt(idm[2] * idm[3])))
    return 1 - (v / desired) ** 4 - (wanted / gap) ** 2


@leaf
def _closed(away, v, colour, in_time, walks, taken):  # type: ignore[no-untyped-def]
    """Whether a line, `away` ahead, is closed for one who drives at v: see `follow_lanes`."""
    if taken or colour == RED:
        return v * v <= 2.0 * HARDEST_MPS2 * away
    if (walks and not in_time) or (not walks and colour == YELLOW):
        return v * v <= 2.0 * STOPS_MPS2 * away
    return False


@leaf
def _stopping(v, away, desired, idm):  # type: ignore[no-untyped-def]
    """Acceleration [m/s^2] before a closed line."""
    gap = max(away + (1.0 - SHORT_OF_LINE) * idm[1], 0.1)
    needed = 0.5 * v * v / max(away, 1e-3)
    return max(idm[2] * _pull(v, desired, gap, v, idm), -max(HARDEST_STOP_MPS2, 1.1 * needed))


@kernel
def _follow(  # type: ignore[no-untyped-def]
    last, arrival, length, desired, idm, end, line, leave, phase, walks, plan, start, interval, frames, substep
):
    """`last`: the one who came before on the same lane, or -1."""
    count = len(last)
    position, speed = np.full(count, np.nan), np.zeros(count)
    state = np.zeros(count, np.int8)  # 0 not yet, 1 on the lane, 2 gone
    acceleration, pace = np.zeros(count), desired.copy()
    ahead = last.copy()
    where, how_fast = np.full((frames, count), np.nan), np.full((frames, count), np.nan)
    steps = max(1, int(np.ceil(interval / substep)))
    before = int(np.ceil(start / (interval / steps)))
    dt = interval / steps
    for step in range(before + (frames - 1) * steps + 1):
        now = start + (step - before) * dt
        for i in range(count):
            while ahead[i] >= 0 and state[ahead[i]] == 2:
                ahead[i] = last[ahead[i]]
            if state[i] == 0 and arrival[i] <= now:
                leader, enter = ahead[i], desired[i]
                if leader >= 0:
                    if state[leader] == 0:
                        continue
                    enter = min(enter, speed[leader])
                    if position[leader] - length[leader] < idm[i, 1] + idm[i, 0] * enter:
                        continue
                position[i], speed[i], state[i] = 0.0, enter, 1
        if step >= before and (step - before) % steps == 0:
            frame = (step - before) // steps
            for i in range(count):
                if state[i] == 1:
                    where[frame, i], how_fast[frame, i] = position[i], speed[i]
        colour_0, left_0 = light(now - start, STREET, plan)
        colour_1, left_1 = light(now - start, CROSSING, plan)
        inside_0 = inside_1 = False
        for i in range(count):
            if state[i] == 1 and position[i] > line[i] and position[i] - length[i] <= leave[i]:
                inside_0, inside_1 = inside_0 or phase[i] == STREET, inside_1 or phase[i] == CROSSING
        for i in range(count):
            if state[i] != 1:
                continue
            v, leader = speed[i], ahead[i]
            if leader >= 0 and state[leader] == 1:
                gap = max(position[leader] - length[leader] - position[i], 0.1)
                acceleration[i] = idm[i, 2] * _pull(v, desired[i], gap, v - speed[leader], idm[i])
            else:
                acceleration[i] = idm[i, 2] * (1 - (v / desired[i]) ** 4)
            away = line[i] - position[i]
            if phase[i] < 0 or away <= 0.0:
                continue
            pace[i] = desired[i]
            if leader >= 0 and state[leader] == 1 and position[leader] - length[leader] <= leave[i] + WALK_BEHIND_M:
                pace[i] = min(desired[i], pace[leader])
            colour, left, taken = colour_0, left_0, inside_1
            if phase[i] == CROSSING:
                colour, left, taken = colour_1, left_1, inside_0
            in_time = WALK_START_S + WALK_SLACK * (leave[i] + length[i] - position[i]) / pace[i] <= left
            if _closed(away, v, colour, in_time, walks[i], taken):
                acceleration[i] = min(acceleration[i], _stopping(v, away, desired[i], idm[i]))
        for i in range(count):
            if state[i] != 1:
                continue
            following = max(0.0, speed[i] + max(acceleration[i], -HARDEST_MPS2) * dt)
            position[i] += 0.5 * (speed[i] + following) * dt
            speed[i] = following
            if position[i] - length[i] > end[i]:
                state[i] = 2
    return where, how_fast
