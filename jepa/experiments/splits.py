"""What the leaky split hides: the same models under the paper's split, under whole drives, and under folds of them.

Under `paper` overlapping windows are shuffled: most test windows have a neighbour in training that differs by one
frame. `blocked` tests the last fifth of the drives, `folds` every drive once. The windows that are tested differ from
split to split, so that nothing is paired by window: where two splits test nearly the same drives, as `paper` and
`folds` do, the same drives are drawn for both, otherwise each draws its own.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa.data.frames import FrameStore
from jepa.data.splits import FOLDS, make_split
from jepa.data.windows import T_WINDOW
from jepa.evaluation.metrics import BOOTSTRAP_DRAWS, tail_share
from jepa.experiments.on_twin.study import Place, Study
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Estimate, Sums
from jepa.experiments.results.rows import Rows, cells, estimate, numbers_of_page
from jepa.experiments.results.store import write_json
from jepa.experiments.table3 import METRICS, PAPER_JEPA, printed_cells

__all__ = ["SPLITS", "drawn_together", "flattery", "leak", "pooled", "run"]

SPLITS = {"paper": (0,), "blocked": (0,), "folds": tuple(range(FOLDS))}
"""Folds of every split."""
QUICK_FOLDS = (0, 2)
"""Enough to show that it runs."""
JEPA = "jepa"
BASELINES = ("gru_cascade", "position_knn")
"""Simple models: one that learns from the radio, and a map of the site, which finds the neighbour itself."""
SEED = 19
NEARLY_ALL = 0.9
"""Share of the drives that both splits have to test for their draws to be the same."""


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, print the tables, write them to `out`.

    Raises:
        UserError: an unknown budget, or rows of another one in `out`.
    """
    study = Study(out, data, budget)
    folds = {**SPLITS, "folds": QUICK_FOLDS} if budget == "quick" else SPLITS
    places = {
        split: [Place(split, fold, seed) for fold in folds[split] for seed in range(study.budget.seeds)]
        for split in SPLITS
    }
    leaks = {split: study.collected("leak", partial(_leak, study), places[split]) for split in SPLITS}
    models: dict[str, tuple[str, Callable[[Place], dict[str, Any]]]] = {
        JEPA: (study.base_key, study.base),
        **{name: (name, partial(study.baseline, name=name)) for name in BASELINES},
    }
    found = {
        model: {split: study.collected(key, compute, places[split]) for split in SPLITS}
        for model, (key, compute) in models.items()
    }
    values = {model: {split: _estimates(rows) for split, rows in by_split.items()} for model, by_split in found.items()}
    differences = {
        model: {f"paper - {other}": _difference(by_split["paper"], by_split[other]) for other in ("blocked", "folds")}
        for model, by_split in found.items()
    }
    page = _page(leaks, values, differences, study.describe())
    (out / "splits.md").write_text(page)
    numbers = numbers_of_page(
        study.name,
        study.budget,
        leaks=leaks,
        rows=found,
        values=values,
        differences=differences,
        paper={JEPA: PAPER_JEPA},
    )
    write_json(out / "splits.json", numbers)
    print(page)


def leak(store: FrameStore, kind: str, fold: int = 0, seed: int = 0) -> dict[str, Any]:
    """What a split gives away: shares of the test windows of which training holds frames.

    `neighbour`: a training window shares all but one of the 13 frames; `touched`: some training window shares a frame.
    """
    parts = make_split(store, kind, fold, seed).parts
    train, test = (parts[part].index[:, 0].cpu() for part in ("train", "test"))
    # windows are runs of frames, so that their first frames tell how many two of one drive share
    episode = store.episode_of_frame.cpu()
    shared = torch.zeros(len(test), dtype=torch.int64)
    starts = torch.full((store.frames,), False)
    starts[train] = True
    for apart in range(-T_WINDOW + 1, T_WINDOW):
        other = (test + apart).clamp(0, store.frames - 1)
        there = starts[other] & (episode[other] == episode[test]) & (other == test + apart)
        shared = torch.maximum(shared, there * (T_WINDOW - abs(apart)))
    return {
        "windows": len(test),
        "train_windows": len(train),
        "neighbour": float((shared == T_WINDOW - 1).double().mean()),
        "touched": float((shared > 0).double().mean()),
    }


def _leak(study: Study, place: Place) -> dict[str, Any]:
    return leak(study.radio, place.split, place.fold, place.seed)


def pooled(rows: Rows, metric: str) -> "Drives":
    """The drives that folds and seeds tested, and a metric over all their tested windows.

    Under `paper` each seed tests other windows, so that those of a drive are joined, not averaged.
    """
    every = [row for seeds in rows for row in seeds]
    drives = sorted({drive for row in every for drive in row["sequences"]})
    place = {drive: k for k, drive in enumerate(drives)}
    sums, windows = np.zeros(len(drives)), np.zeros(len(drives), int)
    for row in every:
        at = [place[drive] for drive in row["sequences"]]
        sums[at] += row[metric]
        windows[at] += row["windows"]
    return drives, Sums(sums, windows)


