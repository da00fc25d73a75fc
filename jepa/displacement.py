"""The coarse trajectory as a linear map of the past steps, fitted on training windows."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepa.windows import T_OBS, T_PRED

__all__ = ["FittedDisplacement"]

RIDGE = 1e-3
"""Pull towards constant velocity, as a share of the mean square of a step."""
REWEIGHTINGS = 10
"""Rounds of weighted least squares; weights 1 / (error + a share of the median error) keep a few wild windows small."""
SOFTENING = 0.2
"""That share."""


class FittedDisplacement(nn.Module):
    """p_T + A^T s: future displacements as one linear map A (7, 5) of the past steps s, the same for both axes.

    It begins as constant velocity. A minimises the mean error of a window, the root of its squares over steps and axes,
    by iteratively reweighted least squares.
    """

    def __init__(self) -> None:
        super().__init__()
        prior = torch.zeros(T_OBS - 1, T_PRED)
        prior[-1] = torch.arange(1, T_PRED + 1)
        self.register_buffer("map", prior)
        self.map: Tensor

    @torch.no_grad()
    def fit(self, position: Float[Tensor, "window 13 2"]) -> None:
        """Fit the map on whole windows."""
        place = position.double()
        past = torch.diff(place[:, :T_OBS], dim=1).transpose(1, 2)
        ahead = (place[:, T_OBS:] - place[:, T_OBS - 1 : T_OBS]).transpose(1, 2)
        prior = torch.zeros_like(self.map, dtype=past.dtype)
        prior[-1] = torch.arange(1, T_PRED + 1)
        weight = torch.ones_like(past[:, 0, 0])
        pull = RIDGE * past.square().mean().clamp_min(1e-12) * torch.eye(T_OBS - 1).to(past)
        found = prior
        for _ in range(REWEIGHTINGS + 1):
            weighted = past * weight[:, None, None]
            left = torch.einsum("wat,wau->tu", weighted, past) + 2 * weight.sum() * pull
            right = torch.einsum("wat,wak->tk", weighted, ahead - past @ prior)
            found = prior + torch.linalg.solve(left, right)
            error = (ahead - past @ found).flatten(1).norm(dim=1)
            weight = 1 / (error + SOFTENING * error.median()).clamp_min(1e-9)
        self.map.copy_(found)

    def forward(self, position: Float[Tensor, "batch 8 2"]) -> Float[Tensor, "batch 5 2"]:
        """The trajectory after the last observed position."""
        return position[:, -1:] + torch.einsum("btc,tk->bkc", torch.diff(position, dim=1), self.map)
