"""Golden summaries of scenarios: has the simulated world changed?

`scenarios/<name>/expected.json` holds, for fixed seeds, which beams are best, where, and for how long, how strong the
sweeps are, how many paths there are, how fast the UE drives, and what the sensors see, each with a tolerance.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twin.errors import UserError
from twin.recording import Recording
from twin.scenario import load_scenario, scenario_names
from twin.simulator import Simulator

__all__ = ["EPISODES", "SEED", "TOLERANCES", "compare", "regress", "summarise", "summarise_sensors", "summary_of"]

SEED = 20_000
EPISODES = 12
"""Episodes that a summary is made of."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BEAM_GROUP = 4
"""Beams counted together in the distribution of best beams."""
RELEVANT_POWER_SHARE = 1e-3
"""Paths weaker than this share of the strongest one are not counted [1]."""
SENSOR_FRAMES = 3
"""Frames of an episode in which camera, LiDAR and radar are looked at."""
SECTOR_DEG = 10
SECTORS = 9
"""Sectors of azimuth around broadside over which the mean best beam is taken."""

TOLERANCES = {
    "best_beam_share": 0.02,
    "mean_beam_by_azimuth": 1.0,
    "dwell_frames": 0.5,
    "strongest_power_dbm": 0.3,
    "weakest_power_dbm": 0.3,
    "path_count_share": 0.02,
    "line_of_sight_share": 0.01,
    "blocked_share": 0.01,
    "speed_mps": 0.1,
    "frames": 2.0,
    "gps_error_m": 0.1,
    "camera_level": 4.0,
    "camera_ue_pixels": 20.0,
    "lidar_points": 150.0,
    "lidar_range_m": 0.5,
    "radar_peak_db": 1.5,
}
"""Largest allowed difference of any number of an entry, in its own unit."""


