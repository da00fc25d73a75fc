"""Windows for anybody's training loop: what an item holds is what the recording holds, in any process."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from jepa.data import dataset as dataset_module
from jepa.data.dataset import RecordingDataset
from twin.errors import UserError
from twin.geometry.coordinates import equirectangular_m
from twin.recording import Recording
from twin.sensors.images import encode_jpeg

FRAMES = {0: 9, 1: 4, 2: 7}
T = 5
LOST = 3
"""Frame of every episode that no sensor saw."""


def _with_sensors(plain, rng):
    count = plain.frames
    there = np.arange(count) != LOST
    pictures = [encode_jpeg(rng.integers(0, 255, (224, 224, 3)).astype(np.uint8)) for _ in range(count)]
    camera = np.zeros((count, max(map(len, pictures)) + 8), np.uint8)
    for k in np.flatnonzero(there):
        camera[k, : len(pictures[k])] = np.frombuffer(pictures[k], np.uint8)
    radar = rng.normal(-90, 9, (count, 64, 256)).astype(np.float16)
    lidar = np.where(rng.random((count, 64, 256)) < 0.3, np.nan, rng.uniform(1, 99, (count, 64, 256))).astype(
        np.float16
    )
    radar[~there], lidar[~there] = np.nan, np.nan
    valid = {f"valid_{name}": there for name in ("camera", "radar", "lidar")}
    truth = {
        "truth/best_beam": rng.integers(0, 64, count),
        "truth/actor_id": np.tile(np.arange(2 + count % 3), (count, 1)),
    }
    sensors = {"camera": camera, "radar": radar, "lidar": lidar}
    return Recording(plain.name, plain.manifest, {**plain.arrays, **sensors, **valid, **truth})


@pytest.fixture(scope="module")
def recordings(drive, tmp_path_factory):
    root = tmp_path_factory.mktemp("recorded") / "data"
    rng = np.random.default_rng(0)
    for number, frames in FRAMES.items():
        _with_sensors(drive(number, frames), rng).save(root)
    return root


def test_every_item_is_a_stretch_of_one_recording(recordings):
    windows = RecordingDataset(recordings, frames=T, truth=["best_beam", "actor_id"])
    seen = set()
    for item in windows:
        recording = Recording.open(recordings / item["episode"])
        part = slice(item["first"], item["first"] + T)
        assert part.stop <= recording.frames
        seen.add((item["episode"], item["first"]))
        assert item["camera"].shape == (T, 224, 224, 3)
        np.testing.assert_array_equal(item["camera"], recording.images()[part])
        for name in ("time", "radar", "lidar", "gps", "rf", "truth/best_beam", "truth/actor_id"):
            assert item[name].numpy().dtype == recording.arrays[name].dtype, name
            np.testing.assert_array_equal(item[name], recording.arrays[name][part], err_msg=name)
        for name in ("camera", "radar", "lidar", "gps", "rf"):
            np.testing.assert_array_equal(item[f"valid_{name}"], recording.arrays[f"valid_{name}"][part])
    assert seen == {(f"seq-{n:04d}", first) for n, count in FRAMES.items() for first in range(count - T + 1)}
    assert windows.short == 1


def test_a_lost_frame_is_black_or_nan_and_marked(recordings):
    item = RecordingDataset(recordings, frames=T)[0]
    assert item["valid_camera"].tolist() == [k != LOST for k in range(T)]
    assert not item["camera"][LOST].any()
    assert item["camera"][LOST + 1].any()
    assert item["radar"][LOST].isnan().all()
    assert item["radar"][LOST + 1].isfinite().all()


@pytest.mark.parametrize("stride", [1, 2, 3, 20])
def test_windows_start_a_stride_apart_and_begin_anew_in_every_episode(recordings, stride):
    windows = RecordingDataset(recordings, ["rf"], frames=T, stride=stride)
    starts = [(item["episode"], item["first"]) for item in windows]
    expected = [(f"seq-{n:04d}", k) for n, count in FRAMES.items() for k in range(0, count - T + 1, stride)]
    assert starts == expected
    assert len(windows) == len(expected)
    names = sorted({f"seq-{n:04d}" for n in FRAMES})
    assert [names[number] for number in windows.episode_of_window] == [name for name, _ in expected]


def test_positions_come_in_metres_where_asked_for(recordings):
    item = RecordingDataset(recordings, ["gps"], frames=T, gps="m")[2]
    recording = Recording.open(recordings / item["episode"])
    expected = equirectangular_m(recording.arrays["gps"], recording.manifest.bs.lat_lon_deg)[2 : 2 + T]
    np.testing.assert_allclose(item["gps"], expected, atol=1e-9)
    assert item["gps"].dtype == torch.float64


def test_only_what_is_asked_for_is_in_an_item(recordings):
    item = RecordingDataset(recordings, "radar", frames=T)[0]
    assert set(item) == {"time", "radar", "valid_radar", "episode", "first"}


def _same(one, other):
    assert set(one) == set(other)
    for name, values in one.items():
        if isinstance(values, torch.Tensor):
            assert torch.equal(values.nan_to_num(-1.0), other[name].nan_to_num(-1.0)), name
        else:
            assert values == other[name], name


def test_workers_read_the_same_as_the_process_itself(recordings):
    windows = RecordingDataset(recordings, frames=T)
    windows[0]
    batches = list(DataLoader(windows, batch_size=3, num_workers=2, multiprocessing_context="spawn"))
    assert batches[0]["camera"].shape == (3, T, 224, 224, 3)
    assert batches[0]["lidar"].dtype == torch.float16
    rows = [
        {name: values[k] for name, values in batch.items()} for batch in batches for k in range(len(batch["first"]))
    ]
    assert len(rows) == len(windows)
    for index, row in enumerate(rows):
        _same({**row, "first": int(row["first"])}, windows[index])


def test_a_pickled_dataset_carries_no_recording(recordings):
    windows = RecordingDataset(recordings, frames=T)
    fresh = len(pickle.dumps(windows))
    before = windows[0]
    assert len(pickle.dumps(windows)) == fresh
    _same(pickle.loads(pickle.dumps(windows))[0], before)


def test_few_recordings_are_open_at_a_time(recordings, monkeypatch):
    windows = RecordingDataset(recordings, ["rf", "radar"], frames=T)
    alone = [windows[k] for k in range(len(windows))]
    monkeypatch.setattr(dataset_module, "MOST_OPEN", 1)
    opened = []
    monkeypatch.setattr(Recording, "open", lambda path, open=Recording.open: opened.append(path) or open(path))
    again = RecordingDataset(recordings, ["rf", "radar"], frames=T)
    opened.clear()
    for index in (0, 1, 0, len(windows) - 1, len(windows) - 2, 0):
        _same(again[index], alone[index])
    assert len(opened) == 3


def test_an_item_may_be_changed_without_changing_the_next_one(recordings):
    windows = RecordingDataset(recordings, ["rf", "gps"], frames=T, truth=["best_beam"])
    first = windows[0]
    kept = {name: values.clone() for name, values in first.items() if isinstance(values, torch.Tensor)}
    for name in kept:
        first[name].zero_()
    _same({**windows[0]}, {**kept, "episode": first["episode"], "first": 0})


def test_an_item_reads_no_other_episode(recordings, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(recordings, copy)
    windows = RecordingDataset(copy, frames=T)
    shutil.rmtree(copy / "seq-0002" / "frames.zarr")
    assert windows[0]["camera"].any()
    with pytest.raises(UserError, match="seq-0002"):
        windows[-1]


def test_an_index_beyond_the_windows_is_an_index_error(recordings):
    windows = RecordingDataset(recordings, ["rf"], frames=T)
    _same(windows[-1], windows[len(windows) - 1])
    for index in (len(windows), -len(windows) - 1):
        with pytest.raises(IndexError, match="windows"):
            windows[index]


def test_what_is_wrong_is_said_when_the_dataset_is_made(recordings, dataset, tmp_path):
    for options, message in (
        ({"modalities": ["sonar"]}, "no modality 'sonar'"),
        ({"frames": 0}, "frames: 0 is too small"),
        ({"stride": 0}, "stride: 0 is too small"),
        ({"frames": 10}, "no episode has 10 frames, the longest has 9"),
        ({"truth": ["wealth"]}, "has no truth/wealth"),
        ({"gps": "feet"}, "'feet' is no unit"),
    ):
        with pytest.raises(UserError, match=message):
            RecordingDataset(recordings, **options)
    with pytest.raises(UserError, match="has no camera"):
        RecordingDataset([recordings, dataset])
    assert len(RecordingDataset([recordings, dataset], ["gps", "rf"], frames=T))
    with pytest.raises(UserError, match="no such directory"):
        RecordingDataset(tmp_path / "nowhere")


def test_a_damaged_recording_is_named(recordings, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(recordings, copy)
    manifest = copy / "seq-0001" / "manifest.json"
    manifest.write_text(manifest.read_text()[:-40])
    with pytest.raises(UserError, match="seq-0001"):
        RecordingDataset(copy)
