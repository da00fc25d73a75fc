"""Camera, LiDAR and radar of a DeepSense 6G download become what the sensors of the twin would have recorded."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.io
from PIL import Image

import twin.cli
from twin.errors import UserError
from twin.recording import Recording, dataset_hash, import_deepsense, scan, verify_dataset
from twin.recording.deepsense_files import location_deg
from twin.recording.deepsense_frames import Reading, sensor_pool
from twin.sensors.images import decode_jpeg, resized
from twin.sensors.lidar.depth_image import depth_image
from twin.sensors.radar.range_angle import range_angle_map

SENSORS = ("camera", "radar", "lidar")
of_both_testbeds = pytest.mark.parametrize("sensor_folder", ["later", "earlier"], indirect=True)


def arrays_of(out):
    """The arrays of both sequences, joined."""
    both = [entry.open() for entry in scan(out).episodes]
    return {name: np.concatenate([one.arrays[name] for one in both]) for name in both[0].arrays if name != "camera"}


def jpegs_of(out):
    return [jpeg for entry in scan(out).episodes for jpeg in entry.open().jpegs()]


@of_both_testbeds
def test_every_sensor_that_the_table_names_is_imported(sensor_folder, tmp_path):
    summary = import_deepsense(sensor_folder.csv, tmp_path / "out")
    assert summary.bad_files == dict.fromkeys(("rf", "gps", *SENSORS), 0)
    assert summary.columns_read == {
        "bs_location": "unit1_loc",
        "rf": "unit1_pwr_60ghz",
        "gps": "unit2_loc",
        "camera": "unit1_rgb",
        "radar": "unit1_radar",
        "lidar": "unit1_lidar",
    }
    assert summary.columns_present == ["unit2_rgb"]
    first, second = (entry.open() for entry in scan(tmp_path / "out").episodes)
    assert first.modalities == ("rf", "gps", "camera", "radar", "lidar")
    assert (first.arrays["lidar"].shape, second.arrays["radar"].shape) == ((14, 64, 256), (16, 64, 256))
    assert first.manifest.import_options == {"radar_clutter": "chirp_mean"}
    assert verify_dataset(tmp_path / "out") == {"seq-0001": [], "seq-0002": []}


@of_both_testbeds
def test_what_is_imported_is_what_the_sensors_make_of_it(sensor_folder, tmp_path):
    import_deepsense(sensor_folder.csv, tmp_path / "out")
    arrays, jpegs = arrays_of(tmp_path / "out"), jpegs_of(tmp_path / "out")
    for k in range(30):
        np.testing.assert_array_equal(arrays["lidar"][k], depth_image(sensor_folder.points[k]))
        np.testing.assert_array_equal(arrays["radar"][k], range_angle_map(sensor_folder.cubes[k]))
        with Image.open(sensor_folder.file("camera", k)) as file:
            seen = np.asarray(resized(np.asarray(file.convert("RGB"))), float)
        assert decode_jpeg(jpegs[k]).shape == (224, 224, 3)
        assert np.abs(decode_jpeg(jpegs[k]) - seen).mean() < 4


def test_pictures_of_the_models_size_come_through_unchanged(sensor_folder, tmp_path):
    pictures = [image.resize((224, 224)) for image in map(Image.fromarray, sensor_folder.images)]
    for k, image in enumerate(pictures):
        sensor_folder.rows[k]["unit1_rgb"] = f"unit1/camera_data/small_{k}.jpeg"
        image.save(sensor_folder.file("camera", k), quality=30 + 2 * k)
    import_deepsense(sensor_folder.write_table(), tmp_path / "out", modalities=["camera"])
    assert jpegs_of(tmp_path / "out") == [sensor_folder.file("camera", k).read_bytes() for k in range(30)]


def damage(path, how):
    """Spoil a file of one frame."""
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif path.suffix == ".ply":
        path.write_bytes(content.replace(b"element vertex 200", b"element vertex 201"))
    elif path.suffix == ".npy":
        np.save(path, np.array([{"a": 1}], object))
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"points": np.ones((3, 3))})
    else:
        path.write_bytes(b"<html>Not found</html>")


@of_both_testbeds
@pytest.mark.parametrize("modality", SENSORS)
def test_a_bad_file_marks_that_modality_of_that_frame(sensor_folder, tmp_path, modality):
    bad = {20: "missing", 22: "cut", 2: "empty", 13: "a folder", 14: "not what it says"}
    for frame, how in bad.items():
        damage(sensor_folder.file(modality, frame), how)
    summary = import_deepsense(sensor_folder.csv, tmp_path / "out", max_bad=0.17)
    assert summary.bad_files == {**dict.fromkeys(("rf", "gps", *SENSORS), 0), modality: 5}
    assert list(summary.first_bad_file) == [modality]
    assert summary.first_bad_file[modality].startswith(f"{sensor_folder.file(modality, 2).name}: ")
    arrays = arrays_of(tmp_path / "out")
    for name in ("rf", "gps", *SENSORS):
        assert np.flatnonzero(~arrays[f"valid_{name}"]).tolist() == (sorted(bad) if name == modality else [])
    if modality == "camera":
        assert [k for k, jpeg in enumerate(jpegs_of(tmp_path / "out")) if not jpeg] == sorted(bad)
    else:
        assert np.flatnonzero(np.isnan(arrays[modality]).all(axis=(1, 2))).tolist() == sorted(bad)
    assert verify_dataset(tmp_path / "out") == {"seq-0001": [], "seq-0002": []}


@pytest.mark.parametrize("modality", SENSORS)
def test_too_many_bad_files_stop_the_import_and_leave_nothing(sensor_folder, tmp_path, modality):
    for k in (3, 17):
        damage(sensor_folder.file(modality, k), "cut")
    said = rf"6\.7% of the {modality} files are bad .*allow it with --max-bad 0\.07, or leave {modality} out of"
    with pytest.raises(UserError, match=said) as error:
        import_deepsense(sensor_folder.csv, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["scenario7"]


def test_a_sensor_that_was_not_downloaded_is_told_before_the_others_are_read(sensor_folder, tmp_path):
    for k in range(30):
        sensor_folder.file("radar", k).unlink()
    told = []
    with pytest.raises(UserError, match=r"100\.0% of the radar files are bad .*missing.*or leave radar out"):
        import_deepsense(sensor_folder.csv, tmp_path / "out", progress=lambda done, total: told.append(done))
    assert max(told) == 61  # power, position and the base station
    import_deepsense(sensor_folder.csv, tmp_path / "out", modalities=["rf", "gps", "camera", "lidar"])
    assert not Recording.open(tmp_path / "out/seq-0001").manifest.import_options


def test_a_sequence_without_a_picture_is_a_recording(sensor_folder, tmp_path):
    for k in range(14):
        damage(sensor_folder.file("camera", k), "missing")
    import_deepsense(sensor_folder.csv, tmp_path / "out", max_bad=0.5)
    assert Recording.open(tmp_path / "out/seq-0001").jpegs() == [b""] * 14


def test_some_modalities(sensor_folder, tmp_path):
    summary = import_deepsense(sensor_folder.csv, tmp_path / "out", modalities=["lidar", "rf"])
    recording = Recording.open(tmp_path / "out/seq-0001")
    assert not {"camera", "radar", "valid_camera", "valid_radar"} & set(recording.arrays)
    assert not recording.arrays["valid_gps"].any()
    assert summary.columns_present == ["unit2_rgb", "unit1_rgb", "unit1_radar"]


@pytest.mark.parametrize(("modality", "column"), [("camera", "unit1_rgb"), ("lidar", "unit1_lidar")])
def test_asking_for_a_sensor_without_a_column_is_an_error(sensor_folder, tmp_path, modality, column):
    for row in sensor_folder.rows:
        del row[column]
    table = sensor_folder.write_table()
    with pytest.raises(UserError, match=rf"has no column {column} .*leave {modality} out of --modalities"):
        import_deepsense(table, tmp_path / "out", modalities=["rf", "gps", modality])
    assert modality not in import_deepsense(table, tmp_path / "out").bad_files


@pytest.mark.parametrize(
    ("modality", "column", "others"),
    [
        ("camera", "unit1_camera", []),
        ("camera", "unit1_rgb1", ["unit1_rgb2"]),
        ("lidar", "unit1_lidar_SCR", []),
        ("lidar", "unit1_lidar", ["unit1_lidar_SCR"]),
        ("radar", "unit1_radar1", ["unit1_radar2"]),
    ],
)
def test_of_several_columns_of_a_sensor_the_first_counts(sensor_folder, tmp_path, modality, column, others):
    known = {"camera": "unit1_rgb", "lidar": "unit1_lidar", "radar": "unit1_radar"}[modality]
    for row in sensor_folder.rows:
        row |= dict.fromkeys(others, "nothing.jpg") | {column: row.pop(known)}
    summary = import_deepsense(sensor_folder.write_table(), tmp_path / "out")
    assert summary.columns_read[modality] == column
    assert summary.columns_present == ["unit2_rgb", *others]


@pytest.mark.parametrize("column", ["unit1_rgb", "unit1_lidar", "unit1_radar"])
def test_a_path_that_leaves_the_folder_stops_the_import(sensor_folder, tmp_path, column):
    for cell in ("/etc/passwd", "../../secret.jpg", "C:\\a.jpg", "unit1/../../x.ply", "\\\\host\\a.npy"):
        sensor_folder.rows[25][column] = cell
        with pytest.raises(UserError, match=rf"line 27, column {column}: .*leaves the folder") as error:
            import_deepsense(sensor_folder.write_table(), tmp_path / "out", max_bad=1.0)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()


def test_a_link_that_leaves_the_folder_is_not_followed(sensor_folder, tmp_path):
    picture = sensor_folder.file("camera", 4)
    picture.rename(tmp_path / "secret.jpg")
    picture.symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(UserError, match="leaves the folder"):
        import_deepsense(sensor_folder.csv, tmp_path / "out")


@pytest.mark.parametrize("clutter", ["chirp_mean", "antenna_mean", "none"])
def test_the_clutter_filter_is_chosen_and_noted(sensor_folder, tmp_path, clutter):
    import_deepsense(sensor_folder.csv, tmp_path / "out", modalities=["radar"], radar_clutter=clutter)
    recording = Recording.open(tmp_path / "out/seq-0001")
    np.testing.assert_array_equal(recording.arrays["radar"][3], range_angle_map(sensor_folder.cubes[3], clutter))
    assert recording.manifest.import_options == {"radar_clutter": clutter}


@pytest.mark.parametrize(
    ("option", "message"),
    [({"radar_clutter": "median"}, "--radar-clutter.*chirp_mean"), ({"workers": 0}, "--workers")],
)
def test_options_that_there_are_not(sensor_folder, tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        import_deepsense(sensor_folder.csv, tmp_path / "out", **option)


def test_the_summary_says_how_much_of_the_depth_images_is_filled(sensor_folder, tmp_path):
    damage(sensor_folder.file("lidar", 0), "cut")
    summary = import_deepsense(sensor_folder.csv, tmp_path / "out", modalities=["lidar"])
    images_m = arrays_of(tmp_path / "out")["lidar"][1:]
    filled = ~np.isnan(images_m)
    assert summary.lidar_filled["pixels"] == pytest.approx(filled.sum() / (29 * 64 * 256), abs=1e-6)
    assert summary.lidar_filled["rows"] == pytest.approx(np.mean([f.any(1).sum() / 64 for f in filled]), abs=1e-6)
    assert summary.lidar_filled["columns"] == pytest.approx(np.mean([f.any(0).sum() / 256 for f in filled]), abs=1e-6)


@of_both_testbeds
def test_any_number_of_workers_makes_the_same_recordings(sensor_folder, tmp_path):
    damage(sensor_folder.file("camera", 29), "cut")
    damage(sensor_folder.file("radar", 13), "cut")
    told = {}
    made = {}
    for workers in (1, 2, None):
        told[workers] = []
        made[workers] = import_deepsense(
            sensor_folder.csv,
            tmp_path / str(workers),
            workers=workers,
            progress=lambda done, total, to=workers: told[to].append((done, total)),
        )
    assert made[1] == made[2] == made[None]
    assert len({dataset_hash(scan(tmp_path / str(workers)).episodes) for workers in made}) == 1
    assert told[1] == told[2]
    assert told[1][-1] == (151, 151)


def test_two_sequences_at_most_are_being_read(sensor_folder, tmp_path, monkeypatch):
    alive, most = [0], [0]
    column = Reading.column

    class Counted(Reading):
        def __init__(self, pool, read, paths):
            super().__init__(pool, read, paths)
            alive[0] += len(paths)
            most[0] = max(most[0], alive[0])

        def column(self, blank):
            alive[0] -= len(self.paths)
            return column(self, blank)

    monkeypatch.setattr("twin.recording.deepsense.Reading", Counted)
    for k, row in enumerate(sensor_folder.rows):
        row["seq_index"] = str(k // 3)
        row["time_stamp"] = f"10:00:{k}-000000"
    import_deepsense(sensor_folder.write_table(), tmp_path / "out", modalities=["lidar"])
    assert len(scan(tmp_path / "out").episodes) == 10
    assert most[0] == 6


def test_a_worker_that_dies_is_a_users_error(tmp_path):
    def read_while_one_dies():
        with sensor_pool(2, 1000) as pool:
            Reading(pool, location_deg, [tmp_path]).column(np.zeros(2))
            os.kill(next(iter(pool._processes)), signal.SIGKILL)
            while True:
                Reading(pool, location_deg, [tmp_path]).column(np.zeros(2))

    with pytest.raises(UserError, match=r"died.*--workers"):
        read_while_one_dies()


def test_an_interrupt_leaves_neither_words_nor_files(sensor_folder, tmp_path):
    for k, row in enumerate(sensor_folder.rows):  # clouds that keep it busy for as long as it takes
        row["unit1_lidar"] = "unit1/lidar_data/huge.csv"
        row["time_stamp"] = f"10:00:{k}-000000"
    np.savetxt(sensor_folder.root / "unit1/lidar_data/huge.csv", np.ones((400_000, 3)), "%d", ",")
    command = [sys.executable, "-m", "twin.cli", "import", sensor_folder.write_table(), "--out", tmp_path / "out"]
    running = subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    while running.poll() is None and not list(tmp_path.glob(".out.*")):
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: the processes that read get it, too
    out, err = running.communicate()
    assert (running.returncode, out, err) == (130, b"", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["scenario7"]


def test_the_command_says_what_it_read(sensor_folder, tmp_path, capsys, monkeypatch):
    damage(sensor_folder.file("camera", 1), "cut")
    arguments = ["import", sensor_folder.csv, "--out", tmp_path / "out", "--radar-clutter", "none", "--workers", "1"]
    monkeypatch.setattr("sys.argv", ["twin", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        twin.cli.main()
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "camera (unit1_rgb), radar (unit1_radar), lidar (unit1_lidar)" in said
    assert f"bad camera files: 1, the first: {sensor_folder.file('camera', 1).name}: " in said
    assert "lidar images hold returns in 1." in said
    assert "present and not read: unit2_rgb\n" in said
