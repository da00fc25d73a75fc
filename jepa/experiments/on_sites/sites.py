"""Real sites as experiments use them: datasets under a split, fold and seed, and rows of what a model does there.

A row holds, for each sequence of the test part, how many windows it has and what each metric sums to over them: enough
for means, intervals over sequences and paired differences.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jepa.data.frames import FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import Split, make_split
from jepa.evaluation.evaluate import measures_of
from jepa.evaluation.predictions import Output
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.on_twin.recorded import recorded
from jepa.experiments.results.comparison import Estimate, Sums
from jepa.experiments.results.rows import estimate
from jepa.experiments.results.side_by_side import cores_here
from twin.errors import UserError

__all__ = ["METRICS", "Place", "checked_hashes", "gathered", "made", "row_of", "stand_ins", "sums_at", "values_at"]

STAND_INS = ("street_canyon", "deepsense32")
"""Scenarios of the twin: neither is drawn as `drive_by` is."""
METRICS = (("localization", "ade_m"), ("beam", "top1"), ("beam", "top3"), ("beam", "l1_rsrp_db"), ("rssi", "mae_db"))


@lru_cache(maxsize=8)
def _store(path: Path) -> FrameStore:
    """Recordings do not change while an experiment runs: a process reads them once."""
    return FrameStore.load([path])


@dataclass(frozen=True)
class Place:
    """A site under one split, fold and seed."""

    path: Path
    split: str
    fold: int
    seed: int

    def key(self, model: str) -> str:
        """The key of a row: what `sums_at` takes apart."""
        return f"{self.path.name}/{self.split}-{self.fold}/seed-{self.seed}/{model}"

    def load(self) -> tuple[FrameStore, Split]:
        """Its frames and its split."""
        store = _store(self.path)
        return store, make_split(store, self.split, self.fold, self.seed)


def checked_hashes(places: Sequence[Place]) -> dict[str, str]:
    """What the datasets hold, by their names; what is wrong with them is said before hours of work.

    Raises:
        UserError: two of them have one name, or one does not allow its split.
    """
    paths = {place.path for place in places}
    if len({path.name for path in paths}) < len(paths):
        raise UserError("two datasets have one name", "--data", "rows go by the names of the directories: rename one")
    _store.cache_clear()
    return {place.path.name: place.load()[0].datasets[0].hash for place in places}


def gathered(store: FrameStore, split: Split) -> dict[str, Samples]:
    """The samples of every part."""
    return {part: Samples.gather(store, windows) for part, windows in split.parts.items()}


def row_of(output: Output, samples: Samples) -> dict[str, Any]:
    """A row: the windows of every sequence, and sums of every metric over them."""
    measures = measures_of(output, samples)
    _, group = np.unique(samples.episode.cpu().numpy(), return_inverse=True)
    found: dict[str, Any] = {"windows": np.bincount(group).tolist()}
    for task, name in METRICS:
        if task in measures:
            found[name] = np.bincount(group, weights=measures[task][name].values.mean(1)).tolist()
    return found


def sums_at(rows: Mapping[str, Mapping[str, Any]], site: str, model: str, metric: str) -> Sums | None:
    """A metric of a model at a site: mean over seeds, folds one after another; None where there is no row of it."""
    folds: dict[str, list[Mapping[str, Any]]] = {}
    for key, row in rows.items():
        if key.startswith(f"{site}/") and key.endswith(f"/{model}") and metric in row:
            folds.setdefault(key.split("/")[1], []).append(row)
    return Sums.of(folds.values(), metric) if folds else None


def values_at(rows: Mapping[str, Mapping[str, Any]], sites: Iterable[str]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """By site and model every metric."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for site in sites:
        keys = [key for key, row in rows.items() if key.startswith(f"{site}/") and "windows" in row]
        own = {key: rows[key] for key in keys}
        found[site] = {}
        for model in dict.fromkeys(key.rsplit("/", 1)[1] for key in keys):
            summed = {metric: sums_at(own, site, model, metric) for _, metric in METRICS}
            found[site][model] = {metric: estimate(one, metric) for metric, one in summed.items() if one}
    return found


def stand_ins(out: Path, episodes: int, frames: int | None) -> list[Path]:
    """Datasets of the twin that stand in for real sites where none are named, recorded while the car is in view."""
    places = [out / "sites" / name for name in STAND_INS]
    for place in places:
        made(in_view(place.name, out / "scenario"), place, episodes, frames)
    return places


def made(scenario: str | Path, place: Path, episodes: int, frames: int | None = None) -> dict[str, Any]:
    """A row: drives of the twin at `place`, powers and positions; those that are there are kept."""
    start = time.monotonic()
    count = recorded(scenario, place, episodes, frames=frames, modalities=("rf", "gps"))
    return {"frames": count, "seconds": (time.monotonic() - start) * cores_here()}
