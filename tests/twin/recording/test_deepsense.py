"""What lies on a user's disk after a DeepSense 6G download becomes recordings, or a line that says what is wrong."""

import csv
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.errors import UserError
from twin.recording import Recording, dataset_hash, import_deepsense, scan, verify_dataset

IMPORT_BUDGET_S = 10.0
"""Longest import of the largest real scenario, 5,964 samples [s of processor time]."""

REAL = Path(__file__).parents[4] / "shared" / "data" / "deepsense"
needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/deepsense beside the checkout")


def test_a_folder_becomes_one_recording_a_sequence(folder, tmp_path):
    summary = import_deepsense(folder.csv, tmp_path / "out")
    assert (summary.samples, summary.sequences, summary.beam_label_disagreements) == (30, 2, 0)
    assert summary.columns_present == ["unit2_rgb"]
    first, second = (entry.open() for entry in scan(tmp_path / "out").episodes)
    assert (first.frames, second.frames) == (14, 16)
    assert first.manifest.scenario_name == "scenario7"
    assert first.manifest.columns_present == ["unit2_rgb"]
    power = np.loadtxt(folder.root / "unit1/mmWave_data/p14.txt")
    np.testing.assert_array_equal(second.arrays["rf"][0], power.astype(np.float32))
    assert second.best_beam()[0] == int(folder.rows[14]["unit1_beam"]) - 1
    assert first.position_m()[3, 1] == pytest.approx(3e-5 * np.pi / 180 * 6371e3)
    assert verify_dataset(tmp_path / "out") == {"seq-0001": [], "seq-0002": []}


def test_measured_times_pass_midnight(folder, tmp_path):
    summary = import_deepsense(folder.csv, tmp_path / "out")
    assert (summary.time_source, summary.frame_rate_hz) == ("measured", 10.0)
    np.testing.assert_allclose(Recording.open(tmp_path / "out/seq-0001").arrays["time"], np.arange(14) / 10, atol=1e-9)


def test_without_time_stamps_the_nominal_rate_spaces_the_frames(folder, tmp_path):
    for row in folder.rows:
        del row["time_stamp"]
    summary = import_deepsense(folder.write_table(), tmp_path / "out", rate_hz=8.0)
    assert (summary.time_source, summary.frame_rate_hz) == ("nominal", 8.0)
    np.testing.assert_allclose(Recording.open(tmp_path / "out/seq-0002").arrays["time"][:3], [0, 0.125, 0.25])


def put_times(folder, stamps):
    for row, stamp in zip(folder.rows, stamps, strict=True):
        row["time_stamp"] = stamp


def test_midnight_may_lie_before_the_last_sample(folder, tmp_path):
    put_times(
        folder,
        [f"23:59:{46 + i}-000000" for i in range(14)] + [f"23:59:{45 + i - 1}-0" for i in range(15)] + ["00:00:00-0"],
    )
    assert import_deepsense(folder.write_table(), tmp_path / "out").time_source == "measured"
    assert Recording.open(tmp_path / "out/seq-0002").arrays["time"][-1] == pytest.approx(16)


def test_a_clock_that_steps_back_gives_nominal_times_and_says_so(folder, tmp_path):
    folder.rows[29]["time_stamp"] = "09:59:00-000000"
    summary = import_deepsense(folder.write_table(), tmp_path / "out")
    assert (summary.time_source, summary.frame_rate_hz) == ("nominal", 10.0)
    assert summary.time_note == "line 31: its time stamp is not after the one before"


@pytest.mark.parametrize("stamp", ["", "noon", "25:00:00-000000", "10:61:00-000000", "2023-10-05 10:00:01"])
def test_a_stamp_that_cannot_be_read_gives_nominal_times_and_says_so(folder, tmp_path, stamp):
    folder.rows[4]["time_stamp"] = stamp
    summary = import_deepsense(folder.write_table(), tmp_path / "out")
    assert (summary.time_source, summary.time_note) == ("nominal", f"line 6: the time stamp {stamp!r} cannot be read")


def test_fractions_without_leading_zeros_are_counts(folder, tmp_path):
    put_times(folder, [f"10:00:{i:02d}-{i * 1000}" for i in range(30)])
    import_deepsense(folder.write_table(), tmp_path / "out")
    np.testing.assert_allclose(np.diff(Recording.open(tmp_path / "out/seq-0001").arrays["time"]), 1.001)


