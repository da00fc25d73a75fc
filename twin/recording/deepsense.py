"""Import of a DeepSense 6G scenario: the official folder with its CSV becomes one recording a sequence.

Beams are 1-based in the CSV and 0-based everywhere else.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Int

from twin.errors import UserError
from twin.recording.deepsense_files import camera_jpeg, lidar_depth_m, location_deg, power_sweep, radar_map_db
from twin.recording.deepsense_frames import BadFiles, Column, LidarFill, Reading, sensor_pool, text_pool
from twin.recording.deepsense_table import DeepSenseTable, whole_number
from twin.recording.directory import new_directory
from twin.recording.recording import MODALITIES, BaseStation, Recording, RecordingManifest
from twin.sensors.radar.range_angle import Clutter

__all__ = ["DEFAULT_MAX_BAD", "DEFAULT_RATE_HZ", "ImportSummary", "import_deepsense"]

DEFAULT_RATE_HZ = 10.0
"""Nominal frame rate [Hz] where the CSV holds no time stamps."""
MIN_RATE_HZ, MAX_RATE_HZ = 0.01, 1000.0
DEFAULT_MAX_BAD = 0.05
"""Largest share of bad frame files of a modality that an import forgives."""
SENSORS = ("camera", "radar", "lidar")
"""What is large: read by processes, a sequence at a time."""


@dataclass(frozen=True)
class ImportSummary:
    """What an import found: counts for the user, and as JSON for a script.

    `time_note` says why the times are nominal, or is empty; `beam_label_disagreements` counts the samples whose label
    in the table is not the strongest beam of their sweep; `lidar_filled` is the mean share of pixels, rows and columns
    of the depth images that hold a return; `columns_read` names the column of each kind of file.
    """

    scenario: str
    samples: int
    sequences: int
    shortest_sequence: int
    longest_sequence: int
    time_source: str
    time_note: str
    frame_rate_hz: float
    bad_files: dict[str, int]
    first_bad_file: dict[str, str]
    beam_label_disagreements: int
    lidar_filled: dict[str, float]
    columns_read: dict[str, str]
    columns_present: list[str]

    def as_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dictionary."""
        return asdict(self)