def summarise(recordings: Sequence[Recording]) -> dict[str, list[float | None]]:
    """Summary of episodes of one scenario; None where nothing was seen."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([recording.arrays[name] for recording in recordings])

    best, power_dbm = joined("truth/best_beam"), 10.0 * np.log10(joined("rf").astype(np.float64)) + 30.0
    path_power = (joined("truth/path_gain").astype(np.float64) ** 2).sum(axis=-1)
    paths = ((path_power > 0.0) & (path_power >= RELEVANT_POWER_SHARE * path_power.max(axis=1, keepdims=True))).sum(
        axis=1
    )
    speed = np.linalg.norm(joined("truth/velocity_mps"), axis=1)
    dwell = np.concatenate([_run_lengths(recording.arrays["truth/best_beam"]) for recording in recordings])
    return {
        "frames": _quantiles(np.array([recording.frames for recording in recordings])),
        "best_beam_share": _shares(best // BEAM_GROUP, power_dbm.shape[1] // BEAM_GROUP),
        "mean_beam_by_azimuth": _by_azimuth(recordings),
        "dwell_frames": _quantiles(dwell),
        "strongest_power_dbm": _quantiles(power_dbm.max(axis=1)),
        "weakest_power_dbm": _quantiles(power_dbm.min(axis=1)),
        "path_count_share": _shares(paths, 9),
        "line_of_sight_share": [_rounded(joined("truth/line_of_sight").mean())],
        "blocked_share": [_rounded(joined("truth/blocked").mean())],
        "speed_mps": _quantiles(speed),
        "gps_error_m": _quantiles(np.concatenate([_gps_error_m(recording) for recording in recordings])),
    }


def _gps_error_m(recording: Recording) -> np.ndarray:
    error = np.linalg.norm(recording.position_m() - recording.arrays["truth/position_m"][:, :2], axis=1)
    return np.asarray(error[recording.arrays["valid_gps"]])


def summary_of(episodes: Sequence[Simulator]) -> dict[str, list[float | None]]:
    """Summary of episodes: of power and position in every frame, of the other sensors in some."""
    return summarise([episode.run(modalities=("rf", "gps")) for episode in episodes]) | summarise_sensors(episodes)


def summarise_sensors(episodes: Sequence[Simulator]) -> dict[str, list[float | None]]:
    """Summary of what camera, LiDAR and radar see in `SENSOR_FRAMES` frames of each episode."""
    level, pixels, points, range_m, peak_db = [], [], [], [], []
    for episode in episodes:
        for frame in np.linspace(0, episode.frames - 1, SENSOR_FRAMES + 2).astype(int)[1:-1]:
            picture, cloud = episode.sensors.picture(int(frame)), episode.sensors.cloud(int(frame)).point_m
            level.append(picture.image.mean())
            pixels.append((picture.instance == 0).sum())
            points.append(len(cloud))
            range_m.append(np.linalg.norm(cloud, axis=1))
            peak_db.append(episode.sensors.echo(int(frame)).map_db.max())
    every = {"camera_level": level, "camera_ue_pixels": pixels, "lidar_points": points, "radar_peak_db": peak_db}
    found = {name: _quantiles(np.array(values, np.float64)) for name, values in every.items()}
    return found | {"lidar_range_m": _quantiles(np.concatenate(range_m))}


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _quantiles(values: np.ndarray) -> list[float | None]:
    return [_rounded(value) for value in np.quantile(values, QUANTILES)]


def _shares(values: np.ndarray, groups: int) -> list[float | None]:
    counts = np.bincount(np.clip(values, 0, groups - 1), minlength=groups)
    return [_rounded(share) for share in counts / len(values)]


def _run_lengths(beams: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(np.diff(beams)) + 1
    return np.diff(np.concatenate([[0], ends, [len(beams)]]))


def _by_azimuth(recordings: Sequence[Recording]) -> list[float | None]:
    """Mean best beam, counted in order of azimuth, of the clear frames in each sector of azimuth from broadside."""
    sectors, beams = [], []
    for recording in recordings:
        position, boresight = recording.arrays["truth/position_m"], recording.manifest.bs.boresight_rad or 0.0
        azimuth = np.degrees(np.arctan2(position[:, 1], position[:, 0]) - boresight)
        sector = np.floor(((azimuth + 180.0) % 360.0 - 180.0) / SECTOR_DEG + SECTORS / 2.0).astype(int)
        best = recording.arrays["truth/best_beam"].astype(float)
        scenario = recording.manifest.scenario
        if isinstance(scenario, dict) and scenario["radio"]["codebook"]["reversed"]:
            best = recording.arrays["rf"].shape[1] - 1 - best
        clear = recording.arrays["truth/line_of_sight"]
        sectors.append(sector[clear])
        beams.append(best[clear])
    where, which = np.concatenate(sectors), np.concatenate(beams)
    return [_rounded(which[where == k].mean()) if (where == k).any() else None for k in range(SECTORS)]


def compare(expected: dict[str, Any], found: dict[str, list[float | None]]) -> list[str]:
    """What of a summary lies outside the tolerances, in words; empty when nothing does."""
    problems = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found:
            problems.append(f"{name} is only in the {'found' if name in found else 'expected'} summary")
            continue
        wanted, got, tolerance = expected[name]["values"], found[name], expected[name]["tolerance"]
        gap = _largest_gap(wanted, got)
        if not gap <= tolerance:
            problems.append(f"{name} differs by {gap:g}, allowed is {tolerance:g}: expected {wanted}, found {got}")
    return problems


def _largest_gap(wanted: list[float | None], got: list[float | None]) -> float:
    if len(wanted) != len(got) or any((a is None) != (b is None) for a, b in zip(wanted, got, strict=True)):
        return float("inf")
    return max((abs(a - b) for a, b in zip(wanted, got, strict=True) if a is not None and b is not None), default=0.0)


def regress(names: Sequence[str] = (), update: bool = False, folder: Path | None = None) -> dict[str, list[str]]:
    """Problems of each scenario against its expected.json (all scenarios by default); `update` rewrites the files.

    `folder` holds `<name>/expected.json` in place of the project's scenarios.

    Raises:
        UserError: there is no such scenario, or no expected.json to compare with.
    """
    problems: dict[str, list[str]] = {}
    for name in names or scenario_names():
        template = load_scenario(name)
        found = summary_of([Simulator(template, SEED, episode) for episode in range(EPISODES)])
        file = (folder / template.name if folder else Path(str(template.where)).parent) / "expected.json"
        if update:
            entries = {key: {"tolerance": TOLERANCES[key], "values": values} for key, values in found.items()}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"seed": SEED, "episodes": EPISODES, "summary": entries}, indent=1) + "\n")
            problems[name] = []
            continue
        try:
            expected = json.loads(file.read_text(encoding="utf-8"))["summary"]
            problems[name] = compare(expected, found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"no expected summary ({type(error).__name__})", file, f"make it: twin regress {name} --update"
            ) from None
    return problems
