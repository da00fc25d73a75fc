"""Samples: what a predictor is shown of a window, and what it is asked for."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from jepa.frames import FrameStore
from jepa.windows import Windows

__all__ = ["History", "Samples"]


@dataclass(frozen=True)
class History:
    """The 8 observed frames of every window, raw, and nothing else.

    Attributes:
        values: by modality, frames (window, 8, ...).
    """

    values: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    @classmethod
    def gather(cls, store: FrameStore, windows: Windows) -> "History":
        """The observed frames of some windows."""
        return cls({name: frames[windows.history] for name, frames in store.values.items()})

    @property
    def power(self) -> Float[Tensor, "window 8 64"]:
        """Linear power of 64 beams."""
        return self.values["rf"]

    @property
    def position_m(self) -> Float[Tensor, "window 8 2"]:
        """Metres east and north of the base station."""
        return self.values["gps"]

    def select(self, rows: Tensor) -> "History":
        """The history of the given rows."""
        return History({name: values[rows] for name, values in self.values.items()})


@dataclass(frozen=True)
class Samples:
    """Histories with their future.

    Attributes:
        power: linear power of 64 beams in the 5 future frames.
        position_m: measured position in the future frames.
        best_beam: strongest measured beam of the future frames.
        episode: episode of every window: the unit of every interval.
    """

    history: History
    power: Float[Tensor, "window 5 64"]
    position_m: Float[Tensor, "window 5 2"]
    best_beam: Int[Tensor, "window 5"]
    episode: Int[Tensor, "window"]

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
        )

    def select(self, rows: Tensor) -> "Samples":
        """The samples of the given rows."""
        return Samples(
            self.history.select(rows),
            self.power[rows],
            self.position_m[rows],
            self.best_beam[rows],
            self.episode[rows],
        )
