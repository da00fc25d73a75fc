"""Import of a DeepSense 6G scenario: the official folder with its CSV becomes one recording a sequence.

Both testbeds' column names are understood (scenarios 1-9 and 31 on). Received power and positions are read; camera,
radar and LiDAR columns are named in the manifest as present. Beams are 1-based in the CSV and 0-based everywhere else.
"""

import csv
import math
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from twin.errors import UserError
from twin.recording.recording import BaseStation, Recording, RecordingManifest

__all__ = ["ImportSummary", "import_deepsense"]

BEAMS = 64
DEFAULT_RATE_HZ = 10.0
"""Nominal frame rate [Hz] where the CSV holds no time stamps."""
DEFAULT_MAX_BAD = 0.05
"""Largest share of bad frame files of a modality that an import forgives."""

COLUMNS = {
    "power": ("unit1_pwr_60ghz", "unit1_pwr", "unit1_mmwave"),
    "bs_location": ("unit1_loc", "unit1_gps"),
    "ue_location": ("unit2_loc", "unit2_gps"),
    "ue_location_calibrated": ("unit2_loc_cal",),
    "beam": ("unit1_beam", "unit1_beam_index"),
    "sequence": ("seq_index",),
    "index": ("index", "abs_index"),
    "time": ("time_stamp", "time_stamp[UTC]"),
}
UNREAD = re.compile(r"unit\d_(rgb|camera|lidar|radar|cam)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2})[-:](\d{1,2})[-:](\d{1,2})(?:[-:.](\d{1,6}))?")
_DAY_S = 86_400.0


@dataclass
class ImportSummary:
    """What an import found: counts for the user, and as JSON for a script."""

    scenario: str
    samples: int
    sequences: int
    shortest_sequence: int
    longest_sequence: int
    time_source: str
    frame_rate_hz: float
    bad_files: dict[str, int]
    first_bad_file: dict[str, str] = field(default_factory=dict)
    beam_label_disagreements: int = 0
    columns_present: list[str] = field(default_factory=list)

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
) -> ImportSummary:
    """Read the scenario whose table is `csv_path` and write one recording a sequence below `out`.

    A bad file of one frame (missing, cut, of the wrong size, not a number, negative, out of range) marks that modality
    of that frame invalid. `rate_hz` [Hz] spaces the frames where the table has no time stamps.

    Raises:
        UserError: a structural fault (no table, no column, unordered samples, a path that leaves the folder), more than
            a share `max_bad` of bad files in a modality, or an output that exists.
    """
    table, out = Path(csv_path), Path(out)
    if out.exists():
        raise UserError("exists already", out, "choose another output or remove it")
    _check_options(rate_hz, max_bad, modalities)
    rows = _Table.read(table)
    frames = _read_frames(rows, modalities)
    for modality, share in frames.bad_share().items():
        if share > max_bad:
            raise UserError(
                f"{share:.1%} of the {modality} files are bad (the first: {frames.first_bad[modality]})",
                table,
                f"mend them or allow it with --max-bad {math.ceil(share * 100) / 100:g}",
            )
    return _write(rows, frames, out, rate_hz)


def _check_options(rate_hz: float, max_bad: float, modalities: Sequence[str]) -> None:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise UserError(f"{rate_hz:g} Hz is no frame rate", "--rate-hz", "give a positive number")
    if not 0 <= max_bad <= 1:
        raise UserError(f"{max_bad:g} is no share", "--max-bad", "give a number from 0 to 1")
    unknown = sorted(set(modalities) - {"rf", "gps"})
    if unknown or not modalities:
        raise UserError(f"cannot import {', '.join(unknown) or 'nothing'}", "--modalities", "choose from rf, gps")


