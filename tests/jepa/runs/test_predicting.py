"""Predictions of a run: no peeking, nothing that it trained on, the same as its evaluation."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.baselines import BASELINES
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers
from jepa.data.samples import History
from jepa.data.splits import make_split
from jepa.data.windows import T_OBS
from jepa.evaluation.evaluate import measures_of
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import check_not_trained_on, open_run
from twin.errors import UserError

FIELDS = ("trajectory_m", "beam_logits", "spectrum_db", "latent")


@pytest.mark.parametrize("which", ["run", "best_run"])
def test_no_frame_after_the_observed_ones_changes_a_bit_of_a_prediction(store, request, which):
    predictor = JepaPredictor.load(request.getfixturevalue(which))
    windows = make_split(store).parts["test"]
    first = {int(episode): row for row, episode in reversed(list(enumerate(windows.episode)))}
    one_each = windows.select(torch.tensor(sorted(first.values())))
    before = predictor.predict(store, one_each)
    values = {name: frames.clone() for name, frames in store.values.items()}
    beam = store.best_beam.clone()
    seen = torch.zeros(store.frames, dtype=torch.bool)
    seen[one_each.history.flatten()] = True
    for frames in values.values():
        frames[~seen] = frames[~seen].flip(0) * 7 + 1
    beam[~seen] = 63
    after = predictor.predict(dataclasses.replace(store, values=values, best_beam=beam), one_each)
    for name in FIELDS:
        assert np.array_equal(getattr(before, name), getattr(after, name))
        assert np.isfinite(getattr(before, name)).all()
    peeked = {name: frames.clone() for name, frames in store.values.items()}
    peeked["rf"][one_each.index[:, T_OBS - 1]] *= 2
    changed = predictor.predict(dataclasses.replace(store, values=peeked), one_each)
    assert not np.array_equal(before.spectrum_db, changed.spectrum_db)


def test_where_all_positions_are_lost_the_heads_trained_without_them_answer(store, dataset, run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(run, path)
    alone = JepaPredictor.load(path)
    windows = make_split(store).parts["test"]
    whole = History.gather(store, windows)
    lost = torch.arange(len(windows)) % 3 == 1
    valid = {name: whole.valid[name].clone() for name in ("gps", "rf")}
    valid["gps"][lost] = False
    positions = torch.where(lost[:, None, None], torch.nan, whole.position_m)
    history = History({"gps": positions, "rf": whole.power}, valid)
    normaliser = alone.normalisers.of(store.datasets[0])
    with pytest.raises(UserError, match="all observed frames of gps are lost") as refused:
        alone.predict_history(history, normaliser)
    assert "jepa heads RUN --missing gps" in refused.value.remedy
    workflows.heads_run(path, [dataset], missing=["gps"], device="cpu", label="")
    found = JepaPredictor.load(path).predict_history(history, normaliser)
    blind = JepaPredictor.load(path, missing=("gps",)).predict_history(whole, normaliser)
    seeing = alone.predict_history(whole, normaliser)
    for name in FIELDS:
        expected = np.where(lost.numpy()[:, None, None], getattr(blind, name), getattr(seeing, name))
        np.testing.assert_allclose(getattr(found, name), expected, atol=2e-5, rtol=2e-5)
        assert not np.allclose(getattr(blind, name)[lost], getattr(seeing, name)[lost], atol=1e-3)
    told_of_no_position = History({"rf": whole.power})
    found = JepaPredictor.load(path).predict_history(told_of_no_position, normaliser)
    np.testing.assert_allclose(found.beam_logits, blind.beam_logits, atol=2e-5, rtol=2e-5)
    valid["rf"][0] = False
    with pytest.raises(UserError, match="all observed frames of rf are lost"):
        JepaPredictor.load(path).predict_history(History(history.values, valid), normaliser)
    valid["rf"][1] = False
    with pytest.raises(UserError, match="leave some frames"):
        JepaPredictor.load(path).predict_history(History(history.values, valid).select(torch.tensor([1])), normaliser)


def test_evaluation_refuses_what_the_run_trained_on(dataset, store, run):
    report = workflows.evaluate_run(run, [dataset], device="cpu")
    assert report["protocol"] == "blocked"
    assert {"split", "protocol", "windows", "sequences", "localization", "beam", "rssi"} <= set(report)
    assert report["left_out"] == {"invalid": 0, "short": 0}
    assert sum(report["beam_mismatch"]) == pytest.approx(1.0)
    assert report["beam_mismatch"][0] == pytest.approx(report["beam"]["top1"]["value"])
    quantiles_m = list(report["ade_quantiles_m"].values())
    assert quantiles_m == sorted(quantiles_m)
    with pytest.raises(UserError, match="was trained on episode"):
        workflows.evaluate_run(run, [dataset], part="train", device="cpu")
    windows = make_split(store).parts["val"]
    check_not_trained_on(open_run(run), store, windows, run)


def test_predictions_say_what_the_evaluation_says(dataset, run):
    workflows.predict_run(run, [dataset], device="cpu")
    store = FrameStore.load([dataset])
    windows = make_split(store).parts["test"]
    stored = workflows.stored_output(run, store, windows)
    assert np.array_equal(stored.beam_logits, JepaPredictor.load(run).predict(store, windows).beam_logits)


def test_a_baseline_is_a_run_with_predictions(dataset, tmp_path):
    workflows.baseline_run("hold_last", [dataset], tmp_path / "hold")
    report = workflows.evaluate_run(tmp_path / "hold", [dataset], device="cpu")
    assert {"localization", "beam", "rssi"} <= report.keys()
    with pytest.raises(UserError, match="unknown baseline"):
        workflows.baseline_run("oracle", [dataset], tmp_path / "oracle")
    with pytest.raises(UserError, match="run of the baseline hold_last"):
        workflows.predict_run(tmp_path / "hold", [dataset], device="cpu")


@pytest.mark.parametrize("axes", [[], [[1, 0]], [["x", 0], [0, 1]], [[1, 0], [0, float("nan")]]])
def test_damaged_statistics_are_a_users_error(run, tmp_path, axes):
    stored = json.loads((run / "stats.json").read_text())
    for one in stored.values():
        one["axes"] = axes
    (tmp_path / "stats.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="statistics are damaged"):
        Normalisers.load(tmp_path / "stats.json")


def test_what_a_run_trained_on_is_not_predicted_as_test(tmp_path, drive, run):
    for number in range(5):
        drive(number).save(tmp_path / "fewer")
    with pytest.raises(UserError, match="was trained on episode seq-000"):
        workflows.predict_run(run, [tmp_path / "fewer"])


def test_known_and_unknown_data_are_not_mixed_in_one_evaluation(dataset, tmp_path, drive, run):
    for number in range(5):
        drive(number, seed=9).save(tmp_path / "unknown")
    with pytest.raises(UserError, match="never saw it"):
        workflows.evaluate_run(run, [dataset, tmp_path / "unknown"])
    assert workflows.evaluate_run(run, [tmp_path / "unknown"])["sequences"] == 5


def test_the_scenario_that_was_held_out_can_be_judged_alone(tmp_path, drive, run):
    for number in range(5):
        drive(number, seed=9).save(tmp_path / "held-out")
    store = FrameStore.load([tmp_path / "held-out"])
    description = open_run(run).model_copy(update={"split": "leave-one-scenario-out", "fold": 1})
    description.datasets["held-out"] = store.datasets[0].hash
    split = workflows.split_for(description, store)
    assert len(split.parts["test"]) == 5 * 28
    assert not len(split.parts["train"])


def test_a_part_without_windows_is_not_predicted(tmp_path, drive, run):
    drive(3, seed=9).save(tmp_path / "unknown")
    with pytest.raises(UserError, match="no window of val"):
        workflows.predict_run(run, [tmp_path / "unknown"], parts=["val"])


def test_a_file_in_the_place_of_predictions_is_named(dataset, run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied, ignore=shutil.ignore_patterns("predictions"))
    (copied / "predictions").write_text("")
    with pytest.raises(UserError, match="is no directory"):
        workflows.predict_run(copied, [dataset])


def test_predictions_that_are_partly_not_finite_are_refused(store, samples):
    test = samples["test"]
    output = BASELINES["hold_last"]().predict(test.history)
    output.beam_logits[3, 2, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        measures_of(output, test)


@pytest.mark.parametrize(
    ("settings", "options", "remedy"),
    [
        (["paradigm=multi-task"], {}, "leave some frames of it"),
        ([], {"backbone": "zeroed"}, "jepa heads RUN --backbone zeroed --missing gps"),
        ([], {"cascade": False}, "jepa heads RUN --missing gps --set heads.cascade=false"),
    ],
)
def test_the_heads_that_are_asked_for_are_those_that_would_stand_in(
    tiny, store, dataset, tmp_path, settings, options, remedy
):
    run = tmp_path / "run"
    workflows.pretrain_run([dataset], run, tiny("epochs=1", *settings), device="cpu", label="")
    if not settings:
        changed = ["heads.cascade=false"] if "cascade" in options else []
        backbone = options.get("backbone", "pretrained")
        workflows.heads_run(run, [dataset], settings=changed, backbone=backbone, device="cpu", label="")
    predictor = JepaPredictor.load(run, **options)
    history = History.gather(store, make_split(store).parts["test"]).without(["gps"])
    with pytest.raises(UserError) as refused:
        predictor.predict_history(history, predictor.normalisers.of(store.datasets[0]))
    assert refused.value.remedy.endswith(remedy)


def test_a_model_that_observes_nothing_says_so(tiny, dataset, run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(run, path)
    predictor = JepaPredictor.load(path)
    with pytest.raises(UserError, match="nothing was observed"):
        predictor.model.future_latents({}, (), {name: torch.ones(T_OBS, dtype=torch.bool) for name in ("gps", "rf")})
