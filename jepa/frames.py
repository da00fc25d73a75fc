"""The frame store: recordings decoded once into tensors, so that a window is 13 indices and a batch a gather."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from twin.errors import UserError
from twin.recording import Entry, Recording, dataset_hash, whole_episodes

__all__ = ["BEAMS", "READERS", "TARGETS", "Dataset", "Episode", "FrameStore"]

BEAMS = 64


def _map(name: str) -> Callable[[Recording], np.ndarray]:
    """A reader of the maps of a modality as they are stored.

    Raises:
        UserError: when it reads: the recording does not hold them.
    """

    def read(recording: Recording) -> np.ndarray:
        if name not in recording.arrays:
            remedy = f"record or import it with the modality {name}"
            raise UserError(f"has no {name}", recording.path or recording.name, remedy)
        return recording.arrays[name]

    return read


READERS: dict[str, Callable[[Recording], np.ndarray]] = {
    "gps": lambda recording: np.nan_to_num(recording.position_m(), nan=0.0).astype(np.float32),
    "rf": lambda recording: np.nan_to_num(recording.arrays["rf"], nan=0.0),
    "camera": lambda recording: recording.images(),
    "radar": lambda recording: np.nan_to_num(_map("radar")(recording), nan=0.0),
    "lidar": _map("lidar"),
}
"""From a recording to the frames of a modality (T, ...), in the type that the store keeps: a picture of bytes takes a
quarter of one of floats. Frames of LiDAR hold NaN for no return. A further modality joins with one entry."""
TARGETS = ("gps", "rf")
"""The modalities that the tasks are about: read whatever a model takes in."""


@dataclass(frozen=True)
class Dataset:
    """A directory of recordings: its path and the identity of its content."""

    path: str
    name: str
    hash: str


@dataclass(frozen=True)
class Episode:
    """A recording inside the store: frames `start` to `stop` of it."""

    name: str
    dataset: int
    start: int
    stop: int
    order: int
    content_hash: str

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start


@dataclass(frozen=True)
class FrameStore:
    """All frames of some datasets, one after another.

    Attributes:
        values: by modality, `rf` (frame, 64) linear power, `gps` (frame, 2) metres east and north of the base station,
            `camera` (frame, 224, 224, 3) bytes, `radar` (frame, 64, 256) dB and `lidar` (frame, 64, 256) metres in
            half precision. Windows are cut where all of them are valid.
        valid: by modality, whether a frame holds it.
        best_beam: strongest beam of each frame, 0-based, -1 where the sweep is invalid.
    """

    values: dict[str, Shaped[Tensor, "frame ..."]]
    valid: dict[str, Bool[Tensor, "frame"]]
    best_beam: Int[Tensor, "frame"]
    episodes: tuple[Episode, ...]
    datasets: tuple[Dataset, ...]

    @classmethod
    def load(
        cls,
        paths: Sequence[str | Path],
        device: str | torch.device = "cpu",
        modalities: Sequence[str] = TARGETS,
    ) -> "FrameStore":
        """Decode every episode below `paths`, in the order of sequence number, then name.

        Args:
            modalities: what a model takes in; the targets are read as well.

        Raises:
            UserError: a path holds no recording, one is damaged, two datasets are the same, or a modality is unknown.
        """
        unknown = [name for name in modalities if name not in READERS]
        if unknown:
            raise UserError(f"no modality {unknown[0]!r}", "inputs.modalities", f"choose from {', '.join(READERS)}")
        names = [name for name in READERS if name in modalities or name in TARGETS]
        if not paths:
            raise UserError("no dataset is named", "--data", "name at least one directory of recordings")
        keys = [*names, *(f"valid_{name}" for name in names), "beam"]
        parts: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        episodes: list[Episode] = []
        datasets: list[Dataset] = []
        start = 0
        for path in paths:
            entries = sorted(whole_episodes(path), key=_order)
            identity = dataset_hash(entries)
            if any(dataset.hash == identity for dataset in datasets):
                raise UserError("is named twice", path, "name every dataset once")
            for order, entry in enumerate(entries):
                recording = entry.open()
                for key, values in _arrays(recording, names).items():
                    parts[key].append(values)
                stop = start + recording.frames
                episodes.append(Episode(entry.name, len(datasets), start, stop, order, recording.content_hash))
                start = stop
            datasets.append(Dataset(str(path), Path(str(path)).name, identity))
        joined = {key: torch.from_numpy(np.concatenate(values)).to(device) for key, values in parts.items()}
        return cls(
            values={name: joined[name] for name in names},
            valid={name: joined[f"valid_{name}"] for name in names},
            best_beam=joined["beam"],
            episodes=tuple(episodes),
            datasets=tuple(datasets),
        )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.best_beam)

    @property
    def episode_of_frame(self) -> Int[Tensor, "frame"]:
        """Index of the episode of every frame."""
        lengths = torch.tensor([episode.frames for episode in self.episodes], device=self.best_beam.device)
        return torch.repeat_interleave(torch.arange(len(self.episodes), device=lengths.device), lengths)


def _order(entry: Entry) -> tuple[int, str]:
    sequence = entry.manifest.seq_index
    number = entry.manifest.episode if sequence is None else sequence
    return (0 if number is None else number, entry.name)


def _arrays(recording: Recording, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {
        **{name: READERS[name](recording) for name in names},
        **{f"valid_{name}": recording.arrays[f"valid_{name}"] for name in names},
        "beam": recording.best_beam().astype(np.int64),
    }
