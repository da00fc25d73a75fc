"""A small world with all five modalities, and a budget that is spent in seconds."""

from dataclasses import replace

import numpy as np
import pytest

from jepa.experiments import table3
from jepa.experiments.on_twin import study
from twin.recording import Recording
from twin.sensors.images import encode_jpeg

DRIVES, FRAMES, SIDE = 7, 16, 32


def _five(drive, number):
    """A drive with pictures and maps in which the car is a spot at its azimuth."""
    plain = drive(number, FRAMES, seed=1)
    rng = np.random.default_rng(number)
    column = plain.arrays["rf"].argmax(1) / 64
    streams, radar = [], rng.normal(-100, 2, (FRAMES, 64, 256))
    lidar = np.full((FRAMES, 64, 256), 40.0)
    for frame, share in enumerate(column):
        picture = rng.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
        picture[12:20, int(share * SIDE)] = 250
        streams.append(encode_jpeg(picture))
        radar[frame, int(share * 64), 60:66] += 30
        lidar[frame, 30:40, int(share * 256)] = 12.0
    camera = np.zeros((FRAMES, max(map(len, streams))), np.uint8)
    for row, stream in zip(camera, streams, strict=True):
        row[: len(stream)] = np.frombuffer(stream, np.uint8)
    valid = {f"valid_{name}": np.ones(FRAMES, bool) for name in ("camera", "radar", "lidar")}
    maps = {"camera": camera, "radar": radar.astype(np.float16), "lidar": lidar.astype(np.float16)}
    return Recording(plain.name, plain.manifest, {**plain.arrays, **maps, **valid})


@pytest.fixture(scope="session")
def five(drive, tmp_path_factory):
    """A directory of seven drives: four train, one validates, two test under `blocked`."""
    root = tmp_path_factory.mktemp("five") / "small-world"
    for number in range(DRIVES):
        _five(drive, number).save(root)
    return root


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """Where the experiments of a study meet."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="session")
def quick_study(tmp_path_factory):
    """Table III at the quick budget: recordings, runs and rows that other experiments of the paper start from."""
    place = tmp_path_factory.mktemp("quick-study")
    table3.run(place, budget="quick")
    return place


@pytest.fixture(scope="session")
def as_printed():
    """Writes an estimate of a JSON file as a page has it: value and interval."""

    def written(told, decimals=3, sign=False):
        form = f"{'+' if sign else ''}.{decimals}f"
        return f"{told['value']:{form}} [{', '.join(f'{end:{form}}' for end in told['ci95'])}]"

    return written


@pytest.fixture(scope="module")
def quick():
    """The quick budget for a backbone that reads power and position alone: its camera is slow to build."""
    spent = study.BUDGETS["quick"]
    nano = replace(spent, more=(*spent.more, "inputs.modalities=[gps, rf]"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study.BUDGETS, "quick", nano)
        yield nano
