"""From frames to what the model reads: standardised once, gathered by window, relative to the window if asked for."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from jepa.config import InputConfig
from jepa.data.frames import Dataset, FrameStore
from jepa.data.preprocess import FITTED, Normaliser
from jepa.data.sending import send
from jepa.data.sharing import SharedFrames, share
from jepa.data.windows import T_OBS, Windows, dataset_of_windows
from twin.errors import UserError

__all__ = ["SMALL", "Normalisers", "WindowInputs", "balanced", "relative", "window_scale"]


def balanced(of_window: Int[Tensor, "window"], first_share: float) -> Int[Tensor, "row"]:
    """Rows of windows, repeated so that dataset 0 has `first_share` of them and the others share the rest alike.

    The twin stays whole; a pass over it meets the few real windows several times.

    Raises:
        UserError: dataset 0 has no window, or no other one has any.
    """
    counts = torch.bincount(of_window)
    others = [number for number in range(1, len(counts)) if counts[number]]
    if not counts[0]:
        what = "the first dataset has no training window under this split"
        raise UserError(what, "first_share", "name another dataset first, or choose another --split or --fold")
    if not others:
        what = "only the first dataset has training windows"
        raise UserError(what, "first_share", "name several datasets, or leave it out")
    rows = [torch.nonzero(of_window == 0)[:, 0]]
    for number in others:
        own = torch.nonzero(of_window == number)[:, 0]
        wanted = round(int(counts[0]) * (1 - first_share) / first_share / len(others))
        rows.append(own[torch.arange(wanted, device=own.device) % len(own)])
    return torch.cat(rows)


@dataclass(frozen=True)
class Normalisers:
    """The statistics of all datasets together (one entry, ``*``), or of each by its name."""

    found: dict[str, Normaliser]

    @classmethod
    def fit(cls, store: FrameStore, windows: Windows, config: InputConfig) -> "Normalisers":
        """Statistics of the frames of the training windows.

        Raises:
            UserError: several datasets are to share what each site has of its own: a street, or the unit of its powers.
        """
        of_window = dataset_of_windows(store, windows)
        if config.normalise == "together":
            own = {"inputs.frame": config.frame == "site", "inputs.power": config.power == "window"}
            if any(own.values()) and len(torch.unique(of_window)) > 1:
                what = f"several datasets have one statistic, and {' and '.join(n for n in own if own[n])} is of a site"
                raise UserError(what, "inputs.normalise", "set inputs.normalise=by-dataset")
            return cls({"*": Normaliser.fit(store, windows, config.frame)})
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
        """All frames of a store, standardised, by modality. Maps stay in half precision; pictures and depth images,
        whose scales are fixed, stay as they are: their tokenizers scale them."""
        found = {}
        for name, values in store.values.items():
            if name not in FITTED:
                found[name] = values
                continue
            parts = [
                self.of(store.datasets[episode.dataset])(name, values[episode.start : episode.stop])
                for episode in store.episodes
            ]
            found[name] = torch.cat([part.to(values.dtype) for part in parts])
        return found


LEAST_DEVIATION = 0.1
"""A window's deviation of power is not taken for smaller than this [standardised]: noise alone is not blown up."""


def window_scale(
    power: Float[Tensor, "batch frame 64"],
) -> tuple[Float[Tensor, "batch 1 1"], Float[Tensor, "batch 1 1"]]:
    """Mean and deviation of the power in the observed frames of windows."""
    observed = power[:, :T_OBS]
    return observed.mean((1, 2), keepdim=True), observed.std((1, 2), keepdim=True).clamp_min(LEAST_DEVIATION)


def relative(values: Mapping[str, Any], config: InputConfig) -> dict[str, Any]:
    """Inputs (B, T, C) relative to their window as `config` wants it; its measure is the observed frames alone.

    Pictures and maps, which windows share, know no window and stay as they are.
    """
    found = dict(values)
    if config.power == "window" and "rf" in found:
        mean, deviation = window_scale(found["rf"])
        found["rf"] = (found["rf"] - mean) / deviation
    if config.position == "last" and "gps" in found:
        found["gps"] = found["gps"] - found["gps"][:, T_OBS - 1 : T_OBS]
    return found


CPU = torch.device("cpu")
SMALL = ("gps", "rf")
"""Modalities that are gathered by window: they are cheap, and may be relative to it. The others windows share."""


@dataclass(frozen=True)
class WindowInputs:
    """Standardised frames and the windows cut from them; a batch is a gather.

    Attributes:
        frames: by modality; pictures and maps may lie on a GPU already.
        index: on the CPU, where batches are planned.
        device: where the batches go.
    """

    frames: dict[str, Shaped[Tensor, "frame ..."]]
    index: Int[Tensor, "window 13"]
    device: torch.device = CPU

    def __len__(self) -> int:
        return len(self.index)

    def _gathered(self, index: Int[Tensor, "batch time"], names: Iterable[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in names:
            values = self.frames[name]
            if name in SMALL:
                found[name] = send(values[index], self.device)
            else:
                shared = share(values, index)
                found[name] = SharedFrames(send(shared.values, self.device), shared.index)
        return found

    def small_history(self, rows: Tensor | slice = slice(None)) -> dict[str, Tensor]:
        """Observed powers and positions (B, 8, C)."""
        return self._gathered(self.index[rows, :T_OBS], SMALL)

    def future(self, rows: Tensor | slice = slice(None)) -> dict[str, Tensor]:
        """Powers and positions to predict (B, 5, C)."""
        return self._gathered(self.index[rows, T_OBS:], SMALL)

    def history(self, rows: Tensor | slice, names: Iterable[str]) -> dict[str, Any]:
        """Observed frames of some modalities: by window, or shared by the windows."""
        return self._gathered(self.index[rows, :T_OBS], names)

    def whole(self, rows: Tensor | slice, names: Iterable[str]) -> dict[str, Any]:
        """All frames of the windows, likewise."""
        return self._gathered(self.index[rows], names)