def test_without_sample_numbers_the_clock_tells_the_order(folder, tmp_path):
    for row in folder.rows:
        del row["index"]
    import_deepsense(folder.write_table(), tmp_path / "out")
    swap(folder)
    with pytest.raises(UserError, match=r"line 7: sample of time .* of sequence 1 is out of order"):
        import_deepsense(folder.write_table(), tmp_path / "swapped")


def test_the_names_of_the_earlier_testbed(folder, tmp_path):
    for i, row in enumerate(folder.rows):
        row["unit1_beam_index"] = row.pop("unit1_beam")
        row["time_stamp[UTC]"] = f"['16-45-{i:02d}-799']"
        del row["time_stamp"]
    summary = import_deepsense(folder.write_table(), tmp_path / "out")
    assert (summary.time_source, summary.frame_rate_hz, summary.beam_label_disagreements) == ("measured", 1.0, 0)


def test_a_subset_of_modalities(folder, tmp_path):
    for row in folder.rows:
        del row["unit2_loc"]
    table = folder.write_table()
    with pytest.raises(UserError, match=r"unit2_loc.*leave gps out"):
        import_deepsense(table, tmp_path / "out")
    import_deepsense(table, tmp_path / "out", modalities=["rf"])
    recording = Recording.open(tmp_path / "out/seq-0001")
    assert not recording.arrays["valid_gps"].any()
    assert recording.arrays["valid_rf"].all()


def test_a_wrong_beam_label_is_counted(folder, tmp_path):
    folder.rows[3]["unit1_beam"] = str(int(folder.rows[3]["unit1_beam"]) % 64 + 1)
    assert import_deepsense(folder.write_table(), tmp_path / "out").beam_label_disagreements == 1


@pytest.mark.parametrize("label", ["", "nan", "best", "0", "65", "1e99"])
def test_a_label_that_names_no_beam_is_counted(folder, tmp_path, label):
    folder.rows[3]["unit1_beam"] = label
    assert import_deepsense(folder.write_table(), tmp_path / "out").beam_label_disagreements == 1


def test_calibrated_positions_stand_beside_the_raw_ones(folder, tmp_path):
    for i, row in enumerate(folder.rows):
        (folder.root / f"unit2/GPS_data/c{i}.txt").write_text(f"33.5\n{-112 + i * 1e-5!r}\n")
        row["unit2_loc_cal"] = f"unit2/GPS_data/c{i}.txt"
    import_deepsense(folder.write_table(), tmp_path / "out")
    arrays = Recording.open(tmp_path / "out/seq-0001").arrays
    assert arrays["gps"][1, 0] == 33.42 + 1e-5
    assert arrays["gps_calibrated"][1].tolist() == [33.5, -112 + 1e-5]


def test_tables_of_a_spreadsheet_on_windows(folder, tmp_path):
    folder.csv.write_bytes(b"\xef\xbb\xbf" + folder.csv.read_bytes().replace(b"\n", b"\r\n").replace(b"/", b"\\"))
    power = folder.root / "unit1/mmWave_data/p3.txt"
    power.write_bytes(power.read_bytes().replace(b"\n", b"\r\n"))
    assert import_deepsense(folder.csv, tmp_path / "out").bad_files == {"rf": 0, "gps": 0}


def test_other_storage_than_the_local_disk(folder):
    import_deepsense(folder.csv, "memory://imported/scenario7")
    assert verify_dataset("memory://imported/scenario7") == {"seq-0001": [], "seq-0002": []}
    with pytest.raises(UserError, match="exists already"):
        import_deepsense(folder.csv, "memory://imported/scenario7")


def test_the_same_folder_gives_the_same_hashes(folder, tmp_path):
    for name in ("a", "b"):
        import_deepsense(folder.csv, tmp_path / name)
    assert dataset_hash(scan(tmp_path / "a").episodes) == dataset_hash(scan(tmp_path / "b").episodes)


