"""Coarse estimates of the spectrum that the heads correct."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa.data.windows import T_OBS, T_PRED

__all__ = ["CoarseSpectrum"]

LARGEST_MAP = 20_000
"""Frames of a beam map; more are thinned evenly."""
SOFTENING = 0.01
"""Added to standardised distances before they are inverted to weights."""


class CoarseSpectrum(nn.Module):
    """A guess of the future spectra: the last one, the last one shifted with the azimuth, or a map of the site.

    The slope of beams over azimuth and the map are fitted on training windows and saved with the heads.
    """

    def __init__(self, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.register_buffer("origin", torch.zeros(2))
        self.register_buffer("beams_per_radian", torch.zeros(1))
        self.register_buffer("map_position", torch.zeros(0, 2))
        self.register_buffer("map_power", torch.zeros(0, 64))
        self.register_buffer("map_episode", torch.zeros(0, dtype=torch.int64))
        self.origin: Tensor
        self.beams_per_radian: Tensor
        self.map_position: Tensor
        self.map_power: Tensor
        self.map_episode: Tensor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("map_position", "map_power", "map_episode"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.origin.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _azimuth(self, position: Tensor) -> Tensor:
        offset = position - self.origin
        return torch.atan2(offset[..., 1], offset[..., 0])

    @torch.no_grad()
    def fit(
        self,
        position: Float[Tensor, "window 13 2"],
        power: Float[Tensor, "window 13 64"],
        episode: Int[Tensor, "window"],
        origin: Float[Tensor, "2"],
        with_map: bool = True,
    ) -> None:
        """Fit slope and map on training windows.

        Args:
            origin: the base station in standardised coordinates.
            with_map: keep the frames of the map, which are many; without, there is none.
        """
        self.origin.copy_(origin)
        azimuth = self._azimuth(position)
        beam = power.argmax(-1).to(azimuth.dtype)
        turn = _wrapped(azimuth[:, T_OBS:] - azimuth[:, T_OBS - 1 : T_OBS])
        moved = beam[:, T_OBS:] - beam[:, T_OBS - 1 : T_OBS]
        kept = moved.abs() <= 16
        slope = (turn * moved)[kept].sum() / turn.square()[kept].sum().clamp_min(1e-9)
        self.beams_per_radian.copy_(slope.reshape(1))
        steps = position[:, -1], power[:, -1], episode
        thin = slice(None, None, max(1, math.ceil(len(position) / LARGEST_MAP))) if with_map else slice(0)
        self.map_position, self.map_power, self.map_episode = (values[thin].clone() for values in steps)

    def forward(
        self,
        kind: str,
        power: Float[Tensor, "batch 8 64"] | None,
        position: Float[Tensor, "batch 8 2"] | None,
        trajectory: Float[Tensor, "batch 5 2"],
        episode: Int[Tensor, "batch"] | None,
    ) -> Float[Tensor, "batch 5 64"] | None:
        """The guess, or None where the history that it needs is missing or none is asked for."""
        if kind == "map" and len(self.map_position):
            return self._map(trajectory, episode)
        if kind == "none" or power is None:
            return None
        last = power[:, -1:].expand(-1, T_PRED, -1)
        if kind == "shifted" and position is not None:
            turn = _wrapped(self._azimuth(trajectory) - self._azimuth(position[:, -1:]))
            return _shifted(last, turn * self.beams_per_radian)
        return last

    def _map(self, trajectory: Tensor, episode: Tensor | None) -> Float[Tensor, "batch 5 64"]:
        """Inverse-distance mean of the spectra of the nearest mapped positions."""
        places = trajectory.flatten(0, 1)
        # written out: torch.cdist loses digits on many points, and has no counterpart in ONNX
        along, across = (places[:, n, None] - self.map_position[:, n] for n in range(2))
        distance = (along.square() + across.square()).sqrt()
        if episode is not None:
            own = episode.repeat_interleave(T_PRED)[:, None] == self.map_episode
            distance = distance + own * 1e6
        near, index = distance.topk(min(self.neighbours, len(self.map_position)), largest=False)
        weight = 1 / (near + SOFTENING)
        weight = weight / weight.sum(-1, keepdim=True)
        found = (weight[..., None] * self.map_power[index]).sum(1)
        return found.unflatten(0, (-1, T_PRED))


def _wrapped(angle: Tensor) -> Tensor:
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _shifted(spectrum: Float[Tensor, "batch 5 64"], beams: Float[Tensor, "batch 5"]) -> Float[Tensor, "batch 5 64"]:
    """The spectrum moved up by a fractional number of beams, the edges held."""
    place = torch.arange(64, device=spectrum.device, dtype=spectrum.dtype) - beams[..., None]
    place = place.clamp(0, 63)
    low = place.floor().long().clamp(max=62)
    share = place - low
    return spectrum.gather(-1, low) * (1 - share) + spectrum.gather(-1, low + 1) * share
