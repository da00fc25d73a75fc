"""Car following: every vehicle of a lane by the Intelligent Driver Model, integrated in small steps."""

import numba
import numpy as np
from jaxtyping import Float, Int

__all__ = ["follow_lanes"]


def follow_lanes(
    lane: Int[np.ndarray, "vehicle"],
    arrival_s: Float[np.ndarray, "vehicle"],
    length_m: Float[np.ndarray, "vehicle"],
    desired_mps: Float[np.ndarray, "vehicle"],
    idm: tuple[float, float, float, float],
    street_m: float,
    start_s: float,
    interval_s: float,
    frames: int,
    substep_s: float,
) -> tuple[Float[np.ndarray, "frame vehicle"], Float[np.ndarray, "frame vehicle"]]:
    """Front position along its lane [m] and speed [m/s] of every vehicle at every frame; NaN off the street.

    Vehicles of a lane are given in the order of arrival and keep it. A vehicle enters at 0 with its desired speed, or
    that of the vehicle ahead if that is slower, as soon as the gap allows it, and leaves when its rear has passed
    `street_m`. `idm` is time headway [s], minimum gap [m], acceleration and comfortable deceleration [m/s^2]:

        a (1 - (v / v_0)^4 - (s* / s)^2),  s* = s_0 + max(0, v T + v (v - v_ahead) / (2 sqrt(a b))).

    Frame 0 is at `start_s` after the traffic began.
    """
    headway_s, gap_m, acceleration_mps2, deceleration_mps2 = idm
    found: tuple[np.ndarray, np.ndarray] = _follow(
        lane.astype(np.int64),
        arrival_s.astype(np.float64),
        length_m.astype(np.float64),
        desired_mps.astype(np.float64),
        float(headway_s),
        float(gap_m),
        float(acceleration_mps2),
        float(deceleration_mps2),
        float(street_m),
        float(start_s),
        float(interval_s),
        int(frames),
        float(substep_s),
    )
    return found


@numba.njit(cache=True, error_model="numpy")
def _follow(  # type: ignore[no-untyped-def]
    lane, arrival, length, desired, headway, gap_0, accelerate, brake, street, start, interval, frames, substep
):
    vehicles = len(lane)
    position, speed = np.full(vehicles, np.nan), np.zeros(vehicles)
    state = np.zeros(vehicles, np.int8)  # 0 not yet, 1 on the street, 2 gone
    acceleration = np.zeros(vehicles)
    ahead = np.full(vehicles, -1)
    for i in range(vehicles):
        for j in range(i - 1, -1, -1):
            if lane[j] == lane[i]:
                ahead[i] = j
                break
    where, how_fast = np.full((frames, vehicles), np.nan), np.full((frames, vehicles), np.nan)
    steps = max(1, int(np.ceil(interval / substep)))
    before = int(np.ceil(start / (interval / steps)))
    dt = interval / steps
    root = 2 * np.sqrt(accelerate * brake)
    for step in range(before + (frames - 1) * steps + 1):
        now = start + (step - before) * dt
        for i in range(vehicles):
            if state[i] == 0 and arrival[i] <= now:
                leader = ahead[i]
                while leader >= 0 and state[leader] == 2:
                    leader = ahead[leader]
                enter = desired[i]
                if leader >= 0:
                    if state[leader] == 0:
                        continue
                    enter = min(enter, speed[leader])
                    if position[leader] - length[leader] < gap_0 + headway * enter:
                        continue
                position[i], speed[i], state[i] = 0.0, enter, 1
        if step >= before and (step - before) % steps == 0:
            frame = (step - before) // steps
            for i in range(vehicles):
                if state[i] == 1:
                    where[frame, i], how_fast[frame, i] = position[i], speed[i]
        for i in range(vehicles):
            if state[i] != 1:
                continue
            v = speed[i]
            pull = 1 - (v / desired[i]) ** 4
            leader = ahead[i]
            while leader >= 0 and state[leader] == 2:
                leader = ahead[leader]
            if leader >= 0 and state[leader] == 1:
                gap = max(position[leader] - length[leader] - position[i], 0.1)
                wanted = gap_0 + max(0.0, v * headway + v * (v - speed[leader]) / root)
                pull -= (wanted / gap) ** 2
            acceleration[i] = max(accelerate * pull, -9.0)
        for i in range(vehicles):
            if state[i] != 1:
                continue
            following = max(0.0, speed[i] + acceleration[i] * dt)
            position[i] += 0.5 * (speed[i] + following) * dt
            speed[i] = following
            if position[i] - length[i] > street:
                state[i] = 2
    return where, how_fast
