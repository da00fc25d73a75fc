"""A recording is whole, or it says what is wrong: nothing silent."""

import errno
import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import twin.recording.store as store
from twin.errors import UserError
from twin.recording import Recording, dataset_hash, open_dataset, scan, verify_dataset


def files_of(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_what_was_written_is_read_back_to_the_bit(recording, tmp_path):
    recording.save(tmp_path)
    read = Recording.open(tmp_path / "drive")
    assert read.frames == 15
    for name, values in recording.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], values)
        assert read.arrays[name].dtype == values.dtype
    assert verify_dataset(tmp_path) == {"drive": []}
    assert verify_dataset(tmp_path / "drive") == {"drive": []}


def test_the_same_content_has_the_same_hash_and_another_content_another(recording, tmp_path):
    first = recording.save(tmp_path / "a")
    assert recording.save(tmp_path / "b") == first == Recording.open(tmp_path / "a/drive").content_hash
    recording.arrays["rf"][3, 5] *= 1.0001
    assert recording.save(tmp_path / "c") != first


def test_the_hash_of_a_dataset_does_not_depend_on_the_order(recording, tmp_path):
    recording.save(tmp_path)
    recording.name = "another"
    recording.save(tmp_path)
    episodes = scan(tmp_path).episodes
    assert dataset_hash(episodes) == dataset_hash(episodes[::-1]) != dataset_hash(episodes[:1])


def test_a_place_that_is_taken_stays_as_it_was(recording, tmp_path):
    recording.save(tmp_path)
    with pytest.raises(UserError, match="exists already"):
        recording.save(tmp_path)
    assert verify_dataset(tmp_path) == {"drive": []}


def test_a_full_disk_leaves_nothing_half_written(recording, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_sync_tree", full)
    with pytest.raises(OSError, match="No space"):
        recording.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_storage_than_the_local_disk(recording):
    recording.save("memory://bucket/data")
    assert [entry.name for entry in scan("memory://bucket/data").episodes] == ["drive"]
    read = scan("memory://bucket/data").episodes[0].open()
    np.testing.assert_array_equal(read.arrays["rf"], recording.arrays["rf"])
    with pytest.raises(UserError, match="exists already"):
        recording.save("memory://bucket/data")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_flipped_bit_goes_unnoticed(recording, tmp_path_factory, data):
    root = tmp_path_factory.mktemp("flip")
    recording.save(root)
    path = data.draw(st.sampled_from(files_of(root)))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    problems = verify_dataset(root)["drive"]
    if not problems:  # a flipped bit in metadata that no reader uses is harmless: what is read is what was written
        read = Recording.open(root / "drive")
        for name, values in recording.arrays.items():
            np.testing.assert_array_equal(read.arrays[name], values)


def test_a_deleted_chunk_is_no_row_of_zeros(recording, tmp_path):
    recording.save(tmp_path)
    shutil.rmtree(tmp_path / "drive/frames.zarr/rf/c")
    assert verify_dataset(tmp_path)["drive"] == ["array 'rf' differs from its manifest"]
    with pytest.raises(UserError, match="rf"):
        Recording.open(tmp_path / "drive").arrays["rf"]


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_cut_manifest_is_listed_with_its_reason(recording, tmp_path, keep):
    recording.save(tmp_path)
    manifest = tmp_path / "drive/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:keep])
    found = scan(tmp_path)
    assert found.episodes == []
    assert found.damaged == [("drive", "the manifest is damaged")]
    with pytest.raises(UserError, match="holds no recording"):
        open_dataset(tmp_path)


def test_an_altered_manifest_is_noticed(recording, tmp_path):
    recording.save(tmp_path)
    manifest = tmp_path / "drive/manifest.json"
    manifest.write_text(manifest.read_text().replace('"latitude_deg": 33.42', '"latitude_deg": 33.52'))
    assert verify_dataset(tmp_path) == {"drive": ["the manifest was altered"]}


def test_a_newer_schema_asks_for_an_update(recording, tmp_path):
    recording.save(tmp_path)
    manifest = tmp_path / "drive/manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "schema_version": store.SCHEMA_VERSION + 1}))
    with pytest.raises(UserError, match=r"schema version 2.*update this program"):
        Recording.open(tmp_path / "drive")


def test_an_older_schema_is_lifted_by_its_migration(recording, tmp_path, monkeypatch):
    recording.save(tmp_path)
    monkeypatch.setattr(store, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(store, "MIGRATIONS", {1: lambda old: {**old, "schema_version": 2, "seq_index": 7}})
    assert Recording.open(tmp_path / "drive").manifest.seq_index == 7


def test_drafts_of_a_writer_that_died_are_no_episodes(recording, tmp_path):
    recording.save(tmp_path)
    (tmp_path / "drive").rename(tmp_path / ".drive.0123abcd.partial")
    assert scan(tmp_path).episodes == []


def test_the_best_beam_of_an_invalid_sweep_is_none(recording):
    recording.arrays["valid_rf"][2] = False
    recording.arrays["rf"][2] = np.nan
    beams = recording.best_beam()
    assert beams[2] == -1
    assert beams[3] == recording.arrays["rf"][3].argmax()


def test_an_array_that_the_contract_does_not_name_is_refused(recording):
    with pytest.raises(ValueError, match="'sonar' is unknown"):
        Recording("x", recording.manifest, {**recording.arrays, "sonar": np.zeros(15)})
