"""The metrics, each against a second formulation."""

import dataclasses

import numpy as np
import pytest
import torch

from jepa.data.samples import Samples
from jepa.evaluation.evaluate import site_floor
from jepa.evaluation.metrics import (
    Measure,
    beam_measures,
    localization_measures,
    mismatch_histogram,
    rankme,
    rssi_measures,
)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def value(measure, sequence=None):
    sequence = np.arange(len(measure.values)) if sequence is None else sequence
    return measure.summary(sequence)["value"]


def test_displacement_of_a_known_offset(rng):
    true = rng.normal(size=(20, 5, 2))
    offset = np.array([3.0, 4.0]) * np.arange(1, 6)[:, None]
    measures = localization_measures(true + offset, true)
    assert value(measures["ade_m"]) == pytest.approx(15.0)
    assert value(measures["fde_m"]) == pytest.approx(25.0)
    assert measures["ade_m"].summary(np.arange(20))["per_step"] == pytest.approx([5, 10, 15, 20, 25])


def test_beam_metrics_count_by_hand():
    power = np.ones((1, 5, 64))
    power[..., 10] = 2.0
    power[..., 11] = 1.99
    logits = np.zeros((1, 5, 64))
    logits[..., 11] = 3
    logits[..., 20] = 2
    logits[..., 10] = 1
    measures = beam_measures(logits, power, floor=np.array([0.5]))
    assert value(measures["top1"]) == 0
    assert value(measures["top3"]) == 1
    assert value(measures["top1_within_0.1db"]) == 1
    assert value(measures["l1_rsrp_db"]) == pytest.approx(10 * np.log10(2 / 1.99))
    assert value(measures["l1_rsrp_above_floor_db"]) == pytest.approx(10 * np.log10(1.5 / 1.49))
    assert value(measures["dba"]) == pytest.approx((0.8 + 0.8 + 1.0) / 3)
    assert mismatch_histogram(logits, power)[1] == 5


def test_dba_of_a_far_beam_is_zero_and_of_the_right_one_is_one():
    power = np.ones((1, 5, 64))
    power[..., 0] = 2
    far, right = np.zeros((1, 5, 64)), np.zeros((1, 5, 64))
    far[..., 60:] = 1
    right[..., 0] = 1
    assert value(beam_measures(far, power, np.full(len(power), 0.1))["dba"]) == 0
    assert value(beam_measures(right, power, np.full(len(power), 0.1))["dba"]) == 1


def test_rssi_is_the_mean_of_linear_power(rng):
    power = rng.exponential(size=(30, 5, 64))
    doubled = 10 * np.log10(2 * power)
    measures = rssi_measures(doubled, power)
    assert value(measures["mae_db"]) == pytest.approx(10 * np.log10(2))
    assert value(measures["rmse_db"]) == pytest.approx(10 * np.log10(2))


def test_rmse_is_above_mae_when_errors_vary(rng):
    power = rng.exponential(size=(30, 5, 64))
    guess = 10 * np.log10(power) + rng.normal(0, 1, (30, 5, 1))
    measures = rssi_measures(guess, power)
    errors = guess[..., 0] - 10 * np.log10(power)[..., 0]
    assert value(measures["rmse_db"]) == pytest.approx(np.sqrt((errors**2).mean()))
    assert value(measures["mae_db"]) == pytest.approx(np.abs(errors).mean())


def test_intervals_come_from_whole_sequences(rng):
    """Windows of one sequence that repeat each other say no more than one window."""
    base = rng.normal(10, 1, (12, 1, 2))
    true = np.zeros((12, 5, 2))
    once = localization_measures(np.repeat(base, 5, 1), true)["ade_m"]
    many = localization_measures(np.repeat(np.repeat(base, 5, 1), 40, 0), np.zeros((480, 5, 2)))["ade_m"]
    few = once.summary(np.arange(12))["ci95"]
    grouped = many.summary(np.repeat(np.arange(12), 40))["ci95"]
    naive = many.summary(np.arange(480))["ci95"]
    assert grouped == pytest.approx(few)
    assert naive[1] - naive[0] < 0.5 * (few[1] - few[0])


@pytest.mark.parametrize("average", ["mean", "rms"])
def test_each_step_has_the_interval_that_it_has_alone(rng, average):
    """A measure whose five steps are all the one step has this as its overall value."""
    values, sequence = rng.gamma(2, 1, (60, 5)) * np.arange(1, 6), np.arange(12).repeat(5)
    found = Measure(values, average).summary(sequence)
    assert len(found["per_step_ci95"]) == 5
    for step, interval in enumerate(found["per_step_ci95"]):
        alone = Measure(np.repeat(values[:, step : step + 1], 5, 1), average).summary(sequence)
        assert interval == pytest.approx(alone["ci95"])
        assert interval[0] < found["per_step"][step] < interval[1]
    last = Measure(values, average, last_only=True).summary(sequence)
    assert last["ci95"] == pytest.approx(last["per_step_ci95"][-1])


def test_one_sequence_has_no_interval_at_any_step():
    found = Measure(np.ones((4, 5))).summary(np.zeros(4, int))
    assert (found["ci95"], found["per_step_ci95"]) == (None, None)


def test_an_interval_covers_the_truth_about_95_times_in_100():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        level = rng.normal(0, 1, 40).repeat(5) + 5
        guess = np.zeros((200, 5, 2))
        guess[..., 0] = level[:, None]
        low, high = localization_measures(guess, np.zeros((200, 5, 2)))["ade_m"].summary(np.arange(40).repeat(5))[
            "ci95"
        ]
        covered += low <= 5 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_rankme_counts_equal_directions(rng):
    directions = np.linalg.qr(rng.normal(size=(500, 16)))[0]
    assert rankme(directions[:, :7] @ np.eye(7, 16)) == pytest.approx(7)
    assert rankme(np.ones((50, 8))) == pytest.approx(1)


def test_each_site_has_its_own_floor(samples):
    """The same drives at a thousandth of the power, as another site: nothing of either changes."""
    test = samples["test"]
    weak = dataclasses.replace(test, power=test.power / 1000)
    both = Samples(
        test.history,
        torch.cat([test.power, weak.power]),
        torch.cat([test.position_m] * 2),
        torch.cat([test.best_beam] * 2),
        torch.cat([test.episode] * 2),
        site=torch.arange(2).repeat_interleave(len(test)),
    )
    for rows, own in ((slice(None, len(test)), test), (slice(len(test), None), weak)):
        floor = site_floor(both)[rows]
        assert np.array_equal(floor, site_floor(own))
        assert floor[0] == np.median(own.power.numpy().min(-1))
