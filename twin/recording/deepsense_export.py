"""Export of recordings in the layout of DeepSense 6G scenario 32: a table and one file a sample and sensor.

    scenario32.csv
    unit1/camera_data/image_1.jpg         unit1/mmWave_data/mmWave_power_1.txt   64 linear values, one a line
    unit1/lidar_data/lidar_data_1.ply     unit1/GPS_data/gps_location.txt        latitude, longitude [deg]
    unit1/radar_data/radar_data_1.npy     unit2/GPS_data/gps_location_1.txt

Beams are 1-based in the table. A sample without a valid sweep or position holds NaN there, as DeepSense's do; a lost
picture, cloud or cube is named and has no file.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Complex64, Float32

from twin.errors import UserError
from twin.recording.catalogue import Entry, whole_episodes
from twin.recording.directory import new_directory
from twin.recording.export import ExportSummary, frames_of, lost_frames, modalities_to_export
from twin.recording.recording import Recording
from twin.workers import processes

__all__ = ["DEFAULT_NAME", "RawSensors", "export_deepsense"]

DEFAULT_NAME = "scenario32"
CHALLENGE_FRAMES, CHALLENGE_POSITIONS = 5, 2
"""Samples of a row of the beam prediction challenge of 2022, and how many of them come with a position."""
FIRST_S, PAUSE_S = 12 * 3600.0, 60.0
"""Time of day at which an export begins, and the time between two sequences [s]: recordings know no time of day."""
MPS_TO_KMPH = 3.6
CUBE = (4, 256)
"""Antennas and samples of the layout's radar."""


class RawSensors(Protocol):
    """What maps are made of, frame by frame: given by the simulator, which makes it again."""

    def cube(self, frame: int) -> Complex64[np.ndarray, "antenna sample chirp"]:
        """The radar's samples."""

    def points(self, frame: int) -> Float32[np.ndarray, "point 3"]:
        """The LiDAR's points, in its frame [m]."""


@dataclass(frozen=True)
class _File:
    """The files of a modality: column, folder, and the name of that of sample number {}."""

    column: str
    pattern: str

    def path(self, number: int) -> str:
        return self.pattern.format(number)


FILES = {
    "camera": _File("unit1_rgb", "unit1/camera_data/image_{}.jpg"),
    "rf": _File("unit1_pwr_60ghz", "unit1/mmWave_data/mmWave_power_{}.txt"),
    "lidar": _File("unit1_lidar", "unit1/lidar_data/lidar_data_{}.ply"),
    "radar": _File("unit1_radar", "unit1/radar_data/radar_data_{}.npy"),
    "gps": _File("unit2_loc", "unit2/GPS_data/gps_location_{}.txt"),
}
"""In the order of the columns; the position of the base station comes before that of the UE."""
STATION = "unit1/GPS_data/gps_location.txt"


@dataclass(frozen=True)
class _Sequence:
    """A recording to write: its place in the table, and when it begins."""

    path: str
    root: Path
    modalities: tuple[str, ...]
    raw_of: Callable[[Recording], RawSensors]
    number: int
    first_index: int
    begin_s: float


