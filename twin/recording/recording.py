"""The recording: one drive past one base station, in memory and on disk. The one data contract of the project."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from pydantic import BaseModel, ConfigDict, Field

from twin.errors import UserError
from twin.geometry.coordinates import equirectangular_m
from twin.recording.store import (
    Array,
    StoredManifest,
    content_hash,
    join,
    read_array,
    read_frames,
    read_manifest,
    write_bundle,
)
from twin.sensors.images import IMAGE_PX, decode_jpeg, resized

__all__ = ["ARRAYS", "MODALITIES", "BaseStation", "CodebookWeights", "Recording", "RecordingManifest"]

MODALITIES = ("rf", "gps", "camera", "radar", "lidar")
"""What a recording may hold beside the truth."""


class BaseStation(BaseModel):
    """Where the base station stands, and the azimuth of its array's broadside (None when the source does not say)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latitude_deg: float
    longitude_deg: float
    height_m: float | None = None
    boresight_rad: float | None = None

    @property
    def lat_lon_deg(self) -> Float[np.ndarray, "2"]:
        """Latitude and longitude [deg]."""
        return np.array([self.latitude_deg, self.longitude_deg])


class CodebookWeights(BaseModel):
    """Beam weights, 64 rows of 16 complex numbers, as two tables (JSON has no complex numbers)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    real: list[list[float]]
    imag: list[list[float]]

    @classmethod
    def of(cls, weights: np.ndarray) -> "CodebookWeights":
        """The tables of a complex (beams, elements) array."""
        return cls(real=weights.real.astype(float).tolist(), imag=weights.imag.astype(float).tolist())

    def weights(self) -> np.ndarray:
        """The complex128 (beams, elements) array."""
        return np.array(self.real) + 1j * np.array(self.imag)


class RecordingManifest(StoredManifest):
    """The manifest of a recording; `scenario` is the resolved scenario in full, or the name of the real one, and
    `import_options` how the files of the real one were mapped."""

    kind: Literal["recording"] = "recording"
    source: Literal["twin", "deepsense"]
    scenario: dict[str, Any] | str
    bs: BaseStation
    codebook: CodebookWeights | None = None
    seed: int | None = None
    episode: int | None = None
    drawn: dict[str, Any] = Field(default_factory=dict)
    backend: str | None = None
    generator_version: str
    frame_rate_hz: float
    time_source: Literal["measured", "nominal"]
    power_unit: Literal["W", "arbitrary"]
    columns_present: list[str] = Field(default_factory=list)
    import_options: dict[str, str] = Field(default_factory=dict)
    seq_index: int | None = None

    @property
    def scenario_name(self) -> str:
        """The name of the scenario, simulated or real."""
        return self.scenario if isinstance(self.scenario, str) else str(self.scenario.get("name", "unnamed"))


ARRAYS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "time": (("frame",), "f8", "s"),
    "rf": (("frame", "beam"), "f4", "W or arbitrary, linear"),
    "gps": (("frame", "lat_lon"), "f8", "deg"),
    "gps_calibrated": (("frame", "lat_lon"), "f8", "deg"),
    "valid_rf": (("frame",), "?", "1"),
    "valid_gps": (("frame",), "?", "1"),
    "camera": (("frame", "byte"), "u1", "JPEG"),
    "radar": (("frame", "angle", "range"), "f2", "dBf or arbitrary dB"),
    "lidar": (("frame", "row", "column"), "f2", "m"),
    "valid_camera": (("frame",), "?", "1"),
    "valid_radar": (("frame",), "?", "1"),
    "valid_lidar": (("frame",), "?", "1"),
    "radar_cube": (("frame", "antenna", "sample", "chirp"), "c8", "sqrt(fW)"),
    "lidar_points": (("frame", "point", "x_y_z_intensity"), "f4", "m and 1"),
    "truth/position_m": (("frame", "xyz"), "f8", "m"),
    "truth/velocity_mps": (("frame", "xyz"), "f4", "m/s"),
    "truth/heading_rad": (("frame",), "f4", "rad"),
    "truth/line_of_sight": (("frame",), "?", "1"),
    "truth/blocked": (("frame",), "?", "1"),
    "truth/best_beam": (("frame",), "i2", "1"),
    "truth/path_gain": (("frame", "path", "re_im"), "f4", "1"),
    "truth/path_delay_s": (("frame", "path"), "f8", "s"),
    "truth/path_aod_rad": (("frame", "path", "azimuth_zenith"), "f4", "rad"),
    "truth/path_aoa_rad": (("frame", "path", "azimuth_zenith"), "f4", "rad"),
    "truth/path_doppler_hz": (("frame", "path"), "f4", "Hz"),
    "truth/path_kind": (("frame", "path"), "i1", "1"),
    "truth/path_blockage_db": (("frame", "path"), "f4", "dB"),
    "truth/path_vertices_m": (("frame", "path", "bounce", "xyz"), "f4", "m"),
    "truth/actor_id": (("frame", "actor"), "i4", "1"),
    "truth/actor_class": (("frame", "actor"), "i1", "1"),
    "truth/actor_box": (("frame", "actor", "x_y_z_length_width_height_heading"), "f4", "m and rad"),
    "truth/actor_box_px": (("frame", "actor", "left_top_right_bottom"), "f4", "px"),
    "truth/actor_pixels": (("frame", "actor"), "i4", "1"),
    "truth/camera_depth_m": (("frame", "camera_row", "camera_column"), "f2", "m"),
    "truth/camera_instance": (("frame", "camera_row", "camera_column"), "i2", "1"),
}
"""Every array that a recording may hold: its dimensions, type and unit.

