"""An extended Kalman filter with a constant turn rate and velocity (the paper's Table II), its noise fitted on train.

The unit of time is the interval between two frames, since a history carries no times: speeds are metres a frame,
turn rates radians a frame. The state of a car is (east, north, heading, speed, turn rate); reversing is a negative
speed, and a heading is never wrapped, since nothing measures it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from jepa.baselines.base import Baseline, as_output
from jepa.data.samples import History, Samples
from jepa.data.windows import T_OBS, T_PRED
from jepa.evaluation.predictions import Output
from twin.console import progress_bar
from twin.errors import UserError

__all__ = ["Kalman", "Noise", "ctrv_jacobian", "ctrv_step", "extrapolate", "fitted_noise", "track"]

FIRST_HEADING_RAD = 0.5
"""Standard deviation of the heading at the first frame: wide, for its mean is taken from the same frames."""
FIRST_SPEED_M = 1.0
"""Standard deviation of the speed at the first frame [m a frame]: 36 km/h at 10 frames a second."""
GATE = 9.21
"""Squared Mahalanobis distance that one innovation in a hundred exceeds: the 99 % point of chi-squared, two degrees."""
SERIES_BELOW_RAD = 1e-3
"""Half turns below this take the series of the chord: the closed form divides by them."""
LOWEST, HIGHEST = 1e-5, 10.0
"""Limits of every fitted deviation; the lower one keeps the innovation's covariance regular."""
LARGEST_FIT = 2000
"""Training windows beyond this are thinned evenly."""
PASSES = 60
"""Over the training windows, from every start."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations, time in frames.

    Attributes:
        position_m: of a measured coordinate.
        acceleration: of the acceleration along the heading [m/frame^2], constant within a frame.
        yaw_acceleration: of the turn rate's change [rad/frame^2], constant within a frame.
        heading_rad: of the heading's own random walk [rad a frame]: what a jittering track shows as turning.
        turn_rate: of the turn rate at the first frame [rad/frame], whose mean is zero.
    """

    position_m: Float[Tensor, ""]
    acceleration: Float[Tensor, ""]
    yaw_acceleration: Float[Tensor, ""]
    heading_rad: Float[Tensor, ""]
    turn_rate: Float[Tensor, ""]

    @classmethod
    def of(cls, *deviations: float) -> "Noise":
        """The noise with these deviations, in the order of the attributes."""
        return cls(*torch.tensor(deviations, dtype=torch.double).unbind())


STARTS = ((0.01, 0.05, 0.005, 0.05, 0.03), (0.1, 0.02, 0.001, 0.02, 0.03))
"""Where the search begins: a smoothed track, which follows its measurements, and a noisy one, which averages them."""


def _chord(half_turn: Tensor) -> tuple[Tensor, Tensor]:
    """sin(u)/u and its derivative: the length of a chord as a share of its arc that turns by 2u."""
    small = half_turn.abs() < SERIES_BELOW_RAD
    u = torch.where(small, 1.0, half_turn)
    share = torch.where(small, 1 - half_turn.square() / 6, u.sin() / u)
    slope = torch.where(small, -half_turn / 3, (u.cos() - u.sin() / u) / u)
    return share, slope


def ctrv_step(state: Float[Tensor, "window 5"]) -> Float[Tensor, "window 5"]:
    """One frame on a circle: position + v sinc(w/2) (cos, sin)(heading + w/2), heading + w.

    This is v/w (sin(heading + w) - sin(heading), ...) without its division by a turn rate of zero.
    """
    x, y, heading, speed, turn = state.unbind(-1)
    chord = speed * _chord(turn / 2)[0]
    middle = heading + turn / 2
    return torch.stack([x + chord * middle.cos(), y + chord * middle.sin(), heading + turn, speed, turn], -1)


def ctrv_jacobian(state: Float[Tensor, "window 5"]) -> Float[Tensor, "window 5 5"]:
    """Derivative of `ctrv_step`."""
    _, _, heading, speed, turn = state.unbind(-1)
    share, slope = _chord(turn / 2)
    middle = heading + turn / 2
    along = torch.stack([middle.cos(), middle.sin()], -1)
    across = torch.stack([-middle.sin(), middle.cos()], -1)
    jacobian = _identity(5, state).repeat(state.shape[0], 1, 1)
    jacobian[:, :2, 2] = (speed * share)[:, None] * across
    jacobian[:, :2, 3] = share[:, None] * along
    jacobian[:, :2, 4] = 0.5 * speed[:, None] * (slope[:, None] * along + share[:, None] * across)
    jacobian[:, 2, 4] = 1
    return jacobian