def export_deepsense(
    root: str | Path,
    out: str | Path,
    *,
    name: str = DEFAULT_NAME,
    modalities: Sequence[str] | None = None,
    challenge: bool = False,
    raw_of: Callable[[Recording], RawSensors],
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportSummary:
    """Write the dataset `root` to the folder `out`, which appears whole or not at all.

    Imported again with the same subtraction of clutter it gives the same recordings: times to a microsecond, radar maps
    to 0.1 dB, and everything else to the bit, pictures too if they are 224 x 224.

    Args:
        name: of the table, without `.csv`.
        modalities: what to write; all that every recording holds by default.
        challenge: write `<name>_challenge.csv` as well: rows of five samples, the first two with positions, and the
            power and beam of the fifth.
        raw_of: gives the radar cubes and point clouds of a recording that does not hold them; workers call it, too.
        workers: processes.
        progress: told how many of how many samples are written.

    Raises:
        UserError: `root` holds no recordings or damaged ones, a modality is missing, the recordings stand at different
            base stations, or raw samples cannot be made again.
    """
    if not name or "/" in name or name.startswith("."):
        raise UserError(f"{name!r} is no name of a table", "--name", "give one like scenario32")
    entries = whole_episodes(root)
    chosen = modalities_to_export(root, entries, modalities)
    wanted = tuple(modality for modality in FILES if modality in chosen)
    total = frames_of(entries)
    with new_directory(out) as draft:
        for file in (*(FILES[modality].pattern for modality in wanted), STATION):
            Path(draft, file).parent.mkdir(parents=True, exist_ok=True)
        _write_station(entries, Path(draft))
        jobs = _sequences(entries, Path(draft), wanted, raw_of)
        rows: list[dict[str, str]] = []
        for some in _written(jobs, workers, out):
            rows += some
            progress(len(rows), total)
        _write_table(Path(draft, f"{name}.csv"), rows)
        if challenge:
            _write_table(Path(draft, f"{name}_challenge.csv"), _challenge_rows(root, rows, wanted))
    missing = lost_frames(entries, wanted)
    clutter = _radar_clutter(entries) if "radar" in wanted else None
    return ExportSummary(str(out), len(rows), len(jobs), list(wanted), missing, radar_clutter=clutter)


def _written(jobs: Sequence[_Sequence], workers: int, out: str | Path) -> Iterator[list[dict[str, str]]]:
    """Rows of each sequence in order, as it is written."""
    if workers == 1:
        yield from map(_write_sequence, jobs)
        return
    try:
        with processes(workers) as pool:
            yield from pool.map(_write_sequence, jobs)
    except BrokenExecutor:
        what = "a worker died, of too little memory perhaps"
        raise UserError(what, out, "give fewer --workers") from None


def _radar_clutter(entries: Sequence[Entry]) -> str | None:
    """What was subtracted before the maps of simulated recordings were made."""
    scenario = entries[0].manifest.scenario
    return str(scenario["radar"]["clutter"]) if isinstance(scenario, dict) and "radar" in scenario else None


def _sequences(
    entries: Sequence[Entry], root: Path, modalities: tuple[str, ...], raw_of: Callable[[Recording], RawSensors]
) -> list[_Sequence]:
    """The recordings one after another, samples counted from 1."""
    found: list[_Sequence] = []
    index, begin_s = 1, FIRST_S
    for order, entry in enumerate(entries, start=1):
        recording = entry.open()
        number = entry.manifest.seq_index
        number = order if number is None else number
        found.append(_Sequence(entry.path, root, modalities, raw_of, number, index, begin_s))
        index += recording.frames
        begin_s += float(recording.arrays["time"][-1]) + PAUSE_S
    return found


def _write_station(entries: Sequence[Entry], root: Path) -> None:
    """The layout knows one base station."""
    first = entries[0].manifest.bs.lat_lon_deg
    for entry in entries:
        if (entry.manifest.bs.lat_lon_deg != first).any():
            what = f"{entry.name} stands at another base station than {entries[0].name}"
            raise UserError(what, entry.path, "export each site by itself")
    Path(root, STATION).write_text(_lines(first))


def _write_sequence(job: _Sequence) -> list[dict[str, str]]:
    """Write the files of a recording; its rows of the table."""
    recording = Recording.open(job.path)
    raw = _raw(recording, job)
    speed_mps = recording.arrays.get("truth/velocity_mps")
    strongest = np.asarray(recording.best_beam())
    rows = []
    for k in range(recording.frames):
        index = job.first_index + k
        row = {"index": str(index)}
        for name, file in FILES.items():
            if name == "gps":
                row["unit1_loc"] = f"./{STATION}"
            if name in job.modalities:
                row[file.column] = f"./{file.path(index)}"
                _write_file(name, recording, k, job.root / file.path(index), raw)
        if "rf" in job.modalities:
            valid = strongest[k] >= 0
            row["unit1_beam"] = str(int(strongest[k]) + 1) if valid else ""
            row["unit1_max_pwr"] = f"{recording.arrays['rf'][k].max():.9g}" if valid else ""
        row["time_stamp"] = _clock(job.begin_s + float(recording.arrays["time"][k]))
        row["seq_index"] = str(job.number)
        if speed_mps is not None:
            row["unit2_spd_over_grnd_kmph"] = f"{MPS_TO_KMPH * float(np.linalg.norm(speed_mps[k, :2])):.3f}"
        rows.append(row)
    return rows


def _raw(recording: Recording, job: _Sequence) -> RawSensors | None:
    """What the recording does not hold itself, made again.

    Raises:
        UserError: it cannot be made again.
    """
    held = {"radar": "radar_cube", "lidar": "lidar_points"}
    needed = any(name in job.modalities and array not in recording.arrays for name, array in held.items())
    return job.raw_of(recording) if needed else None


def _write_file(name: str, recording: Recording, frame: int, path: Path, raw: RawSensors | None) -> None:
    """Write the file of one modality of one sample."""
    valid = bool(recording.arrays[f"valid_{name}"][frame])
    one = slice(frame, frame + 1)
    if name == "rf":
        power = recording.arrays["rf"][frame] if valid else np.full(64, np.nan)
        path.write_text("".join(f"{p:.9g}\n" for p in power))
    elif name == "gps":
        path.write_text(_lines(recording.arrays["gps"][frame] if valid else (np.nan, np.nan)))
    elif not valid:
        return
    elif name == "camera":
        path.write_bytes(recording.jpegs(one)[0])
    elif name == "radar":
        held = "radar_cube" in recording.arrays
        cube = recording.some("radar_cube", one)[0] if held or raw is None else raw.cube(frame)
        if cube.shape[:2] != CUBE:
            what = f"its radar has {cube.shape[0]} antennas and {cube.shape[1]} samples, not {CUBE[0]} and {CUBE[1]}"
            raise UserError(what, recording.path or recording.name, "leave radar out of --modalities")
        np.save(path, cube)
    else:
        held = "lidar_points" in recording.arrays
        points = recording.some("lidar_points", one)[0, :, :3] if held or raw is None else raw.points(frame)
        path.write_bytes(_ply(points[np.isfinite(points).all(axis=1)]))


def _lines(values: Sequence[float] | np.ndarray) -> str:
    return "".join(f"{float(value)!r}\n" for value in values)


def _clock(time_s: float) -> str:
    """HH:MM:SS-microseconds."""
    micro = round(time_s * 1e6) % (86_400 * 10**6)
    second, micro = divmod(micro, 10**6)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}-{micro:06d}"