`camera` holds JPEG streams, each with zeros after its end (see `Recording.images`); `radar` is a range-angle map,
`lidar` a depth image with NaN for no return, `lidar_points` are padded with NaN. `camera_instance` is an actor's
identity, -1 for what stands still, -2 for the sky; `actor_pixels` are those that the camera sees of an actor.

`path_kind` is -1 for no path, 0 for the direct one, 1 for reflections, 2 for a diffraction, 3 for diffuse scattering;
`path_blockage_db` is the loss to vehicles, which is in the gain, by the model that the scenario names; `actor_id` is
-1 for no actor, and the first actor of a frame is the UE."""


SIZES = {
    "beam": 64,
    "angle": 64,
    "range": 256,
    "row": 64,
    "column": 256,
    "lat_lon": 2,
    "xyz": 3,
    "re_im": 2,
    "azimuth_zenith": 2,
    "x_y_z_intensity": 4,
    "left_top_right_bottom": 4,
    "x_y_z_length_width_height_heading": 7,
}
"""Dimensions whose size is fixed; each of the others has one size throughout a recording."""
BY_FRAME = ("camera", "radar", "lidar", "radar_cube", "lidar_points", "truth/camera_depth_m", "truth/camera_instance")
"""Arrays that are stored frame by frame: nobody reads an hour of pictures for one window."""
REQUIRED = ("time", "rf", "gps", "valid_rf", "valid_gps")
"""The arrays that every recording holds; a modality that was not recorded is invalid in every frame."""


def _fault(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why arrays of these shapes are no recording, or None."""
    missing = [name for name in REQUIRED if name not in shapes]
    unknown = [name for name in shapes if name not in ARRAYS]
    if missing or unknown:
        return f"array {missing[0]!r} is missing" if missing else f"array {unknown[0]!r} is unknown"
    flagless = [name for name in MODALITIES if name in shapes and f"valid_{name}" not in shapes]
    if flagless:
        return f"array 'valid_{flagless[0]}' is missing"
    sizes = dict(SIZES)
    for name, shape in shapes.items():
        dims = ARRAYS[name][0]
        if len(shape) != len(dims) or any(sizes.setdefault(dim, n) != n for dim, n in zip(dims, shape, strict=True)):
            stated = ", ".join(f"{dim} {sizes[dim]}" if dim in sizes else dim for dim in dims)
            return f"array {name!r} has shape {shape}, not ({stated})"
    return None if sizes["frame"] else "it holds no frame"


