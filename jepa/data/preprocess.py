"""Normalisation, fitted on the training windows: power in dB, position in one common scale, in the frame of the site.

Pictures and depth images have fixed scales, radar maps one mean and deviation. Nothing is resized here.

A layer norm after a linear map of raw metres would keep the azimuth and lose the range, hence the scale before it.
East and north mean nothing to a network that moves from site to site; along the street and away from its base station
do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from jepa.data.frames import FrameStore
from jepa.data.samples import Samples
from jepa.data.windows import Windows
from twin.errors import UserError

__all__ = ["FITTED", "NORMALISE", "POWER_FLOOR", "Normaliser", "power_db", "site_axes"]


POWER_FLOOR = 1e-30
"""Smallest linear power that has a logarithm here: a beam that measured nothing."""


def power_db(power: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """10 log10 of linear power."""
    return 10 * torch.log10(power.clamp_min(POWER_FLOOR))


OUTLIER = 3.0
"""Positions further from the middle than this many median distances do not turn the axes."""
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1: those of ImageNet, which pretrained picture encoders expect."""
LIDAR_FARTHEST_M = 100.0
"""The range that becomes 0 [m]."""
MAPS_AT_ONCE = 256
"""Frames of maps that are summed at once, in double precision."""
Axes = tuple[tuple[float, float], tuple[float, float]]
EAST_NORTH: Axes = ((1.0, 0.0), (0.0, 1.0))


def site_axes(position_m: Float[Tensor, "frame 2"], best_beam: Int[Tensor, "frame"]) -> Axes:
    """Rows: the direction along the street in which the beam number rises, and the one away from the base station.

    The street is the first principal axis of the positions, without outliers.
    """
    middle = position_m.median(0).values
    centred = position_m - middle
    distance = centred.norm(dim=-1)
    near = centred[distance <= OUTLIER * distance.median() + 1]
    axes = torch.linalg.svd(near, full_matrices=False).Vh
    along, away = axes[0], axes[1]
    rise = (centred @ along) @ (best_beam.to(centred) - best_beam.to(centred).mean())
    along = -along if float(rise) < 0 else along
    away = -away if float(middle @ away) < 0 else away
    return ((float(along[0]), float(along[1])), (float(away[0]), float(away[1])))