def test_a_disk_that_fills_up_midway_leaves_nothing(folder, tmp_path, monkeypatch):
    saved = []

    def fills_up(recording, root):
        if saved:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(save(recording, root))

    save = Recording.save
    monkeypatch.setattr(Recording, "save", fills_up)
    with pytest.raises(OSError, match="No space"):
        import_deepsense(folder.csv, tmp_path / "new/folder/out")
    assert saved
    assert [path.name for path in tmp_path.iterdir()] == ["scenario7"]


BAD_SWEEPS = {
    "cut": "0.1\n" * 63,
    "too long": "0.1\n" * 65,
    "text": "hello\n" * 64,
    "negative": "-0.1\n" * 64,
    "NaN": "nan\n" * 64,
    "empty": "",
    "dead": "0\n" * 64,
    "huge": "1e300\n" * 64,
    "too small for its type": "1e-300\n" * 64,
    "grouped digits": "1_0\n" * 64,
    "endless": "1\n" * 2_000_000,
}


@pytest.mark.parametrize("content", BAD_SWEEPS.values(), ids=BAD_SWEEPS.keys())
def test_one_bad_sweep_marks_that_sweep_of_that_frame(folder, tmp_path, content):
    (folder.root / "unit1/mmWave_data/p20.txt").write_text(content)
    summary = import_deepsense(folder.csv, tmp_path / "out", max_bad=0.05)
    assert summary.bad_files == {"rf": 1, "gps": 0}
    assert "p20.txt" in summary.first_bad_file["rf"]
    recording = Recording.open(tmp_path / "out/seq-0002")
    assert np.flatnonzero(~recording.arrays["valid_rf"]).tolist() == [6]
    assert recording.arrays["valid_gps"].all()


@pytest.mark.parametrize("content", ["91\n0\n", "1\n", "0\n181\n", "one\ntwo\n", "nan\nnan\n"])
def test_one_bad_position_marks_that_position_of_that_frame(folder, tmp_path, content):
    (folder.root / "unit2/GPS_data/g2.txt").write_text(content)
    assert import_deepsense(folder.csv, tmp_path / "out").bad_files == {"rf": 0, "gps": 1}
    assert np.isnan(Recording.open(tmp_path / "out/seq-0001").position_m()[2]).all()


def test_what_is_no_regular_file_is_a_bad_file(folder, tmp_path):
    for i, make in ((3, os.mkfifo), (4, os.mkdir)):
        path = folder.root / f"unit1/mmWave_data/p{i}.txt"
        path.unlink()
        make(path)
    assert import_deepsense(folder.csv, tmp_path / "out", max_bad=0.1).bad_files["rf"] == 2


def test_a_base_station_without_a_position_stops_the_import(folder, tmp_path):
    (folder.root / "unit1/GPS_data/bs.txt").write_text("33\n")
    with pytest.raises(UserError, match=r"bs\.txt: 1 numbers instead of 2"):
        import_deepsense(folder.csv, tmp_path / "out", max_bad=1.0)


def test_an_empty_cell_is_a_bad_file_of_that_frame(folder, tmp_path):
    put(3, "unit2_loc", "")(folder)
    summary = import_deepsense(folder.write_table(), tmp_path / "out", max_bad=0.05)
    assert summary.bad_files == {"rf": 0, "gps": 1}
    assert "no file named" in summary.first_bad_file["gps"]


@pytest.mark.parametrize("numbered", [True, False])
def test_a_sweep_that_two_samples_of_a_sequence_name_is_a_repeated_sample(folder, tmp_path, numbered):
    folder.rows[4]["unit1_pwr_60ghz"] = folder.rows[3]["unit1_pwr_60ghz"]
    if not numbered:
        for row in folder.rows:
            del row["index"]
        folder.rows[7]["time_stamp"] = "late"
    with pytest.raises(UserError, match=r"line 6: the sample of line 5 is repeated"):
        import_deepsense(folder.write_table(), tmp_path / "out")


