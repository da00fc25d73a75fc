"""Groups of neighbours: few frames, every window at most once, other groups in every epoch."""

import torch

from jepa.data.windows import T_WINDOW
from jepa.training.batches import adjacent_batches, independent_batches


def _index(lengths):
    """Windows of episodes of some lengths."""
    starts, first = [], 0
    for length in lengths:
        starts += range(first, first + length - T_WINDOW + 1)
        first += length
    return torch.tensor(starts)[:, None] + torch.arange(T_WINDOW)


def _frames(index, rows):
    return len(torch.unique(index[rows]))


def test_eight_neighbours_need_twenty_frames():
    index = _index([200])
    (batch, *_) = adjacent_batches(index, 8, 8, 0, 0)
    assert _frames(index, batch) == 20
    assert torch.equal(index[batch, 0], index[batch[0], 0] + torch.arange(8))


def test_every_window_is_drawn_at_most_once_and_nearly_all_are():
    index = _index([60, 90, 14, 20])
    for epoch in range(4):
        drawn = torch.cat(adjacent_batches(index, 16, 8, 0, epoch))
        assert len(torch.unique(drawn)) == len(drawn) == len(index) // 16 * 16


def test_groups_are_neighbours_but_for_what_is_left_at_the_ends_of_drives():
    """Of each drive at most seven windows before its first group and seven after its last are left over."""
    drives = [37, 44, 9]
    index = _index([windows + T_WINDOW - 1 for windows in drives])
    for epoch in range(8):
        batches = adjacent_batches(index, 8, 8, 0, epoch)
        whole = [batch for batch in batches if bool((torch.diff(index[batch, 0]) == 1).all())]
        assert len(whole) >= sum(max(0, windows - 14) / 8 for windows in drives)


def test_groups_begin_elsewhere_in_every_epoch():
    index, phases = _index([200]), set()
    for epoch in range(20):
        batches = adjacent_batches(index, 8, 8, 0, epoch)
        found = {int(batch[0]) % 8 for batch in batches if len(batch) == 8 and bool((torch.diff(batch) == 1).all())}
        assert len(found) == 1, "one phase an epoch"
        phases |= found
    assert len(phases) > 4


def test_batches_need_far_fewer_frames_than_independent_ones():
    index = _index([300] * 4)
    near = sum(_frames(index, rows) for rows in adjacent_batches(index, 64, 8, 0, 0))
    far = sum(_frames(index, rows) for rows in independent_batches(len(index), 64, 0, 0))
    assert near < 0.4 * far


def test_what_is_drawn_depends_on_seed_and_epoch_alone():
    index = _index([120, 50])

    def drawn(seed, epoch):
        return torch.cat(adjacent_batches(index, 16, 8, seed, epoch))

    assert torch.equal(drawn(0, 3), drawn(0, 3))
    assert not torch.equal(drawn(0, 3), drawn(0, 4))
    assert not torch.equal(drawn(0, 3), drawn(1, 3))
    long = _index([200])
    phases = {int(long[adjacent_batches(long, 8, 8, 0, epoch)[0][0], 0]) % 8 for epoch in range(30)}
    assert len(phases) > 4


def test_a_group_of_one_is_an_independent_draw():
    index = _index([100])
    assert all(map(torch.equal, adjacent_batches(index, 16, 1, 2, 5), independent_batches(len(index), 16, 2, 5)))


def test_fewer_windows_than_a_batch_are_one_batch():
    assert [len(rows) for rows in adjacent_batches(_index([20]), 64, 8, 0, 0)] == [8]