def _process_noise(state: Float[Tensor, "window 5"], noise: Noise) -> Float[Tensor, "window 5 5"]:
    """G diag(a^2, alpha^2) G^T of accelerations that are constant within a frame, and the heading's random walk."""
    heading = state[:, 2]
    zero, one = torch.zeros_like(heading), torch.ones_like(heading)
    push = noise.acceleration * torch.stack([heading.cos() / 2, heading.sin() / 2, zero, one, zero], -1)
    turn = noise.yaw_acceleration * torch.stack([zero, zero, one / 2, zero, one], -1)
    covariance = push[:, :, None] * push[:, None] + turn[:, :, None] * turn[:, None]
    covariance[:, 2, 2] += noise.heading_rad**2
    return covariance


def _first_state(position_m: Float[Tensor, "window frame 2"], noise: Noise) -> tuple[Tensor, Tensor]:
    """State and covariance at the first frame, before it is measured.

    The velocity around which the filter is linearised is the median of the velocities between all pairs of frames
    (Theil-Sen): neither noise nor a jump turns it far. Where that is zero, the whole displacement has the heading.
    """
    frames = position_m.shape[1]
    first, second = torch.triu_indices(frames, frames, 1, device=position_m.device).unbind(0)
    between = ((position_m[:, second] - position_m[:, first]) / (second - first)[:, None]).sort(1).values
    velocity = (between[:, (len(first) - 1) // 2] + between[:, len(first) // 2]) / 2
    still = (velocity == 0).all(-1, keepdim=True)
    direction = torch.where(still, position_m[:, -1] - position_m[:, 0], velocity)
    heading = _angle(direction)
    zero = torch.zeros_like(heading)
    state = torch.stack([position_m[:, 0, 0], position_m[:, 0, 1], heading, velocity.norm(dim=-1), zero], -1)
    heading_rad, speed_m = (state.new_full((), value) for value in (FIRST_HEADING_RAD, FIRST_SPEED_M))
    deviations = torch.stack([noise.position_m, noise.position_m, heading_rad, speed_m, noise.turn_rate])
    return state, deviations.square().diag().repeat(state.shape[0], 1, 1)


def _correct(
    state: Float[Tensor, "window 5"],
    covariance: Float[Tensor, "window 5 5"],
    measured_m: Float[Tensor, "window 2"],
    noise: Noise,
) -> tuple[Tensor, Tensor]:
    """State and covariance after a measurement, in Joseph's form (I - K H) P (I - K H)^T + K R K^T.

    An innovation beyond the gate is a jump of the measured track, as a receiver makes when its satellites change: the
    position's variance grows until the innovation lies on the gate, so that the position follows and heading and speed
    stay.
    """
    innovation = measured_m - state[:, :2]
    floor = noise.position_m**2 * _identity(2, state)
    spread = covariance[:, :2, :2] + floor
    beyond = ((innovation[:, None] @ _inverse(spread) @ innovation[:, :, None]) / GATE - 1).clamp_min(0)
    covariance = covariance.clone()
    covariance[:, :2, :2] += beyond * spread
    gain = covariance[:, :, :2] @ _inverse((1 + beyond) * spread)
    state = state + (gain @ innovation[:, :, None])[:, :, 0]
    kept = _identity(5, state).repeat(state.shape[0], 1, 1)
    kept[:, :, :2] -= gain
    covariance = kept @ covariance @ kept.mT + noise.position_m**2 * gain @ gain.mT
    return state, (covariance + covariance.mT) / 2


def _angle(direction: Float[Tensor, "window 2"]) -> Float[Tensor, "window"]:
    """Angle of a direction: that of single precision, and what it leaves over. ONNX has no other arc tangent."""
    x, y = direction.unbind(-1)
    rough = torch.atan2(y.float(), x.float()).to(direction.dtype)
    length = direction.norm(dim=-1).clamp_min(torch.finfo(direction.dtype).tiny)
    return rough + (rough.cos() * y - rough.sin() * x) / length


def _identity(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _inverse(matrix: Float[Tensor, "window 2 2"]) -> Float[Tensor, "window 2 2"]:
    (a, b), (c, d) = matrix[:, 0].unbind(-1), matrix[:, 1].unbind(-1)
    return torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2)) / (a * d - b * c)[:, None, None]


def track(position_m: Float[Tensor, "window frame 2"], noise: Noise) -> tuple[Tensor, Tensor]:
    """State (window, 5) and covariance (window, 5, 5) after the last of the measured positions, in float64."""
    position_m = position_m.double()
    state, covariance = _first_state(position_m, noise)
    for measured_m in position_m.unbind(1)[1:]:
        jacobian = ctrv_jacobian(state)
        covariance = jacobian @ covariance @ jacobian.mT + _process_noise(state, noise)
        state, covariance = _correct(ctrv_step(state), covariance, measured_m, noise)
    return state, covariance


def extrapolate(position_m: Float[Tensor, "window frame 2"], noise: Noise) -> Float[Tensor, "window 5 2"]:
    """The positions 1 to 5 frames after the last measured one."""
    origin = position_m[:, :1].double()
    state = track(position_m.double() - origin, noise)[0]
    found = []
    for _ in range(T_PRED):
        state = ctrv_step(state)
        found.append(state[:, :2])
    return origin + torch.stack(found, 1)


class Kalman(Baseline):
    """The filter over the eight observed frames, rolled on for five. Localization only.

    The noise is that with the smallest mean distance of the predicted from the measured positions on train: it predicts
    best, and its covariances are no error bars. The likelihood of the innovations is not what is maximised: real
    positions are interpolated, rounded and jump, and a Gaussian that has to explain the jumps follows everything else
    wrongly.
    """

    name = "kalman"

    def __init__(self) -> None:
        self.noise = Noise.of(*STARTS[0])

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """L-BFGS over the logarithms of the deviations; which start it was is chosen on validation (train without)."""
        if not len(train):
            raise UserError("there is no training window", self.label or self.name, "use more or longer sequences")
        with progress_bar(shown=bool(self.label)) as bar:
            task = bar.add_task(self.label, total=PASSES * len(STARTS))
            self.noise = fitted_noise(_tracks(train), _tracks(val), lambda: bar.advance(task))

    @torch.no_grad()
    def predict(self, history: History) -> Output:
        """The filtered state, rolled on."""
        return as_output(len(history), extrapolate(history.position_m.cpu(), self.noise))


def _tracks(samples: Samples) -> Float[Tensor, "window 13 2"]:
    return torch.cat([samples.history.position_m.cpu(), samples.position_m.cpu()], 1)


def fitted_noise(
    train_m: Float[Tensor, "window 13 2"],
    val_m: Float[Tensor, "window 13 2"] | None = None,
    after_pass: Callable[[], None] = lambda: None,
) -> Noise:
    """The noise with which the filter, shown the first eight positions of each track, predicts the other five best.

    Args:
        val_m: on which it is chosen from which start the search ended best; on `train_m` without any.
        after_pass: called after every pass over the tracks.
    """
    thinned_m = train_m[:: -(-len(train_m) // LARGEST_FIT)]
    judge_m = thinned_m if val_m is None or not len(val_m) else val_m
    candidates = [_fitted(thinned_m, start, after_pass) for start in STARTS]
    with torch.no_grad():
        return min(candidates, key=lambda noise: float(_mean_distance(judge_m, noise)))


def _mean_distance(tracks_m: Float[Tensor, "window 13 2"], noise: Noise) -> Float[Tensor, ""]:
    return (extrapolate(tracks_m[:, :T_OBS], noise) - tracks_m[:, T_OBS:]).norm(dim=-1).mean()


def _fitted(tracks_m: Float[Tensor, "window 13 2"], start: tuple[float, ...], after_pass: Callable[[], None]) -> Noise:
    """The noise at which the search from `start` ends."""

    def distance(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        after_pass()
        leaf = torch.from_numpy(logarithms.copy()).requires_grad_()
        found = _mean_distance(tracks_m, Noise(*leaf.exp().unbind()))
        (gradient,) = torch.autograd.grad(found, leaf)
        return found.item(), gradient.numpy()

    limits = [(np.log(LOWEST), np.log(HIGHEST))] * len(start)
    options = {"maxfun": PASSES}
    result = minimize(distance, np.log(start), jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return Noise.of(*np.exp(result.x))
