"""From frames to what the model reads: standardised once, gathered by window, centred if asked for."""

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

__all__ = ["Normalisers", "WindowInputs", "centred", "dataset_of_windows"]


def dataset_of_windows(store: FrameStore, windows: Windows) -> Int[Tensor, "window"]:
    """The dataset of every window."""
    numbers = torch.tensor([episode.dataset for episode in store.episodes], device=windows.episode.device)
    return numbers[windows.episode]


@dataclass(frozen=True)
class Normalisers:
    """The statistics of all datasets together (one entry, ``*``), or of each by its name."""

    found: dict[str, Normaliser]

    @classmethod
    def fit(cls, store: FrameStore, windows: Windows, how: str = "together") -> "Normalisers":
        """Statistics of the frames of the training windows."""
        if how == "together":
            return cls({"*": Normaliser.fit(store, windows)})
        of_window = dataset_of_windows(store, windows)
        return cls(
            {
                dataset.name: Normaliser.fit(store, windows.select(of_window == number))
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
                name: Normaliser(**{**one, "position_mean_m": tuple(one["position_mean_m"])})
                for name, one in raw.items()
            }
        except FileNotFoundError:
            raise UserError("no statistics", path, "name the directory of a run") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError("the statistics are damaged", path, "train again") from None
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


def centred(values: Mapping[str, Tensor], config: InputConfig) -> dict[str, Tensor]:
    """Inputs (B, T, C) with what `config` subtracts taken off; it is found in the observed frames alone."""
    found = dict(values)
    if config.centre_power and "rf" in found:
        found["rf"] = found["rf"] - found["rf"][:, :T_OBS].mean((1, 2), keepdim=True)
    if config.centre_position and "gps" in found:
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
