"""What the leaky split gives away is what a count of shared frames finds, and differences are those of the rows."""

import json

import numpy as np
import pytest
import torch

from jepa.data.splits import make_split
from jepa.experiments.on_twin.study import Study
from jepa.experiments.results.comparison import Sums, difference
from jepa.experiments.splits import drawn_together, flattery, leak, pooled, run
from twin.errors import UserError

METRICS = ("ade_m", "fde_m", "top1", "top3", "l1_rsrp_db", "rmse_db", "mae_db")


@pytest.fixture(scope="module")
def made(five, out, quick):
    run(out, [five], "quick")
    return out, json.loads((out / "splits.json").read_text()), (out / "splits.md").read_text()


@pytest.mark.parametrize("kind", ["paper", "blocked", "folds"])
def test_a_leak_is_what_a_count_of_shared_frames_finds(store, kind):
    parts = make_split(store, kind, 0, 3).parts
    train, test = (parts[part].index for part in ("train", "test"))
    shared = torch.stack([torch.isin(window, other).sum() for window in test for other in train])
    most = shared.unflatten(0, (len(test), len(train))).amax(1)
    found = leak(store, kind, 0, 3)
    assert found["neighbour"] == pytest.approx(float((most == 12).double().mean()))
    assert found["touched"] == pytest.approx(float((most > 0).double().mean()))
    if kind == "paper":
        assert found["neighbour"] == pytest.approx(1 - 0.3**2, abs=0.06), "both neighbours are in the test by chance"
    else:
        assert found["touched"] == 0


def test_the_windows_of_a_drive_are_joined_over_folds_and_seeds():
    first = {"sequences": [0, 2], "windows": [3, 4], "top1": [1.0, 2.0]}
    second = {"sequences": [2], "windows": [2], "top1": [0.0]}
    last = {"sequences": [1], "windows": [5], "top1": [5.0]}
    drives, found = pooled([[first, second], [last]], "top1")
    assert drives == [0, 1, 2]
    np.testing.assert_array_equal(found.sums, [1, 5, 2])
    np.testing.assert_array_equal(found.windows, [3, 5, 6])


def test_the_same_drives_drawn_for_both_take_out_what_makes_a_drive_hard():
    """Drives differ by far more than the splits: by exactly 0.5 each."""
    windows = np.full(12, 10)
    hard = np.arange(12.0)
    leaky, honest = Sums(hard * windows, windows), Sums((hard + 0.5) * windows, windows)
    drives, others = [*range(12)], [*range(20, 32)]
    joint, apart = flattery((drives, leaky), (drives, honest)), flattery((drives, leaky), (others, honest))
    assert joint.value == apart.value == pytest.approx(-0.5)
    assert joint.interval == pytest.approx((-0.5, -0.5))
    assert joint.interval == pytest.approx(difference(leaky, honest).interval)
    low, high = apart.interval
    assert low < -2 < 1 < high
    squares = flattery((drives, Sums(4.0 * windows, windows)), (drives, Sums(9.0 * windows, windows)), root=True)
    assert squares.value == pytest.approx(-1)
    assert flattery(([40], Sums(hard[1:2], windows[:1])), (drives, leaky)).interval is None


def test_a_drive_of_which_one_split_tested_nothing_does_not_keep_the_others_from_being_drawn_for_both():
    windows = np.full(20, 5)
    hard = 10 * np.arange(20.0)
    honest = [*range(20)], Sums(windows * hard, windows)
    leaky = [*range(19)], Sums(windows[:19] * (hard[:19] - 1), windows[:19])
    few = [*range(10)], Sums(leaky[1].sums[:10], windows[:10])
    assert drawn_together(leaky, honest)
    assert not drawn_together(few, honest)
    found = flattery(leaky, honest)
    assert found.value == pytest.approx(np.mean(hard[:19]) - 1 - np.mean(hard))
    low, high = found.interval
    assert high - low < 30, "of means of which each has an interval of some 50"


def test_every_model_has_a_row_under_every_split_and_the_paper_has_its_own(made):
    _, found, page = made
    assert list(found["rows"]) == ["jepa", "gru_cascade", "position_knn"]
    for model, by_split in found["rows"].items():
        assert list(by_split) == ["paper", "blocked", "folds"]
        for split in by_split:
            assert f"| {model} | {split} |" in page
        for other in ("blocked", "folds"):
            assert f"| {model} | paper - {other} | apart |" in page, "two folds do not test all drives"
    assert "| *paper's jepa* | *paper* | 0.0566 | 0.0795 | 0.4692 | 0.8181 | 0.1456 | 0.4707 | 0.2674 |" in page


def test_the_page_tells_the_leak_and_the_differences_of_the_rows(made):
    _, found, page = made
    lines = {line.split("|")[1].strip(): line for line in page.splitlines() if line.count("|") == 5}
    assert lines["blocked"].endswith("| 0.000 | 0.000 |")
    assert lines["folds"].endswith("| 0.000 | 0.000 |")
    ((row,),) = found["leaks"]["paper"]
    assert row["neighbour"] > 0.5
    assert lines["paper"].endswith(f"| {row['neighbour']:.3f} | {row['touched']:.3f} |")
    rows = found["rows"]["position_knn"]
    means = {
        split: sum(np.sum(row["top1"]) for (row,) in rows[split])
        / sum(np.sum(row["windows"]) for (row,) in rows[split])
        for split in rows
    }
    (line,) = [line for line in page.splitlines() if line.startswith("| position_knn | paper - blocked |")]
    told = dict(zip(METRICS, line.split("|")[4:-1], strict=True))["top1"]
    assert float(told.split()[0]) == pytest.approx(means["paper"] - means["blocked"], abs=6e-4)


def test_the_json_holds_what_the_page_prints(made, as_printed):
    _, found, page = made
    assert found["budget"]["name"] == "quick"
    for model, by_split in found["values"].items():
        for split, values in by_split.items():
            assert f"| {model} | {split} | {' | '.join(as_printed(values[metric]) for metric in METRICS)} |" in page
        for pair, told in found["differences"][model].items():
            printed = " | ".join(as_printed(told[metric], sign=True) for metric in METRICS)
            assert f"| {model} | {pair} | {told['drives']} | {printed} |" in page
    assert found["values"].keys() == found["differences"].keys() == found["rows"].keys()


def test_a_second_run_computes_nothing_again(made, five, monkeypatch, capsys):
    out, _, page = made
    for name in ("judged", "pretrained", "baseline"):
        monkeypatch.setattr(Study, name, pytest.fail)
    run(out, [five], "quick")
    assert capsys.readouterr().out.strip() == page.strip()


def test_what_is_wrong_with_the_request_is_said_in_a_line(made, five, dataset, tmp_path):
    out, _, _ = made
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "a", [five], "lavish")
    with pytest.raises(UserError, match="differs in data"):
        run(out, [dataset], "quick")
    with pytest.raises(UserError, match="holds rows of another budget"):
        run(out, [five], "full")
    assert not (tmp_path / "a").exists()
