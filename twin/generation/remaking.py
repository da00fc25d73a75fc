"""Raw samples of simulated recordings, made again from their manifests: radar cubes and point clouds."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex64, Float32

from twin.errors import UserError
from twin.recording import Recording
from twin.scenario import Template, scenario_file
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.radar.range_angle import range_angle_map
from twin.simulator import Simulator

__all__ = ["RemadeSensors", "raw_sensors"]

LEAVE_OUT = "export with --modalities camera,rf,gps"
RADAR_TOLERANCE_DB = 0.1
"""A stored map is rounded to 16 bits, up to 0.06 dB at -128 dB and beyond."""


class RemadeSensors:
    """The radar cubes and point clouds behind the maps of a simulated recording.

    Args:
        scenario: its YAML file, where that names other files; one that comes with the project is found by its name.

    Raises:
        UserError: it was not simulated, or by another version of the program, or a file is missing.
    """

    def __init__(self, recording: Recording, scenario: Path | None = None) -> None:
        manifest, self._where = recording.manifest, recording.path or recording.name
        if not isinstance(manifest.scenario, dict) or manifest.seed is None or manifest.episode is None:
            raise UserError("is an import, which keeps no radar cubes and point clouds", self._where, LEAVE_OUT)
        here = version("jepa-msac-twin")
        if manifest.generator_version != here:
            what = f"was made by version {manifest.generator_version}, and raw samples are made again by the same only"
            raise UserError(f"{what} (this is {here})", self._where, f"install that version, or {LEAVE_OUT}")
        template = Template(manifest.scenario, self._beside(manifest.scenario, scenario))
        self._recording = recording
        self._sensors = Simulator(template, manifest.seed, manifest.episode).sensors

    def _beside(self, described: dict[str, Any], scenario: Path | None) -> Path:
        """The scenario's file, beside which the files lie that it names.

        Raises:
            UserError: one is not there.
        """
        place = scenario or scenario_file(str(described["name"])) or Path("scenario.yaml")
        radio = described["radio"]
        parts = [*described["scenery"], radio["codebook"], radio["antenna"], described["ue"]["antenna"]]
        for name in filter(None, (part["file"] for part in parts)):
            if not (place.parent / name).exists():
                remedy = f"name the YAML file that {name} lies beside with --scenario, or {LEAVE_OUT}"
                raise UserError(f"its scenario needs {name}, which is not in {place.parent}", self._where, remedy)
        return place

    def cube(self, frame: int) -> Complex64[np.ndarray, "antenna sample chirp"]:
        """The radar's samples of a frame.

        Raises:
            UserError: they do not give the stored map.
        """
        cube = self._sensors.echo(frame).cube()
        found = range_angle_map(cube, self._sensors.scenario.radar.clutter)
        stored = self._recording.some("radar", slice(frame, frame + 1))[0]
        self._check("radar", frame, bool(np.allclose(found, stored, rtol=0, atol=RADAR_TOLERANCE_DB)))
        return cube

    def points(self, frame: int) -> Float32[np.ndarray, "point 3"]:
        """The LiDAR's points of a frame, in its own frame [m].

        Raises:
            UserError: they do not give the stored depth image.
        """
        found = self._sensors.cloud(frame).point_m
        stored = self._recording.some("lidar", slice(frame, frame + 1))[0]
        self._check("lidar", frame, bool(np.array_equal(depth_image(found), stored, equal_nan=True)))
        return found

    def _check(self, name: str, frame: int, same: bool) -> None:
        if not same:
            what = f"frame {frame} of {name} comes out otherwise on this machine"
            raise UserError(what, self._where, f"use the packages that it was made with, or {LEAVE_OUT}")


def raw_sensors(recording: Recording, scenario: Path | None = None) -> RemadeSensors:
    """What `export_deepsense` takes as `raw_of`."""
    return RemadeSensors(recording, scenario)
