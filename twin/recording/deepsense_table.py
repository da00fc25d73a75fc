"""The table of a DeepSense 6G scenario: a CSV whose rows name the files of each sample, relative to its folder.

Both testbeds' column names are understood (scenarios 1-9 and 31 on).
"""

import csv
import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from twin.errors import UserError

__all__ = ["COLUMNS", "LARGEST_INTEGER", "DeepSenseTable", "whole_number"]

COLUMNS = {
    "power": ("unit1_pwr_60ghz", "unit1_pwr", "unit1_mmwave"),
    "bs_location": ("unit1_loc", "unit1_gps"),
    "ue_location": ("unit2_loc", "unit2_gps"),
    "ue_location_calibrated": ("unit2_loc_cal",),
    "camera": ("unit1_rgb", "unit1_camera", "unit1_cam", "unit1_rgb1", "unit1_camera1", "unit1_cam1"),
    "lidar": ("unit1_lidar", "unit1_lidar1", "unit1_lidar_SCR", "unit1_lidar_scr"),
    "radar": ("unit1_radar", "unit1_radar1"),
    "beam": ("unit1_beam", "unit1_beam_index"),
    "sequence": ("seq_index",),
    "index": ("index", "abs_index"),
    "time": ("time_stamp", "time_stamp[UTC]"),
}
"""The names that a column may have, the first present counts: of several cameras the first, and of the LiDAR all points
rather than those that move ("SCR", static clutter removed)."""

LARGEST_INTEGER = 10**9
_SENSOR = re.compile(r"unit\d_(rgb|camera|cam|lidar|radar)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2})([-:])(\d{1,2})\2(\d{1,2})(?:([-:.])(\d{1,6}))?")
NO_FILE = "(no file named)"
"""What stands in for an empty cell: a bad file of that frame."""
_DAY_S = 86_400.0


