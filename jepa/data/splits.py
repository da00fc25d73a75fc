"""Splits: which frames train, validate and test. Windows are cut after the split and never cross sequences.

`blocked` and `folds` keep whole sequences together. `paper` shuffles overlapping windows and leaks: a test window has a
neighbour that shares 12 of its 13 frames in train with probability 0.91.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa.data.frames import TARGETS, FrameStore
from jepa.data.windows import T_WINDOW, Piece, Windows, cut_windows, dataset_of_windows
from twin.errors import UserError

__all__ = ["FOLDS", "PARTS", "SPLITS", "Split", "make_split"]

FOLDS = 5
PARTS = ("train", "val", "test")
WITHOUT_FOLDS = ("blocked", "paper")
TRAIN_TENTHS, VAL_TENTHS = 7, 8
PURGE_FRAMES = T_WINDOW - 1
"""Frames left out between the parts of one long drive, so that no window of one sees a frame of another."""


@dataclass(frozen=True)
class Split:
    """The windows of each part, and a description that survives on disk."""

    kind: str
    fold: int
    seed: int
    parts: dict[str, Windows]
    pieces: dict[str, list[dict[str, Any]]]

    @property
    def protocol(self) -> str:
        """The name of the split as tables print it."""
        return {"folds": f"folds, fold {self.fold}", "paper": "paper (leaky)"}.get(self.kind, self.kind)

    def save(self, path: Path) -> None:
        """Write which episodes and frames belong to which part."""
        described = {"kind": self.kind, "fold": self.fold, "seed": self.seed, "parts": self.pieces}
        path.write_text(json.dumps(described, indent=1) + "\n")

    def with_share(self, fraction: float, seed: int) -> "Split":
        """The same split with a share of the training sequences, drawn by `seed`, at least one.

        Raises:
            UserError: `fraction` is not in (0, 1].
        """
        if not 0 < fraction <= 1:
            raise UserError(f"{fraction:g} is no share", "--fraction", "give a number above 0 and up to 1")
        return self.with_drives(max(1, round(fraction * self.drives)), seed)

    @property
    def drives(self) -> int:
        """Number of sequences that the training windows come from."""
        return len(torch.unique(self.parts["train"].episode))

    def with_drives(self, count: int, seed: int) -> "Split":
        """The same split with so many of the training sequences, drawn by `seed`: more of them hold those of fewer.

        Raises:
            UserError: there are not so many, or none is asked for.
        """
        if not 1 <= count <= self.drives:
            there = f"there are {self.drives} training drives with a window, not {count}"
            raise UserError(there, "--drives", f"give 1 to {self.drives}")
        train = self.parts["train"]
        episodes = torch.unique(train.episode).cpu().numpy()
        kept = np.random.default_rng([seed, 7]).permutation(episodes)[:count]
        rows = torch.isin(train.episode, torch.as_tensor(kept, device=train.episode.device))
        names = {int(episode) for episode in kept}
        pieces = [piece for piece in self.pieces["train"] if piece["number"] in names]
        return Split(
            self.kind,
            self.fold,
            self.seed,
            {**self.parts, "train": train.select(rows)},
            {**self.pieces, "train": pieces},
        )


def make_split(store: FrameStore, kind: str = "blocked", fold: int = 0, seed: int = 0) -> Split:
    """Split the episodes of a store; of several datasets, each for itself.

    Raises:
        UserError: an unknown kind or fold, or too few sequences for it.
    """
    if kind not in SPLITS:
        raise UserError(f"unknown split {kind!r}", "--split", f"choose from {', '.join(SPLITS)}")
    if kind in WITHOUT_FOLDS and fold:
        raise UserError(f"split {kind} has no fold {fold}", "--fold", "leave it at 0, or use --split folds")
    if kind == "paper":
        return _paper(store, seed)
    pieces = SPLITS[kind](store, fold)
    parts = {part: cut_windows(store, pieces[part]) for part in PARTS}
    for part, windows in parts.items():
        if len(windows) == 0 and part != "val":
            valid = " and ".join(TARGETS)
            raise UserError(
                f"the {part} part holds no window of {T_WINDOW} frames with valid {valid}",
                f"split {kind}",
                "use more or longer sequences",
            )
    return Split(kind, fold, seed, parts, _describe(store, pieces))


def _describe(store: FrameStore, pieces: dict[str, list[Piece]]) -> dict[str, list[dict[str, Any]]]:
    return {
        part: [
            {
                "number": piece.episode,
                "episode": store.episodes[piece.episode].name,
                "content_hash": store.episodes[piece.episode].content_hash,
                "frames": [piece.start, piece.stop],
            }
            for piece in found
        ]
        for part, found in pieces.items()
    }


def _whole(store: FrameStore, episodes: Sequence[int]) -> list[Piece]:
    return [Piece(episode, 0, store.episodes[episode].frames) for episode in episodes]


def _of_dataset(store: FrameStore, dataset: int) -> list[int]:
    return [number for number, episode in enumerate(store.episodes) if episode.dataset == dataset]


def _blocked(store: FrameStore, fold: int) -> dict[str, list[Piece]]:
    """Train the first floor(0.7 n) sequences, validation to floor(0.8 n), test the rest."""
    pieces: dict[str, list[Piece]] = {part: [] for part in PARTS}
    for dataset in range(len(store.datasets)):
        episodes = _of_dataset(store, dataset)
        if len(episodes) == 1:
            for part, piece in _one_long_drive(store, episodes[0]).items():
                pieces[part].append(piece)
            continue
        first, second = TRAIN_TENTHS * len(episodes) // 10, VAL_TENTHS * len(episodes) // 10
        for part, chosen in zip(PARTS, (episodes[:first], episodes[first:second], episodes[second:]), strict=True):
            pieces[part] += _whole(store, chosen)
    return pieces


def _one_long_drive(store: FrameStore, episode: int) -> dict[str, Piece]:
    frames = store.episodes[episode].frames
    first, second = TRAIN_TENTHS * frames // 10, VAL_TENTHS * frames // 10
    return {
        "train": Piece(episode, 0, first),
        "val": Piece(episode, first + PURGE_FRAMES, second),
        "test": Piece(episode, second + PURGE_FRAMES, frames),
    }


def _folds(store: FrameStore, fold: int) -> dict[str, list[Piece]]:
    """Five contiguous blocks of sequences: one the test, the block before it validation, the rest train."""
    if not 0 <= fold < FOLDS:
        raise UserError(f"there is no fold {fold}", "--fold", f"choose from 0 to {FOLDS - 1}")
    pieces: dict[str, list[Piece]] = {part: [] for part in PARTS}
    for dataset in range(len(store.datasets)):
        episodes = _of_dataset(store, dataset)
        if len(episodes) < FOLDS:
            raise UserError(
                f"holds {len(episodes)} sequences, folds need {FOLDS}", store.datasets[dataset].path, "use blocked"
            )
        for block, chosen in enumerate(np.array_split(np.array(episodes), FOLDS)):
            part = "test" if block == fold else "val" if block == (fold - 1) % FOLDS else "train"
            pieces[part] += _whole(store, [int(episode) for episode in chosen])
    return pieces


def _leave_one_scenario_out(store: FrameStore, fold: int) -> dict[str, list[Piece]]:
    """Dataset `fold` is the test; of each other one the last tenth validates."""
    if len(store.datasets) < 2 or not 0 <= fold < len(store.datasets):
        raise UserError(
            f"needs several datasets and a fold below their number, not {len(store.datasets)} and fold {fold}",
            "split leave-one-scenario-out",
            "name more datasets or another --fold",
        )
    pieces: dict[str, list[Piece]] = {part: [] for part in PARTS}
    for dataset in range(len(store.datasets)):
        episodes = _of_dataset(store, dataset)
        if dataset == fold:
            pieces["test"] += _whole(store, episodes)
            continue
        last = min(9 * len(episodes) // 10, len(episodes) - 1)
        pieces["train"] += _whole(store, episodes[:last])
        pieces["val"] += _whole(store, episodes[last:])
    return pieces


def _paper(store: FrameStore, seed: int) -> Split:
    """Overlapping windows shuffled 70/30, as the paper does; there is no validation part. Those of a part are in the
    order of their frames, so that batches find neighbours. What a dataset tests does not hang on those beside it."""
    every = _whole(store, range(len(store.episodes)))
    windows = cut_windows(store, every)
    dataset = dataset_of_windows(store, windows)
    trained: list[Tensor] = []
    tested: list[Tensor] = []
    for number in range(len(store.datasets)):
        own = (dataset == number).nonzero().flatten()
        order = own[torch.from_numpy(np.random.default_rng([seed, 11]).permutation(len(own)))]
        cut = TRAIN_TENTHS * len(own) // 10
        if cut == 0 or cut == len(own):
            where = store.datasets[number].path
            raise UserError(f"{len(own)} windows cannot be split", where, "use more or longer sequences")
        trained.append(order[:cut].sort().values)
        tested.append(order[cut:].sort().values)
    parts = {
        "train": windows.select(torch.cat(trained)),
        "val": windows.select(torch.arange(0)),
        "test": windows.select(torch.cat(tested)),
    }
    described = _describe(store, {"train": every, "val": [], "test": every})
    return Split("paper", 0, seed, parts, described)


SPLITS: dict[str, Callable[[FrameStore, int], dict[str, list[Piece]]]] = {
    "blocked": _blocked,
    "folds": _folds,
    "paper": lambda store, fold: {},
    "leave-one-scenario-out": _leave_one_scenario_out,
}
