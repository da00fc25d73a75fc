"""Augmentations of windows of power and position: other drives that the same world could have shown.

Each takes whole windows, observed and future frames together, before they are made relative to their last observed
frame, and labels follow from what it returns: the best beam is the argmax of the returned power. They know nothing of
pictures and maps: a camera would have to be turned over with the world, and shows a car that drives backwards.

Shape suffixes: B batch, T frames, C channels.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from jepa.config import AugmentConfig
from jepa.data.frames import Episode, FrameStore
from jepa.data.inputs import Normalisers
from jepa.data.preprocess import EAST_NORTH, Normaliser
from jepa.data.sending import send
from jepa.data.windows import T_WINDOW, Windows
from jepa.training.parallel import ALONE, Processes
from twin.errors import UserError
from twin.radio.array import ula_response
from twin.recording import RecordingManifest, read_manifest

__all__ = ["Augmentation", "MirrorLine", "codebook_asymmetry", "mirrored", "reversed_in_time", "stretched"]

SYMMETRY_TOLERANCE = 0.1
"""Asymmetry up to which codebooks count as symmetric: at 0.06 the mirrored best beam is one off in a tenth of the
directions, which costs 0.01 dB on average."""
_SINES = np.linspace(-1.0, 1.0, 257)
"""Directions that a codebook is looked at in: 16 elements have patterns of degree 15."""


def codebook_asymmetry(codebooks: Sequence[Complex[np.ndarray, "beam element"]]) -> float:
    """max |P_i(u) - P_{N-1-i}(-u)| / max P over beams i and sines u: 0 is symmetric.

    P_i(u) is the mean of |a(u)^H f_i| over the codebooks, those of several drives. Beams spread evenly over angles or
    sines have 0, numbered from either side. Phase errors of the elements spoil it: of one drive 5 degrees give 0.06 on
    average, 10 degrees 0.11. Their mirror image is the array with the errors in reverse order: where every drive draws
    its own errors, mirrored drives are as likely as the others, and the mean over n drives falls as 1 / sqrt(n).
    """
    total = np.zeros((len(_SINES), len(codebooks[0])))
    for codebook in codebooks:
        total += np.abs(ula_response(_SINES, codebook.shape[1]).conj() @ codebook.T)
    return float(np.abs(total - total[::-1, ::-1]).max() / total.max())


@dataclass(frozen=True)
class MirrorLine:
    """The line in which a drive is mirrored: from the base station's foot along its boresight, seen from above.

    Both are in the coordinates of the positions that are to be mirrored. A leading dimension gives each window its own
    line, for batches of several sites: (B, 1, 2).

    Attributes:
        station: the foot of the base station.
        direction: of the boresight, of length 1.
    """

    station: Float[Tensor, "*line 2"]
    direction: Float[Tensor, "*line 2"]

    @classmethod
    def in_metres(cls, boresight_rad: float) -> "MirrorLine":
        """The line for metres east and north of the base station; azimuth counterclockwise from east."""
        return cls(torch.zeros(2), torch.tensor([np.cos(boresight_rad), np.sin(boresight_rad)], dtype=torch.float32))

    @classmethod
    def standardised(cls, normaliser: Normaliser, boresight_rad: float | None = None) -> "MirrorLine":
        """The line for positions standardised by `normaliser`: s = A (p - mean) / scale.

        The base station stands at s = -A mean / scale. Where the boresight is not known, the array is taken to look
        straight across the street: in the axes of the site the mirror keeps the coordinate away from the base station,
        and turns the one along the street about that of the base station.

        Raises:
            UserError: the boresight is not known, nor the street.
        """
        station = normaliser.position(torch.zeros(2))
        if boresight_rad is not None:
            return cls(station, cls.in_metres(boresight_rad).direction @ torch.tensor(normaliser.axes).T)
        if normaliser.axes == EAST_NORTH:
            raise UserError("the boresight is not known", "mirrored drives", "set inputs.frame=site")
        return cls(station, torch.tensor([0.0, 1.0]))


def mirrored(
    power: Float[Tensor, "*batch 64"], position: Float[Tensor, "*batch 2"], line: MirrorLine
) -> tuple[Float[Tensor, "*batch 64"], Float[Tensor, "*batch 2"]]:
    """The drive past the mirror image of the site: beam i becomes 63 - i, p becomes o + 2 d d^T (p - o) - (p - o).

    True where the codebook is symmetric, of line of sight and echoes alike, since the whole world is mirrored: cars
    keep to the other side of the road there.

    Args:
        power: linear, in dB or standardised.
        position: in metres or standardised, as `line` is.
    """
    station, direction = (send(part.to(position.dtype), position.device) for part in (line.station, line.direction))
    offset = position - station
    ahead = (offset * direction).sum(-1, keepdim=True) * direction
    return power.flip(-1), station + 2 * ahead - offset


def reversed_in_time(values_BTC: Float[Tensor, "batch frame *channel"]) -> Float[Tensor, "batch frame *channel"]:
    """The drive back: frames in reverse order. The future of one drive is the past of the other."""
    return values_BTC.flip(1)


def stretched(
    values_BTC: Float[Tensor, "batch source *channel"],
    factor: float | Float[Tensor, "batch"],
    frames: int = T_WINDOW,
) -> Float[Tensor, "batch frame *channel"]:
    """The drive at `factor` times its speed: output frame k is the source at frame factor * k, linearly interpolated.

    Of positions, in metres or standardised, and of powers in dB, standardised or not: a main lobe is close to a
    Gaussian over the beams, so that midway between two frames in dB it stands in the middle, where linear powers show
    two lobes. In dB the best beam of measured sweeps that were left out is found more often, and their strongest
    powers come out some tenths of a dB too low. Interpolated frames hold less noise than measured ones, half of its
    variance midway.

    Args:
        values_BTC: windows of at least 1 + factor * (frames - 1) consecutive frames: 25 for twice the speed.
        factor: one, or one a window: on the CPU, so that looking at them waits for no GPU.

    Raises:
        UserError: a factor that is not positive, or one that needs more frames than there are.
    """
    batch, source = values_BTC.shape[:2]
    speed = torch.as_tensor(factor, dtype=torch.float32).expand(batch)
    slowest, fastest = (float(end) for end in speed.aminmax())
    largest = float(np.float32((source - 1) / (frames - 1)))
    if not 0 < slowest <= fastest <= largest:
        raise UserError(
            f"{source} frames at {slowest if slowest <= 0 else fastest:g} times the speed are no {frames}",
            "stretched drives",
            f"stretch by more than 0 and at most {largest:g}",
        )
    place_BT = send(speed, values_BTC.device)[:, None] * torch.arange(frames, device=values_BTC.device)
    before_BT = place_BT.long().clamp(max=source - 2)
    row = torch.arange(batch, device=values_BTC.device)[:, None]
    share = (place_BT - before_BT).reshape(batch, frames, *[1] * (values_BTC.ndim - 2)).to(values_BTC.dtype)
    return torch.lerp(values_BTC[row, before_BT], values_BTC[row, before_BT + 1], share)


def _mirror_lines(store: FrameStore, episodes: Sequence[Episode], normalisers: Normalisers) -> list[MirrorLine]:
    """The line of each drive: along the boresight of its recording, or across the street where that is not known.

    Raises:
        UserError: the codebooks of a dataset are not symmetric, or neither boresight nor street are known.
    """
    lines: list[MirrorLine] = []
    codebooks: list[list[Complex[np.ndarray, "beam element"]]] = [[] for _ in store.datasets]
    for episode in episodes:
        manifest = read_manifest(episode.path, RecordingManifest) if episode.path else None
        if manifest is not None and manifest.codebook is not None:
            codebooks[episode.dataset].append(manifest.codebook.weights())
        boresight_rad = manifest.bs.boresight_rad if manifest is not None else None
        lines.append(MirrorLine.standardised(normalisers.of(store.datasets[episode.dataset]), boresight_rad))
    for dataset, known in zip(store.datasets, codebooks, strict=True):
        asymmetry = codebook_asymmetry(known) if known else 0.0
        if not asymmetry <= SYMMETRY_TOLERANCE:
            what = f"the codebook of {dataset.name} is not symmetric: {asymmetry:.2f}, at most {SYMMETRY_TOLERANCE}"
            raise UserError(what, "augment.mirror", "set augment.mirror=0, or leave that dataset out")
    unknown = len(episodes) - sum(map(len, codebooks))
    if unknown:
        print(f"augment.mirror: {unknown} drives without a codebook, which is taken for symmetric", file=sys.stderr)
    return lines


UNUSED = MirrorLine(torch.zeros(2), torch.tensor([0.0, 1.0]))
"""Where nothing is mirrored."""


@dataclass(frozen=True)
class Augmentation:
    """Draws for every window of a batch whether it is mirrored, runs backwards, and how slow it is.

    Attributes:
        lines: in which the windows of the training part are mirrored, one a window.
    """

    config: AugmentConfig
    lines: MirrorLine

    @classmethod
    def of(
        cls, config: AugmentConfig, store: FrameStore, windows: Windows, normalisers: Normalisers
    ) -> "Augmentation | None":
        """For the training windows of some datasets, each drive mirrored in the boresight of its base station; None
        where nothing is changed.

        A known codebook has to be symmetric; of one that is not known stderr says that it is taken for it.

        Raises:
            UserError: a codebook is not symmetric, or neither boresight nor street are known.
        """
        if not config.used:
            return None
        numbers, chosen = torch.unique(windows.episode.cpu(), return_inverse=True)
        by_episode = [UNUSED] * len(numbers)
        if config.mirror:
            by_episode = _mirror_lines(store, [store.episodes[number] for number in numbers.tolist()], normalisers)
        station, direction = (
            torch.stack([getattr(line, name) for line in by_episode])[chosen][:, None]
            for name in ("station", "direction")
        )
        return cls(config, MirrorLine(station, direction))

    def __call__(
        self,
        inputs: dict[str, Any],
        rows: Int[Tensor, "batch"],
        generator: torch.Generator,
        processes: Processes = ALONE,
    ) -> dict[str, Any]:
        """Standardised powers and positions (B, 13, C) of this process's windows, changed together.

        Args:
            rows: windows of the batch of all processes, for all of which it is drawn.
        """
        power, position = inputs["rf"], inputs["gps"]
        random = processes.share(torch.rand(len(rows), 3, generator=generator))
        drawn = send(random, power.device)[..., None, None]
        own = processes.share(rows)
        line = MirrorLine(self.lines.station[own], self.lines.direction[own])
        if self.config.mirror:
            power, position = _where(
                drawn[:, 0] < self.config.mirror, mirrored(power, position, line), (power, position)
            )
        if self.config.reverse:
            back = reversed_in_time(power), reversed_in_time(position)
            power, position = _where(drawn[:, 1] < self.config.reverse, back, (power, position))
        if self.config.slowest < 1:
            factor = self.config.slowest + (1 - self.config.slowest) * random[:, 2]
            power, position = stretched(power, factor), stretched(position, factor)
        return {**inputs, "rf": power, "gps": position}


def _where(chosen: Tensor, these: tuple[Tensor, Tensor], those: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.where(chosen, these[0], those[0]), torch.where(chosen, these[1], those[1])
