"""When a sensor saw what it reports for a frame, and where everybody was just then."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

from twin.scenario.sensors import Timed
from twin.sensors.actors import Actors
from twin.traffic.simulate import TrafficTrace

__all__ = ["actors_at", "capture_times"]

SAME_FRAME = 1e-6
"""A time that lies so little before a frame, as a share of the interval, is that frame's."""


def capture_times(
    timed: Timed, frame_time_s: Float[np.ndarray, "frame"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "frame"], Bool[np.ndarray, "frame"]]:
    """When each frame was captured [s], and whether it arrived.

    The age of a frame is max(0, latency + jitter n), n ~ N(0, 1), independent from frame to frame; a frame is lost
    with the probability `drop_share`. Equal generators give equal times, and those of the first frames do not depend
    on how many follow. A capture may lie before the first frame; a lost frame has a time like any other.
    """
    draw = rng.standard_normal((len(frame_time_s), 2))
    age_s = np.maximum(0.0, timed.latency_s + timed.jitter_s * draw[:, 0])
    return frame_time_s - age_s, ndtr(draw[:, 1]) >= timed.drop_share


def actors_at(trace: TrafficTrace, time_s: float, rate_hz: float) -> Actors:
    """The actors at a time since the first frame, in the rows of the frame that holds them.

    They are those of the frame at or before it, each moved on by its velocity, x(t) = x_k + (t - t_k) v_k; before the
    first frame those of the first, moved back.
    """
    k = min(max(int(np.floor(time_s * rate_hz + SAME_FRAME)), 0), trace.frames - 1)
    since_s = time_s - k / rate_hz
    box = trace.box[k].copy()
    box[:, :2] += since_s * trace.velocity_mps[k]
    velocity_mps = np.pad(trace.velocity_mps[k], ((0, 0), (0, 1)))
    return Actors(trace.actor_id[k], trace.actor_class[k], box, velocity_mps)
