"""From frames to what the model reads: standardised once, gathered by window, relative to the window if asked for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepa.config import InputConfig
from jepa.frames import Dataset, FrameStore
from jepa.preprocess import Normaliser
from jepa.windows import T_OBS, Windows
from twin.errors import UserError

__all__ = ["Normalisers", "WindowInputs", "dataset_of_windows", "relative", "window_scale"]


def dataset_of_windows(store: FrameStore, windows: Windows) -> Int[Tensor, "window"]:
    """The dataset of every window."""
    numbers = torch.tensor([episode.dataset for episode in store.episodes], device=windows.episode.device)
    return numbers[windows.episode]


@dataclass(frozen=True)
class Normalisers:
    """The statistics of all datasets together (one entry, ``*``), or of each by its name."""

    found: dict[str, Normaliser]

    @classmethod
    def fit(cls, store: FrameStore, windows: Windows, config: InputConfig) -> "Normalisers":
        """Statistics of the frames of the training windows."""
        if config.normalise == "together":
            return cls({"*": Normaliser.fit(store, windows, config.frame)})
        of_window = dataset_of_windows(store, windows)
        return cls(
            {
                dataset.name: Normaliser.fit(store, windows.select(of_window == number), config.frame)
                for number, dataset in enumerate(store.datasets)
                if bool((of_window == number).any())
            }
        )

    def of(self, dataset: Dataset) -> Normaliser:
        """The statistics for a dataset.

        Raises:
            UserError: there are none.
        """
        if "*" in self.found:
            return self.found["*"]
        if dataset.name not in self.found:
            raise UserError(
                f"has no statistics for {dataset.name}", "stats.json", "adapt the run to it with jepa finetune"
            )
        return self.found[dataset.name]

    def save(self, path: Path) -> None:
        """Write the statistics as JSON."""
        path.write_text(json.dumps({name: asdict(one) for name, one in self.found.items()}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Normalisers":
        """The statistics that `save` wrote.

        Raises:
            UserError: they are missing or damaged.
        """
        try:
            raw = json.loads(path.read_text())
            found = {
                name: Normaliser(
                    **{
                        **one,
                        "position_mean_m": tuple(one["position_mean_m"]),
                        "axes": tuple(tuple(axis) for axis in one["axes"]),
                    }
                )
                for name, one in raw.items()
            }
            whole = all(one.is_whole for one in found.values())
        except FileNotFoundError:
            raise UserError("no statistics", path, "name the directory of a run") from None
        except (ValueError, TypeError, KeyError, AttributeError, OSError):
            whole = False
        if not whole:
            raise UserError("the statistics are damaged", path, "train again")
        return cls(found)

    def frames(self, store: FrameStore) -> dict[str, Tensor]:
        """All frames of a store, standardised, by modality."""
        found = {}
        for name, values in store.values.items():
            parts = [
                self.of(store.datasets[episode.dataset])(name, values[episode.start : episode.stop])
                for episode in store.episodes
            ]
            found[name] = torch.cat(parts).float()
        return found


LEAST_DEVIATION = 0.1
"""A window's deviation of power is not taken for smaller than this [standardised]: noise alone is not blown up."""


def window_scale(
    power: Float[Tensor, "batch frame 64"],
) -> tuple[Float[Tensor, "batch 1 1"], Float[Tensor, "batch 1 1"]]:
    """Mean and deviation of the power in the observed frames of windows."""
    observed = power[:, :T_OBS]
    return observed.mean((1, 2), keepdim=True), observed.std((1, 2), keepdim=True).clamp_min(LEAST_DEVIATION)


def relative(values: Mapping[str, Tensor], config: InputConfig) -> dict[str, Tensor]:
    """Inputs (B, T, C) relative to their window as `config` wants it; its measure is the observed frames alone."""
    found = dict(values)
    if config.power == "window" and "rf" in found:
        mean, deviation = window_scale(found["rf"])
        found["rf"] = (found["rf"] - mean) / deviation
    if config.position == "last" and "gps" in found:
        found["gps"] = found["gps"] - found["gps"][:, T_OBS - 1 : T_OBS]
    return found


@dataclass(frozen=True)
class WindowInputs:
    """Standardised frames and the windows cut from them; a batch is a gather."""

    frames: dict[str, Float[Tensor, "frame channel"]]
    index: Int[Tensor, "window 13"]

    def __len__(self) -> int:
        return len(self.index)

    def history(self, rows: Tensor | slice = slice(None)) -> dict[str, Tensor]:
        """Observed frames (B, 8, C) by modality."""
        return {name: values[self.index[rows, :T_OBS]] for name, values in self.frames.items()}

    def future(self, rows: Tensor | slice = slice(None)) -> dict[str, Tensor]:
        """Frames to predict (B, 5, C) by modality."""
        return {name: values[self.index[rows, T_OBS:]] for name, values in self.frames.items()}

    def whole(self, rows: Tensor | slice = slice(None)) -> dict[str, Tensor]:
        """All frames of the windows (B, 13, C) by modality."""
        return {name: values[self.index[rows]] for name, values in self.frames.items()}
