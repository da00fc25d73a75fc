"""Windows: 8 observed and 5 future frames of one episode, as indices into the frame store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from jepa.data.frames import TARGETS, FrameStore

__all__ = ["T_OBS", "T_PRED", "T_WINDOW", "Piece", "Windows", "complete_windows", "cut_windows", "dataset_of_windows"]

T_OBS = 8
"""Observed frames."""
T_PRED = 5
"""Future frames."""
T_WINDOW = T_OBS + T_PRED


@dataclass(frozen=True)
class Piece:
    """Frames `start` to `stop` (counted inside the episode) of one episode of the store."""

    episode: int
    start: int
    stop: int


@dataclass(frozen=True)
class Windows:
    """Windows as indices into the frame store, and what was left out.

    Attributes:
        index: frame indices of every window.
        episode: episode of every window.
        short: pieces shorter than a window.
        invalid: windows with an invalid frame of a needed modality.
    """

    index: Int[Tensor, "window 13"]
    episode: Int[Tensor, "window"]
    short: int = 0
    invalid: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def history(self) -> Int[Tensor, "window 8"]:
        """Frame indices of the observed part."""
        return self.index[:, :T_OBS]

    @property
    def future(self) -> Int[Tensor, "window 5"]:
        """Frame indices of the part to predict."""
        return self.index[:, T_OBS:]

    def select(self, rows: Tensor) -> "Windows":
        """The windows of the given rows."""
        return Windows(self.index[rows], self.episode[rows], self.short, self.invalid)


def cut_windows(store: FrameStore, pieces: Iterable[Piece], modalities: Sequence[str] = TARGETS) -> Windows:
    """Every window of 13 consecutive frames inside the pieces in which the modalities are valid throughout.

    Those are the targets, unless others are named: a window without a picture still has an answer.
    """
    device = store.best_beam.device
    valid = torch.stack([store.valid[name] for name in modalities]).all(0)
    offsets = torch.arange(T_WINDOW, device=device)
    index, episode, short, invalid = [], [], 0, 0
    for piece in pieces:
        count = piece.stop - piece.start - T_WINDOW + 1
        if count <= 0:
            short += 1
            continue
        first = store.episodes[piece.episode].start + piece.start
        candidates = torch.arange(first, first + count, device=device)[:, None] + offsets
        whole = valid[candidates].all(1)
        invalid += int((~whole).sum())
        index.append(candidates[whole])
        episode.append(torch.full((int(whole.sum()),), piece.episode, device=device))
    if not index:
        return Windows(offsets.new_empty((0, T_WINDOW)), offsets.new_empty(0), short, invalid)
    return Windows(torch.cat(index), torch.cat(episode), short, invalid)


def complete_windows(store: FrameStore, windows: Windows, modalities: Sequence[str]) -> Windows:
    """The windows in which the modalities are valid throughout: what is trained on."""
    valid = torch.stack([store.valid[name] for name in modalities]).all(0)
    whole = valid[windows.index].all(1)
    found = windows.select(whole)
    return replace(found, invalid=windows.invalid + int((~whole).sum()))


def dataset_of_windows(store: FrameStore, windows: Windows) -> Int[Tensor, "window"]:
    """The dataset of every window."""
    numbers = torch.tensor([episode.dataset for episode in store.episodes])
    return numbers[windows.episode]
