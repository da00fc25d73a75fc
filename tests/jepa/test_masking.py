"""Masks: what each kind hides, how often, and that shapes are static."""

import pytest
import torch

from jepa.masking import MASKS, checkerboard, draw_mask, future_mask, temporal_block
from jepa.tokenizers import Layout
from jepa.windows import T_WINDOW

LAYOUT = Layout.of(["gps", "rf"])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", sorted(MASKS))
def test_every_window_of_a_batch_hides_equally_many_tokens(kind):
    for seed in range(20):
        hidden = MASKS[kind](LAYOUT, 32, 0.5, seeded(seed))
        assert hidden.shape == (32, LAYOUT.tokens)
        assert len(torch.unique(hidden.sum(1))) == 1
        assert 0 < int(hidden[0].sum()) < LAYOUT.tokens


@pytest.mark.parametrize(("ratio", "length"), [(0.25, 3), (0.5, 6), (0.75, 9)])
def test_a_temporal_block_is_contiguous_in_each_modality_and_lies_anywhere(ratio, length):
    hidden = temporal_block(LAYOUT, 2000, ratio, seeded())
    starts = []
    for part in (hidden[:, :T_WINDOW], hidden[:, T_WINDOW:]):
        assert bool((part.sum(1) == length).all())
        first, last = part.int().argmax(1), T_WINDOW - 1 - part.flip(1).int().argmax(1)
        assert bool((last - first + 1 == length).all())
        counts = torch.bincount(first, minlength=T_WINDOW - length + 1)
        assert len(counts) == T_WINDOW - length + 1
        assert float(counts.min()) > 0.6 * 2000 / len(counts)
        starts.append(first.double())
    assert abs(float(torch.corrcoef(torch.stack(starts))[0, 1])) < 0.1


def test_a_checkerboard_hides_every_other_token():
    hidden = checkerboard(LAYOUT, 4, 0.5, seeded())
    for part in (hidden[:, :T_WINDOW], hidden[:, T_WINDOW:]):
        assert bool((part[:, 1:] != part[:, :-1]).all())
    assert bool((hidden[:, 0] != hidden[:, T_WINDOW]).all())


def test_the_joint_future_is_what_the_heads_ask_for():
    hidden = MASKS["joint-future"](LAYOUT, 2, 0.5, seeded())
    assert torch.equal(hidden[0], future_mask(LAYOUT))
    assert hidden[0].reshape(2, T_WINDOW).int().tolist() == [[0] * 8 + [1] * 5] * 2


def test_a_missing_modality_is_hidden_throughout():
    assert future_mask(LAYOUT, ("gps",)).reshape(2, T_WINDOW).sum(1).tolist() == [13, 5]


def test_a_mixture_draws_its_kinds_by_their_shares():
    future = future_mask(LAYOUT)
    kinds = {"temporal-block": 0.5, "joint-future": 0.5}
    drawn = [torch.equal(draw_mask(LAYOUT, 1, kinds, 0.5, seeded(seed))[0], future) for seed in range(400)]
    assert 150 < sum(drawn) < 250


def test_the_same_seed_draws_the_same_mask():
    kinds = {"random": 1.0, "temporal-block": 1.0}
    assert torch.equal(draw_mask(LAYOUT, 8, kinds, 0.5, seeded(7)), draw_mask(LAYOUT, 8, kinds, 0.5, seeded(7)))
