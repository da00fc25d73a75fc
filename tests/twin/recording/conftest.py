"""A small recording, as a stand-in for any, and small downloads of DeepSense 6G scenarios."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from twin.recording import BaseStation, Recording, RecordingManifest


def small_recording(name="drive", frames=15, seed=0):
    rng = np.random.default_rng(seed)
    manifest = RecordingManifest(
        source="deepsense",
        scenario="scenario0",
        bs=BaseStation(latitude_deg=33.42, longitude_deg=-111.93),
        generator_version="0",
        frame_rate_hz=10.0,
        time_source="nominal",
        power_unit="arbitrary",
    )
    arrays = {
        "time": np.arange(frames) / 10.0,
        "rf": rng.exponential(size=(frames, 64)).astype(np.float32),
        "gps": np.array([33.42, -111.93]) + rng.normal(0, 1e-4, (frames, 2)),
        "valid_rf": np.ones(frames, bool),
        "valid_gps": np.ones(frames, bool),
    }
    return Recording(name, manifest, arrays)


@pytest.fixture
def recording():
    return small_recording()


@dataclass
class DeepSenseFolder:
    """A scenario folder in the layout of the official release, small and easily damaged."""

    root: Path
    rows: list[dict[str, str]]

    @property
    def csv(self):
        return self.root / "scenario7.csv"

    def write_table(self):
        header = list(self.rows[0])
        lines = [",".join(header)] + [",".join(row[name] for name in header) for row in self.rows]
        self.csv.write_text("\n".join(lines) + "\n")
        return self.csv


@pytest.fixture
def folder(tmp_path):
    """Two sequences of 14 and 16 samples, written as the official release does."""
    root = tmp_path / "scenario7"
    for name in ("unit1/mmWave_data", "unit1/GPS_data", "unit2/GPS_data"):
        (root / name).mkdir(parents=True)
    (root / "unit1/GPS_data/bs.txt").write_text("33.42\n-111.93\n")
    rng = np.random.default_rng(5)
    rows = []
    for i in range(30):
        power = rng.exponential(size=64)
        (root / f"unit1/mmWave_data/p{i}.txt").write_text("".join(f"{p:.9g}\n" for p in power))
        (root / f"unit2/GPS_data/g{i}.txt").write_text(f"{33.42 + i * 1e-5!r}\n{-111.93!r}\n")
        rows.append(
            {
                "index": str(i + 1),
                "unit2_rgb": f"./unit2/camera_data/image_{i}.jpg",
                "unit1_pwr_60ghz": f"./unit1/mmWave_data/p{i}.txt",
                "unit1_loc": "./unit1/GPS_data/bs.txt",
                "unit2_loc": f"./unit2/GPS_data/g{i}.txt",
                "unit1_beam": str(power.argmax() + 1),
                "time_stamp": f"10:00:0{i // 10}-{i % 10}00000",
                "seq_index": "1" if i < 14 else "2",
            }
        )
    for i in range(14):  # the first sequence passes midnight
        tenths = 5 + i
        rows[i]["time_stamp"] = f"23:59:59-{tenths}00000" if tenths < 10 else f"00:00:00-{tenths - 10}00000"
    made = DeepSenseFolder(root, rows)
    made.write_table()
    return made


def text_ply(points):
    """As the later testbed writes its LiDAR: coordinates and an intensity that counts up."""
    kinds = ("double x", "double y", "double z", "ushort intensity")
    header = ["ply", "format ascii 1.0", f"element vertex {len(points)}", *(f"property {kind}" for kind in kinds)]
    rows = [f"{x!r} {y!r} {z!r} {k}" for k, (x, y, z) in enumerate(points.tolist())]
    return "\n".join([*header, "end_header", *rows]) + "\n"


@dataclass
class SensorFolder(DeepSenseFolder):
    """With what the sensors measured in each frame: pictures (54, 96, 3), points (200, 3) and cubes (4, 256, 6)."""

    images: list[np.ndarray]
    points: list[np.ndarray]
    cubes: list[np.ndarray]

    def file(self, modality, frame):
        column = {"camera": "unit1_rgb", "lidar": "unit1_lidar", "radar": "unit1_radar"}[modality]
        return self.root / self.rows[frame][column]


@pytest.fixture
def sensor_folder(folder, request):
    """The folder with camera, LiDAR and radar: .jpg, .ply and .npy, or of the earlier testbed .png and .mat."""
    rng = np.random.default_rng(7)
    images, points, cubes = [], [], []
    for name in ("camera", "lidar", "radar"):
        (folder.root / f"unit1/{name}_data").mkdir()
    for i, row in enumerate(folder.rows):
        images.append(np.asarray(Image.fromarray(rng.integers(0, 255, (5, 9, 3), np.uint8)).resize((96, 54))))
        points.append(rng.normal(0, (20, 20, 2), (200, 3)))
        cubes.append((rng.normal(size=(4, 256, 6)) + 1j * rng.normal(size=(4, 256, 6))).astype(np.complex64))
        if getattr(request, "param", "later") == "later":
            names = [f"image_{i}.jpg", f"lidar_data_{i}.ply", f"radar_data_{i}.npy"]
        else:
            names = [f"image_{i}.png", f"lidar_data_{i}.mat", f"radar_data_{i}.mat"]
        paths = [f"./unit1/{name}_data/{file}" for name, file in zip(("camera", "lidar", "radar"), names, strict=True)]
        row["unit1_rgb"], row["unit1_lidar"], row["unit1_radar"] = paths
        camera, lidar, radar = (folder.root / path for path in paths)
        Image.fromarray(images[i]).save(camera)
        if lidar.suffix == ".ply":
            lidar.write_text(text_ply(points[i]))
            np.save(radar, cubes[i])
        else:
            scipy.io.savemat(lidar, {"data": np.c_[points[i], np.arange(200)]})
            scipy.io.savemat(radar, {"data": cubes[i].astype(np.complex128)}, do_compression=True)
    made = SensorFolder(folder.root, folder.rows, images, points, cubes)
    made.write_table()
    return made
