"""The page shows a drive, or says in a sentence what is missing."""

import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from jepa import workflows
from twin.generation import generate_dataset
from twin.recording import Recording

MAIN = str(Path(__file__).parents[2] / "app" / "pages" / "replay.py")


def page(monkeypatch, data, runs):
    monkeypatch.setenv("TWIN_DATA", str(data))
    monkeypatch.setenv("TWIN_RUNS", str(runs))
    st.cache_data.clear()
    # AppTest leaves the page as __main__, which a later process pool would run again
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    at = AppTest.from_file(MAIN, default_timeout=60).run()
    assert not at.exception
    return at


def texts(elements):
    return " ".join(element.value for element in elements)


def test_a_drive_with_a_run_is_offered(demo, monkeypatch):
    at = page(monkeypatch, demo / "data", demo / "runs")
    assert [box.label for box in at.selectbox] == ["Dataset", "Recording", "Run"]
    assert at.selectbox[2].options == ["hold_last", "no prediction"]
    assert not at.warning
    assert not at.error


def test_the_first_replay_is_of_the_longest_drive_that_was_predicted(demo, tmp_path, monkeypatch):
    data, runs = tmp_path / "data", tmp_path / "runs"
    for number, frames in enumerate((30, 50, 20)):
        generate_dataset(
            "drive_by", data / str(number), episodes=number + 1, frames=frames, seed=2, modalities=("rf", "gps")
        )
    merged = tmp_path / "merged" / "drives"
    for number in range(3):
        name = f"episode-{number:05d}"
        shutil.copytree(data / str(number) / name, merged / name)
    windows = [Recording.open(merged / f"episode-{number:05d}").frames for number in range(3)]
    workflows.baseline_run("hold_last", [merged], runs / "hold_last", parts=("train", "val", "test"))
    at = page(monkeypatch, merged.parent, runs)
    assert at.selectbox[1].value == f"episode-{windows.index(max(windows)):05d}"
    assert windows.index(max(windows)) != 2, "it is not merely the last one"


def test_without_data_the_page_says_how_to_make_some(tmp_path, monkeypatch):
    at = page(monkeypatch, tmp_path / "none", tmp_path / "none")
    assert "make demo" in texts(at.warning)
    assert "nothing to replay" in texts(at.info)


def test_an_empty_directory(tmp_path, monkeypatch):
    at = page(monkeypatch, tmp_path, tmp_path)
    assert "holds no recordings" in texts(at.warning)
    assert "holds no runs" in texts(at.warning)


def test_a_recording_that_no_run_predicted_replays_without(demo, tmp_path, monkeypatch):
    at = page(monkeypatch, demo / "data", tmp_path)
    assert at.selectbox[2].options == ["no prediction"]
    assert "jepa predict" in texts(at.info)


@pytest.mark.parametrize("what", ["manifest.json", "frames.zarr/rf/zarr.json"])
def test_a_damaged_recording_is_named_with_its_reason(demo, tmp_path, monkeypatch, what):
    data = tmp_path / "data"
    shutil.copytree(demo / "data", data)
    damaged = data / "drive_by" / "episode-00004" / what
    damaged.write_text(damaged.read_text()[:40])
    at = page(monkeypatch, data, demo / "runs")
    if "episode-00004" in at.selectbox[1].options:  # what is damaged inside shows when it is opened
        at.selectbox[1].select("episode-00004").run()
    assert "episode-00004" in texts(at.warning) + texts(at.error)


def test_a_damaged_run_is_named_with_its_reason(demo, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    shutil.copytree(demo / "runs", runs)
    (runs / "hold_last" / "run.json").write_text("{")
    at = page(monkeypatch, demo / "data", runs)
    assert "hold_last" in texts(at.warning)
