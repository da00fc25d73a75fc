"""Which windows of some data a run is asked about: its own split, or all of what it never saw."""

from collections.abc import Sequence

import torch

from jepa.data.frames import FrameStore
from jepa.data.splits import PARTS, Split
from jepa.data.windows import Piece, cut_windows
from jepa.runs.directory import RunDescription
from twin.errors import UserError

__all__ = ["PREDICTED", "parts_with_windows", "split_for"]

PREDICTED = ("val", "test")
"""Parts that are predicted unless others are named."""


def parts_with_windows(split: Split, parts: Sequence[str]) -> list[str]:
    """Those of the named parts that hold windows.

    Raises:
        UserError: there is no such part.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise UserError(f"no part {sorted(unknown)[0]!r}", "--split", f"choose from {', '.join(PARTS)}")
    return [part for part in parts if len(split.parts[part])]


def split_for(description: RunDescription, store: FrameStore) -> Split:
    """The run's split of a store; of recordings that the run never saw, everything is test.

    Raises:
        UserError: some datasets are those of the run and others are not, or there is no window.
    """
    trained = {piece.content_hash for piece in description.trained}
    own = {episode.dataset for episode in store.episodes if episode.content_hash in trained}
    if description.split != "leave-one-scenario-out":  # which never saw the dataset that it holds out
        made_with = description.datasets.values()
        own |= {number for number, dataset in enumerate(store.datasets) if dataset.hash in made_with}
        strange = [dataset for number, dataset in enumerate(store.datasets) if number not in own]
        if own and strange:
            raise UserError(
                "the run never saw it, but saw others named beside it", strange[0].path, "name it in a call of its own"
            )
    if own:
        return description.split_of(store)
    pieces = [Piece(number, 0, episode.frames) for number, episode in enumerate(store.episodes)]
    windows = cut_windows(store, pieces)
    if not len(windows):
        raise UserError("holds no window", store.datasets[0].path, "use longer sequences")
    empty = windows.select(torch.arange(0))
    return Split("unseen", 0, 0, {"train": empty, "val": empty, "test": windows}, {part: [] for part in PARTS})
