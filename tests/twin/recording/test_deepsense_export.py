"""An export is a scenario folder as DeepSense 6G gives it, and comes back as the recording that it was made of."""

import csv
import re

import numpy as np
import pytest

from twin.errors import UserError
from twin.recording import Recording, import_deepsense, scan
from twin.recording.deepsense_export import export_deepsense

HALF_MICROSECOND = 5.1e-7
LOST = {"rf": 2, "gps": 3, "camera": 4, "lidar": 5, "radar": 6}
"""A frame of the drives in which each modality was lost."""


def never(recording):
    raise AssertionError("nothing is to be made again")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, drive):
    root = tmp_path_factory.mktemp("export") / "data"
    for number in range(2):
        drive(number).save(root)
    return root


@pytest.fixture(scope="module")
def folder(dataset):
    out = dataset.parent / "folder"
    summary = export_deepsense(dataset, out, challenge=True, raw_of=never)
    assert (summary.samples, summary.sequences) == (16, 2)
    assert summary.missing == dict.fromkeys(LOST, 2)
    return out


def table(folder, name="scenario32.csv"):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_array_comes_back(dataset, folder, tmp_path):
    import_deepsense(folder / "scenario32.csv", tmp_path / "again", max_bad=0.2)
    before, after = scan(dataset).episodes, scan(tmp_path / "again").episodes
    assert [entry.name for entry in after] == ["seq-0001", "seq-0002"]
    for one, other in zip(before, after, strict=True):
        was, now = one.open(), other.open()
        assert set(now.arrays) == {name for name in was.arrays if "/" not in name} - {"radar_cube", "lidar_points"}
        np.testing.assert_allclose(now.arrays["time"], was.arrays["time"], atol=2 * HALF_MICROSECOND)
        assert now.jpegs() == was.jpegs()
        for name in ("rf", "gps", "lidar", "radar", *(f"valid_{name}" for name in LOST)):
            np.testing.assert_array_equal(now.arrays[name], was.arrays[name], err_msg=name)
        assert (now.manifest.bs.lat_lon_deg == was.manifest.bs.lat_lon_deg).all()
        assert now.manifest.frame_rate_hz == pytest.approx(9.95, abs=1e-3)


def test_the_folder_is_laid_out_as_scenario_32(folder):
    rows = table(folder)
    assert list(rows[0]) == [
        "index", "unit1_rgb", "unit1_pwr_60ghz", "unit1_lidar", "unit1_radar", "unit1_loc", "unit2_loc",
        "unit1_beam", "unit1_max_pwr", "time_stamp", "seq_index", "unit2_spd_over_grnd_kmph",
    ]  # fmt: skip
    first = rows[0]
    assert first["unit1_rgb"] == "./unit1/camera_data/image_1.jpg"
    assert re.fullmatch(r"\d\d:\d\d:\d\d-\d{6}", first["time_stamp"])
    assert first["unit2_spd_over_grnd_kmph"] == "18.000"
    power = np.loadtxt(folder / first["unit1_pwr_60ghz"])
    assert power.shape == (64,)
    assert int(first["unit1_beam"]) == power.argmax() + 1
    assert float(first["unit1_max_pwr"]) == power.max()
    cube = np.load(folder / first["unit1_radar"])
    assert (cube.dtype, cube.shape) == (np.complex64, (4, 256, 6))
    ply = (folder / first["unit1_lidar"]).read_text().splitlines()
    assert ply[:2] == ["ply", "format ascii 1.0"]
    assert ply[ply.index("end_header") + 1 :][0].count(" ") == 2
    assert len((folder / first["unit2_loc"]).read_text().split()) == 2
    assert [row["seq_index"] for row in rows] == ["1"] * 8 + ["2"] * 8


