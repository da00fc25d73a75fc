"""Samples: what a predictor is shown of a window, and what it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from jepa.data.frames import TARGETS, FrameStore
from jepa.data.sharing import WindowValues
from jepa.data.windows import T_OBS, Windows, dataset_of_windows

__all__ = ["History", "Samples"]


@dataclass(frozen=True)
class History:
    """The 8 observed frames of every window, raw, and nothing else.

    Attributes:
        values: by modality, frames (window, 8, ...). Those of a store are gathered when they are asked for: ask for
            pictures and maps of some windows at a time.
        valid: by modality, which frames were received; all, where it is not said.
    """

    values: Mapping[str, Tensor]
    valid: Mapping[str, Bool[Tensor, "window 8"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return (
            len(self.values.index) if isinstance(self.values, WindowValues) else len(next(iter(self.values.values())))
        )

    @classmethod
    def gather(cls, store: FrameStore, windows: Windows) -> "History":
        """The observed frames of some windows."""
        return cls(WindowValues(store.values, windows.history), WindowValues(store.valid, windows.history))

    @property
    def power(self) -> Float[Tensor, "window 8 64"]:
        """Linear power of 64 beams."""
        return self.values["rf"]

    @property
    def position_m(self) -> Float[Tensor, "window 8 2"]:
        """Metres east and north of the base station."""
        return self.values["gps"]

    def last(self, name: str) -> Shaped[Tensor, "window ..."]:
        """The last observed frame of a modality."""
        return self.values.last(name) if isinstance(self.values, WindowValues) else self.values[name][:, -1]

    def replaced(self, values: Mapping[str, Tensor]) -> "History":
        """The history with other values (window, 8, ...) of some modalities; the others are still gathered when
        asked."""
        if isinstance(self.values, WindowValues):
            kept = self.values
            return History(WindowValues(kept.frames, kept.index, {**kept.own, **values}), self.valid)
        return History({**self.values, **values}, self.valid)

    def on(self, device: torch.device) -> "History":
        """The history with powers and positions on a device; pictures and maps stay where they lie."""
        return self.replaced({name: self.values[name].to(device) for name in TARGETS if name in self.values})

    def without(self, names: Sequence[str]) -> "History":
        """The history in which all frames of some modalities were lost."""
        lost = {name: torch.zeros(len(self), T_OBS, dtype=torch.bool) for name in names}
        return History(self.values, {**{name: self.valid[name] for name in self.valid}, **lost})

    def select(self, rows: Tensor) -> "History":
        """The history of the given rows."""
        return History(_selected(self.values, rows), _selected(self.valid, rows))


def _selected(values: Mapping[str, Tensor], rows: Tensor) -> Mapping[str, Tensor]:
    if isinstance(values, WindowValues):
        return values.select(rows)
    return {name: part[rows] for name, part in values.items()}


@dataclass(frozen=True)
class Samples:
    """Histories with their future.

    Attributes:
        power: linear power of 64 beams in the 5 future frames.
        position_m: measured position in the future frames.
        best_beam: strongest measured beam of the future frames.
        episode: episode of every window: the unit of every interval.
        site: dataset of every window, each with a floor of its own; None where all are of one.
    """

    history: History
    power: Float[Tensor, "window 5 64"]
    position_m: Float[Tensor, "window 5 2"]
    best_beam: Int[Tensor, "window 5"]
    episode: Int[Tensor, "window"]
    site: Int[Tensor, "window"] | None = None

    def __len__(self) -> int:
        return len(self.episode)

    @classmethod
    def gather(cls, store: FrameStore, windows: Windows) -> "Samples":
        """The samples of some windows."""
        rf, gps = store.values["rf"], store.values["gps"]
        return cls(
            history=History.gather(store, windows),
            power=rf[windows.future],
            position_m=gps[windows.future],
            best_beam=store.best_beam[windows.future],
            episode=windows.episode,
            site=dataset_of_windows(store, windows),
        )

    def on(self, device: torch.device) -> "Samples":
        """The samples with powers, positions and beams on a device; pictures and maps stay where they lie."""
        return replace(
            self,
            history=self.history.on(device),
            power=self.power.to(device),
            position_m=self.position_m.to(device),
            best_beam=self.best_beam.to(device),
        )

    def select(self, rows: Tensor) -> "Samples":
        """The samples of the given rows."""
        return Samples(
            self.history.select(rows),
            self.power[rows],
            self.position_m[rows],
            self.best_beam[rows],
            self.episode[rows],
            None if self.site is None else self.site[rows],
        )
