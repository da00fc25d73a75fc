"""Informative, not decorative: from one sensor alone a ridge regression tells where the UE is.

On episodes that it has not seen it predicts the azimuth of the UE, as the base station sees it relative to its
boresight, from the pictures, the radar maps or the depth images alone; its error is compared with that of the mean
azimuth of its training frames, episode by episode. Other vehicles are in the pictures, too, and nothing tells them from
the UE but how often they are there. What stands still is taken away first: the median over all frames of a drive, of a
held-out one as well, which needs no labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jepa.evaluation.metrics import BOOTSTRAP_DRAWS, tail_share
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.on_twin.recorded import recorded
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.store import RowStore, check_stamp, write_json
from twin.console import progress_bar
from twin.errors import UserError
from twin.recording import Entry, Recording, dataset_hash, whole_episodes

__all__ = ["BUDGETS", "FEATURES", "Ridge", "run"]

SCENARIO, SEED = "deepsense32", 0
BUDGETS = {"quick": 8, "default": 16, "full": 48}
"""Episodes: each is the passage of one car through the view."""
VIEW_DEG = 45.0
"""Frames count while the UE is within this of the boresight: every sensor looks there."""
FOLDS = 4
"""Parts of the episodes; each is the test once, the next one chooses the strength, the others train."""
STRENGTHS = 10.0 ** np.arange(-7, 3)
"""Strengths of the ridge that are tried, as shares of the variance of the features."""


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Make the recordings or take those of `data`, fit each sensor's regression, print the table and write it to `out`.

    Args:
        budget: `quick`, `default` or `full`, which is how many episodes are made.

    Raises:
        UserError: an unknown budget, recordings without a sensor or without truth, or rows of others in `out`.
    """
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    stamp = {"view_deg": VIEW_DEG, "folds": FOLDS, "episodes": None if data else BUDGETS[budget]}
    check_stamp(out / "rows", stamp)
    data = data or [_generated(out, BUDGETS[budget])]
    entries = [entry for path in data for entry in whole_episodes(path)]
    if len(entries) < FOLDS:
        raise UserError(f"{len(entries)} episodes are too few", data[0], f"name at least {FOLDS}")
    for entry in entries:
        _check_holds(entry)
    rows = RowStore(out / "rows", {**stamp, "data": dataset_hash(entries)})
    with progress_bar() as bar:
        task = bar.add_task("sensors", total=len(FEATURES))
        found = {}
        for sensor in FEATURES:
            found[sensor] = rows.row(sensor, partial(_row, entries, sensor))
            bar.advance(task)
    page = _page(found)
    (out / "sensors.md").write_text(page)
    write_json(out / "sensors.json", found)
    print(page)


def _check_holds(entry: Entry) -> None:
    """Raise a UserError where a recording lacks a sensor or the truth."""
    arrays = entry.manifest.arrays
    missing = [sensor for sensor in FEATURES if sensor not in arrays]
    if missing:
        raise UserError(f"has no {missing[0]}", entry.path, f"record or import it with the modality {missing[0]}")
    if "truth/position_m" not in arrays or entry.manifest.bs.boresight_rad is None:
        raise UserError("holds no truth", entry.path, "name recordings of the twin")


def _generated(out: Path, episodes: int) -> Path:
    """The recordings: the scenario, each episode as long as its UE is in view."""
    recordings, scenario = out / "data" / SCENARIO, in_view(SCENARIO, out / "scenario")
    recorded(scenario, recordings, episodes, seed=SEED, modalities=("rf", "gps", *FEATURES))
    return recordings