def test_too_many_bad_files_stop_the_import_and_leave_nothing(folder, tmp_path):
    for i in range(2):
        (folder.root / f"unit1/mmWave_data/p{i}.txt").unlink()
    with pytest.raises(UserError, match=r"6\.7% of the rf files are bad.*p0\.txt: missing.*--max-bad 0\.07"):
        import_deepsense(folder.csv, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert import_deepsense(folder.csv, tmp_path / "out", max_bad=0.07).bad_files["rf"] == 2


def drop(column):
    def damage(folder):
        for row in folder.rows:
            del row[column]

    return damage


def put(line, column, value):
    def damage(folder):
        folder.rows[line][column] = value

    return damage


def swap(folder):
    folder.rows[4], folder.rows[5] = folder.rows[5], folder.rows[4]


def interleave(folder):
    folder.rows.append(folder.rows.pop(0))


STRUCTURAL = {
    "no column of sequences": (drop("seq_index"), "no column seq_index"),
    "no column of powers": (drop("unit1_pwr_60ghz"), "no column unit1_pwr_60ghz"),
    "no column of the base station": (drop("unit1_loc"), "no column unit1_loc"),
    "a repeated sample": (put(5, "index", "5"), r"line 7: sample 5 of sequence 1 is repeated"),
    "samples out of order": (swap, "out of order"),
    "a sequence in two pieces": (interleave, "sequence 1 starts a second time"),
    "an absolute path": (put(3, "unit1_pwr_60ghz", "/etc/passwd"), r"line 5.*leaves the folder"),
    "a path that climbs out": (put(3, "unit2_loc", "../../secret.txt"), r"line 5.*leaves the folder"),
    "a drive letter": (put(3, "unit2_loc", "C:\\g.txt"), r"line 5.*leaves the folder"),
    "text where a number belongs": (put(3, "seq_index", "first"), r"line 5, column seq_index.*no integer"),
    "a fraction of a sequence": (put(3, "seq_index", "1.5"), r"line 5, column seq_index.*no integer"),
    "a negative sequence": (put(0, "seq_index", "-1"), r"line 2, column seq_index.*no integer"),
    "a sequence without end": (put(3, "seq_index", "inf"), r"line 5, column seq_index.*no integer"),
    "an astronomic sequence": (put(3, "seq_index", "1e300"), r"line 5, column seq_index.*no integer"),
    "a cell too many": (put(3, "unit2_loc", "a,b"), "line 5 has 9 fields instead of 8"),
    "an open quote": (put(3, "unit2_loc", '"a'), "is no CSV"),
}


@pytest.mark.parametrize(("damage", "message"), STRUCTURAL.values(), ids=STRUCTURAL.keys())
def test_a_structural_fault_stops_the_import_and_leaves_nothing(folder, tmp_path, damage, message):
    damage(folder)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message) as error:
        import_deepsense(folder.write_table(), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_column_that_is_there_twice(folder, tmp_path):
    folder.csv.write_text(folder.csv.read_text().replace("unit2_rgb", "unit2_loc"))
    with pytest.raises(UserError, match="has the column 'unit2_loc' twice"):
        import_deepsense(folder.csv, tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"rate_hz": 0.0}, "--rate-hz"),
        ({"rate_hz": float("nan")}, "--rate-hz"),
        ({"max_bad": 1.5}, "--max-bad"),
        ({"modalities": ["sonar"]}, "--modalities"),
        ({"modalities": []}, "--modalities"),
    ],
)
def test_options_out_of_range(folder, tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        import_deepsense(folder.csv, tmp_path / "out", **option)


def test_a_folder_linked_from_elsewhere_leaves_the_folder(folder, tmp_path):
    outside = tmp_path / "outside"
    (folder.root / "unit2/GPS_data").rename(outside)
    (folder.root / "unit2/GPS_data").symlink_to(outside)
    with pytest.raises(UserError, match="leaves the folder"):
        import_deepsense(folder.csv, tmp_path / "out")


def test_a_link_that_leaves_the_folder_is_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("1\n2\n")
    (folder.root / "unit2/GPS_data/g2.txt").unlink()
    (folder.root / "unit2/GPS_data/g2.txt").symlink_to(secret)
    with pytest.raises(UserError, match="leaves the folder"):
        import_deepsense(folder.csv, tmp_path / "out")


def test_a_table_that_is_no_text(folder, tmp_path):
    for path, message in ((folder.root, "is a directory"), (folder.csv / "x", "cannot be read")):
        with pytest.raises(UserError, match=message):
            import_deepsense(path, tmp_path / "out")
    folder.csv.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text file"):
        import_deepsense(folder.csv, tmp_path / "out")


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), ("", "no samples"), ("a,b\n", "no samples")])
def test_a_table_that_is_missing_or_empty(folder, tmp_path, content, message):
    folder.csv.unlink()
    if content is not None:
        folder.csv.write_text(content)
    with pytest.raises(UserError, match=message):
        import_deepsense(folder.csv, tmp_path / "out")


