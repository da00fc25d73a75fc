"""The files of one frame of a DeepSense 6G scenario, each read within bounds and mapped as the sensors of the twin are.

| modality | scenarios 31 on                          | scenarios 1-9                                           |
|----------|------------------------------------------|---------------------------------------------------------|
| power    | text, 64 linear values                   | the same                                                |
| position | text, latitude and longitude [deg]       | the same                                                |
| camera   | .jpg (960 x 540), .png                   | the same                                                |
| LiDAR    | .ply, x y z [m] and more; .csv           | .mat, `data` (point, 2), a scan in one plane: distance  |
|          |                                          | [m] and angle [rad]; or (point, 3 and more), x y z [m]  |
| radar    | .npy, complex (4, 256, chirps)           | .mat, `data`, the same                                  |

Every reader raises ValueError with a short reason where the file is missing, cut, of another shape or not finite.
"""

import io
import stat
from pathlib import Path

import numpy as np
from jaxtyping import Complex64, Float16, Float64, UInt8
from PIL import Image

from twin.recording.matlab import matlab_array
from twin.recording.ply import ply_points
from twin.sensors.images import IMAGE_PX, decode_jpeg, encode_jpeg, resized
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.radar.range_angle import Clutter, range_angle_map

__all__ = [
    "camera_jpeg",
    "lidar_depth_m",
    "lidar_points_m",
    "location_deg",
    "power_sweep",
    "radar_cube",
    "radar_map_db",
]

BEAMS = 64
ANTENNAS, SAMPLES = 4, 256
LARGEST_TEXT_BYTES = 1 << 20
"""No file of one sweep or position is larger."""
LARGEST_FILE_BYTES = 1 << 26
"""No picture, point cloud or radar cube of one frame is larger, in its file or out of it."""
FARTHEST_POINT_M = 1e5
"""A coordinate beyond is no measurement."""


def power_sweep(path: Path) -> Float64[np.ndarray, "64"]:
    """Received power over the beams, linear, in the unit of the source."""
    power = _numbers(path, BEAMS)
    if (power < 0).any():
        raise ValueError("negative power")
    if power.max() > np.finfo(np.float32).max:
        raise ValueError("out of range")
    if not power.astype(np.float32).any():
        raise ValueError("no power in any beam")
    return power


def location_deg(path: Path) -> Float64[np.ndarray, "2"]:
    """Latitude and longitude [deg]."""
    lat_lon = _numbers(path, 2)
    if abs(lat_lon[0]) > 90 or abs(lat_lon[1]) > 180:
        raise ValueError(f"latitude and longitude {lat_lon[0]:g}, {lat_lon[1]:g} are out of range")
    return lat_lon


def camera_jpeg(path: Path) -> UInt8[np.ndarray, "byte"]:
    """The whole picture at 224 x 224 as a JPEG stream; one that is this already, byte by byte."""
    content = _content(path, LARGEST_FILE_BYTES)
    image = decode_jpeg(content)
    if not _is_stored_form(content, image):
        content = encode_jpeg(resized(image))
    return np.frombuffer(content, np.uint8)


def _is_stored_form(content: bytes, image: np.ndarray) -> bool:
    """Whether a recording would hold these bytes: a colour JPEG of the size, with nothing after its end."""
    if image.shape[:2] != (IMAGE_PX, IMAGE_PX) or len(content) > image.nbytes or not content.endswith(b"\xff\xd9"):
        return False
    with Image.open(io.BytesIO(content)) as stored:
        return stored.format == "JPEG" and stored.mode == "RGB"


def lidar_depth_m(path: Path) -> Float16[np.ndarray, "64 256"]:
    """The depth image of the points [m], NaN where there is no return; a file without points is one without returns."""
    return depth_image(lidar_points_m(path))


def lidar_points_m(path: Path) -> Float64[np.ndarray, "point 3"]:
    """The points x, y, z [m] in the sensor's frame."""
    content = _content(path, LARGEST_FILE_BYTES)
    match path.suffix.lower():
        case ".ply":
            point_m = ply_points(content)
        case ".mat":
            point_m = _points_of_matlab(matlab_array(content, "data", LARGEST_FILE_BYTES))
        case ".csv":
            point_m = _points_of_table(content)
        case _:
            raise ValueError("no .ply, .mat or .csv file")
    if not np.isfinite(point_m).all():
        raise ValueError("not finite")
    if point_m.size and np.abs(point_m).max() > FARTHEST_POINT_M:
        raise ValueError("out of range")
    return point_m


