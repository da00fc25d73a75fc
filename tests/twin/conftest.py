"""What several tests of the twin need."""

import os

import numpy as np
import pytest

from twin.errors import UserError
from twin.propagation.sionna import load_sionna
from twin.recording import BaseStation, Recording, RecordingManifest
from twin.sensors.images import encode_jpeg
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.radar.range_angle import range_angle_map


@pytest.fixture(scope="session")
def sionna_rt():
    """Sionna RT; continuous integration has to have it."""
    try:
        return load_sionna()
    except UserError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


LOST = {"rf": 2, "gps": 3, "camera": 4, "lidar": 5, "radar": 6}
"""A frame of each made-up drive in which a modality was lost."""


def made_up_drive(number, frames=8, latitude_deg=33.42):
    """A recording with all modalities, as a car with every sensor would leave it, in no more than a few chirps."""
    rng = np.random.default_rng(number)
    manifest = RecordingManifest(
        source="twin",
        scenario="a street",
        bs=BaseStation(latitude_deg=latitude_deg, longitude_deg=-111.93),
        generator_version="0",
        frame_rate_hz=9.95,
        time_source="nominal",
        power_unit="W",
    )
    cube = (rng.normal(size=(frames, 4, 256, 6)) + 1j * rng.normal(size=(frames, 4, 256, 6))).astype(np.complex64)
    points = rng.uniform(-30, 30, (frames, 500, 4)).astype(np.float32) * [1, 1, 0.1, 0]
    points[1, 300:] = np.nan  # fewer points in that frame
    pictures = [encode_jpeg(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)) for _ in range(frames)]
    camera = np.zeros((frames, max(map(len, pictures))), np.uint8)
    for row, picture in zip(camera, pictures, strict=True):
        row[: len(picture)] = np.frombuffer(picture, np.uint8)
    arrays = {
        "time": np.arange(frames) / 9.95,
        "rf": rng.exponential(size=(frames, 64)).astype(np.float32) * 1e-9,
        "gps": np.array([33.42, -111.93]) + rng.normal(0, 1e-4, (frames, 2)),
        "camera": camera,
        "radar": np.stack([range_angle_map(one) for one in cube]),
        "radar_cube": cube,
        "lidar": np.stack([depth_image(one[:, :3]) for one in points]),
        "lidar_points": points,
        "truth/velocity_mps": np.tile([3.0, 4.0, 0.0], (frames, 1)),
    }
    for name, frame in LOST.items():
        valid = np.ones(frames, bool)
        valid[frame] = False
        arrays[f"valid_{name}"] = valid
        if name != "camera":
            arrays[name][frame] = np.nan
    arrays["camera"][LOST["camera"]] = 0
    return Recording(f"episode-{number:05d}", manifest, arrays)


@pytest.fixture(scope="session")
def drive():
    """Makes a recording with all modalities, from its number, frames and latitude."""
    return made_up_drive
