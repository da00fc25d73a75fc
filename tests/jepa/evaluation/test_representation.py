"""The rank of latents: how many directions they use."""

import numpy as np
import pytest
import torch

from jepa.data.samples import History
from jepa.evaluation.metrics import effective_rank, rankme
from jepa.evaluation.representation import LDA_RIDGE, VIEWS, representation, view_of


@pytest.fixture
def latents():
    """Twelve sequences of thirty windows whose latents use five of sixteen directions."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(360, 5)) @ rng.normal(size=(5, 16)), np.repeat(np.arange(12), 30), rng


def lda_rank(views):
    """The definition, on all windows at once."""
    mean = views.mean(1)
    within = (views - mean[:, None]).reshape(-1, views.shape[-1])
    s_w = within.T @ within / len(within) + LDA_RIDGE * np.eye(views.shape[-1])
    values, vectors = np.linalg.eigh(s_w)
    whitener = vectors / np.sqrt(values) @ vectors.T
    between = np.cov(mean.T, bias=True)
    return effective_rank(np.clip(np.linalg.eigvalsh(whitener @ between @ whitener), 0, None))


def test_the_ranks_are_those_of_all_windows_together(latents):
    values, sequence, rng = latents
    views = values[:, None] + 0.1 * rng.normal(size=(360, VIEWS, 16))
    found = representation(values, views, sequence)
    assert found["rankme"]["value"] == pytest.approx(rankme(values), rel=1e-6)
    assert found["lda_rank"]["value"] == pytest.approx(lda_rank(views), rel=1e-6)
    for name in ("rankme", "lda_rank"):
        low, high = found[name]["ci95"]
        assert low < found[name]["value"] < high


def test_directions_that_only_the_views_differ_in_do_not_count_for_the_lda_rank(latents):
    values, sequence, rng = latents
    views = values[:, None] + 0.01 * rng.normal(size=(360, VIEWS, 16))
    blurred = values[:, None] + np.array([30.0] * 2 + [0.01] * 14) * rng.normal(size=(360, VIEWS, 16))
    sharp, blunt = (representation(values, found, sequence)["lda_rank"]["value"] for found in (views, blurred))
    assert blunt < sharp


def test_one_sequence_has_no_interval(latents):
    values, sequence, _ = latents
    found = representation(values, values[:, None].repeat(VIEWS, 1), np.zeros_like(sequence))
    assert found["rankme"]["ci95"] is None


def test_no_interval_reaches_below_one_direction():
    """Nine sequences of one direction and one of many: without it the rank falls to one."""
    rng = np.random.default_rng(4)
    line, sequence = rng.normal(size=(200, 1)) * np.eye(16)[0], np.repeat(np.arange(10), 20)
    line[180:] = rng.normal(size=(20, 16))
    found = representation(line, line[:, None] + 1e-3 * rng.normal(size=(200, VIEWS, 16)), sequence)
    for name in ("rankme", "lda_rank"):
        low, high = found[name]["ci95"]
        assert low == 1
        assert high > found[name]["value"] > 1


def test_a_view_is_the_same_drive_with_other_gain_shift_and_noise():
    history = History({"rf": torch.ones(500, 8, 64), "gps": torch.zeros(500, 8, 2)})
    view, again, other = view_of(history, 1), view_of(history, 1), view_of(history, 2)
    assert torch.equal(view.power, again.power)
    assert not torch.equal(view.power, other.power)
    change_db = 10 * torch.log10(view.power)
    assert change_db.mean((1, 2)).std() == pytest.approx(1.0, rel=0.15), "one gain a window"
    assert (change_db - change_db.mean((1, 2), keepdim=True)).std() == pytest.approx(0.5, rel=0.05)
    assert view.position_m.mean(1).std() == pytest.approx(0.5, rel=0.15)
    assert torch.equal(history.power, torch.ones(500, 8, 64)), "the data themselves stay as they are"


def test_the_lda_rank_counts_the_directions_that_survive_augmentation():
    rng = np.random.default_rng(5)
    signal = np.zeros((400, 1, 10))
    signal[:, 0, :3] = np.linalg.qr(rng.normal(size=(400, 3)))[0] * 20
    views = signal + rng.normal(0, 0.01, (400, VIEWS, 10))
    found = representation(views[:, 0], views, np.arange(400) // 20)
    assert found["lda_rank"]["value"] == pytest.approx(3, rel=0.05)
