"""Small synthetic drives: a car passes at constant speed, the best beam follows its azimuth."""

import sys

import numpy as np
import pytest
import torch

from jepa.data.frames import FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import make_split
from twin.geometry.coordinates import geodetic_deg
from twin.recording import BaseStation, Recording, RecordingManifest

ORIGIN = np.array([33.42, -111.93])


def _drive(number, frames=40, seed=0):
    """A straight drive 12 m in front of the base station; beams of 90 degrees, a floor, some noise."""
    rng = np.random.default_rng([seed, number])
    time = np.arange(frames) / 10.0
    speed = rng.uniform(6, 10)
    east = -speed * time[-1] / 2 + speed * time
    position = np.stack([east, np.full(frames, 12.0)], 1)
    azimuth = np.degrees(np.arctan2(east, 12.0))
    beams = np.linspace(-45, 45, 64)
    power = np.exp(-0.5 * ((azimuth[:, None] - beams) / 4) ** 2) + 0.2
    power = power * rng.gamma(200, 1 / 200, power.shape)
    manifest = RecordingManifest(
        source="deepsense",
        scenario="synthetic",
        bs=BaseStation(latitude_deg=ORIGIN[0], longitude_deg=ORIGIN[1]),
        generator_version="0",
        frame_rate_hz=10.0,
        time_source="nominal",
        power_unit="arbitrary",
        seq_index=number,
    )
    arrays = {
        "time": time,
        "rf": power.astype(np.float32),
        "gps": geodetic_deg(position + rng.normal(0, 0.05, position.shape), ORIGIN),
        "valid_rf": np.ones(frames, bool),
        "valid_gps": np.ones(frames, bool),
    }
    return Recording(f"seq-{number:04d}", manifest, arrays)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A directory of ten drives."""
    root = tmp_path_factory.mktemp("data") / "synthetic"
    for number in range(10):
        _drive(number).save(root)
    return root


@pytest.fixture(scope="session")
def store(dataset):
    torch.set_num_threads(1)
    return FrameStore.load([dataset])


@pytest.fixture(scope="session")
def drive():
    """Makes a drive from its number, length and seed."""
    return _drive


@pytest.fixture(scope="session")
def samples(store):
    """The blocked split as samples."""
    return {part: Samples.gather(store, windows) for part, windows in make_split(store).parts.items()}


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command in this process and returns exit status, standard output and standard error."""
    from jepa.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["jepa", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run
