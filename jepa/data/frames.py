"""The frame store: recordings decoded once into tensors, so that a window is 13 indices and a batch a gather."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from twin.errors import UserError
from twin.recording import Entry, Recording, dataset_hash, whole_episodes

__all__ = ["BEAMS", "IMAGE_SIZE", "READERS", "TARGETS", "Dataset", "Episode", "FrameStore"]

BEAMS = 64
PICTURES_AT_ONCE = 64
"""Pictures that are resized at once."""


def _map(name: str) -> Callable[[Recording], np.ndarray]:
    """A reader of the maps of a modality as they are stored.

    Raises:
        UserError: when it reads: the recording does not hold them.
    """

    def read(recording: Recording) -> np.ndarray:
        if name not in recording.arrays:
            remedy = f"record or import it with {name}, or leave {name} out of inputs.modalities"
            raise UserError(f"has no {name}", recording.path or recording.name, remedy)
        return recording.arrays[name]

    return read


def _pictures(recording: Recording) -> np.ndarray:
    _map("camera")(recording)
    return recording.images()


READERS: dict[str, Callable[[Recording], np.ndarray]] = {
    "gps": lambda recording: np.nan_to_num(recording.position_m(), nan=0.0).astype(np.float32),
    "rf": lambda recording: np.nan_to_num(recording.arrays["rf"], nan=0.0),
    "camera": _pictures,
    "radar": lambda recording: np.nan_to_num(_map("radar")(recording), nan=0.0),
    "lidar": _map("lidar"),
}
"""From a recording to the frames of a modality (T, ...), in the type that the store keeps: a picture of bytes takes a
quarter of one of floats. Frames of LiDAR hold NaN for no return. A further modality joins with one entry."""
LARGEST_SHARE = 0.5
"""Of the free memory of a GPU that frames of one modality may take."""
IMAGE_SIZE = 224
"""Side of the pictures of a recording as they are read [pixels]."""
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
    """A recording inside the store: frames `start` to `stop` of it, and where it lies (None: it was never stored)."""

    name: str
    dataset: int
    start: int
    stop: int
    order: int
    content_hash: str
    path: str | None = None

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start


@dataclass(frozen=True)
class FrameStore:
    """All frames of some datasets, one after another.

    Attributes:
        values: by modality, `rf` (frame, 64) linear power, `gps` (frame, 2) metres east and north of the base station,
            `camera` (frame, side, side, 3) bytes or features (frame, 9, 1280), `radar` (frame, 64, 256) dB and `lidar`
            (frame, 64, 256) metres in half precision.
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
        image_size: int = IMAGE_SIZE,
        *,
        absent_is_lost: bool = False,
    ) -> "FrameStore":
        """Decode every episode below `paths`, in the order of sequence number, then name.

        Args:
            device: where pictures and maps are kept, if there is room; all else stays on the CPU, where batches are
                planned.
            modalities: what a model takes in; the targets are read as well.
            image_size: side of the pictures [pixels].
            absent_is_lost: all frames of a camera, radar or LiDAR that a recording does not hold are invalid, in place
                of an error; a modality that none holds is left out.

        Raises:
            UserError: a path holds no recording, one is damaged, two datasets are the same, or a modality is unknown
                or absent.
        """
        unknown = [name for name in modalities if name not in READERS]
        if unknown:
            raise UserError(f"no modality {unknown[0]!r}", "inputs.modalities", f"choose from {', '.join(READERS)}")
        names = [name for name in READERS if name in modalities or name in TARGETS]
        if not paths:
            raise UserError("no dataset is named", "--data", "name at least one directory of recordings")
        keys = [*names, *(f"valid_{name}" for name in names), "beam"]
        parts: dict[str, list[np.ndarray | int]] = {key: [] for key in keys}
        episodes: list[Episode] = []
        datasets: list[Dataset] = []
        start = 0
        for path in paths:
            entries = sorted(whole_episodes(path), key=_order)
            identity = dataset_hash(entries)
            if any(dataset.hash == identity for dataset in datasets):
                raise UserError("is named twice", path, "name every dataset once")
            name = Path(str(path)).name
            if any(dataset.name == name for dataset in datasets):
                raise UserError(
                    f"another dataset is called {name} as well", path, "rename a directory: statistics go by it"
                )
            for order, entry in enumerate(entries):
                recording = entry.open()
                absent = [name for name in names if absent_is_lost and not _holds(recording, name)]
                held = _arrays(recording, [name for name in names if name not in absent])
                for key, values in held.items():
                    parts[key].append(_resized(values, image_size) if key == "camera" else values)
                for name in absent:
                    parts[name].append(recording.frames)
                    parts[f"valid_{name}"].append(np.zeros(recording.frames, bool))
                stop = start + recording.frames
                episodes.append(
                    Episode(entry.name, len(datasets), start, stop, order, recording.content_hash, entry.path)
                )
                start = stop
            datasets.append(Dataset(str(path), name, identity))
        names = [name for name in names if any(isinstance(part, np.ndarray) for part in parts[name])]
        keys = [*names, *(f"valid_{name}" for name in names), "beam"]
        joined = {key: torch.from_numpy(_joined(parts[key])) for key in keys}
        return cls(
            values={name: _placed(name, joined[name], torch.device(device)) for name in names},
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
        lengths = torch.tensor([episode.frames for episode in self.episodes])
        return torch.repeat_interleave(torch.arange(len(self.episodes)), lengths)


def _holds(recording: Recording, name: str) -> bool:
    return name in TARGETS or name in recording.arrays


def _joined(parts: Sequence[np.ndarray | int]) -> np.ndarray:
    """Frames of recordings one after another: zeros for as many as a number says."""
    some = next(part for part in parts if isinstance(part, np.ndarray))
    return np.concatenate(
        [part if isinstance(part, np.ndarray) else np.zeros((part, *some.shape[1:]), some.dtype) for part in parts]
    )


def _placed(name: str, values: Tensor, device: torch.device) -> Tensor:
    """Pictures and maps on a GPU where they leave room for a model."""
    if device.type != "cuda" or name in TARGETS:
        return values
    free, _ = torch.cuda.mem_get_info(device)
    return values.to(device) if values.nbytes < LARGEST_SHARE * free else values


def _resized(pictures: UInt8[np.ndarray, "frame row column 3"], side: int) -> UInt8[np.ndarray, "frame side side 3"]:
    """Smaller pictures, bilinear over the area that a pixel covers."""
    if pictures.shape[1:3] == (side, side):
        return pictures
    parts = []
    for part in torch.from_numpy(pictures).split(PICTURES_AT_ONCE):
        planes = part.permute(0, 3, 1, 2).float()
        small = functional.interpolate(planes, (side, side), mode="bilinear", antialias=True, align_corners=False)
        parts.append(small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(parts).contiguous().numpy()


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
