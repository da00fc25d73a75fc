"""TFRecords hold what the recordings hold, to the last bit."""

import contextlib
import os

import numpy as np
import pytest

from twin.errors import UserError
from twin.propagation.sionna import load_sionna
from twin.recording import scan
from twin.recording.tfrecord import export_tfrecord, tfrecord_dataset

FRAMES = 8


@pytest.fixture(scope="module", autouse=True)
def _tensorflow():
    with contextlib.suppress(UserError):
        load_sionna()  # other tests may want it, and after TensorFlow it cannot be loaded
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail("the extra tensorflow is not installed")
        pytest.skip("needs the extra tensorflow: pip install 'jepa-msac-twin[tensorflow]'")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, drive):
    root = tmp_path_factory.mktemp("tfrecord") / "data"
    for number in range(3):
        drive(number, FRAMES).save(root)
    return root


@pytest.fixture(scope="module")
def shards(dataset):
    out = dataset.parent / "shards"
    summary = export_tfrecord(dataset, out, shard_bytes=1)
    assert (summary.samples, summary.sequences, summary.shards) == (3 * FRAMES, 3, 3)
    return out


def test_every_frame_of_every_array_is_equal(dataset, shards):
    recordings = {entry.name: entry.open() for entry in scan(dataset).episodes}
    images = {name: recording.images() for name, recording in recordings.items()}
    found = list(tfrecord_dataset(shards).as_numpy_iterator())
    order = [(element["episode"].decode(), int(element["frame"])) for element in found]
    assert order == [(name, k) for name in recordings for k in range(FRAMES)]
    for element, (name, k) in zip(found, order, strict=True):
        arrays = recordings[name].arrays
        assert set(element) == {"episode", "frame"} | set(arrays) - {"radar_cube", "lidar_points"}
        np.testing.assert_array_equal(element["camera"], images[name][k])
        for key in set(element) - {"episode", "frame", "camera"}:
            np.testing.assert_array_equal(element[key], arrays[key][k], err_msg=key)
            assert element[key].dtype == arrays[key].dtype


def test_windows_follow_each_other_and_never_cross_episodes(shards):
    found = list(tfrecord_dataset(shards, window=5).as_numpy_iterator())
    assert len(found) == 3 * (FRAMES - 4)
    for element in found:
        assert len(set(element["episode"])) == 1
        assert (np.diff(element["frame"]) == 1).all()
        assert element["radar"].shape == (5, 64, 256)


def test_a_window_of_nothing_is_refused(shards):
    with pytest.raises(UserError, match="a window of 0 frames"):
        tfrecord_dataset(shards, window=0)


def test_shapes_are_known_before_anything_is_read(shards):
    spec = tfrecord_dataset(shards).element_spec
    assert spec["rf"].shape == (64,)
    assert spec["camera"].shape == (224, 224, 3)


def test_small_episodes_share_a_shard(dataset, tmp_path):
    assert export_tfrecord(dataset, tmp_path / "one").shards == 1
    assert len(list(tfrecord_dataset(tmp_path / "one"))) == 3 * FRAMES


def test_modalities_are_chosen(dataset, tmp_path):
    export_tfrecord(dataset, tmp_path / "some", modalities=["rf"], truth=False)
    assert set(tfrecord_dataset(tmp_path / "some").element_spec) == {"episode", "frame", "time", "rf", "valid_rf"}


def test_a_missing_shard_and_a_damaged_description_are_named(shards, dataset, tmp_path):
    export_tfrecord(dataset, tmp_path / "cut", shard_bytes=1)
    (tmp_path / "cut/frames-00001-of-00003.tfrecord").unlink()
    with pytest.raises(UserError, match="is missing"):
        tfrecord_dataset(tmp_path / "cut")
    (tmp_path / "cut/features.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        tfrecord_dataset(tmp_path / "cut")
    with pytest.raises(UserError, match="holds no TFRecords"):
        tfrecord_dataset(tmp_path)


def test_what_cannot_be_exported_is_refused(dataset, tmp_path):
    with pytest.raises(UserError, match="cannot export smell"):
        export_tfrecord(dataset, tmp_path / "out", modalities=["smell"])
    assert not (tmp_path / "out").exists()