@dataclass
class DeepSenseTable:
    """The rows of the CSV with the columns found; `lines` are their line numbers in the file."""

    path: Path
    columns: dict[str, str]
    header: list[str]
    rows: list[dict[str, str]]
    lines: list[int]

    @classmethod
    def read(cls, path: Path) -> "DeepSenseTable":
        """The table at `path`, samples in order and sequences contiguous.

        Raises:
            UserError: no table, no samples, no needed column, or samples that are repeated or out of order.
        """
        header, rows, lines = _parse(path, _text(path))
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"has the column {twice!r} twice", path, "rename or remove one of them")
        columns = {role: next((n for n in names if n in header), "") for role, names in COLUMNS.items()}
        table = cls(path, {role: name for role, name in columns.items() if name}, header, rows, lines)
        for role in ("sequence", "bs_location"):
            table.require(role, "add it to the table")
        table._check_order()
        return table

    def require(self, role: str, remedy: str) -> None:
        """Raise a UserError unless the table has the column of that role."""
        if role not in self.columns:
            raise UserError(f"has no column {' or '.join(COLUMNS[role])}", self.path, remedy)

    def sensor_columns(self, except_roles: Collection[str]) -> list[str]:
        """The columns of cameras, LiDARs and radars, except those of some roles."""
        excepted = {self.columns[role] for role in except_roles}
        return [name for name in self.header if _SENSOR.match(name) and name not in excepted]

    def integers(self, role: str) -> Int[np.ndarray, "sample"]:
        """A column of whole numbers from 0."""
        name = self.columns[role]
        values = np.empty(len(self.rows), np.int64)
        for i, row in enumerate(self.rows):
            value = whole_number(row[name])
            if value is None:
                raise UserError(
                    f"line {self.lines[i]}, column {name}: {row[name]!r} is no integer from 0 to {LARGEST_INTEGER}",
                    self.path,
                    "mend that line",
                )
            values[i] = value
        return values

    def _check_order(self) -> None:
        sequence = self.integers("sequence")
        numbered = "index" in self.columns
        order = self.integers("index") if numbered else self._time_of_day_s()[0]
        finished: set[int] = set()
        self._check_repeats(sequence)
        for i in range(1, len(sequence)):
            where = f"line {self.lines[i]}: "
            if sequence[i] != sequence[i - 1]:
                finished.add(int(sequence[i - 1]))
                if int(sequence[i]) in finished:
                    raise UserError(
                        f"{where}sequence {sequence[i]} starts a second time",
                        self.path,
                        "sort the table by seq_index and sample",
                    )
            elif order is not None:
                step = order[i] - order[i - 1] if numbered else _clock_step_s(order[i] - order[i - 1])
                if step <= 0:
                    sample = order[i] if numbered else f"of time {self.rows[i][self.columns['time']]}"
                    fault = "repeated" if step == 0 else "out of order"
                    raise UserError(
                        f"{where}sample {sample} of sequence {sequence[i]} is {fault}",
                        self.path,
                        "sort the table by seq_index and sample, each once",
                    )

    def _check_repeats(self, sequence: Int[np.ndarray, "sample"]) -> None:
        """Every sample of a sequence has a sweep of its own: where nothing numbers them, this finds a repeated row."""
        if "power" not in self.columns:
            return
        seen: dict[tuple[int, str], int] = {}
        for i, row in enumerate(self.rows):
            key = (int(sequence[i]), row[self.columns["power"]].strip())
            if key[1] and key in seen:
                raise UserError(
                    f"line {self.lines[i]}: the sample of line {seen[key]} is repeated ({key[1]})",
                    self.path,
                    "sort the table by seq_index and sample, each once",
                )
            seen[key] = self.lines[i]

    def files(self, role: str) -> list[Path]:
        """The files of a column, all inside the folder of the table.

        Raises:
            UserError: a path is absolute, holds `..`, or leads out of the folder through a symbolic link.
        """
        root = self.path.parent.resolve()
        name = self.columns[role]
        found = []
        parents: dict[Path, Path] = {}
        for line, row in zip(self.lines, self.rows, strict=True):
            text = row[name].strip().replace("\\", "/") or NO_FILE
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

    def times_s(self, sequence_starts: Int[np.ndarray, "sequence"]) -> tuple[Float[np.ndarray, "sample"] | None, str]:
        """Time of every sample from the start of its sequence [s], or None and why the table does not tell it."""
        clock, fault = self._time_of_day_s()
        if clock is None:
            return None, fault
        step = _clock_step_s(np.diff(clock, prepend=clock[0]))
        step[sequence_starts] = 0.0
        inside = np.ones(len(step), bool)
        inside[sequence_starts] = False
        stuck = np.flatnonzero(inside & (step <= 0))
        if len(stuck):
            return None, f"line {self.lines[stuck[0]]}: its time stamp is not after the one before"
        since = np.cumsum(step)
        return since - np.repeat(since[sequence_starts], np.diff(np.r_[sequence_starts, len(since)])), ""

    def _time_of_day_s(self) -> tuple[Float[np.ndarray, "sample"] | None, str]:
        """Time of day [s]: `HH:MM:SS-microseconds` or `['HH-MM-SS-milliseconds']`; None and the reason without."""
        if "time" not in self.columns:
            return None, "the table has no time stamps"
        matches = [_CLOCK.fullmatch(row[self.columns["time"]].strip(" []'\"")) for row in self.rows]
        seconds = np.empty(len(matches))
        digits = {len(match[6] or "") for match in matches if match}
        padded = len(digits) == 1
        largest = max((int(match[6] or 0) for match in matches if match), default=0)
        for i, match in enumerate(matches):
            if match is None or int(match[1]) > 23 or int(match[3]) > 59 or int(match[4]) > 60:
                text = self.rows[i][self.columns["time"]]
                return None, f"line {self.lines[i]}: the time stamp {text!r} cannot be read"
            fraction = match[6] or "0"
            decimal = padded or match[5] == "."  # else the number of milli- or microseconds without leading zeros
            part = float(f"0.{fraction}") if decimal else int(fraction) * (1e-3 if largest < 1000 else 1e-6)
            seconds[i] = int(match[1]) * 3600 + int(match[3]) * 60 + int(match[4]) + part
        return seconds, ""


def _clock_step_s(difference_s: Any) -> Any:
    """The step between two times of day [s], the shorter way round the clock: midnight may lie between."""
    return (difference_s + _DAY_S / 2) % _DAY_S - _DAY_S / 2


def whole_number(text: str) -> int | None:
    """The integer from 0 that `text` states (also as 3.0), or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if 0 <= value <= LARGEST_INTEGER and value == int(value) else None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file", path, "name the CSV of a DeepSense 6G scenario") from None
    except IsADirectoryError:
        raise UserError("is a directory", path, "name the CSV inside it") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "name the CSV of a DeepSense 6G scenario") from None
    except ValueError:
        raise UserError("is no text file", path, "name the CSV of a DeepSense 6G scenario") from None


def _parse(path: Path, text: str) -> tuple[list[str], list[dict[str, str]], list[int]]:
    rows, lines = [], []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(
                    f"line {reader.line_num} has {len(row)} fields instead of {len(header)}",
                    path,
                    "mend or remove that line",
                )
            rows.append(dict(zip(header, row, strict=True)))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"is no CSV ({error})", path, "fetch the scenario again") from None
    if not rows:
        raise UserError("holds no samples", path, "fetch the scenario again")
    return header, rows, lines


def _stays_in(root: Path, path: Path, resolved_parents: dict[Path, Path]) -> bool:
    """Whether `path` lies below `root` when symbolic links are followed; each folder is resolved once."""
    try:
        if path.parent not in resolved_parents:
            resolved_parents[path.parent] = path.parent.resolve()
        target = path.resolve() if path.is_symlink() else resolved_parents[path.parent] / path.name
        return target.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False
