"""Windows share frames: neighbours have 12 of 13 in common, so that a frame is held, moved and tokenized once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from jepa.data.sending import send

__all__ = ["SharedFrames", "WindowValues", "share"]


@dataclass(frozen=True)
class SharedFrames:
    """Frames of a modality that several windows look at, each held once.

    Attributes:
        values: the frames, on the device of the model.
        index: window b sees `values[index[b, t]]` at its frame t. It stays on the CPU, where batches are planned, so
            that no step waits for a GPU to say which frames it needs.
    """

    values: Shaped[Tensor, "frame ..."]
    index: Int[Tensor, "batch time"]

    @property
    def shape(self) -> torch.Size:
        """Shape (B, T, ...) of the values gathered by window."""
        return self.index.shape + self.values.shape[1:]

    @property
    def device(self) -> torch.device:
        """Where the values lie."""
        return self.values.device

    def gathered(self) -> Shaped[Tensor, "batch time ..."]:
        """The values by window."""
        return self.values[send(self.index, self.values.device)]

    def seen(self, visible: Bool[Tensor, "batch time"]) -> "SharedFrames":
        """Only the frames that some window sees; where a window does not see its frame, the index is 0."""
        needed, place = torch.unique(self.index[visible], return_inverse=True)
        index = torch.zeros_like(self.index)
        index[visible] = place
        return SharedFrames(self.values.index_select(0, send(needed, self.values.device)), index)

    def first(self, frames: int) -> "SharedFrames":
        """The first frames of every window."""
        return share(self.values, self.index[:, :frames])


def share(values: Shaped[Tensor, "frame ..."], index: Int[Tensor, "batch time"]) -> SharedFrames:
    """The frames of a store that some windows look at, each once."""
    needed, place = torch.unique(index.cpu(), return_inverse=True)
    return SharedFrames(values.index_select(0, send(needed, values.device)), place)


class WindowValues(Mapping[str, Tensor]):
    """Values (window, time, ...) by modality, gathered from the frames of a store when they are asked for.

    Args:
        frames: by modality, the frames of the store.
        index: frame indices of the windows.
        own: by modality, values that are not those of the store: each window has its own.
    """

    def __init__(
        self,
        frames: Mapping[str, Tensor],
        index: Int[Tensor, "window time"],
        own: Mapping[str, Shaped[Tensor, "window time ..."]] | None = None,
    ) -> None:
        self.frames = frames
        self.index = index
        self.own = dict(own or {})

    def __getitem__(self, name: str) -> Tensor:
        return self.own[name] if name in self.own else self.frames[name][self.index]

    def __contains__(self, name: object) -> bool:
        return name in self.frames  # to look it up would gather it

    def __iter__(self) -> Iterator[str]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, rows: Tensor) -> "WindowValues":
        """The values of the given windows."""
        return WindowValues(self.frames, self.index[rows], {name: part[rows] for name, part in self.own.items()})

    def last(self, name: str) -> Shaped[Tensor, "window ..."]:
        """The last frame of every window; the others are not gathered."""
        return self.own[name][:, -1] if name in self.own else self.frames[name][self.index[:, -1]]

    def shared(self, name: str) -> SharedFrames:
        """The frames of a modality that these windows look at, each once."""
        return share(self.frames[name], self.index)
