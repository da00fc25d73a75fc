"""Maps that were recorded alone are exported with the samples behind them, which are made again from the manifest."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import trimesh
import yaml
from typer.testing import CliRunner

import twin.cli
from twin.errors import UserError
from twin.generation.remaking import raw_sensors
from twin.recording import MODALITIES, Recording, import_deepsense
from twin.recording.deepsense_export import export_deepsense
from twin.scenario import Template, load_scenario
from twin.simulator import Simulator

FRAMES = 6
LOSSY = {"drop_share": 0.4}
"""Some of the frames of each sensor are lost."""


def scenario(**sections):
    """A real street of the shipped scenarios, with other sensors."""
    shipped = load_scenario("deepsense32")
    raw = dict(shipped.raw)
    for name, section in sections.items():
        raw[name] = {**raw.get(name, {}), **section}
    return Template(raw, shipped.where)


def lossy():
    return scenario(**dict.fromkeys(("camera", "lidar", "radar", "gps"), LOSSY))


def with_manifest(recording, **update):
    return replace(recording, manifest=recording.manifest.model_copy(update=update))


@pytest.fixture(scope="module")
def drive():
    """An episode with all modalities that keeps neither cubes nor clouds."""
    return Simulator(lossy(), 4, 2).run(FRAMES)


@pytest.fixture(scope="module")
def dataset(drive, tmp_path_factory):
    root = tmp_path_factory.mktemp("remade") / "data"
    drive.save(root)
    return root


@pytest.fixture(scope="module")
def folder(dataset):
    out = dataset.parent / "folder"
    export_deepsense(dataset, out, raw_of=raw_sensors)
    return out


@pytest.fixture(scope="module")
def again(folder, drive):
    out = folder.parent / "again"
    bad = max(float((~drive.arrays[f"valid_{name}"]).mean()) for name in MODALITIES)
    import_deepsense(folder / "scenario32.csv", out, max_bad=bad)
    return Recording.open(out / "seq-0001")


def refused(recording, tmp_path, words):
    """The export of a recording is refused in one line, and leaves nothing."""
    recording.save(tmp_path / "data")
    with pytest.raises(UserError, match=words) as refusal:
        export_deepsense(tmp_path / "data", tmp_path / "out", raw_of=raw_sensors)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_drive_holds_maps_alone_and_has_lost_some_of_each(drive):
    assert set(MODALITIES) <= set(drive.arrays)
    assert not {"radar_cube", "lidar_points"} & set(drive.arrays)
    for name in ("camera", "radar", "lidar", "gps"):
        assert 0 < drive.arrays[f"valid_{name}"].sum() < FRAMES


def test_an_export_and_an_import_give_every_array_back(drive, again):
    was, now = drive.arrays, again.arrays
    assert set(now) == {name for name in was if "/" not in name}
    for name in MODALITIES:
        np.testing.assert_array_equal(now[f"valid_{name}"], was[f"valid_{name}"], err_msg=name)
    np.testing.assert_allclose(now["time"], was["time"], rtol=0, atol=1.1e-6)
    np.testing.assert_array_equal(now["rf"], was["rf"].astype(np.float32))
    np.testing.assert_array_equal(now["gps"], was["gps"])
    np.testing.assert_array_equal(now["lidar"], was["lidar"])
    assert again.jpegs() == drive.jpegs()
    np.testing.assert_allclose(now["radar"].astype(float), was["radar"].astype(float), rtol=0, atol=0.1)
    np.testing.assert_array_equal(again.manifest.bs.lat_lon_deg, drive.manifest.bs.lat_lon_deg)


def test_without_lost_frames_the_import_needs_no_allowance(tmp_path):
    Simulator("deepsense32", 1).run(2).save(tmp_path / "data")
    export_deepsense(tmp_path / "data", tmp_path / "folder", raw_of=raw_sensors)
    summary = import_deepsense(tmp_path / "folder/scenario32.csv", tmp_path / "again")
    assert not any(summary.bad_files.values())
    assert summary.beam_label_disagreements == 0


def test_the_cubes_and_clouds_are_those_that_would_have_been_kept(drive):
    simulator = Simulator(lossy(), 4, 2)
    kept = simulator.run(FRAMES, ("radar", "lidar"), ("radar_cube", "lidar_points")).arrays
    raw = raw_sensors(drive)
    frame = int(np.flatnonzero(drive.arrays["valid_radar"])[-1])
    np.testing.assert_array_equal(raw.cube(frame), kept["radar_cube"][frame])
    frame = int(np.flatnonzero(drive.arrays["valid_lidar"])[-1])
    points = raw.points(frame)
    np.testing.assert_array_equal(points, kept["lidar_points"][frame, : len(points), :3])
    assert np.isnan(kept["lidar_points"][frame, len(points) :]).all()


@pytest.mark.parametrize("clutter", ["none", "antenna_mean"])
def test_another_radar_comes_back_where_its_clutter_filter_is_named(clutter, tmp_path):
    drive = Simulator(scenario(radar={"chirps": 64, "clutter": clutter}), 4).run(2, ("rf", "gps", "radar"))
    drive.save(tmp_path / "data")
    export_deepsense(tmp_path / "data", tmp_path / "folder", raw_of=raw_sensors)
    cube = np.load(tmp_path / "folder/unit1/radar_data/radar_data_1.npy")
    assert cube.shape == (4, 256, 64)
    maps = {}
    for option in (clutter, "chirp_mean"):
        import_deepsense(tmp_path / "folder/scenario32.csv", tmp_path / option, radar_clutter=option)
        maps[option] = Recording.open(tmp_path / option / "seq-0001").arrays["radar"].astype(float)
    was = drive.arrays["radar"].astype(float)
    seen = was > was.max() - 150  # what is left in front by the mean over antennas is rounding
    assert seen.mean() > 0.98
    assert np.abs(maps[clutter] - was)[seen].max() <= 0.1
    assert np.abs(maps["chirp_mean"] - was).max() > 10


def test_what_another_version_made_is_refused_and_both_are_named(drive, tmp_path):
    here = drive.manifest.generator_version
    assert here != "0.0.1"
    words = rf"0\.0\.1.*{here.replace('.', '[.]')}"
    refused(with_manifest(drive, generator_version="0.0.1"), tmp_path, words)


def test_a_scenario_that_names_files_is_found_where_they_lie(tmp_path, monkeypatch):
    """A user's copy that still bears the name of the one it was copied from, with a house of its own."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    trimesh.creation.box((8.0, 6.0, 5.0)).export(home / "house.ply")
    house = {"file": "house.ply", "along_m": 12.0, "across_m": 20.0}
    raw = {**load_scenario("deepsense32").raw, "buildings": [], "scenery": [house]}
    mine = home / "scenario.yaml"
    mine.write_text(yaml.safe_dump(raw))
    Simulator(mine, 1).run(1).save(tmp_path / "data")
    with pytest.raises(UserError, match=r"its scenario needs house\.ply, which is not in .* with --scenario"):
        export_deepsense(tmp_path / "data", tmp_path / "out", raw_of=raw_sensors)
    assert not (tmp_path / "out").exists()
    export_deepsense(tmp_path / "data", tmp_path / "out", raw_of=partial(raw_sensors, scenario=mine))
    assert (tmp_path / "out/unit1/lidar_data/lidar_data_1.ply").exists()