Drives = tuple[list[int], Sums]
"""Drives that a split tests, and a metric over their windows."""


def drawn_together(leaky: Drives, honest: Drives) -> bool:
    """Whether both splits test nearly the same drives: of a short one `paper` may test no window, by chance."""
    return len({*leaky[0]} & {*honest[0]}) >= NEARLY_ALL * len({*leaky[0]} | {*honest[0]})


def flattery(leaky: Drives, honest: Drives, root: bool = False) -> Estimate:
    """Mean under the leaky split less mean under an honest one, and its 95 % interval over drives.

    Where both test nearly the same drives a draw holds the same of both, and what makes a drive easy or hard falls out;
    otherwise each is drawn for itself, which gives a wider interval.

    Args:
        root: of two mean squares, the difference of the roots.
    """
    together = drawn_together(leaky, honest)
    every = sorted({*leaky[0], *honest[0]})
    first, second = (_over(every if together else drives, drives, summed) for drives, summed in (leaky, honest))

    def value(pair: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        sums, windows = pair[:, drawn].sum(-1)
        means: np.ndarray = sums / windows
        return np.sqrt(means) if root else means

    counts = first.shape[1], second.shape[1]
    difference = float(value(first, np.arange(counts[0])) - value(second, np.arange(counts[1])))
    if min(counts) == 1:
        return Estimate(difference, None, 1)
    generator = np.random.default_rng(SEED)
    one, other = (generator.integers(0, count, (BOOTSTRAP_DRAWS, count)) for count in counts)
    spread = value(first, one) - value(second, one if together else other)
    level = tail_share(min(counts))
    low, high = np.quantile(spread, [level, 1 - level])
    return Estimate(difference, (float(low), float(high)), min(counts))


def _over(every: Sequence[int], drives: Sequence[int], summed: Sums) -> np.ndarray:
    """Sums and windows of all drives; one that was not tested has neither."""
    found = np.zeros((2, len(every)))
    found[:, np.searchsorted(every, drives)] = summed.sums, summed.windows
    return found


NOTE = """Every model is trained anew under every split, with the same settings. *Neighbour*: share of the test windows
that share 12 of their 13 frames with a training window; *touched*: that share any frame. In brackets: 95 % intervals
over whole drives. The paper's row (Scenario 32, D = 128) was measured under its own split; the unit of its RSSI errors
is unknown."""
DIFFERENCES = """Mean under `paper` less mean under the other split. The windows differ between the splits, so that
nothing is paired by window. *Joint*: both splits test nearly the same drives, and each draw takes the same of both.
*Apart*: each split draws its own drives, and what makes them easy or hard stays in the interval. `paper` trains on 7 of
10 windows of all drives, `blocked` on 7 of 10 drives, `folds` on 3 of 5."""
HEADER = ("ADE m", "FDE m", "top-1", "top-3", "L1 diff dB", "RSSI RMSE dB", "RSSI MAE dB")


def _page(
    leaks: Mapping[str, Rows],
    values: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
    differences: Mapping[str, Mapping[str, Mapping[str, Any]]],
    budget: str,
) -> str:
    lines = ["# What the leaky split hides", "", budget, "", NOTE, "", _leaks(leaks), "", _metrics(values), ""]
    lines += ["## How much the leaky split flatters", "", DIFFERENCES, "", _differences(differences), ""]
    return "\n".join(lines)


def _leaks(leaks: Mapping[str, Rows]) -> str:
    body = []
    for split, places in leaks.items():
        rows = [row for seeds in places for row in seeds]
        weights = [row["windows"] for row in rows]
        cells = [str(sum(weights) // len(places[0]))]
        cells += [
            f"{np.average([row[share] for row in rows], weights=weights):.3f}" for share in ("neighbour", "touched")
        ]
        body.append([split, *cells])
    return markdown_table(("split", "test windows", "neighbour", "touched"), body)


def _metrics(values: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> str:
    body = [
        [model, split, *cells(own, METRICS)] for model, by_split in values.items() for split, own in by_split.items()
    ]
    body.insert(1, ["*paper's jepa*", "*paper*", *printed_cells(PAPER_JEPA, METRICS)])
    return markdown_table(("model", "split", *HEADER), body)


def _estimates(rows: Rows) -> dict[str, Estimate]:
    return {metric: estimate(pooled(rows, metric)[1], metric) for metric in METRICS}


def _difference(paper: Rows, other: Rows) -> dict[str, Any]:
    """What the leaky split adds to every metric, and whether the same drives are drawn for both."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        leaky, honest = pooled(paper, metric), pooled(other, metric)
        found["drives"] = "joint" if drawn_together(leaky, honest) else "apart"
        found[metric] = flattery(leaky, honest, root=metric == "rmse_db")
    return found


def _differences(differences: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    body = [
        [model, pair, found["drives"], *cells(found, METRICS, sign=True)]
        for model, by_pair in differences.items()
        for pair, found in by_pair.items()
    ]
    return markdown_table(("model", "difference", "drives", *HEADER), body)
