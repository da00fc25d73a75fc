"""A small recording, as a stand-in for any."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

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
                "unit1_rgb": f"./unit1/camera_data/image_{i}.jpg",
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