def test_an_import_has_no_samples_to_make_again(again, tmp_path):
    refused(replace(again, path=None, arrays=dict(again.arrays)), tmp_path, r"import.*--modalities")


@pytest.mark.parametrize(("name", "change"), [("radar", 1.0), ("lidar", 0.5)])
def test_a_map_that_its_samples_do_not_give_is_refused(drive, tmp_path, name, change):
    values = drive.arrays[name].copy()
    frame = int(np.flatnonzero(drive.arrays[f"valid_{name}"])[-1])
    row, column = np.argwhere(np.isfinite(values[frame]))[7]
    values[frame, row, column] += change
    broken = replace(drive, arrays={**drive.arrays, name: values})
    refused(broken, tmp_path, f"frame {frame} of {name} comes out otherwise")


def test_the_command_writes_a_scenario_of_deepsense(dataset, tmp_path):
    out = tmp_path / "folder"
    done = CliRunner().invoke(
        twin.cli.commands, ["export", str(dataset), "--out", str(out), "--challenge", "--json", "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["samples"], said["sequences"]) == (FRAMES, 1)
    with (out / "scenario32.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"camera": "unit1_rgb", "radar": "unit1_radar", "lidar": "unit1_lidar"}
    recording = Recording.open(dataset / "episode-00002")
    for name, column in columns.items():
        there = [(out / row[column]).is_file() for row in rows]
        np.testing.assert_array_equal(there, recording.arrays[f"valid_{name}"])
    fixed = [np.isfinite(np.loadtxt(out / row["unit2_loc"])).all() for row in rows]
    np.testing.assert_array_equal(fixed, recording.arrays["valid_gps"])
    with (out / "scenario32_challenge.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == FRAMES - 4


def test_an_unknown_format_is_one_line_and_status_2(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["twin", "export", str(dataset), "--out", str(tmp_path / "x"), "--format", "xml"])
    with pytest.raises(SystemExit) as stop:
        twin.cli.main()
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert "xml" in said.err
    assert "deepsense" in said.err
    assert not (tmp_path / "x").exists()