@dataclass
class _Table:
    """The rows of the CSV with the columns found, and the folder that its paths are relative to."""

    path: Path
    columns: dict[str, str]
    rows: list[dict[str, str]]
    header: list[str]

    @classmethod
    def read(cls, path: Path) -> "_Table":
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise UserError("no such file", path, "name the CSV of a DeepSense 6G scenario") from None
        except IsADirectoryError:
            raise UserError("is a directory", path, "name the CSV inside it") from None
        except UnicodeDecodeError:
            raise UserError("is no text file", path, "name the CSV of a DeepSense 6G scenario") from None
        try:
            reader = csv.DictReader(text.splitlines(), strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = list(reader)
        except csv.Error as error:
            raise UserError(f"is no CSV ({error})", path, "fetch the scenario again") from None
        if not rows:
            raise UserError("holds no samples", path, "fetch the scenario again")
        ragged = next((i for i, row in enumerate(rows) if None in row or None in row.values()), None)
        if ragged is not None:
            raise UserError(f"line {ragged + 2} has not {len(header)} fields", path, "mend or remove that line")
        columns = {role: name for role, names in COLUMNS.items() for name in names if name in header}
        for role in ("sequence", "bs_location"):
            if role not in columns:
                raise UserError(f"has no column {' or '.join(COLUMNS[role])}", path, "add it to the table")
        table = cls(path, columns, rows, header)
        table._check_order()
        return table

    def integers(self, role: str) -> list[int]:
        name = self.columns[role]
        values = []
        for line, row in enumerate(self.rows, start=2):
            try:
                values.append(int(float(row[name])))
            except (ValueError, OverflowError):
                raise UserError(
                    f"line {line}, column {name}: {row[name]!r} is no integer", self.path, "mend that line"
                ) from None
        return values

    def _check_order(self) -> None:
        sequence = self.integers("sequence")
        index = self.integers("index") if "index" in self.columns else list(range(len(sequence)))
        finished: set[int] = set()
        for line in range(1, len(sequence)):
            if sequence[line] != sequence[line - 1]:
                finished.add(sequence[line - 1])
                if sequence[line] in finished:
                    raise UserError(
                        f"line {line + 2}: sequence {sequence[line]} starts a second time",
                        self.path,
                        "sort the table by seq_index and sample",
                    )
            elif index[line] <= index[line - 1]:
                fault = "repeated" if index[line] == index[line - 1] else "out of order"
                raise UserError(
                    f"line {line + 2}: sample {index[line]} of sequence {sequence[line]} is {fault}",
                    self.path,
                    "sort the table by seq_index and sample, each once",
                )

    def files(self, role: str) -> list[Path]:
        """The files of a column, all inside the folder of the table."""
        root = self.path.parent.resolve()
        name = self.columns[role]
        found = []
        parents: dict[Path, Path] = {}
        for line, row in enumerate(self.rows, start=2):
            text = row[name].strip().replace("\\", "/")
            relative = PurePosixPath(text)
            inside = bool(text) and "\0" not in text and not relative.is_absolute() and ".." not in relative.parts
            if not inside or re.match(r"[A-Za-z]:", text) or not _stays_in(root, root / relative, parents):
                raise UserError(
                    f"line {line}, column {name}: {row[name]!r} leaves the folder of the table",
                    self.path,
                    "use paths relative to the CSV without '..'",
                )
            found.append(root / relative)
        return found


def _stays_in(root: Path, path: Path, resolved_parents: dict[Path, Path]) -> bool:
    """Whether `path` lies below `root` when symbolic links are followed; each folder is resolved once."""
    try:
        if path.parent not in resolved_parents:
            resolved_parents[path.parent] = path.parent.resolve()
        target = path.resolve() if path.is_symlink() else resolved_parents[path.parent] / path.name
        return target.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


@dataclass
class _Frames:
    """What the files of all frames hold; invalid frames are NaN."""

    bs_lat_lon_deg: Float[np.ndarray, "2"]
    values: dict[str, np.ndarray]
    valid: dict[str, Bool[np.ndarray, "frame"]]
    first_bad: dict[str, str]

    def bad_share(self) -> dict[str, float]:
        return {modality: float(1 - valid.mean()) for modality, valid in self.valid.items() if not valid.all()}


def _numbers(path: Path, count: int) -> np.ndarray:
    """The `count` numbers of a text file, one a line or separated by blanks or commas."""
    try:
        values = np.array(path.read_bytes().replace(b",", b" ").split(), dtype=np.float64)
    except FileNotFoundError:
        raise ValueError("missing") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
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
    if power.max() > np.finfo(np.float32).max or not power.any():
        raise ValueError("no power in any beam" if not power.any() else "out of range")
    return power


def _location(path: Path) -> np.ndarray:
    lat_lon = _numbers(path, 2)
    if abs(lat_lon[0]) > 90 or abs(lat_lon[1]) > 180:
        raise ValueError(f"latitude and longitude {lat_lon[0]:g}, {lat_lon[1]:g} are out of range")
    return lat_lon


def _read_frames(table: _Table, modalities: Sequence[str]) -> _Frames:
    wanted: dict[str, tuple[str, Callable[[Path], np.ndarray], int]] = {}
    if "rf" in modalities:
        wanted["rf"] = ("power", _sweep, BEAMS)
    if "gps" in modalities:
        wanted["gps"] = ("ue_location", _location, 2)
        if "ue_location_calibrated" in table.columns:
            wanted["gps_calibrated"] = ("ue_location_calibrated", _location, 2)
    for name, (role, _, _) in wanted.items():
        if role not in table.columns:
            raise UserError(
                f"has no column {' or '.join(COLUMNS[role])}", table.path, f"add it or leave {name} out of --modalities"
            )
    frames = _Frames(_bs_location(table), {}, {}, {})
    for name, (role, parse, count) in wanted.items():
        frames.values[name], frames.valid[name], first = _read_column(table.files(role), parse, count)
        if first is not None:
            frames.first_bad[name] = first
    return frames


def _read_column(
    paths: list[Path], parse: Callable[[Path], np.ndarray], count: int
) -> tuple[np.ndarray, Bool[np.ndarray, "frame"], str | None]:
    values = np.full((len(paths), count), np.nan)
    faults: dict[int, str] = {}

    def read(i: int) -> None:
        try:
            values[i] = parse(paths[i])
        except ValueError as fault:
            faults[i] = f"{paths[i].name}: {fault}"

    with ThreadPoolExecutor() as pool:
        list(pool.map(read, range(len(paths)), chunksize=256))
    valid = np.ones(len(paths), bool)
    valid[list(faults)] = False
    return values, valid, faults[min(faults)] if faults else None


def _bs_location(table: _Table) -> Float[np.ndarray, "2"]:
    """The base station's position: the median over the files of its column, which name one site."""
    paths = sorted(set(table.files("bs_location")))
    found, fault = [], ""
    for path in paths:
        try:
            found.append(_location(path))
        except ValueError as error:
            fault = fault or f"{path.name}: {error}"
    if not found:
        raise UserError(
            f"no position of the base station can be read ({fault})", table.path, "mend the files of unit1_loc"
        )
    return np.median(found, axis=0)


def _clock_s(table: _Table) -> np.ndarray | None:
    """Time of day of every sample [s], or None without such a column or where one stamp cannot be read."""
    if "time" not in table.columns:
        return None
    seconds = np.empty(len(table.rows))
    for i, row in enumerate(table.rows):
        match = _CLOCK.search(row[table.columns["time"]])
        if match is None:
            return None
        hours, minutes, whole, fraction = match.groups()
        seconds[i] = int(hours) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction or 0}")
    return seconds


