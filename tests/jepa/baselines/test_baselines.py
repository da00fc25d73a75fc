"""Every baseline: the paper's sizes, no look at the future, sensible on a drive that is easy to predict."""

import dataclasses

import numpy as np
import pytest
import torch

from jepa.baselines import BASELINES, RADIO_BASELINES, InterpolationCeiling
from jepa.baselines.ar import AutoRegression, BeamAutoRegression
from jepa.baselines.extrapolation import constant_velocity, least_squares_velocity
from jepa.baselines.gru import BeamGru, SeriesGru
from jepa.baselines.gru_cascade import GruCascade
from jepa.config import preset
from jepa.data.samples import History, Samples
from jepa.data.splits import make_split
from jepa.evaluation.evaluate import evaluate, measures_of
from jepa.training.loop import Plan

EPOCHS = {"gru_cascade": 2, "transformer": 12}
"""Enough for a drive that is easy to predict."""


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_papers():
    autoregression = AutoRegression()
    assert autoregression.position_weights.numel() == 18
    assert autoregression.rssi_weights.numel() == 9
    assert parameters(BeamAutoRegression()) == 4_448
    assert parameters(SeriesGru(2)) == 26_242
    assert parameters(BeamGru()) == 134_752
    assert parameters(SeriesGru(1)) == 25_793


def test_what_is_fitted_has_the_papers_sizes(fitted):
    """Localization, beam, RSSI."""
    sizes = {
        name: [parameters(getattr(fitted[name], task)) for task in ("location", "beam", "rssi")]
        for name in ("gru", "transformer")
    }
    assert sizes == {"gru": [26_242, 134_752, 25_793], "transformer": [234_242, 242_048, 234_049]}
    autoregression = fitted["ar"]
    assert autoregression.position_weights.numel() == 18
    assert autoregression.rssi_weights.numel() == 9
    assert parameters(autoregression.beam) == 4_448


def test_a_straight_line_is_extrapolated_exactly():
    t = torch.arange(13.0)
    line = torch.stack([3 * t + 1, -2 * t], -1)[None]
    for guess in (constant_velocity(line[:, :8]), least_squares_velocity(line[:, :8], 4)):
        torch.testing.assert_close(guess, line[:, 8:], atol=1e-4, rtol=0)


def test_a_fitted_velocity_averages_noise_out():
    torch.manual_seed(0)
    t = torch.arange(13.0)
    line = torch.stack([3 * t + 1, -2 * t], -1).expand(500, -1, -1)
    noisy = line[:, :8] + 0.3 * torch.randn(500, 8, 2)
    error = [
        (guess - line[:, 8:]).norm(dim=-1).mean()
        for guess in (constant_velocity(noisy), least_squares_velocity(noisy, 5))
    ]
    assert error[1] < 0.6 * error[0]


@pytest.fixture(scope="module")
def fitted(samples):
    torch.set_num_threads(1)
    found = {}
    for name in RADIO_BASELINES:
        found[name] = BASELINES[name]()
        if hasattr(found[name], "plan"):
            found[name].plan = dataclasses.replace(found[name].plan, epochs=EPOCHS[name])
        found[name].fit(samples["train"], samples["val"], seed=0)
    return found


@pytest.fixture(scope="module")
def predictors(fitted, samples):
    """Every baseline, and the rival that reads what a backbone reads when it moves from site to site."""
    rival = GruCascade(plan=Plan(epochs=1, learning_rate=1e-3), inputs=preset("best").inputs)
    rival.fit(samples["train"], samples["val"], 0)
    return {**fitted, "rival": rival}


@pytest.mark.parametrize("name", [*RADIO_BASELINES, "rival"])
def test_no_bit_of_a_prediction_depends_on_the_future(predictors, store, name):
    """Every frame after the last observed one is replaced, to the end of the store, and the best beams with them."""
    windows = make_split(store).parts["test"]
    for row in torch.arange(0, len(windows), 5):
        one = windows.select(row[None])
        history = Samples.gather(store, one).history
        later = torch.arange(store.frames) > one.history[0, -1]
        changed = {key: torch.where(later[:, None], 7.7, values) for key, values in store.values.items()}
        beam = torch.where(later, 63, store.best_beam)
        other = Samples.gather(dataclasses.replace(store, values=changed, best_beam=beam), one).history
        before, after = predictors[name].predict(history), predictors[name].predict(other)
        for key in ("trajectory_m", "beam_logits", "spectrum_db"):
            np.testing.assert_array_equal(getattr(before, key), getattr(after, key))


