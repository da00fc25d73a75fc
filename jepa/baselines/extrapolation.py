"""Baselines without training: hold the last sweep, keep the last velocity, keep a fitted velocity."""

import torch
from jaxtyping import Float
from torch import Tensor

from jepa.baselines.base import Baseline, as_output
from jepa.data.preprocess import power_db
from jepa.data.samples import History, Samples
from jepa.data.windows import T_PRED
from jepa.evaluation.predictions import Output

__all__ = ["ConstantVelocity", "HoldLast", "LeastSquaresVelocity", "constant_velocity", "least_squares_velocity"]

LEAST_SQUARES_FRAMES = (3, 4, 5)


def _steps(like: Tensor) -> Float[Tensor, "5 1"]:
    return torch.arange(1, T_PRED + 1, device=like.device, dtype=like.dtype)[:, None]


def constant_velocity(position_m: Float[Tensor, "window frame 2"]) -> Float[Tensor, "window 5 2"]:
    """p_T + k (p_T - p_{T-1}) for k = 1..5 (paper, eq. 21)."""
    last = position_m[:, -1:]
    return last + _steps(last) * (last - position_m[:, -2:-1])


def least_squares_velocity(position_m: Float[Tensor, "window frame 2"], frames: int) -> Float[Tensor, "window 5 2"]:
    """p_T + k v, v the slope of the least-squares line through the last `frames` positions."""
    tail = position_m[:, -frames:]
    t = torch.arange(frames, device=tail.device, dtype=tail.dtype)
    t = t - t.mean()
    velocity = (t[:, None] * tail).sum(1, keepdim=True) / t.square().sum()
    return position_m[:, -1:] + _steps(tail) * velocity


class HoldLast(Baseline):
    """The last sweep and the last position, five times."""

    name = "hold_last"

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Nothing to fit."""

    def predict(self, history: History) -> Output:
        """The last observation, repeated."""
        sweep = power_db(history.power[:, -1:]).expand(-1, T_PRED, -1)
        position = history.position_m[:, -1:].expand(-1, T_PRED, -1)
        return as_output(len(history), position, sweep, sweep)


class ConstantVelocity(Baseline):
    """The last displacement goes on (paper, eq. 21). Localization only."""

    name = "constant_velocity"

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Nothing to fit."""

    def predict(self, history: History) -> Output:
        """The extrapolated trajectory."""
        return as_output(len(history), constant_velocity(history.position_m))


class LeastSquaresVelocity(Baseline):
    """The velocity of a line through the last 3 to 5 positions; how many is chosen on validation. Localization only."""

    name = "least_squares_velocity"
    frames = LEAST_SQUARES_FRAMES[0]

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Choose the number of frames by validation error (by training error where there is no validation)."""
        judge = val if len(val) else train

        def error(frames: int) -> float:
            predicted = least_squares_velocity(judge.history.position_m, frames)
            return float((predicted - judge.position_m).norm(dim=-1).mean())

        self.frames = min(LEAST_SQUARES_FRAMES, key=error)

    def predict(self, history: History) -> Output:
        """The extrapolated trajectory."""
        return as_output(len(history), least_squares_velocity(history.position_m, self.frames))
