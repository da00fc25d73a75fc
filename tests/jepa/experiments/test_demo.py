"""The demonstration opens with the model that comes with the project; what it cannot be asked for it says at once."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import app
from jepa import workflows
from jepa.experiments import demo
from twin.errors import UserError

REPLAY = Path(app.__file__).parent / "pages" / "replay.py"


@pytest.fixture
def made(drive, tmp_path, monkeypatch):
    """The demonstration on short straight drives, its models replaced by `hold_last`: its directory."""
    baseline = workflows.baseline_run
    seeds = {}

    def generated(scenario, recordings, episodes, **_):
        seed = seeds.setdefault(recordings, len(seeds))
        for number in range(episodes):
            drive(number, 16, seed=seed).save(recordings)

    def pretrained(data, run, config, **_):
        baseline("hold_last", data, run)
        shutil.rmtree(run / "predictions")
        told = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**told, "kind": "model"}))

    def predicted(run, data):
        draft = tmp_path / "predicted" / data[0].name / run.name
        baseline("hold_last", data, draft)
        shutil.copytree(draft / "predictions", run / "predictions", dirs_exist_ok=True)

    monkeypatch.setattr(demo, "EPISODES", 5)
    monkeypatch.setattr(demo, "SHOWN_EPISODES", 5)
    monkeypatch.setattr(demo, "recorded", generated)
    monkeypatch.setattr(workflows, "pretrain_run", pretrained)
    monkeypatch.setattr(workflows, "heads_run", lambda *given, **named: None)
    monkeypatch.setattr(workflows, "predict_run", predicted)
    monkeypatch.setattr(workflows, "baseline_run", lambda name, *given, **named: baseline("hold_last", *given, **named))
    monkeypatch.setattr(workflows, "evaluate_run", lambda *given, **named: {"sequences": 1, "windows": 1})
    demo.run(tmp_path / "demo")
    return tmp_path / "demo"


def test_the_first_replay_is_of_the_model_that_comes_with_the_project(made, monkeypatch):
    monkeypatch.setenv("TWIN_DATA", str(made / "data"))
    monkeypatch.setenv("TWIN_RUNS", str(made / "runs"))
    st.cache_data.clear()
    # AppTest leaves the page as __main__, which a later process pool would run again
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    page = AppTest.from_file(str(REPLAY), default_timeout=60).run()
    assert not page.exception
    assert not page.warning
    assert not page.error
    dataset, _, run = page.selectbox
    assert set(dataset.options) == {demo.SHOWN, demo.SCENARIO}
    assert (dataset.value, run.value) == (demo.SHOWN, demo.SHIPPED)
    dataset.select(demo.SCENARIO).run()
    assert page.selectbox[2].value == "jepa", "the model that was trained here, before the baselines"
    assert set(demo.BASELINES) < set(page.selectbox[2].options)


def test_what_is_wrong_with_the_request_is_said_in_a_line(tmp_path, dataset):
    with pytest.raises(UserError, match="makes its own recordings"):
        demo.run(tmp_path / "out", [dataset])
    for budget in ("quick", "paper"):
        with pytest.raises(UserError, match=rf"^--budget: unknown budget '{budget}'.*choose from small, best$"):
            demo.run(tmp_path / "out", budget=budget)
    assert not (tmp_path / "out").exists()