def test_a_history_holds_eight_frames_and_nothing_else(samples):
    history = samples["test"].history
    assert {field.name for field in dataclasses.fields(History)} == {"values", "valid"}
    assert set(history.values) == {"gps", "rf"}
    assert history.power.shape[1:] == (8, 64)
    assert history.position_m.shape[1:] == (8, 2)


@pytest.mark.parametrize("name", RADIO_BASELINES)
def test_predictions_beat_the_last_position_and_chance(fitted, samples, name):
    measures = measures_of(fitted[name].predict(samples["test"].history), samples["test"])
    assert measures, "a baseline does at least one task"
    held = measures_of(fitted["hold_last"].predict(samples["test"].history), samples["test"])
    if "localization" in measures and name != "hold_last":
        assert measures["localization"]["ade_m"].values.mean() < held["localization"]["ade_m"].values.mean()
    if "beam" in measures and name != "hold_last":
        assert measures["beam"]["l1_rsrp_db"].values.mean() < 4.0


@pytest.mark.parametrize("name", ["kalman", "ar", "gru", "transformer", "gru_power_position", "gru_cascade"])
def test_the_same_seed_gives_the_same_model(samples, name):
    outputs = []
    for _ in range(2):
        baseline = BASELINES[name]()
        if hasattr(baseline, "plan"):
            baseline.plan = dataclasses.replace(baseline.plan, epochs=1)
        baseline.fit(samples["val"], samples["val"], seed=5)
        outputs.append(baseline.predict(samples["test"].history))
    for key in ("trajectory_m", "beam_logits", "spectrum_db"):
        np.testing.assert_array_equal(*(getattr(output, key) for output in outputs))


def test_the_ceiling_sees_both_sides_and_beats_every_predictor(fitted, store, samples):
    parts = make_split(store).parts
    ceiling = InterpolationCeiling()
    ceiling.fit(store, parts["train"], parts["val"])
    lost = measures_of(ceiling.predict(store, parts["test"]), samples["test"])["beam"]["l1_rsrp_db"].values.mean()
    for name in ("hold_last", "gru", "gru_cascade"):
        measures = measures_of(fitted[name].predict(samples["test"].history), samples["test"])
        assert lost < measures["beam"]["l1_rsrp_db"].values.mean()


def test_the_evaluation_object(fitted, samples):
    report = evaluate(fitted["gru_cascade"].predict(samples["test"].history), samples["test"], "test", "blocked")
    assert (report["windows"], report["sequences"], report["split"]) == (56, 2, "test")
    assert set(report["beam"]) >= {"top1", "top3", "top5", "top1_within_0.1db", "l1_rsrp_db", "dba"}
    for task in ("localization", "beam", "rssi"):
        for metric in report[task].values():
            assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
            assert len(metric["per_step"]) == 5
    other = evaluate(fitted["gru_power_position"].predict(samples["test"].history), samples["test"], "test", "")
    assert not {"rssi", "beam_by_spectrum"} & other.keys()


def test_beams_ranked_by_the_predicted_spectrum_stand_beside_those_of_the_scores(fitted, samples):
    output = fitted["gru_cascade"].predict(samples["test"].history)
    backwards = dataclasses.replace(output, beam_logits=-output.beam_logits)
    report = evaluate(backwards, samples["test"], "test", "")
    power = samples["test"].power.numpy()
    ranked = np.argsort(-output.spectrum_db, axis=-1)
    best = power.argmax(-1)[..., None]
    chosen = np.take_along_axis(power, ranked[..., :1], -1)[..., 0]
    expected = {
        "top1": (ranked[..., :1] == best).any(-1),
        "top3": (ranked[..., :3] == best).any(-1),
        "l1_rsrp_db": 10 * np.log10(power.max(-1) / chosen),
    }
    assert report["beam_by_spectrum"].keys() == expected.keys()
    for name, values in expected.items():
        assert report["beam_by_spectrum"][name]["value"] == pytest.approx(values.mean(), rel=1e-5)
        assert report["beam_by_spectrum"][name]["value"] != report["beam"][name]["value"]
