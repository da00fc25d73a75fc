"""The model that comes with the project: small, whole, unseen drives stay unseen, and it is worth showing."""

import json
import shutil

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.config import preset
from jepa.data.frames import FrameStore
from jepa.data.windows import T_OBS, Piece, cut_windows
from jepa.experiments.on_twin.in_view import in_view
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import open_run
from jepa.runs.shipped import save_small, shipped_checkpoint
from jepa.training.checkpoint import load_checkpoint
from twin.errors import UserError
from twin.generation import generate_dataset

MB = 1e6
MOST_MB = 18


@pytest.fixture(scope="module")
def run():
    return shipped_checkpoint()


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """New drives of one of its scenarios, all sensors."""
    out = tmp_path_factory.mktemp("drives")
    generate_dataset(in_view("deepsense32", out / "scenario"), out / "deepsense32", episodes=4, seed=77)
    return out / "deepsense32"


@pytest.fixture(scope="module")
def trained_run(dataset, tmp_path_factory):
    """A run of a moment on power and position."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    workflows.pretrain_run([dataset], out, preset("small", ["model.width=16", "epochs=1", "heads.epochs=1"]), label="")
    workflows.heads_run(out, [dataset], label="")
    return out


@pytest.fixture
def copied(run, tmp_path):
    """A copy of it: commands write beside a model."""
    return shutil.copytree(run, tmp_path / "model")


def test_it_is_small_and_holds_nothing_but_what_predicts(run):
    assert sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) < MOST_MB * MB
    tensors, _ = load_checkpoint(run / "checkpoints")
    assert not [name for name in tensors if "target" in name or "optim" in name]
    assert {values.dtype for name, values in tensors.items() if values.is_floating_point()} == {torch.float16}


def test_it_reads_five_modalities(run):
    predictor = JepaPredictor.load(run)
    assert set(predictor.model.layout.modalities) == {"camera", "radar", "lidar", "gps", "rf"}
    assert predictor.model.width == 64


def test_its_evaluation_lies_beside_it_and_says_what_made_it(run):
    told = json.loads((run / "evaluation.json").read_text())
    report = told["reports"]["checkpoint"]
    page = (run / "README.md").read_text()
    assert "jepa experiment checkpoint" in page
    assert f"{report['beam']['l1_rsrp_db']['value']:.3f}" in page


def _lost_by_the_last_beam_db(drives):
    """Power between the best beam of each future frame and the one that was best when last looked at."""
    store = FrameStore.load([drives])
    windows = cut_windows(store, [Piece(n, 0, episode.frames) for n, episode in enumerate(store.episodes)])
    power_db = 10 * np.log10(store.values["rf"][windows.index].double().numpy())
    held = power_db[:, T_OBS - 1].argmax(-1)
    future_db = power_db[:, T_OBS:]
    return float((future_db.max(-1) - np.take_along_axis(future_db, held[:, None, None], -1)[..., 0]).mean())


def test_on_drives_that_it_has_not_seen_it_steers_far_better_than_the_last_beam(copied, drives):
    report = workflows.evaluate_run(copied, [drives])
    assert report["sequences"] == 4, "none of them was trained on"
    assert report["beam"]["l1_rsrp_db"]["value"] < 0.5 * _lost_by_the_last_beam_db(drives)


def test_it_still_does_when_no_position_arrives(copied, drives, capsys):
    report = workflows.evaluate_run(copied, [drives], dropped=("gps",))
    assert "answered by the heads trained without gps" in capsys.readouterr().err
    assert report["beam"]["l1_rsrp_db"]["value"] < 0.5 * _lost_by_the_last_beam_db(drives)


def test_it_still_does_when_camera_radar_and_lidar_drop_out(copied, drives):
    report = workflows.evaluate_run(copied, [drives], dropped=("camera", "radar", "lidar"))
    assert report["beam"]["l1_rsrp_db"]["value"] < _lost_by_the_last_beam_db(drives)


def test_it_predicts_what_a_dashboard_shows(copied, drives):
    assert workflows.predict_run(copied, [drives]) == 4


def test_in_half_precision_a_run_predicts_as_it_did(trained_run, store, tmp_path):
    """Up to the rounding of its weights."""
    save_small(trained_run, tmp_path / "small")
    windows = open_run(trained_run).split_of(store).parts["test"]
    whole, half = (JepaPredictor.load(path).predict(store, windows) for path in (trained_run, tmp_path / "small"))
    assert abs(whole.trajectory_m - half.trajectory_m).max() < 0.05
    assert (whole.beam_logits.argmax(-1) == half.beam_logits.argmax(-1)).mean() > 0.9


def test_a_run_without_heads_is_refused(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("heads"))
    with pytest.raises(UserError, match="holds no heads"):
        save_small(run, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_heads_that_stand_in_come_along(trained_run, dataset, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    workflows.heads_run(run, [dataset], missing=["gps"], label="")
    (run / "heads-without-rf").mkdir()
    save_small(run, tmp_path / "small")
    assert {path.name for path in (tmp_path / "small").glob("heads*")} == {"heads", "heads-without-gps"}
