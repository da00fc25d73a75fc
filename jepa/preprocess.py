"""Normalisation, fitted on the training windows: power in dB, position in one common scale.

A layer norm after a linear map of raw metres would keep the azimuth and lose the range, hence the scale before it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from jepa.frames import FrameStore
from jepa.samples import Samples
from jepa.windows import Windows

__all__ = ["POWER_FLOOR", "Normaliser", "power_db"]

POWER_FLOOR = 1e-30
"""Smallest linear power that has a logarithm here."""


def power_db(power: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """10 log10 of linear power."""
    return 10 * torch.log10(power.clamp_min(POWER_FLOOR))


@dataclass(frozen=True)
class Normaliser:
    """Standardisation of the modalities: one mean and deviation over all beams, one mean and common scale of positions.

    Attributes:
        power_mean_db, power_std_db: of 10 log10 of the power over all beams and frames of the training windows.
        position_mean_m: mean east and north.
        position_scale_m: root of the mean variance of the two coordinates.
    """

    power_mean_db: float
    power_std_db: float
    position_mean_m: tuple[float, float]
    position_scale_m: float

    @classmethod
    def fit(cls, store: FrameStore, windows: Windows) -> "Normaliser":
        """The statistics of the frames of `windows`, each frame counted once."""
        frames = torch.unique(windows.index)
        return cls._of(store.values["rf"][frames], store.values["gps"][frames])

    @classmethod
    def of(cls, samples: Samples) -> "Normaliser":
        """The statistics of the observed frames of samples."""
        return cls._of(samples.history.power.flatten(0, 1), samples.history.position_m.flatten(0, 1))

    @classmethod
    def _of(cls, linear_power: Float[Tensor, "frame 64"], position_m: Float[Tensor, "frame 2"]) -> "Normaliser":
        power, position = power_db(linear_power).double(), position_m.double()
        mean = position.mean(0)
        return cls(
            power_mean_db=float(power.mean()),
            power_std_db=float(power.std().clamp_min(1e-6)),
            position_mean_m=(float(mean[0]), float(mean[1])),
            position_scale_m=float((position - mean).square().mean().sqrt().clamp_min(1e-3)),
        )

    def __call__(self, modality: str, values: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Raw values of a modality, standardised."""
        return {"rf": self.power, "gps": self.position}[modality](values)

    def power(self, power: Float[Tensor, "*batch 64"]) -> Float[Tensor, "*batch 64"]:
        """Linear power, standardised in dB."""
        return (power_db(power) - self.power_mean_db) / self.power_std_db

    def power_db_of(self, standardised: Float[Tensor, "*batch 64"]) -> Float[Tensor, "*batch 64"]:
        """Power in dB of standardised power: the inverse of `power`."""
        return standardised * self.power_std_db + self.power_mean_db

    def position(self, position_m: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Position in metres, standardised."""
        return (position_m - position_m.new_tensor(self.position_mean_m)) / self.position_scale_m

    def position_m_of(self, standardised: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Position in metres of a standardised one: the inverse of `position`."""
        return standardised * self.position_scale_m + standardised.new_tensor(self.position_mean_m)

    def save(self, path: Path) -> None:
        """Write the statistics as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Normaliser":
        """The statistics that `save` wrote."""
        raw = json.loads(path.read_text())
        return cls(**{**raw, "position_mean_m": tuple(raw["position_mean_m"])})
