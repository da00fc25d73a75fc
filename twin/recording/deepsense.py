"""Import of a DeepSense 6G scenario: the official folder with its CSV becomes one recording a sequence.

Received power and positions are read; camera, radar and LiDAR columns are named in the manifest as present. Beams are
1-based in the CSV and 0-based everywhere else.
"""

import math
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from twin.errors import UserError
from twin.recording.deepsense_table import DeepSenseTable, whole_number
from twin.recording.recording import BaseStation, Recording, RecordingManifest
from twin.recording.store import new_directory

__all__ = ["DEFAULT_MAX_BAD", "DEFAULT_RATE_HZ", "ImportSummary", "import_deepsense"]

BEAMS = 64
DEFAULT_RATE_HZ = 10.0
"""Nominal frame rate [Hz] where the CSV holds no time stamps."""
MIN_RATE_HZ, MAX_RATE_HZ = 0.01, 1000.0
DEFAULT_MAX_BAD = 0.05
"""Largest share of bad frame files of a modality that an import forgives."""
LARGEST_FILE_BYTES = 1 << 20
"""No text file of one frame is larger."""


@dataclass(frozen=True)
class ImportSummary:
    """What an import found: counts for the user, and as JSON for a script.

    `time_note` says why the times are nominal, or is empty; `beam_label_disagreements` counts the samples whose label
    in the table is not the strongest beam of their sweep.
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
    modalities: Sequence[str] = ("rf", "gps"),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Read the scenario whose table is `csv_path` and write one recording a sequence below `out`.

    A bad file of one frame (missing, cut, of the wrong size, not a number, negative, out of range) marks that modality
    of that frame invalid. `rate_hz` [Hz] spaces the frames where the table has no time stamps. `out` appears when all
    of it is written, or not at all. `progress` is told how many of how many files were read.

    Raises:
        UserError: a structural fault (no table, no column, unordered samples, a path that leaves the folder), more than
            a share `max_bad` of bad files in a modality, or an output that exists.
    """
    _check_options(rate_hz, max_bad, modalities)
    with new_directory(out) as draft:
        table = DeepSenseTable.read(Path(csv_path))
        frames = _read_frames(table, modalities, progress)
        frames.check(table.path, max_bad)
        return _write(table, frames, draft, rate_hz)


def _check_options(rate_hz: float, max_bad: float, modalities: Sequence[str]) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        remedy = f"give {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}"
        raise UserError(f"{rate_hz:g} Hz is no frame rate", "--rate-hz", remedy)
    if not 0 <= max_bad <= 1:
        raise UserError(f"{max_bad:g} is no share", "--max-bad", "give a number from 0 to 1")
    unknown = sorted(set(modalities) - {"rf", "gps"})
    if unknown or not modalities:
        raise UserError(f"cannot import {', '.join(unknown) or 'nothing'}", "--modalities", "choose from rf, gps")


@dataclass
class _Column:
    """The numbers of one file a frame; NaN and invalid where the file is bad."""

    values: Float[np.ndarray, "frame number"]
    valid: Bool[np.ndarray, "frame"]
    first_bad: str = ""


@dataclass
class _Frames:
    """What the files of all frames hold, by modality; `bs_location` has one row for each file of the base station."""

    columns: dict[str, _Column]

    def check(self, table: Path, max_bad: float) -> None:
        """Raise a UserError where more than a share `max_bad` of a modality is bad."""
        if not self.columns["bs_location"].valid.any():
            fault = self.columns["bs_location"].first_bad
            raise UserError(
                f"no position of the base station can be read ({fault})", table, "mend the files of unit1_loc"
            )
        for name, column in self.columns.items():
            share = float(1 - column.valid.mean())
            if share > max_bad:
                raise UserError(
                    f"{share:.1%} of the {name} files are bad (the first: {column.first_bad})",
                    table,
                    f"mend them or allow it with --max-bad {math.ceil(share * 100) / 100:g}",
                )

    def base_station(self) -> BaseStation:
        """The median over the base station's files, which all name one place."""
        column = self.columns["bs_location"]
        latitude, longitude = np.median(column.values[column.valid], axis=0)
        return BaseStation(latitude_deg=float(latitude), longitude_deg=float(longitude))