@dataclass(frozen=True)
class Normaliser:
    """Standardisation of the modalities: one mean and deviation over all beams, one mean and common scale of positions.

    Attributes:
        power_mean_db, power_std_db: of 10 log10 of the power over all beams and frames of the training windows.
        position_mean_m: mean east and north.
        position_scale_m: root of the mean variance of the two coordinates.
        axes: rows are the directions in which the two standardised coordinates grow, in east and north.
        radar_mean_db, radar_std_db: over all bins and frames of the training windows; None where no radar was read.
    """

    power_mean_db: float
    power_std_db: float
    position_mean_m: tuple[float, float]
    position_scale_m: float
    axes: Axes = EAST_NORTH
    radar_mean_db: float | None = None
    radar_std_db: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether these are finite numbers of the right shapes, with positive scales."""
        values = np.array([self.power_mean_db, self.power_std_db, *self.position_mean_m, self.position_scale_m], float)
        axes = np.array(self.axes, float)
        shapes = values.shape == (5,) and axes.shape == (2, 2)
        if (self.radar_mean_db is None) != (self.radar_std_db is None):
            return False
        radar = np.array([0.0, 1.0] if self.radar_mean_db is None else [self.radar_mean_db, self.radar_std_db], float)
        finite = shapes and all(np.isfinite(part).all() for part in (values, axes, radar))
        return bool(finite and values[1] > 0 and values[4] > 0 and radar[1] > 0)

    @classmethod
    def fit(cls, store: FrameStore, windows: Windows, frame: str = "east-north") -> "Normaliser":
        """The statistics of the frames of `windows`, each frame counted once.

        Args:
            frame: `east-north`, or `site` for the axes of `site_axes`.
        """
        frames = torch.unique(windows.index)
        position = store.values["gps"][frames]
        found = cls._of(store.values["rf"][frames], position)
        if "radar" in store.values:
            mean_db, std_db = _mean_and_deviation(store.values["radar"], frames)
            found = replace(found, radar_mean_db=mean_db, radar_std_db=std_db)
        return replace(found, axes=site_axes(position, store.best_beam[frames])) if frame == "site" else found

    @classmethod
    def of(cls, samples: Samples, frame: str = "east-north") -> "Normaliser":
        """The statistics of the observed frames of samples."""
        power, position = samples.history.power.flatten(0, 1), samples.history.position_m.flatten(0, 1)
        found = cls._of(power, position)
        return replace(found, axes=site_axes(position, power.argmax(-1))) if frame == "site" else found

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

    def __call__(self, modality: str, values: Tensor) -> Tensor:
        """Raw values of a modality, standardised."""
        return NORMALISE[modality](self, values)

    def power(self, power: Float[Tensor, "*batch 64"]) -> Float[Tensor, "*batch 64"]:
        """Linear power, standardised in dB."""
        return (power_db(power) - self.power_mean_db) / self.power_std_db

    def power_db_of(self, standardised: Float[Tensor, "*batch 64"]) -> Float[Tensor, "*batch 64"]:
        """Power in dB of standardised power: the inverse of `power`."""
        return standardised * self.power_std_db + self.power_mean_db

    def position(self, position_m: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Position in metres, standardised."""
        centred = position_m - position_m.new_tensor(self.position_mean_m)
        return centred @ position_m.new_tensor(self.axes).T / self.position_scale_m

    def position_m_of(self, standardised: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Position in metres of a standardised one: the inverse of `position`."""
        turned = standardised @ standardised.new_tensor(self.axes)
        return turned * self.position_scale_m + standardised.new_tensor(self.position_mean_m)

    def radar(self, map_db: Float[Tensor, "*batch 64 256"]) -> Float[Tensor, "*batch 64 256"]:
        """Range-angle maps in dB, standardised.

        Raises:
            UserError: the statistics were fitted without radar.
        """
        if self.radar_mean_db is None or self.radar_std_db is None:
            raise UserError("holds no statistics of radar", "stats.json", "train with the modality radar")
        return (map_db.float() - self.radar_mean_db) / self.radar_std_db

    @staticmethod
    def image(image: UInt8[Tensor, "*batch row column 3"]) -> Float[Tensor, "*batch 3 row column"]:
        """Pictures (x / 255 - mean) / std, the colours first."""
        colours = image.float() / 255
        # numbers, not tensors, which a GPU would wait for
        planes = [(colours[..., n] - IMAGE_MEAN[n]) / IMAGE_STD[n] for n in range(3)]
        return torch.stack(planes, -1).movedim(-1, -3)

    @staticmethod
    def depth(range_m: Float[Tensor, "*batch 64 256"]) -> Float[Tensor, "*batch 64 256"]:
        """Depth images 1 - r / 100 m: 1 at the sensor, 0 at 100 m and where nothing comes back."""
        return torch.nan_to_num(1 - range_m.float() / LIDAR_FARTHEST_M, nan=0.0)


def _mean_and_deviation(values: Float[Tensor, "frame ..."], frames: Int[Tensor, "some"]) -> tuple[float, float]:
    """Over all entries of some frames."""
    count, total, squares = 0, 0.0, 0.0
    for rows in frames.split(MAPS_AT_ONCE):
        part = values[rows].double()
        count, total, squares = count + part.numel(), total + float(part.sum()), squares + float(part.square().sum())
    mean = total / count
    return mean, max(squares / count - mean**2, 1e-12) ** 0.5


NORMALISE: dict[str, Callable[[Normaliser, Tensor], Tensor]] = {
    "rf": Normaliser.power,
    "gps": Normaliser.position,
    "camera": lambda _, image: Normaliser.image(image),
    "radar": Normaliser.radar,
    "lidar": lambda _, range_m: Normaliser.depth(range_m),
}
"""How the frames of a modality are standardised; a further modality joins with one entry."""
FITTED = ("rf", "gps", "radar")
"""Modalities that are standardised by fitted statistics, before a model sees them; pictures and depth images have fixed
scales, which their tokenizers apply."""