def test_a_lost_frame_says_so_as_deepsense_does(folder):
    rows = table(folder)
    assert np.isnan(np.loadtxt(folder / rows[LOST["rf"]]["unit1_pwr_60ghz"])).all()
    assert rows[LOST["rf"]]["unit1_beam"] == ""
    for name, column in (("camera", "unit1_rgb"), ("lidar", "unit1_lidar"), ("radar", "unit1_radar")):
        present = [(folder / row[column]).exists() for row in rows[:8]]
        assert present == [k != LOST[name] for k in range(8)]


def test_a_row_of_the_challenge_holds_five_samples_of_one_sequence(folder):
    rows, single = table(folder, "scenario32_challenge.csv"), table(folder)
    assert len(rows) == 2 * (8 - 4)
    for row in rows:
        last = next(k for k, sample in enumerate(single) if sample["unit1_rgb"] == row["unit1_rgb_5"])
        for step in range(5):
            sample = single[last - 4 + step]
            assert row[f"unit1_lidar_{step + 1}"] == sample["unit1_lidar"]
            assert row[f"unit1_radar_{step + 1}"] == sample["unit1_radar"]
            assert sample["seq_index"] == row["seq_index"]
        assert row["unit2_loc_2"] == single[last - 3]["unit2_loc"]
        assert "unit2_loc_3" not in row
        assert row["unit1_beam"] == single[last]["unit1_beam"]


def test_workers_change_nothing(dataset, folder, tmp_path):
    export_deepsense(dataset, tmp_path / "two", challenge=True, raw_of=never, workers=2)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file())
    for path in files:
        assert (tmp_path / "two" / path).read_bytes() == (folder / path).read_bytes()


def test_modalities_are_chosen(dataset, tmp_path):
    export_deepsense(dataset, tmp_path / "some", modalities=["gps", "rf"], raw_of=never)
    assert not {"unit1_rgb", "unit1_lidar", "unit1_radar"} & set(table(tmp_path / "some")[0])
    assert not (tmp_path / "some/unit1/camera_data").exists()


def test_two_sites_are_no_scenario(drive, tmp_path):
    drive(0).save(tmp_path / "data")
    drive(1, latitude_deg=33.5).save(tmp_path / "data")
    with pytest.raises(UserError, match="another base station"):
        export_deepsense(tmp_path / "data", tmp_path / "out", raw_of=never)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "../x"}, "no name of a table"),
        ({"modalities": ["smell"]}, "cannot export smell"),
        ({"modalities": []}, "cannot export nothing"),
    ],
)
def test_what_cannot_be_exported_is_refused(dataset, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        export_deepsense(dataset, tmp_path / "out", raw_of=never, **options)
    assert not (tmp_path / "out").exists()


def test_a_radar_that_the_layout_has_no_place_for_is_refused(drive, tmp_path):
    one = drive(0)
    arrays = {**one.arrays, "radar_cube": one.arrays["radar_cube"][:, :3]}
    Recording("three", one.manifest, arrays).save(tmp_path / "data")
    with pytest.raises(UserError, match="3 antennas and 256 samples, not 4 and 256; leave radar out"):
        export_deepsense(tmp_path / "data", tmp_path / "out", raw_of=never)
    assert not (tmp_path / "out").exists()


def test_a_modality_that_was_never_there_is_not_written(drive, tmp_path):
    one = drive(0)
    arrays = {**one.arrays, "valid_gps": np.zeros(one.frames, bool)}
    Recording("no position", one.manifest, arrays).save(tmp_path / "data")
    assert "gps" not in export_deepsense(tmp_path / "data", tmp_path / "out", raw_of=never).modalities
    assert "unit2_loc" not in table(tmp_path / "out")[0]


def test_sequences_too_short_for_the_challenge_are_refused(drive, tmp_path):
    arrays = {name: values[:3] for name, values in drive(0).arrays.items()}
    Recording("short", drive(0).manifest, arrays).save(tmp_path / "data")
    with pytest.raises(UserError, match="no sequence has 5 samples"):
        export_deepsense(tmp_path / "data", tmp_path / "out", challenge=True, raw_of=never)