def _ply(point_m: Float32[np.ndarray, "point 3"]) -> bytes:
    """An ASCII PLY of points, with as many digits as the numbers have."""
    header = ("ply", "format ascii 1.0", f"element vertex {len(point_m)}", "property float x", "property float y",
              "property float z", "end_header", "")  # fmt: skip
    text = io.StringIO()
    np.savetxt(text, point_m, fmt="%.9g")
    return ("\n".join(header) + text.getvalue()).encode()


def _write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _challenge_rows(
    root: str | Path, rows: Sequence[dict[str, str]], modalities: tuple[str, ...]
) -> list[dict[str, str]]:
    """Rows of five successive samples of a sequence.

    Raises:
        UserError: no sequence is so long.
    """
    found: list[dict[str, str]] = []
    for last in range(CHALLENGE_FRAMES - 1, len(rows)):
        some = rows[last - CHALLENGE_FRAMES + 1 : last + 1]
        if some[0]["seq_index"] != some[-1]["seq_index"]:
            continue
        row = {"index": str(len(found) + 1)}
        for name in ("camera", "lidar", "radar"):
            if name in modalities:
                column = FILES[name].column
                row |= {f"{column}_{k}": sample[column] for k, sample in enumerate(some, start=1)}
        row["unit1_loc"] = some[-1]["unit1_loc"]
        if "gps" in modalities:
            row |= {
                f"unit2_loc_{k}": sample["unit2_loc"] for k, sample in enumerate(some[:CHALLENGE_POSITIONS], start=1)
            }
        if "rf" in modalities:
            row |= {column: some[-1][column] for column in ("unit1_pwr_60ghz", "unit1_beam")}
        row["seq_index"] = some[-1]["seq_index"]
        found.append(row)
    if not found:
        raise UserError(f"no sequence has {CHALLENGE_FRAMES} samples", root, "leave out --challenge")
    return found
