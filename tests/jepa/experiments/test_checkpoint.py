"""The checkpoint from nothing: drives of the twin, a model that predicts, what it scored; nothing is made twice."""

import json

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.data.frames import FrameStore
from jepa.data.splits import make_split
from jepa.experiments import checkpoint
from jepa.experiments.pages.tables import COLUMNS
from jepa.inference.predictor import JepaPredictor
from twin.errors import UserError

SCENARIOS = ("deepsense32", "street_canyon")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The experiment, run once: its directory."""
    out = tmp_path_factory.mktemp("checkpoint")
    checkpoint.run(out, budget="quick")
    return out


@pytest.mark.long
def test_what_is_written_is_a_model_that_predicts(made):
    predictor = JepaPredictor.load(made / "checkpoint", torch.device("cpu"))
    inputs = predictor.config.inputs
    assert set(inputs.modalities) == {"camera", "radar", "lidar", "gps", "rf"}
    paths = [made / "data" / name for name in SCENARIOS]
    store = FrameStore.load(paths, "cpu", inputs.modalities, inputs.image_size)
    output = predictor.predict(store, make_split(store).parts["test"])
    for values in (output.trajectory_m, output.beam_logits, output.spectrum_db):
        assert np.isfinite(values).all()


@pytest.mark.long
def test_what_it_scored_lies_beside_it(made):
    reports = json.loads((made / "checkpoint" / "evaluation.json").read_text())["reports"]
    gone = {f"checkpoint, {sensors} gone" for sensors in ("camera", "radar", "lidar", "camera, radar, lidar", "gps")}
    assert reports.keys() == {"checkpoint", *gone, *checkpoint.BASELINES}
    page = (made / "checkpoint" / "README.md").read_text()
    for name, report in reports.items():
        assert report["windows"] == reports["checkpoint"]["windows"], "judged on the same windows"
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        for cell, (_, task, metric) in zip(cells, COLUMNS, strict=True):
            assert cell.startswith(f"{report[task][metric]['value']:.3f} [") if task in report else not cell


@pytest.mark.long
def test_a_second_run_makes_nothing_again(made, monkeypatch, capsys):
    def files():
        return {path: path.stat().st_mtime_ns for path in (made / "checkpoint").rglob("*") if path.is_file()}

    before = files()
    for name in ("evaluate_run", "baseline_run"):
        monkeypatch.setattr(workflows, name, None)
    monkeypatch.setattr(checkpoint, "save_small", None)
    checkpoint.run(made, budget="quick")
    assert files() == before
    assert (made / "checkpoint" / "README.md").read_text() in capsys.readouterr().out


def test_what_is_wrong_with_the_request_is_said_in_a_line(tmp_path, dataset):
    with pytest.raises(UserError, match="makes its own recordings"):
        checkpoint.run(tmp_path, [dataset], "quick")
    for budget in ("lavish", "full"):
        with pytest.raises(UserError, match=f"unknown budget '{budget}'; choose from quick, default$"):
            checkpoint.run(tmp_path, budget=budget)
