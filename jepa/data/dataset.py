"""Recordings as a map-style PyTorch dataset: windows of consecutive frames with everything that was recorded."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset

from twin.errors import UserError
from twin.recording import MODALITIES, Entry, Recording, whole_episodes

__all__ = ["MOST_OPEN", "RecordingDataset"]

MOST_OPEN = 16
"""Recordings that a process keeps open, with those of their arrays that are small."""
_FRAME_BY_FRAME = ("camera_depth_m", "camera_instance")
"""Truth that is as large as pictures are."""


class RecordingDataset(Dataset[dict[str, Any]]):
    """Windows of consecutive frames of one episode, episode by episode in the order of paths and names.

    An item is a dict of tensors, first dimension the frame of the window:

    - `camera` uint8 (T, 224, 224, 3), decoded; `radar` float16 (T, 64, 256) dB; `lidar` float16 (T, 64, 256) m, NaN for
      no return; `gps` float64 (T, 2), latitude and longitude [deg] or metres east and north of the base station; `rf`
      float32 (T, 64) linear power: as stored, nothing standardised;
    - `valid_NAME` bool (T,): where it is False the picture is black, and other values are NaN or of no meaning;
    - `truth/NAME` as `twin.recording.ARRAYS` describes it, for each name in `truth`;
    - `time` float64 (T,) s; `episode`, its name, and `first`, the first frame of the window in it.

    Reads what an item needs when it is asked for. A process keeps the last `MOST_OPEN` recordings open, without their
    pictures and maps. The dataset can be pickled, and read by the workers of a `DataLoader`; shuffle there.

    Args:
        paths: directories of recordings, local or fsspec URLs.
        modalities: which of camera, radar, lidar, gps and rf; every recording must hold them.
        frames: T, frames of a window. Shorter episodes have none and are counted in `short`.
        stride: frames from the start of a window to that of the next one.
        truth: names of what the twin knows, without `truth/`. Of arrays with a row an actor or a path the size differs
            from episode to episode: such items need a `collate_fn`.
        gps: `deg`, or `m` for the local frame.

    Raises:
        UserError: a wrong option, no recordings or damaged ones, a recording without what is asked for, or no window.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        modalities: str | Sequence[str] = MODALITIES,
        frames: int = 13,
        stride: int = 1,
        truth: str | Sequence[str] = (),
        gps: Literal["deg", "m"] = "deg",
    ) -> None:
        self.modalities, self.truth, self.gps = _named(modalities), _named(truth), gps
        self.frames, self.stride = frames, stride
        _check_options(self.modalities, frames, stride, gps)
        each = [paths] if isinstance(paths, str | Path) else paths
        entries = [entry for path in each for entry in whole_episodes(path)]
        needed = [*self.modalities, *(f"truth/{name}" for name in self.truth)]
        for entry in entries:
            _check_holds(entry, needed)
        lengths = [entry.manifest.arrays["time"].shape[0] for entry in entries]
        counts = [max(0, (length - frames) // stride + 1) for length in lengths]
        self.short = sum(length < frames for length in lengths)
        self._paths, self._names = [entry.path for entry in entries], [entry.name for entry in entries]
        self._starts = [0, *accumulate(counts)]
        if not len(self):
            what = f"no episode has {frames} frames, the longest has {max(lengths, default=0)}"
            raise UserError(what, "frames", "ask for fewer, or record longer episodes")
        self._open: OrderedDict[int, Recording] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def episode_of_window(self) -> Int[np.ndarray, "window"]:
        """Number of the episode of every window: what a split by episodes needs."""
        return np.repeat(np.arange(len(self._names)), np.diff(self._starts))

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} windows, not one {index}")
        index %= len(self)
        number = bisect_right(self._starts, index) - 1
        first = (index - self._starts[number]) * self.stride
        part = slice(first, first + self.frames)
        recording = self._recording(number)
        found = {"time": recording.arrays["time"][part]}
        for name in self.modalities:
            found[name] = _read(recording, name, part, self.gps)
            found[f"valid_{name}"] = recording.arrays[f"valid_{name}"][part]
        for name in self.truth:
            key = f"truth/{name}"
            found[key] = recording.some(key, part) if name in _FRAME_BY_FRAME else recording.arrays[key][part]
        tensors: dict[str, Any] = {name: torch.from_numpy(values.copy()) for name, values in found.items()}
        return {**tensors, "episode": self._names[number], "first": first}

    def _recording(self, number: int) -> Recording:
        if number not in self._open:
            self._open[number] = Recording.open(self._paths[number])
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def _named(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _check_options(modalities: Sequence[str], frames: int, stride: int, gps: str) -> None:
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown:
        raise UserError(f"no modality {unknown[0]!r}", "modalities", f"choose from {', '.join(MODALITIES)}")
    for name, value in (("frames", frames), ("stride", stride)):
        if value < 1:
            raise UserError(f"{value} is too small", name, "give at least 1")
    if gps not in ("deg", "m"):
        raise UserError(f"{gps!r} is no unit", "gps", "choose from deg, m")


def _check_holds(entry: Entry, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in entry.manifest.arrays]
    if missing:
        raise UserError(f"has no {missing[0]}", entry.path, "record or import it with that, or do not ask for it")


def _read(recording: Recording, name: str, part: slice, gps: str) -> np.ndarray:
    """Frames of a modality: pictures and maps alone, what is small from the whole array, which stays open."""
    if name == "camera":
        return recording.images(part)
    if name == "gps" and gps == "m":
        return recording.position_m()[part]
    return recording.arrays[name][part] if name in ("gps", "rf") else recording.some(name, part)
