"""No test frame is ever seen in training, except under the paper's split, which says so."""

import itertools

import numpy as np
import pytest
import torch

from jepa.data.frames import FrameStore
from jepa.data.splits import FOLDS, make_split
from jepa.data.windows import T_WINDOW, Piece, cut_windows
from jepa.training.batches import adjacent_batches, independent_batches
from twin.errors import UserError


def frames_of(windows):
    return set(windows.index.flatten().tolist())


def test_windows_are_consecutive_frames_of_one_episode(store):
    windows = cut_windows(store, [Piece(e, 0, store.episodes[e].frames) for e in range(10)])
    assert len(windows) == 10 * (40 - T_WINDOW + 1)
    assert (windows.index.diff(dim=1) == 1).all()
    episode = store.episode_of_frame[windows.index]
    assert (episode == windows.episode[:, None]).all()


def test_a_window_with_an_invalid_sweep_is_left_out_and_counted(store):
    valid = {**store.valid, "rf": store.valid["rf"].clone()}
    valid["rf"][20] = False
    holed = FrameStore(store.values, valid, store.best_beam, store.episodes, store.datasets)
    windows = cut_windows(holed, [Piece(0, 0, 40)])
    assert windows.invalid == T_WINDOW
    assert not (windows.index == 20).any()
    assert len(cut_windows(holed, [Piece(0, 0, 40)], ["gps"])) == 28


def test_a_sequence_shorter_than_a_window_is_skipped_and_counted(tmp_path, drive):
    for number, frames in enumerate([40, 12, 40, 40, 40]):
        drive(number, frames).save(tmp_path / "data")
    store = FrameStore.load([tmp_path / "data"])
    windows = cut_windows(store, [Piece(e, 0, store.episodes[e].frames) for e in range(5)])
    assert (windows.short, len(windows)) == (1, 4 * 28)


def test_blocked_takes_the_first_seven_tenths_to_train_and_the_last_two_to_test(store):
    split = make_split(store, "blocked")
    assert {part: sorted(set(w.episode.tolist())) for part, w in split.parts.items()} == {
        "train": [0, 1, 2, 3, 4, 5, 6],
        "val": [7],
        "test": [8, 9],
    }
    assert "leak" not in split.protocol


def test_every_sequence_is_a_test_once_and_parts_never_share_a_frame(store):
    tested = []
    for fold in range(FOLDS):
        parts = make_split(store, "folds", fold).parts
        train, val, test = (frames_of(parts[name]) for name in ("train", "val", "test"))
        assert not train & val
        assert not train & test
        assert not val & test
        tested += sorted(set(parts["test"].episode.tolist()))
    assert sorted(tested) == list(range(10))


def test_the_papers_split_leaks_and_says_so(store):
    split = make_split(store, "paper", seed=3)
    shared = [
        any(len(set(row) & set(other)) == 12 for other in split.parts["train"].index.tolist())
        for row in split.parts["test"].index.tolist()
    ]
    assert np.mean(shared) == pytest.approx(0.91, abs=0.06)
    assert "leak" in split.protocol


def test_what_the_papers_split_tests_of_a_dataset_does_not_hang_on_those_beside_it(dataset, tmp_path, drive):
    """Otherwise a run on two datasets would be judged on windows that it was trained on, not on their neighbours."""
    for number in range(4):
        drive(number, seed=9).save(tmp_path / "other")

    def tested(paths):
        store = FrameStore.load(paths)
        starts = make_split(store, "paper", seed=3).parts["test"].index[:, 0].tolist()
        of = {
            frame: episode
            for episode in store.episodes
            for frame in range(episode.start, episode.start + episode.frames)
        }
        return {(of[start].content_hash, start - of[start].start) for start in starts}

    one, other = dataset, tmp_path / "other"
    assert tested([one, other]) == tested([other, one]) == tested([one]) | tested([other])


def test_training_windows_of_the_papers_split_still_share_their_frames(store):
    """Seven windows of ten are there, so that most have a neighbour."""
    train = make_split(store, "paper").parts["train"]
    starts = train.index[:, 0]
    assert (starts.diff() > 0).all()
    batches = adjacent_batches(train.index, 32, 8, 0, 0)
    alone = independent_batches(len(train), 32, 0, 0)
    together, apart = (sum(len(train.index[rows].unique()) for rows in drawn) for drawn in (batches, alone))
    assert together < 0.65 * apart


def test_one_long_drive_is_split_over_frames_with_a_purge(tmp_path, drive):
    drive(0, frames=400).save(tmp_path / "long")
    parts = make_split(FrameStore.load([tmp_path / "long"])).parts
    assert min(frames_of(parts["val"])) - max(frames_of(parts["train"])) == T_WINDOW
    assert min(frames_of(parts["test"])) - max(frames_of(parts["val"])) == T_WINDOW


def test_leave_one_scenario_out_tests_on_a_scenario_never_trained_on(dataset, tmp_path, drive):
    for number in range(4):
        drive(number, seed=9).save(tmp_path / "other")
    store = FrameStore.load([dataset, tmp_path / "other"])
    split = make_split(store, "leave-one-scenario-out", fold=1)
    assert {store.episodes[e].dataset for e in split.parts["test"].episode.tolist()} == {1}
    assert {store.episodes[e].dataset for e in split.parts["train"].episode.tolist()} == {0}


def test_a_share_of_the_training_sequences_keeps_the_test_as_it_is(store):
    split = make_split(store)
    share = split.with_share(0.3, seed=1)
    kept = set(share.parts["train"].episode.tolist())
    assert len(kept) == 2
    assert kept <= set(split.parts["train"].episode.tolist())
    assert torch.equal(share.parts["test"].index, split.parts["test"].index)
    assert {piece["number"] for piece in share.pieces["train"]} == kept
    assert split.with_share(0.3, seed=1).pieces == share.pieces


def test_more_drives_hold_those_of_fewer_and_there_are_no_more_than_there_are(store):
    split = make_split(store)
    kept = [set(split.with_drives(count, seed=1).parts["train"].episode.tolist()) for count in range(1, 8)]
    assert [len(drives) for drives in kept] == list(range(1, 8))
    assert all(fewer < more for fewer, more in itertools.pairwise(kept))
    assert kept[-1] == set(split.parts["train"].episode.tolist())
    assert kept[0] != set(split.with_drives(1, seed=0).parts["train"].episode.tolist())
    for count in (0, 8):
        with pytest.raises(UserError, match=f"there are 7 training drives with a window, not {count}"):
            split.with_drives(count, seed=1)


@pytest.mark.parametrize(
    ("kind", "fold", "message"),
    [
        ("random", 0, "unknown split"),
        ("folds", 5, "no fold 5"),
        ("leave-one-scenario-out", 0, "several datasets"),
        ("blocked", 7, "split blocked has no fold 7"),
        ("paper", -1, "split paper has no fold -1"),
    ],
)
def test_an_impossible_split_is_a_users_error(store, kind, fold, message):
    with pytest.raises(UserError, match=message):
        make_split(store, kind, fold)


def test_two_datasets_of_one_name_are_a_users_error(dataset, tmp_path, drive):
    """Their statistics would go by it."""
    drive(50).save(tmp_path / dataset.name)
    with pytest.raises(UserError, match="another dataset is called synthetic"):
        FrameStore.load([dataset, tmp_path / dataset.name])


def test_a_dataset_named_twice_is_a_users_error(dataset):
    with pytest.raises(UserError, match="named twice"):
        FrameStore.load([dataset, dataset])