def _numbers(path: Path, count: int) -> np.ndarray:
    """The `count` numbers of a text file, one a line or separated by blanks or commas."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE_BYTES:
            raise ValueError("no text file of one frame")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError("missing") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    try:
        if b"_" in content:  # Python's digit grouping is no notation of a measurement
            raise ValueError
        values = np.array(content.replace(b",", b" ").split(), dtype=np.float64)
    except (ValueError, UnicodeDecodeError):
        raise ValueError("not numbers") from None
    if values.shape != (count,):
        raise ValueError(f"{values.size} numbers instead of {count}")
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return values


def _sweep(path: Path) -> np.ndarray:
    power = _numbers(path, BEAMS)
    if (power < 0).any():
        raise ValueError("negative power")
    if power.max() > np.finfo(np.float32).max:
        raise ValueError("out of range")
    if not power.astype(np.float32).any():
        raise ValueError("no power in any beam")
    return power


def _location(path: Path) -> np.ndarray:
    lat_lon = _numbers(path, 2)
    if abs(lat_lon[0]) > 90 or abs(lat_lon[1]) > 180:
        raise ValueError(f"latitude and longitude {lat_lon[0]:g}, {lat_lon[1]:g} are out of range")
    return lat_lon


def _read_frames(table: DeepSenseTable, modalities: Sequence[str], progress: Callable[[int, int], None]) -> _Frames:
    wanted: dict[str, tuple[str, Callable[[Path], np.ndarray], int]] = {}
    if "rf" in modalities:
        wanted["rf"] = ("power", _sweep, BEAMS)
    if "gps" in modalities:
        wanted["gps"] = ("ue_location", _location, 2)
        if "ue_location_calibrated" in table.columns:
            wanted["gps_calibrated"] = ("ue_location_calibrated", _location, 2)
    for name, (role, _, _) in wanted.items():
        table.require(role, f"add it or leave {name} out of --modalities")
    files = {name: table.files(role) for name, (role, _, _) in wanted.items()}
    stations = sorted(set(table.files("bs_location")))
    total = len(table.rows) * len(files) + len(stations)
    columns: dict[str, _Column] = {}
    done = 0
    with ThreadPoolExecutor() as pool:
        for name, (_, parse, count) in {**wanted, "bs_location": ("", _location, 2)}.items():
            paths = files.get(name, stations)
            columns[name] = _read_column(pool, paths, parse, count)
            done += len(paths)
            progress(done, total)
    return _Frames(columns)


def _read_column(
    pool: ThreadPoolExecutor, paths: list[Path], parse: Callable[[Path], np.ndarray], count: int
) -> _Column:
    values = np.full((len(paths), count), np.nan)
    faults: dict[int, str] = {}

    def read(some: range) -> None:
        for i in some:
            try:
                values[i] = parse(paths[i])
            except ValueError as fault:
                faults[i] = f"{paths[i].name}: {fault}"

    list(pool.map(read, [range(a, min(a + 256, len(paths))) for a in range(0, len(paths), 256)]))
    valid = np.ones(len(paths), bool)
    valid[list(faults)] = False
    return _Column(values, valid, faults[min(faults)] if faults else "")


def _write(table: DeepSenseTable, frames: _Frames, out: str, rate_hz: float) -> ImportSummary:
    sequence = table.integers("sequence")
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    lengths = np.diff(starts, append=len(sequence))
    times, time_note = table.times_s(starts)
    measured = times is not None and bool((lengths > 1).any())
    if times is None or not measured:
        times, rate = (np.arange(len(sequence)) - np.repeat(starts, lengths)) / rate_hz, rate_hz
    else:
        rate = float(1 / np.median(np.diff(times)[np.diff(sequence) == 0]))
    manifest = RecordingManifest(
        source="deepsense",
        scenario=table.path.stem,
        bs=frames.base_station(),
        generator_version=version("jepa-msac-twin"),
        frame_rate_hz=round(rate, 6),
        time_source="measured" if measured else "nominal",
        power_unit="arbitrary",
        columns_present=table.unread_columns,
    )
    width = max(4, len(str(sequence.max())))
    for start, length in zip(starts, lengths, strict=True):
        number = int(sequence[start])
        part = slice(start, start + length)
        described = manifest.model_copy(update={"seq_index": number})
        Recording(f"seq-{number:0{width}d}", described, _arrays(frames, times[part], part)).save(out)
    bad = {name: int((~column.valid).sum()) for name, column in frames.columns.items()}
    return ImportSummary(
        scenario=table.path.stem,
        samples=len(sequence),
        sequences=len(starts),
        shortest_sequence=int(lengths.min()),
        longest_sequence=int(lengths.max()),
        time_source=manifest.time_source,
        time_note=time_note,
        frame_rate_hz=manifest.frame_rate_hz,
        bad_files={name: count for name, count in bad.items() if count or name != "bs_location"},
        first_bad_file={name: column.first_bad for name, column in frames.columns.items() if column.first_bad},
        beam_label_disagreements=_beam_disagreements(table, frames),
        columns_present=manifest.columns_present,
    )


def _arrays(frames: _Frames, time: Float[np.ndarray, "frame"], part: slice) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {"time": time}
    for modality, count in (("rf", BEAMS), ("gps", 2)):
        given = frames.columns.get(modality)
        arrays[modality] = given.values[part] if given else np.full((len(time), count), np.nan)
        arrays[f"valid_{modality}"] = given.valid[part] if given else np.zeros(len(time), bool)
    if "gps_calibrated" in frames.columns:
        arrays["gps_calibrated"] = frames.columns["gps_calibrated"].values[part]
    return arrays


def _beam_disagreements(table: DeepSenseTable, frames: _Frames) -> int:
    """How many samples name another best beam (1-based in the table) than the strongest of their sweep."""
    if "beam" not in table.columns or "rf" not in frames.columns:
        return 0
    rf = frames.columns["rf"]
    labels = np.array([whole_number(row[table.columns["beam"]]) or 0 for row in table.rows])
    strongest = np.nan_to_num(rf.values, nan=-1.0).argmax(axis=1)
    return int((strongest[rf.valid] != labels[rf.valid] - 1).sum())