def _sequence_times(clock_s: np.ndarray | None, frames: int, rate_hz: float) -> tuple[np.ndarray, bool]:
    """Times from the start of a sequence [s] and whether they were measured; the clock may pass midnight once."""
    if clock_s is not None:
        time = (clock_s - clock_s[0]) % _DAY_S
        if (np.diff(time) > 0).all():
            return time, True
    return np.arange(frames) / rate_hz, False


def _write(table: _Table, frames: _Frames, out: Path, rate_hz: float) -> ImportSummary:
    sequence = np.array(table.integers("sequence"))
    starts = np.flatnonzero(np.r_[True, np.diff(sequence) != 0])
    bounds = np.r_[starts, len(sequence)]
    clock_s = _clock_s(table)
    timed = [
        _sequence_times(None if clock_s is None else clock_s[a:b], b - a, rate_hz)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    measured = clock_s is not None and all(was for _, was in timed)
    if not measured:
        timed = [(np.arange(len(time)) / rate_hz, False) for time, _ in timed]
    steps = np.concatenate([np.diff(time) for time, _ in timed])
    rate = float(1 / np.median(steps)) if measured and len(steps) else rate_hz
    manifest = RecordingManifest(
        source="deepsense",
        scenario=table.path.stem,
        bs=BaseStation(latitude_deg=frames.bs_lat_lon_deg[0], longitude_deg=frames.bs_lat_lon_deg[1]),
        generator_version=version("jepa-msac-twin"),
        frame_rate_hz=round(rate, 6),
        time_source="measured" if measured else "nominal",
        power_unit="arbitrary",
        columns_present=[name for name in table.header if UNREAD.match(name)],
    )
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        width = max(4, len(str(max(sequence))))
        for a, b, (time, _) in zip(bounds[:-1], bounds[1:], timed, strict=True):
            number = int(sequence[a])
            _recording(f"seq-{number:0{width}d}", number, manifest, frames, time, slice(a, b)).save(draft)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    lengths = np.diff(bounds)
    return ImportSummary(
        scenario=table.path.stem,
        samples=len(sequence),
        sequences=len(starts),
        shortest_sequence=int(lengths.min()),
        longest_sequence=int(lengths.max()),
        time_source=manifest.time_source,
        frame_rate_hz=manifest.frame_rate_hz,
        bad_files={name: int((~valid).sum()) for name, valid in frames.valid.items()},
        first_bad_file=frames.first_bad,
        beam_label_disagreements=_beam_disagreements(table, frames),
        columns_present=manifest.columns_present,
    )


def _recording(
    name: str, number: int, manifest: RecordingManifest, frames: _Frames, time: np.ndarray, part: slice
) -> Recording:
    arrays: dict[str, np.ndarray] = {"time": time}
    for modality, count in (("rf", BEAMS), ("gps", 2)):
        given = modality in frames.values
        arrays[modality] = frames.values[modality][part] if given else np.full((len(time), count), np.nan)
        arrays[f"valid_{modality}"] = frames.valid[modality][part] if given else np.zeros(len(time), bool)
    if "gps_calibrated" in frames.values:
        arrays["gps_calibrated"] = frames.values["gps_calibrated"][part]
    return Recording(name, manifest.model_copy(update={"seq_index": number}), arrays)


def _beam_disagreements(table: _Table, frames: _Frames) -> int:
    """How many samples name another best beam (1-based in the table) than the strongest of their sweep."""
    if "beam" not in table.columns or "rf" not in frames.values:
        return 0
    valid = frames.valid["rf"]
    strongest = np.nan_to_num(frames.values["rf"], nan=-1.0).argmax(axis=1)
    return int((strongest[valid] != np.array(table.integers("beam"))[valid] - 1).sum())
