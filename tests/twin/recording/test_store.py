"""A recording is whole, or it says what is wrong: nothing silent."""

import errno
import hashlib
import json
import shutil

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import twin.recording.store as store
from twin.errors import UserError
from twin.recording import (
    Array,
    Recording,
    RecordingManifest,
    StoredManifest,
    dataset_hash,
    new_directory,
    open_dataset,
    read_array,
    read_manifest,
    scan,
    verify_bundle,
    verify_dataset,
    write_bundle,
)


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


@pytest.mark.parametrize("where", ["memory://full/new/data", "new/data"])
def test_a_full_disk_leaves_nothing_half_written(recording, tmp_path, monkeypatch, where):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_files_hash", full)
    root = where if "://" in where else tmp_path / where
    with pytest.raises(OSError, match="No space"):
        recording.save(root)
    assert list(tmp_path.iterdir()) == []
    assert fsspec.filesystem("memory").find("/full") == []


def test_of_two_writers_one_wins_and_the_other_is_told(tmp_path):
    target = tmp_path / "drive"
    with pytest.raises(UserError, match="another writer"), new_directory(target):  # noqa: PT012
        target.mkdir()
        (target / "theirs").write_text("keep")
    assert [path.name for path in tmp_path.rglob("*")] == ["drive", "theirs"]


def test_a_file_in_the_way_is_a_users_error(recording, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file is in its way"):
        recording.save(tmp_path / "file")


def test_a_name_that_no_file_system_takes_is_a_users_error(recording, tmp_path):
    with pytest.raises(UserError, match="cannot be made"):
        recording.save(tmp_path / ("a" * 300))


def test_a_link_to_nowhere_is_not_overwritten(recording, tmp_path):
    (tmp_path / "drive").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists already"):
        recording.save(tmp_path)


def test_what_a_killed_writer_left_on_other_storage_is_replaced(recording):
    fsspec.filesystem("memory").pipe_file("/killed/drive/frames.zarr/rf/c/0/0", b"half")
    assert scan("memory://killed").damaged == [("drive", "no manifest, so it is no recording")]
    recording.save("memory://killed")
    assert verify_dataset("memory://killed") == {"drive": []}


def test_an_unknown_kind_of_storage_is_a_users_error(recording):
    for action in (recording.save, scan, verify_dataset):
        with pytest.raises(UserError, match="cannot be opened"):
            action("nonsense://bucket/data")


def test_other_storage_than_the_local_disk(recording):
    recording.save("memory://bucket/data")
    assert [entry.name for entry in scan("memory://bucket/data").episodes] == ["drive"]
    read = scan("memory://bucket/data").episodes[0].open()
    np.testing.assert_array_equal(read.arrays["rf"], recording.arrays["rf"])
    with pytest.raises(UserError, match="exists already"):
        recording.save("memory://bucket/data")


NUMBERS = st.sampled_from(["?", "i1", "i2", "<i4", ">i4", "i8", "f2", "<f4", ">f8", "c8"])


@settings(max_examples=50, deadline=None)
@given(values=arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_any_array_of_numbers_comes_back_to_the_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("any") / "bundle"
    dims = tuple(f"dim{i}" for i in range(values.ndim))
    digest = write_bundle(path, {"deep/er/name": Array(values, dims, "m")}, StoredManifest(kind="any"))
    manifest = read_manifest(path, StoredManifest)
    read = read_array(path, "deep/er/name", manifest)
    assert read.shape == values.shape
    assert read.tobytes() == values.astype(values.dtype.newbyteorder("<")).tobytes()
    assert verify_bundle(path, StoredManifest) == []
    swapped = {"deep/er/name": Array(np.array(values, values.dtype.newbyteorder(">"), order="F"), dims, "m")}
    assert write_bundle(path.with_name("swapped"), swapped, StoredManifest(kind="any")) == digest


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_altered_byte_of_any_file_goes_unnoticed(recording, tmp_path_factory, data):
    root = tmp_path_factory.mktemp("flip")
    recording.save(root)
    path = data.draw(st.sampled_from(files_of(root)))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["alter", "cut", "insert", "append"])):
        case "alter":
            content[position] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[position:]
        case "insert":
            content.insert(position, data.draw(st.integers(0, 255)))
        case "append":
            content += data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(content)
    assert verify_dataset(root)["drive"]
    try:
        read = Recording.open(root / "drive")
        for name, values in recording.arrays.items():  # metadata that no reader uses may be altered, values never are
            np.testing.assert_array_equal(read.arrays[name], values)
    except UserError as error:
        assert "\n" not in str(error)


