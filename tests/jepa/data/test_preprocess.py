"""Sensor frames as a network reads them: fixed scales for pictures and depth, one mean and deviation for radar."""

import numpy as np
import pytest
import torch

from jepa.data.frames import READERS, FrameStore
from jepa.data.inputs import Normalisers
from jepa.data.preprocess import Normaliser
from jepa.data.windows import Piece, cut_windows
from twin.errors import UserError
from twin.recording import Recording
from twin.sensors.images import encode_jpeg

PLAIN = Normaliser(0.0, 1.0, (0.0, 0.0), 1.0)
LOST = 4
"""Frame of every drive that the radar missed."""


def test_pictures_are_standardised_by_colour_and_the_colours_come_first():
    image = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8)
    found = Normaliser.image(image)
    assert found.shape == (2, 3, 3, 8, 8)
    for colour, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        expected = (image[..., colour].double() / 255 - mean) / std
        torch.testing.assert_close(found[:, :, colour].double(), expected, atol=1e-5, rtol=0)


def test_depth_is_one_at_the_sensor_and_zero_far_away_or_where_nothing_comes_back():
    range_m = torch.tensor([[0.0, 25.0, 100.0, float("nan")]], dtype=torch.float16)
    torch.testing.assert_close(Normaliser.depth(range_m), torch.tensor([[1.0, 0.75, 0.0, 0.0]]), atol=1e-6, rtol=0)


@pytest.fixture
def store(drive, tmp_path):
    """Two drives with radar maps, of the second drive 20 dB up; LiDAR and camera beside them."""
    rng = np.random.default_rng(3)
    for number in range(2):
        plain = drive(number, 16)
        shape = (16, 64, 256)
        maps = rng.normal(-100 + 20 * number, 7, shape).astype(np.float16)
        maps[LOST] = np.nan
        jpeg = encode_jpeg(np.full((224, 224, 3), 40 + 100 * number, np.uint8))
        sensors = {
            "radar": maps,
            "valid_radar": np.arange(16) != LOST,
            "lidar": np.where(rng.random(shape) < 0.5, np.nan, 50.0).astype(np.float16),
            "camera": np.tile(np.frombuffer(jpeg, np.uint8), (16, 1)),
            **{f"valid_{name}": np.ones(16, bool) for name in ("lidar", "camera")},
        }
        Recording(plain.name, plain.manifest, {**plain.arrays, **sensors}).save(tmp_path / "data")
    return FrameStore.load([tmp_path / "data"], modalities=["camera", "radar", "lidar", "gps", "rf"])


def test_the_store_keeps_sensor_frames_in_the_type_of_the_recording(store):
    kinds = {name: (values.dtype, tuple(values.shape[1:])) for name, values in store.values.items()}
    assert kinds == {
        "gps": (torch.float32, (2,)),
        "rf": (torch.float32, (64,)),
        "camera": (torch.uint8, (224, 224, 3)),
        "radar": (torch.float16, (64, 256)),
        "lidar": (torch.float16, (64, 256)),
    }
    assert store.values["lidar"].isnan().any(), "no return stays no return"
    assert abs(int(store.values["camera"][20, 5, 5, 0]) - 140) <= 2


def test_radar_maps_are_standardised_by_the_training_frames_alone(store, tmp_path):
    windows = cut_windows(store, [Piece(0, LOST + 1, 16), Piece(1, 0, 16)], ["gps", "rf"])
    assert set(windows.episode.tolist()) == {1}, "of the first drive no window of 13 frames is left"
    normaliser = Normaliser.fit(store, windows)
    training = store.values["radar"][16:32].double().numpy()
    assert normaliser.radar_mean_db == pytest.approx(training.mean(), abs=1e-3)
    assert normaliser.radar_std_db == pytest.approx(training.std(), rel=1e-4)
    found = normaliser("radar", store.values["radar"][16:18])
    assert found.dtype == torch.float32
    expected = (training[:2] - training.mean()) / training.std()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    Normalisers({"*": normaliser}).save(tmp_path / "stats.json")
    assert Normalisers.load(tmp_path / "stats.json").found["*"] == normaliser


def test_statistics_without_radar_standardise_none():
    with pytest.raises(UserError, match="no statistics of radar"):
        PLAIN("radar", torch.zeros(2, 64, 256))


@pytest.mark.parametrize(("mean_db", "std_db"), [(None, 1.0), (0.0, None), (0.0, -1.0), (0.0, float("nan"))])
def test_half_of_the_statistics_of_radar_is_none(mean_db, std_db):
    assert not Normaliser(0.0, 1.0, (0.0, 0.0), 1.0, radar_mean_db=mean_db, radar_std_db=std_db).is_whole


@pytest.mark.parametrize("name", ["camera", "radar", "lidar"])
def test_a_recording_without_a_sensor_says_so(drive, name):
    with pytest.raises(UserError, match=f"has no {name}"):
        READERS[name](drive(0, 13))