def _pooled(values: Float[np.ndarray, "*batch row column"], rows: int, columns: int) -> np.ndarray:
    """Means over blocks of rows and columns."""
    *batch, height, width = values.shape
    return values.reshape(*batch, height // rows, rows, width // columns, columns).mean((-3, -1))


def _camera(recording: Recording) -> np.ndarray:
    """Grey pictures of 28 x 28."""
    return _pooled(recording.images().astype(np.float32).mean(-1) / 255, 8, 8)


def _radar(recording: Recording) -> np.ndarray:
    """Range-angle maps of 32 angles and 64 ranges [dB]."""
    return _pooled(np.nan_to_num(recording.arrays["radar"].astype(np.float32)), 2, 4)


NEAR_M = 30.0
"""Depth images matter up to here: the street, not the houses beyond it [m]."""


def _lidar(recording: Recording) -> np.ndarray:
    """Depth images of 16 x 128: 1 at the sensor, 0 from `NEAR_M` on and where nothing comes back."""
    range_m = np.nan_to_num(recording.arrays["lidar"].astype(np.float32), nan=np.inf)
    return _pooled(np.clip(1 - range_m / NEAR_M, 0, 1), 4, 2)


FEATURES: dict[str, Callable[[Recording], np.ndarray]] = {"camera": _camera, "radar": _radar, "lidar": _lidar}
"""From a recording to one small map a frame of each sensor."""


@dataclass(frozen=True)
class _Episode:
    """The frames of an episode that count: the features of one sensor, and the azimuth of the UE."""

    features: Float[np.ndarray, "frame feature"]
    azimuth_deg: Float[np.ndarray, "frame"]


def _moving(maps: Float[np.ndarray, "frame row column"], valid: Bool[np.ndarray, "frame"]) -> np.ndarray:
    """Where in each map something moves: |x - median over the drive| as shares of their sum.

    A base station stands still and knows its empty street. Shares, because a dark car is as much of a car as a bright
    one.
    """
    difference = np.abs(maps - np.median(maps[valid], axis=0)).reshape(len(maps), -1)
    return difference / np.maximum(difference.sum(1, keepdims=True), np.finfo(np.float32).tiny)


def _azimuth_deg(recording: Recording) -> Float[np.ndarray, "frame"]:
    """Azimuth of the UE from the base station, counterclockwise from the boresight."""
    east, north = recording.arrays["truth/position_m"][:, :2].T
    boresight_rad = recording.manifest.bs.boresight_rad or 0.0
    return np.degrees(np.angle(np.exp(1j * (np.arctan2(north, east) - boresight_rad))))


def _counted(recording: Recording, azimuth_deg: Float[np.ndarray, "frame"]) -> Bool[np.ndarray, "frame"]:
    """Frames with the UE in view that all sensors saw: they are the same for each."""
    seen = np.all([recording.arrays[f"valid_{sensor}"] for sensor in FEATURES], axis=0)
    return seen & (np.abs(azimuth_deg) <= VIEW_DEG)


def _row(entries: Sequence[Entry], sensor: str) -> dict[str, Any]:
    """Mean errors of each episode when it was held out: the regression's and the mean azimuth's."""
    episodes = [found for entry in entries if (found := _episode(entry.open(), sensor))]
    if len(episodes) < FOLDS:
        what = f"only {len(episodes)} episodes have a frame with the UE in view"
        raise UserError(what, entries[0].path, f"name at least {FOLDS}")
    errors, strengths = np.empty((len(episodes), 2)), []
    fold_of = np.arange(len(episodes)) % FOLDS
    for fold in range(FOLDS):
        test, val = fold_of == fold, fold_of == (fold + 1) % FOLDS
        tried = Ridge.path(_chosen(episodes, ~test & ~val), STRENGTHS)
        best = min(range(len(tried)), key=lambda k: np.mean(_errors_deg(tried[k], _chosen(episodes, val))))
        (ridge,) = Ridge.path(_chosen(episodes, ~test), STRENGTHS[best : best + 1])
        held_out = _chosen(episodes, test)
        errors[test, 0] = _errors_deg(ridge, held_out)
        errors[test, 1] = [np.abs(episode.azimuth_deg - ridge.azimuth_deg).mean() for episode in held_out]
        strengths.append(float(STRENGTHS[best]))
    return {
        "frames": [len(episode.azimuth_deg) for episode in episodes],
        "error_deg": errors[:, 0].tolist(),
        "mean_error_deg": errors[:, 1].tolist(),
        "strength": strengths,
    }


def _episode(recording: Recording, sensor: str) -> _Episode | None:
    """The frames that count, or None without any."""
    azimuth_deg = _azimuth_deg(recording)
    counted = _counted(recording, azimuth_deg)
    if not counted.any():
        return None
    features = _moving(FEATURES[sensor](recording), recording.arrays[f"valid_{sensor}"])
    return _Episode(features[counted], azimuth_deg[counted])


def _chosen(episodes: Sequence[_Episode], chosen: Bool[np.ndarray, "episode"]) -> list[_Episode]:
    return [episode for episode, is_chosen in zip(episodes, chosen, strict=True) if is_chosen]


@dataclass(frozen=True)
class Ridge:
    """Ridge regression of the azimuth on features.

    With X the features less their mean, y the azimuth less its mean, n frames and v the mean square of a row of X, the
    weights minimise |y - X w|^2 + n v s |w|^2 for the strength s.

    Attributes:
        feature_mean: mean of the features.
        weight: w [deg].
        azimuth_deg: mean azimuth.
    """

    feature_mean: Float[np.ndarray, "feature"]
    weight: Float[np.ndarray, "feature"]
    azimuth_deg: float

    @classmethod
    def path(cls, episodes: Sequence[_Episode], strengths: Sequence[float] | np.ndarray) -> "list[Ridge]":
        """The regressions on all frames of some episodes, one a strength: with X = U S V', w = V S / (S^2 + l) U' y."""
        features = np.concatenate([episode.features for episode in episodes]).astype(np.float64)
        azimuth_deg = np.concatenate([episode.azimuth_deg for episode in episodes])
        mean, middle_deg = features.mean(0), float(azimuth_deg.mean())
        u, s, vt = np.linalg.svd(features - mean, full_matrices=False)
        along = u.T @ (azimuth_deg - middle_deg)
        penalties = [max((s**2).sum() * strength, np.finfo(float).tiny) for strength in strengths]
        return [cls(mean, vt.T @ (s / (s**2 + penalty) * along), middle_deg) for penalty in penalties]

    def predict(self, features: Float[np.ndarray, "frame feature"]) -> Float[np.ndarray, "frame"]:
        """Azimuths [deg], within the view."""
        return np.clip(self.azimuth_deg + (features - self.feature_mean) @ self.weight, -VIEW_DEG, VIEW_DEG)


def _errors_deg(ridge: Ridge, episodes: Sequence[_Episode]) -> list[float]:
    """Mean error of each episode."""
    return [float(np.abs(ridge.predict(e.features) - e.azimuth_deg).mean()) for e in episodes]


def _interval(values: Float[np.ndarray, "episode"]) -> tuple[float, float]:
    """95 % interval of the mean by drawing episodes."""
    drawn = np.random.default_rng(17).integers(0, len(values), (BOOTSTRAP_DRAWS, len(values)))
    level = tail_share(len(values))
    low, high = np.quantile(values[drawn].mean(1), [level, 1 - level])
    return float(low), float(high)


def _page(rows: dict[str, dict[str, Any]]) -> str:
    """The table; a star where the sensor is better and the interval of the difference excludes zero."""
    body = []
    for sensor, row in rows.items():
        error, mean_error = np.array(row["error_deg"]), np.array(row["mean_error_deg"])
        low, high = _interval(error - mean_error)
        difference = f"{(error - mean_error).mean():+.2f} [{low:+.2f}, {high:+.2f}]{'*' if high < 0 else ''}"
        body.append([sensor, f"{error.mean():.2f}", f"{mean_error.mean():.2f}", difference])
    first = next(iter(rows.values()))
    title = f"Error of the UE's azimuth on held-out episodes, deg: {len(first['frames'])} episodes, "
    title += f"{sum(first['frames'])} frames; the interval is over episodes"
    header = ["sensor", "from the sensor alone", "training mean", "difference [95 % interval]"]
    return f"{title}\n\n{markdown_table(header, body)}\n"