def test_an_output_that_exists_is_left_alone(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="exists already"):
        import_deepsense(folder.csv, out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_damaged_table_is_an_import_or_a_users_error(folder, tmp_path_factory, data):
    content = bytearray(folder.csv.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "delete"]))
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "flip" and content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(max_size=6))
        else:
            del content[at : at + 5]
    table = folder.root / "damaged.csv"
    table.write_bytes(content)
    out = tmp_path_factory.mktemp("fuzz") / "out"
    try:
        summary = import_deepsense(table, out, max_bad=1.0)
    except UserError as error:
        assert "\n" not in str(error)
        assert list(out.parent.iterdir()) == []
    else:
        assert sum(entry.manifest.arrays["time"].shape[0] for entry in scan(out).episodes) == summary.samples


CELLS = st.one_of(
    st.text(max_size=12),
    st.integers(-3, 10**12).map(str),
    st.floats().map(str),
    st.sampled_from(["./unit1/mmWave_data/p3.txt", "../x", "/dev/zero", "~/x", "unit1", "", ".", "a" * 5000, "con:"]),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cells=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 7), CELLS), min_size=1, max_size=4))
def test_any_value_in_any_cell_is_an_import_or_a_users_error(folder, tmp_path_factory, cells):
    rows = [list(row.values()) for row in folder.rows]
    for line, column, value in cells:
        rows[line][column] = value
    table = folder.root / "odd.csv"
    with table.open("w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file).writerows([list(folder.rows[0]), *rows])
    out = tmp_path_factory.mktemp("cells") / "out"
    try:
        summary = import_deepsense(table, out, max_bad=1.0)
    except UserError as error:
        assert "\n" not in str(error)
        assert list(out.parent.iterdir()) == []
    else:
        assert summary.samples == 30
        assert not any(verify_dataset(out).values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=700))
def test_any_bytes_in_a_frame_file_are_a_sweep_or_a_bad_file(folder, tmp_path_factory, content):
    (folder.root / "unit1/mmWave_data/p20.txt").write_bytes(content)
    out = tmp_path_factory.mktemp("fuzz") / "out"
    summary = import_deepsense(folder.csv, out, max_bad=0.05)
    valid = Recording.open(out / "seq-0002").arrays["valid_rf"][6]
    assert summary.bad_files["rf"] == (0 if valid else 1)


@needs_real_data
@pytest.mark.parametrize(
    ("number", "samples", "sequences", "rate_hz"),
    [(1, 2422, 29, 10), (5, 2300, 29, 10), (8, 4043, 83, 10), (9, 5964, 136, 9.009)],
)
def test_the_real_scenarios(tmp_path, number, samples, sequences, rate_hz):
    source = REAL / f"scenario{number}.npz"
    subprocess.run([sys.executable, REAL / "build_layout.py", source, tmp_path], check=True, env={**os.environ})
    out = tmp_path / "out"
    start = time.process_time()
    summary = import_deepsense(tmp_path / f"scenario{number}/scenario{number}.csv", out)
    assert time.process_time() - start < IMPORT_BUDGET_S
    assert (summary.samples, summary.sequences, summary.beam_label_disagreements) == (samples, sequences, 0)
    assert summary.frame_rate_hz == pytest.approx(rate_hz, rel=1e-3)
    recordings = sorted((entry.open() for entry in scan(out).episodes), key=lambda r: r.manifest.seq_index)
    truth = np.load(source)
    np.testing.assert_array_equal(np.concatenate([r.best_beam() for r in recordings]), truth["beam_index"] - 1)
    np.testing.assert_array_equal(np.concatenate([r.arrays["rf"] for r in recordings]), truth["power"])
    np.testing.assert_array_equal(np.concatenate([r.arrays["gps"] for r in recordings]), truth["ue_latlon"])