def import_deepsense(
    csv_path: str | Path,
    out: str | Path,
    *,
    rate_hz: float = DEFAULT_RATE_HZ,
    max_bad: float = DEFAULT_MAX_BAD,
    modalities: Sequence[str] | None = None,
    radar_clutter: str = "chirp_mean",
    workers: int | None = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Read the scenario whose table is `csv_path` and write one recording a sequence below `out`.

    A bad file of one frame (missing, cut, of the wrong size, not a number, negative, out of range) marks that modality
    of that frame invalid. `out` appears when all of it is written, or not at all. Camera, radar and LiDAR of two
    sequences at most are in memory at a time.

    Args:
        rate_hz: spaces the frames where the table has no time stamps [Hz].
        max_bad: share of bad files of a modality that is forgiven.
        modalities: what to read; if left out power, position and each sensor that the table has a column for.
        radar_clutter: what is subtracted in range-angle maps, see `range_angle_map`.
        workers: processes that read camera, radar and LiDAR, None for one a core; recordings do not depend on it.
        progress: is told how many of how many files were read.

    Raises:
        UserError: a structural fault (no table, no column, unordered samples, a path that leaves the folder), more than
            a share `max_bad` of bad files in a modality, or an output that exists.
    """
    _check_options(rate_hz, max_bad, modalities, workers)
    clutter = _clutter(radar_clutter)
    with new_directory(out) as draft:
        table = DeepSenseTable.read(Path(csv_path))
        files = _FrameFiles(table, _kinds(table, modalities, clutter), progress)
        files.read_texts()
        files.bad.check(table.path, max_bad)
        files.find_sensors(max_bad)
        drive = _Timeline.of(table, rate_hz)
        manifest = _manifest(files, drive, clutter)
        with sensor_pool(workers, len(files.sensors) * len(table.rows)) as pool:
            for part, sensors in files.sequences(pool, drive.parts):
                _recording(files, drive, manifest, part, sensors).save(draft)
        files.bad.check(table.path, max_bad)
        return _summary(files, drive, manifest)


def _check_options(rate_hz: float, max_bad: float, modalities: Sequence[str] | None, workers: int | None) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        remedy = f"give {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}"
        raise UserError(f"{rate_hz:g} Hz is no frame rate", "--rate-hz", remedy)
    if not 0 <= max_bad <= 1:
        raise UserError(f"{max_bad:g} is no share", "--max-bad", "give a number from 0 to 1")
    unknown = sorted(set(modalities or ()) - set(MODALITIES))
    if unknown or (modalities is not None and not modalities):
        what = f"cannot import {', '.join(unknown) or 'nothing'}"
        raise UserError(what, "--modalities", f"choose from {', '.join(MODALITIES)}")
    if workers is not None and workers < 1:
        raise UserError(f"{workers} is too small", "--workers", "give at least 1")


def _clutter(name: str) -> Clutter:
    for known in get_args(Clutter):
        if known == name:
            return known
    remedy = f"choose from {', '.join(get_args(Clutter))}"
    raise UserError(f"there is no clutter filter {name!r}", "--radar-clutter", remedy)


@dataclass(frozen=True)
class _Kind:
    """One kind of file: the column of the table that names it, how it is read, and what stands for a bad one."""

    role: str
    read: Callable[[Path], np.ndarray]
    blank: np.ndarray


def _kinds(table: DeepSenseTable, modalities: Sequence[str] | None, clutter: Clutter) -> dict[str, _Kind]:
    """The kinds of files to read, by the names of their arrays.

    Raises:
        UserError: the table has no column for a modality that is asked for.
    """
    no_map = np.full((64, 256), np.nan, np.float16)
    location = partial(_Kind, read=location_deg, blank=np.full(2, np.nan))
    known = {
        "rf": _Kind("power", power_sweep, np.full(64, np.nan)),
        "gps": location("ue_location"),
        "camera": _Kind("camera", camera_jpeg, np.zeros(1, np.uint8)),
        "radar": _Kind("radar", partial(radar_map_db, clutter=clutter), no_map),
        "lidar": _Kind("lidar", lidar_depth_m, no_map),
    }
    if modalities is None:
        modalities = [name for name, kind in known.items() if name not in SENSORS or kind.role in table.columns]
    kinds = {name: kind for name, kind in known.items() if name in modalities}
    for name, kind in kinds.items():
        table.require(kind.role, f"add it or leave {name} out of --modalities")
    if "gps" in kinds and "ue_location_calibrated" in table.columns:
        kinds["gps_calibrated"] = location("ue_location_calibrated")
    return {"bs_location": location("bs_location"), **kinds}


class _FrameFiles:
    """The files that a table names, read and the bad ones counted: power and positions of all frames stay in `texts`,
    camera, radar and LiDAR come by sequence."""

    def __init__(self, table: DeepSenseTable, kinds: dict[str, _Kind], progress: Callable[[int, int], None]) -> None:
        self.table, self.kinds, self.bad, self.fill = table, kinds, BadFiles(), LidarFill()
        self.paths = {name: table.files(kind.role) for name, kind in kinds.items()}
        self.paths["bs_location"] = sorted(set(self.paths["bs_location"]))
        self.sensors = [name for name in kinds if name in SENSORS]
        self.texts: dict[str, Column] = {}
        self._progress, self._done = progress, 0
        self._total = sum(map(len, self.paths.values()))

    def read_texts(self) -> None:
        """Read power and positions, the base station's too.

        Raises:
            UserError: no position of the base station can be read.
        """
        with text_pool() as pool:
            for name in self.kinds:
                if name not in SENSORS:
                    self.texts[name] = self._column(name, self._reading(pool, name, slice(None)))
        if not self.texts["bs_location"].valid.any():
            what = f"no position of the base station can be read ({self.bad.first['bs_location']})"
            raise UserError(what, self.table.path, "mend the files of unit1_loc")

    def find_sensors(self, max_bad: float) -> None:
        """Raise a UserError at once where more than a share `max_bad` of the files of a sensor is missing."""
        missing = BadFiles()
        for name in self.sensors:
            faults = {path: "missing" for path in self.paths[name] if not os.path.exists(path)}
            missing.note(name, self.paths[name], faults)
        missing.check(self.table.path, max_bad)

    def sequences(self, pool: Executor, parts: Sequence[slice]) -> Iterator[tuple[slice, dict[str, Column]]]:
        """The columns of the sensors for each part of the table; while one is used, the next is being read."""
        ahead: list[dict[str, Reading]] = []
        for k, part in enumerate(parts):
            for coming in parts[k + len(ahead) : k + 2]:
                ahead.append({name: self._reading(pool, name, coming) for name in self.sensors})
            columns = {name: self._column(name, reading) for name, reading in ahead.pop(0).items()}
            if "lidar" in columns:
                self.fill.add(columns["lidar"])
            yield part, columns

    def _reading(self, pool: Executor, name: str, part: slice) -> Reading:
        return Reading(pool, self.kinds[name].read, self.paths[name][part])

    def _column(self, name: str, reading: Reading) -> Column:
        column, faults = reading.column(self.kinds[name].blank)
        self.bad.note(name, reading.paths, faults)
        self._done += len(reading.paths)
        self._progress(self._done, self._total)
        return column


@dataclass(frozen=True)
class _Timeline:
    """When each sample was taken [s from the start of its sequence], and which samples each sequence holds."""

    sequence: Int[np.ndarray, "sample"]
    parts: list[slice]
    time_s: Float[np.ndarray, "sample"]
    rate_hz: float
    measured: bool
    note: str

    @classmethod
    def of(cls, table: DeepSenseTable, rate_hz: float) -> "_Timeline":
        """The times that the table states, or nominal ones at `rate_hz`."""
        sequence = table.integers("sequence")
        starts = np.flatnonzero(np.diff(sequence, prepend=-1))
        ends = np.append(starts[1:], len(sequence))
        parts = [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
        times, note = table.times_s(starts)
        within = np.diff(sequence) == 0
        if times is None or not within.any():
            times = (np.arange(len(sequence)) - np.repeat(starts, ends - starts)) / rate_hz
            return cls(sequence, parts, times, rate_hz, False, note)
        return cls(sequence, parts, times, float(1 / np.median(np.diff(times)[within])), True, note)


def _manifest(files: _FrameFiles, drive: _Timeline, clutter: Clutter) -> RecordingManifest:
    stations = files.texts["bs_location"]
    latitude, longitude = np.median(stations.values[stations.valid], axis=0)  # the files all name one place
    return RecordingManifest(
        source="deepsense",
        scenario=files.table.path.stem,
        bs=BaseStation(latitude_deg=float(latitude), longitude_deg=float(longitude)),
        generator_version=version("jepa-msac-twin"),
        frame_rate_hz=round(drive.rate_hz, 6),
        time_source="measured" if drive.measured else "nominal",
        power_unit="arbitrary",
        columns_present=files.table.sensor_columns(except_roles=files.sensors),
        import_options={"radar_clutter": clutter} if "radar" in files.sensors else {},
    )


def _recording(
    files: _FrameFiles, drive: _Timeline, manifest: RecordingManifest, part: slice, sensors: dict[str, Column]
) -> Recording:
    time_s = drive.time_s[part]
    arrays: dict[str, np.ndarray] = {"time": time_s}
    for modality, count in (("rf", 64), ("gps", 2)):
        given = files.texts.get(modality)
        arrays[modality] = given.values[part] if given else np.full((len(time_s), count), np.nan)
        arrays[f"valid_{modality}"] = given.valid[part] if given else np.zeros(len(time_s), bool)
    if "gps_calibrated" in files.texts:
        arrays["gps_calibrated"] = files.texts["gps_calibrated"].values[part]
    for modality, column in sensors.items():
        arrays[modality], arrays[f"valid_{modality}"] = column.values, column.valid
    number = int(drive.sequence[part.start])
    width = max(4, len(str(drive.sequence.max())))
    return Recording(f"seq-{number:0{width}d}", manifest.model_copy(update={"seq_index": number}), arrays)


def _summary(files: _FrameFiles, drive: _Timeline, manifest: RecordingManifest) -> ImportSummary:
    lengths = [part.stop - part.start for part in drive.parts]
    columns = files.table.columns
    return ImportSummary(
        scenario=files.table.path.stem,
        samples=len(drive.sequence),
        sequences=len(lengths),
        shortest_sequence=min(lengths),
        longest_sequence=max(lengths),
        time_source=manifest.time_source,
        time_note=drive.note,
        frame_rate_hz=manifest.frame_rate_hz,
        bad_files={name: count for name, count in files.bad.bad.items() if count or name != "bs_location"},
        first_bad_file=files.bad.first,
        beam_label_disagreements=_beam_disagreements(files),
        lidar_filled=files.fill.shares(),
        columns_read={name: columns[kind.role] for name, kind in files.kinds.items()},
        columns_present=manifest.columns_present,
    )


def _beam_disagreements(files: _FrameFiles) -> int:
    """How many samples name another best beam (1-based in the table) than the strongest of their sweep."""
    table = files.table
    if "beam" not in table.columns or "rf" not in files.texts:
        return 0
    rf = files.texts["rf"]
    labels = np.array([whole_number(row[table.columns["beam"]]) or 0 for row in table.rows])
    strongest = np.nan_to_num(rf.values, nan=-1.0).argmax(axis=1)
    return int((strongest[rf.valid] != labels[rf.valid] - 1).sum())