class _StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of a bundle, each read and checked when it is first asked for."""

    def __init__(self, path: str | Path, manifest: StoredManifest) -> None:
        self._path, self._manifest = path, manifest
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._manifest.arrays:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = read_array(self._path, name, self._manifest)
        return self._read[name]

    def some(self, name: str, frames: slice) -> np.ndarray:
        """Some frames of an array, read alone unless all of it has been read."""
        if name in self._read:
            return self._read[name][frames]
        return read_frames(self._path, name, self._manifest, frames)

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest.arrays)

    def __len__(self) -> int:
        return len(self._manifest.arrays)


@dataclass
class Recording:
    """One drive. `arrays` holds what `ARRAYS` names; first dimension of each is the frame.

    Raises:
        ValueError: an array is missing, not named in `ARRAYS`, or of a shape that does not fit the others.
    """

    name: str
    manifest: RecordingManifest
    arrays: Mapping[str, np.ndarray]
    path: str | Path | None = None

    def __post_init__(self) -> None:
        if self.path is not None:
            return
        fault = _fault({name: np.shape(values) for name, values in self.arrays.items()})
        if fault:
            raise ValueError(f"not a recording: {fault}")

    @classmethod
    def open(cls, path: str | Path) -> "Recording":
        """The recording at `path`; arrays are read and checked when they are asked for.

        Raises:
            UserError: no recording is there, or its manifest is damaged or of a newer schema.
        """
        manifest = read_manifest(path, RecordingManifest)
        fault = _fault({name: spec.shape for name, spec in manifest.arrays.items()})
        if fault:
            raise UserError(fault, path, "make the recording again or fetch it again")
        return cls(str(path).rstrip("/").rsplit("/", 1)[-1], manifest, _StoredArrays(path, manifest), path)

    def save(self, root: str | Path) -> str:
        """Write the recording to `root`/`name` and return its content hash.

        Raises:
            UserError: that place is taken.
        """
        return write_bundle(join(root, self.name), self._described(), self.manifest)

    def _described(self) -> dict[str, Array]:
        return {
            name: Array(
                np.asarray(values).astype(ARRAYS[name][1], copy=False), *ARRAYS[name][::2], by_frame=name in BY_FRAME
            )
            for name, values in self.arrays.items()
        }

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.arrays["time"]) if self.path is None else self.manifest.arrays["time"].shape[0]

    @property
    def content_hash(self) -> str:
        """SHA-256 of the stored content; of an unsaved recording it is not defined."""
        if self.path is None:
            raise ValueError("an unsaved recording has no content hash")
        return content_hash(self.manifest)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the recording holds in any frame."""
        return tuple(name for name in MODALITIES if name in self.arrays and self.arrays[f"valid_{name}"].any())

    def images(self, frames: slice = slice(None)) -> UInt8[np.ndarray, "frame 224 224 3"]:
        """Pictures of the camera, decoded, at the one size that models take; black where a frame is invalid.

        Raises:
            UserError: the recording has no camera, or a picture cannot be decoded.
        """
        if "camera" not in self.arrays:
            raise UserError("has no camera", self.path or self.name, "record or import it with the modality camera")
        pictures = np.zeros((len(range(*frames.indices(self.frames))), IMAGE_PX, IMAGE_PX, 3), np.uint8)
        for k, jpeg in enumerate(self.jpegs(frames)):
            try:
                pictures[k] = resized(decode_jpeg(jpeg)) if jpeg else 0
            except ValueError as fault:
                what = f"the picture of frame {range(self.frames)[frames][k]} cannot be decoded ({fault})"
                raise UserError(what, self.path or self.name, "make the recording again or fetch it again") from None
        return pictures

    def jpegs(self, frames: slice = slice(None)) -> list[bytes]:
        """Pictures of the camera as they are stored, of the camera's size; empty where a frame is invalid."""
        rows = self.some("camera", frames)
        return [bytes(row[: np.flatnonzero(row)[-1] + 1]) if row.any() else b"" for row in rows]

    def some(self, name: str, frames: slice) -> np.ndarray:
        """Some frames of an array, without reading all of it.

        Raises:
            UserError: it cannot be read.
        """
        if isinstance(self.arrays, _StoredArrays):
            return self.arrays.some(name, frames)
        return np.asarray(self.arrays[name][frames])

    def position_m(self) -> Float[np.ndarray, "frame 2"]:
        """Measured position of the UE [m], east and north of the base station; NaN where the GPS is invalid."""
        position = equirectangular_m(self.arrays["gps"], self.manifest.bs.lat_lon_deg)
        return np.where(self.arrays["valid_gps"][:, None], position, np.nan)

    def best_beam(self) -> Int[np.ndarray, "frame"]:
        """Index of the strongest measured beam, 0-based; -1 where the sweep is invalid."""
        power = np.nan_to_num(self.arrays["rf"], nan=-np.inf)
        return np.where(self.arrays["valid_rf"], power.argmax(axis=1), -1)
