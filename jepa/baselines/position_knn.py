"""A map of the site: the sweeps measured nearest to where the car will be."""

import torch
from jaxtyping import Float
from torch import Tensor

from jepa.baselines.base import Baseline, as_output
from jepa.baselines.extrapolation import LeastSquaresVelocity
from jepa.data.preprocess import power_db
from jepa.data.samples import History, Samples
from jepa.evaluation.predictions import Output

__all__ = ["PositionKnn"]

NEIGHBOURS = (3, 5, 10, 20, 40)
SOFTENING_M = 0.2
"""Added to distances [m] before they are inverted to weights: about the error of the positions."""


class PositionKnn(Baseline):
    """Inverse-distance mean of the sweeps [dB] of the k nearest training positions; k is chosen on validation."""

    name = "position_knn"

    def __init__(self) -> None:
        self.velocity = LeastSquaresVelocity()
        self.neighbours = NEIGHBOURS[0]
        self.positions_m: Float[Tensor, "frame 2"] = torch.empty(0, 2)
        self.sweeps_db: Float[Tensor, "frame 64"] = torch.empty(0, 64)

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Store the training frames; choose k by the power lost on validation."""
        self.velocity.fit(train, val, seed)
        self.positions_m = train.position_m.reshape(-1, 2)
        self.sweeps_db = power_db(train.power.reshape(-1, 64))
        keep = torch.unique(self.positions_m, dim=0, return_inverse=True)[1]
        first = torch.full((int(keep.max()) + 1,), len(keep)).scatter_reduce(0, keep, torch.arange(len(keep)), "amin")
        self.positions_m, self.sweeps_db = self.positions_m[first], self.sweeps_db[first]
        judge = val if len(val) else train
        truth_db = power_db(judge.power)

        def lost_db(neighbours: int) -> float:
            self.neighbours = neighbours
            chosen = torch.from_numpy(self.predict(judge.history).beam_logits).argmax(-1, keepdim=True)
            return float((truth_db.amax(-1) - truth_db.gather(-1, chosen)[..., 0]).mean())

        self.neighbours = min(NEIGHBOURS, key=lost_db)

    def predict(self, history: History) -> Output:
        """The map at the extrapolated positions."""
        trajectory_m = torch.from_numpy(self.velocity.predict(history).trajectory_m)
        sweep_db = self.at(trajectory_m.reshape(-1, 2)).reshape(len(history), -1, 64)
        return as_output(len(history), trajectory_m, sweep_db, sweep_db)

    def at(self, position_m: Float[Tensor, "point 2"]) -> Float[Tensor, "point 64"]:
        """The map [dB] at any positions."""
        found = []
        for part in position_m.split(2048):
            distance, index = torch.cdist(part, self.positions_m).topk(
                min(self.neighbours, len(self.positions_m)), largest=False
            )
            weight = 1 / (distance + SOFTENING_M)
            weight = weight / weight.sum(-1, keepdim=True)
            found.append((weight[..., None] * self.sweeps_db[index]).sum(1))
        return torch.cat(found) if found else position_m.new_empty((0, 64))