def _points_of_matlab(data: np.ndarray) -> Float64[np.ndarray, "point 3"]:
    """x, y, z, or a scan in one plane as (distance [m], angle [rad] counterclockwise from ahead); 0 m is no return."""
    if data.ndim != 2 or data.shape[1] < 2 or data.dtype.kind == "c":
        kind = "complex numbers" * (data.dtype.kind == "c")
        raise ValueError(f"an array of {kind or _shape(data.shape)} instead of (points, 2) or (points, 3 and more)")
    data = data.astype(np.float64)
    if data.shape[1] > 2:
        return data[:, :3]
    distance_m, angle = data.T
    if not np.isfinite(data).all() or (distance_m < 0).any():
        raise ValueError("not finite or negative distances")
    return np.stack([distance_m * np.cos(angle), distance_m * np.sin(angle), np.zeros(len(data))], axis=1)


def _points_of_table(content: bytes) -> Float64[np.ndarray, "point 3"]:
    """x, y, z by the names of the columns, or the first three where nothing names them."""
    lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    names = [name.strip(" \t\"'").lower() for name in lines[0].split(",")] if lines else []
    places = [0, 1, 2]
    if any(axis in names for axis in "xyz"):
        if any(names.count(axis) != 1 for axis in "xyz"):
            raise ValueError("no columns x, y and z")
        places = [names.index(axis) for axis in "xyz"]
        del lines[0]
    if any(line.count(",") != len(names) - 1 for line in lines):
        raise ValueError("lines of different length")
    if not lines:
        return np.empty((0, 3))
    try:
        return np.loadtxt(lines, delimiter=",", comments=None, usecols=places, ndmin=2)
    except ValueError:
        raise ValueError("not numbers") from None


def radar_map_db(path: Path, clutter: Clutter) -> Float16[np.ndarray, "64 256"]:
    """The range-angle map [dB]."""
    return range_angle_map(radar_cube(path), clutter)


def radar_cube(path: Path) -> Complex64[np.ndarray, "4 256 chirp"]:
    """The samples of a frame: antenna, sample, chirp."""
    content = _content(path, LARGEST_FILE_BYTES)
    match path.suffix.lower():
        case ".npy":
            cube = _array_of_numpy(content)
        case ".mat":
            cube = matlab_array(content, "data", LARGEST_FILE_BYTES)
            _check_cube(cube.shape, cube.dtype)
        case _:
            raise ValueError("no .npy or .mat file")
    if not np.isfinite(cube).all():
        raise ValueError("not finite")
    if not cube.any():
        raise ValueError("no signal")
    with np.errstate(over="ignore"):  # the map refuses what overflows
        return cube.astype(np.complex64)


def _array_of_numpy(content: bytes) -> np.ndarray:
    """The cube in a .npy file. Its bytes are numbers by its header, or it is refused: nothing is ever unpickled."""
    file = io.BytesIO(content)
    try:
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, by_columns, dtype = read_header[np.lib.format.read_magic(file)](file)
    except Exception:  # a damaged header makes the parser raise anything
        raise ValueError("no .npy file") from None
    _check_cube(shape, dtype)
    size = dtype.itemsize * ANTENNAS * SAMPLES * shape[2]
    if len(content) - file.tell() != size:
        raise ValueError(f"{len(content) - file.tell()} bytes of samples instead of {size}")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if by_columns else "C")


def _check_cube(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind != "c" or dtype.itemsize > 16:
        raise ValueError(f"samples of type {dtype.name} instead of complex64")
    if len(shape) != 3 or shape[:2] != (ANTENNAS, SAMPLES) or shape[2] < 1:
        raise ValueError(f"an array of {_shape(shape)} instead of ({ANTENNAS}, {SAMPLES}, chirps)")


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _numbers(path: Path, count: int) -> Float64[np.ndarray, "number"]:
    """The `count` numbers of a text file, one a line or separated by blanks or commas."""
    content = _content(path, LARGEST_TEXT_BYTES)
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


def _content(path: Path, largest_bytes: int) -> bytes:
    """The bytes of a regular file of at most that size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no file")
        if status.st_size > largest_bytes:
            raise ValueError(f"{status.st_size} bytes, too large for one frame")
        with path.open("rb") as file:
            content = file.read(largest_bytes + 1)
    except FileNotFoundError:
        raise ValueError("missing") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if len(content) > largest_bytes:
        raise ValueError("too large for one frame")
    return content