def test_a_removed_or_added_file_is_noticed(recording, tmp_path):
    recording.save(tmp_path)
    stray = tmp_path / "drive/frames.zarr/stray"
    stray.write_text("x")
    assert verify_dataset(tmp_path)["drive"] == ["a stored file was altered, added or removed"]
    stray.unlink()
    assert verify_dataset(tmp_path)["drive"] == []
    (tmp_path / "drive/frames.zarr/zarr.json").unlink()
    assert verify_dataset(tmp_path)["drive"] == ["a stored file was altered, added or removed"]


def test_a_recording_without_its_frames_is_damaged(recording, tmp_path):
    recording.save(tmp_path)
    shutil.rmtree(tmp_path / "drive/frames.zarr")
    assert len(verify_dataset(tmp_path)["drive"]) == len(recording.arrays)
    with pytest.raises(UserError, match="'time' cannot be read"):
        Recording.open(tmp_path / "drive").arrays["time"]


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


@pytest.mark.parametrize("content", ["[]", "null", '{"schema_version": Infinity}', "[" * 100_000, "{}", "\x00"])
def test_a_manifest_of_another_shape_is_damaged(recording, tmp_path, content):
    recording.save(tmp_path)
    (tmp_path / "drive/manifest.json").write_text(content)
    assert scan(tmp_path).damaged == [("drive", "the manifest is damaged")]


def test_a_directory_in_place_of_the_manifest_is_damage_of_that_episode_only(recording, tmp_path):
    recording.save(tmp_path)
    (tmp_path / "other/manifest.json").mkdir(parents=True)
    found = scan(tmp_path)
    assert [entry.name for entry in found.episodes] == ["drive"]
    assert found.damaged == [("other", "the manifest cannot be read (Is a directory)")]


def test_another_kind_of_bundle_is_no_recording(tmp_path):
    write_bundle(tmp_path / "drive", {"t": Array(np.arange(3), ("window",), "1")}, StoredManifest(kind="predictions"))
    (reason,) = dict(scan(tmp_path).damaged).values()
    assert reason.startswith("field ")


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
    with pytest.raises(UserError, match=rf"schema version {store.SCHEMA_VERSION + 1}.*update this program"):
        Recording.open(tmp_path / "drive")


def test_an_older_schema_is_lifted_by_its_migration(recording, tmp_path, monkeypatch):
    recording.save(tmp_path)
    newer = store.SCHEMA_VERSION + 1
    monkeypatch.setattr(store, "SCHEMA_VERSION", newer)
    migrations = {newer - 1: lambda old: {**old, "schema_version": newer, "seq_index": 7}}
    monkeypatch.setattr(store, "MIGRATIONS", migrations)
    assert Recording.open(tmp_path / "drive").manifest.seq_index == 7


def test_a_recording_of_version_1_is_read_as_it_was(recording, tmp_path):
    recording.save(tmp_path)
    place = tmp_path / "drive/manifest.json"
    content = json.loads(place.read_text())
    files = content.pop("files_sha256")
    del content["content_hash"], content["import_options"]
    first = {**content, "schema_version": 1}
    canonical = json.dumps(first, sort_keys=True, separators=(",", ":"))
    stated = {"content_hash": hashlib.sha256(canonical.encode()).hexdigest(), "files_sha256": files}
    place.write_text(json.dumps({**first, **stated}, indent=1) + "\n")
    lifted = Recording.open(tmp_path / "drive")
    np.testing.assert_array_equal(lifted.arrays["rf"], recording.arrays["rf"])
    assert lifted.modalities == ("rf", "gps")
    assert verify_bundle(tmp_path / "drive", RecordingManifest) == []


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


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rf", np.zeros((15, 63), np.float32)),
        ("gps", np.zeros((14, 2))),
        ("truth/position_m", np.zeros((15, 2))),
        ("valid_rf", np.ones((15, 1), bool)),
    ],
)
def test_an_array_that_does_not_fit_the_others_is_refused(recording, name, values):
    with pytest.raises(ValueError, match=f"'{name}' has shape"):
        Recording("x", recording.manifest, {**recording.arrays, name: values})


def test_arrays_of_paths_have_one_number_of_paths(recording):
    paths = {"truth/path_delay_s": np.zeros((15, 8)), "truth/path_kind": np.zeros((15, 7), np.int8)}
    with pytest.raises(ValueError, match=r"path_kind.*path 8"):
        Recording("x", recording.manifest, {**recording.arrays, **paths})
