"""The page shows a drive, or says in a sentence what is missing."""

import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

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
    assert "episode-00004" in texts(at.warning) + texts(at.error)


def test_a_damaged_run_is_named_with_its_reason(demo, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    shutil.copytree(demo / "runs", runs)
    (runs / "hold_last" / "run.json").write_text("{")
    at = page(monkeypatch, demo / "data", runs)
    assert "hold_last" in texts(at.warning)
