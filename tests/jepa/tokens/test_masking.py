"""Masks: what each kind hides, how often, and that shapes are static."""

import itertools

import pytest
import torch

from jepa.data.windows import T_WINDOW
from jepa.tokens.masking import MASKS, checkerboard, draw_mask, future_mask, temporal_block
from jepa.tokens.tokenizers import Layout

LAYOUT = Layout.of(["gps", "rf"])
FIVE = {"camera": 9, "radar": 16, "lidar": 16, "gps": 1, "rf": 1}
"""Tokens a frame of the paper's modalities, in the order of a window."""
WHOLE = Layout.of(list(FIVE))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def by_modality(hidden):
    """What is hidden of each of the five: (window, frame, token of the frame)."""
    parts = hidden.split([T_WINDOW * tokens for tokens in FIVE.values()], 1)
    return [part.unflatten(1, (T_WINDOW, -1)) for part in parts]


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


@pytest.mark.parametrize(("ratio", "length"), [(0.25, 3), (0.5, 6), (0.75, 9)])
def test_a_temporal_block_hides_whole_frames_of_each_of_five_modalities_at_places_of_its_own(ratio, length):
    starts = []
    for part in by_modality(draw_mask(WHOLE, 2000, {"temporal-block": 1.0}, ratio, seeded())):
        frames = part.any(2)
        assert torch.equal(frames, part.all(2)), "all tokens of a frame together"
        assert bool((frames.sum(1) == length).all())
        first = frames.int().argmax(1)
        assert bool(frames.gather(1, first[:, None] + torch.arange(length)).all()), "one segment"
        starts.append(first.double())
    assert float(torch.corrcoef(torch.stack(starts)).fill_diagonal_(0).abs().max()) < 0.1


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (0.1, (11, 20, 20, 1, 1)),
        (0.25, (29, 52, 52, 3, 3)),
        (0.5, (58, 104, 104, 6, 6)),
        (0.75, (87, 156, 156, 9, 9)),
        (0.9, (105, 187, 187, 11, 11)),
    ],
)
def test_a_random_mask_hides_its_share_of_the_tokens_of_each_modality_anywhere(ratio, counts):
    """Of 117 tokens of the camera, 208 of radar and LiDAR each, and 13 of position and power, rounded down."""
    parts = by_modality(draw_mask(WHOLE, 2000, {"random": 1.0}, ratio, seeded()))
    for part, count in zip(parts, counts, strict=True):
        assert bool((part.sum((1, 2)) == count).all())
        often = part.float().mean(0)
        torch.testing.assert_close(often, torch.full_like(often, count / often.numel()), atol=0.06, rtol=0)
    assert bool((parts[0].any(2) & ~parts[0].all(2)).any()), "tokens, not frames"


def test_a_checkerboard_hides_every_other_token_in_frame_index_and_modality():
    hidden = checkerboard(WHOLE, 3, 0.5, seeded())
    parts = by_modality(hidden)
    for part in parts:
        assert bool((part[:, 1:] != part[:, :-1]).all())
        assert bool((part[..., 1:] != part[..., :-1]).all())
    for one, next_one in itertools.pairwise(parts):
        assert bool((one[..., 0] != next_one[..., 0]).all())
    assert torch.equal(checkerboard(WHOLE, 3, 0.25, seeded()), hidden), "always a half"


def test_a_checkerboard_starts_with_either_colour():
    boards = torch.cat([checkerboard(WHOLE, 1, 0.5, seeded(seed)) for seed in range(20)])
    found = torch.unique(boards, dim=0)
    assert len(found) == 2
    assert torch.equal(found[0], ~found[1])


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
