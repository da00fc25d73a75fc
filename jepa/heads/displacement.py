"""Coarse trajectories fitted on training windows: a linear map of the past steps, alone or beside a Kalman filter."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepa.baselines.kalman import STARTS, Noise, extrapolate, fitted_noise
from jepa.data.windows import T_OBS, T_PRED

__all__ = ["DISPLACEMENTS", "BlendedDisplacement", "FittedDisplacement"]

RIDGE = 1e-3
"""Pull towards constant velocity, as a share of the mean square of a step."""
REWEIGHTINGS = 10
"""Rounds of weighted least squares; weights 1 / (error + a share of the median error) keep a few wild windows small."""
SOFTENING = 0.2
"""That share."""
SHARES = 21
"""Shares of the filter that are tried, evenly from none to all."""
STEP_M = 1.0
"""What the median step between frames is scaled to before the filter is fitted, whose search thinks in metres."""


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


@lru_cache(maxsize=16)
def _noise_of(windows: bytes) -> Noise:
    """The noise of the filter, fitted once where several heads of a process are fitted to the same windows."""
    position = torch.frombuffer(bytearray(windows), dtype=torch.double).reshape(-1, T_OBS + T_PRED, 2)
    with torch.enable_grad():
        return fitted_noise(position)


class BlendedDisplacement(FittedDisplacement):
    """a_k x filter + (1 - a_k) x map at step k: an extended Kalman filter that follows jumps of the receiver, and a map
    that knows how smooth a track is. Which of them a site needs is read off its training windows.

    The filter is that of `jepa.baselines.kalman`; the share a_k of each step is that with the smallest mean distance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("deviations", torch.tensor(STARTS[0], dtype=torch.double))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("share", torch.zeros(T_PRED))
        self.deviations: Tensor
        self.scale: Tensor
        self.share: Tensor

    @torch.no_grad()
    def fit(self, position: Float[Tensor, "window 13 2"]) -> None:
        """Fit map and filter, then their shares, on whole windows."""
        super().fit(position)
        step = torch.diff(position, dim=1).norm(dim=-1).median()
        self.scale.fill_(STEP_M / float(step) if step > 0 else 1.0)
        noise = _noise_of((self.scale * position).cpu().double().numpy().tobytes())
        self.deviations.copy_(torch.stack([*vars(noise).values()]))
        past, ahead = position[:, :T_OBS], position[:, T_OBS:]
        mapped, filtered = super().forward(past), self._filtered(past)
        shares = torch.linspace(0, 1, SHARES, device=position.device)
        error = [(torch.lerp(mapped, filtered, float(share)) - ahead).norm(dim=-1).mean(0) for share in shares]
        self.share.copy_(shares[torch.stack(error).argmin(0)])

    def _filtered(self, position: Float[Tensor, "batch 8 2"]) -> Float[Tensor, "batch 5 2"]:
        found = extrapolate(self.scale * position, Noise(*self.deviations.unbind()))
        return found.to(position.dtype) / self.scale

    def forward(self, position: Float[Tensor, "batch 8 2"]) -> Float[Tensor, "batch 5 2"]:
        """The trajectory after the last observed position."""
        return torch.lerp(super().forward(position), self._filtered(position), self.share[:, None])


DISPLACEMENTS: dict[str, type[FittedDisplacement]] = {"fitted": FittedDisplacement, "blended": BlendedDisplacement}
"""Those that are fitted, by `heads.coarse_trajectory`."""
