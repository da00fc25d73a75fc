"""The table of real drives: every model and control has its row, intervals are over sequences, nothing runs twice."""

import json
import shutil

import numpy as np
import pytest

from jepa.experiments import real_data
from jepa.experiments.real_data import Budget, run
from twin.errors import UserError

NANO = Budget(
    width=16,
    twin_episodes=10,
    pretrain_epochs=1,
    twin_head_epochs=1,
    paper_epochs=1,
    head_epochs=1,
    seeds=2,
    folds=(1,),
)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("real-data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(real_data.BUDGETS, "nano", NANO)
        run(out, [dataset], "nano")
    return out


def test_every_model_and_every_control_has_a_row_at_every_place(finished):
    rows = json.loads((finished / "real_data.json").read_text())
    for place in ("blocked-0/seed-0", "blocked-0/seed-1", "folds-1/seed-0"):
        models = {key.rsplit("/", 1)[1] for key in rows if f"/{place}/" in key}
        assert {"jepa_paper", "gru_power_position", "gru_cascade"} <= models
        for share in ("0", "0.1", "1"):
            arms = ("jepa_pretrained", "jepa_random", "jepa_zeroed", "gru_cascade")
            assert {f"twin_{arm}_{share}" for arm in arms} <= models
    assert "hold_last" not in {key.rsplit("/", 1)[1] for key in rows if "seed-1" in key}, "it draws nothing"


def test_the_page_says_what_was_spent(finished):
    page = (finished / "real_data.md").read_text()
    assert "Budget `nano`: width 16, twin_episodes 10" in page
    assert "minutes of one core" in page
    seconds = sum(json.loads(path.read_text()).get("seconds", 0) for path in (finished / "rows").rglob("*.json"))
    assert f"Cost: {seconds / 60:.0f} minutes" in page


def test_a_second_run_computes_nothing_again(finished, dataset, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in (finished / "rows").rglob("*.json")}
    monkeypatch.setitem(real_data.BUDGETS, "nano", NANO)
    monkeypatch.setattr(real_data, "_timed", None)
    run(finished, [dataset], "nano")
    assert {path: path.stat().st_mtime_ns for path in (finished / "rows").rglob("*.json")} == before


def test_seeds_of_a_sequence_are_averaged_before_sequences_are_drawn():
    row = {"windows": [10, 30], "l1_rsrp_db": [5.0, 30.0], "top1": [1.0, 3.0]}
    other = {"windows": [10, 30], "l1_rsrp_db": [15.0, 60.0], "top1": [1.0, 3.0]}
    table = real_data._Table({"s/blocked-0/seed-0/jepa": row, "s/blocked-0/seed-1/jepa": other}, ["s"])
    mean_db = (np.mean([5, 15]) + np.mean([30, 60])) / 40
    per_sequence_db = (np.mean([5, 15]) / 10, np.mean([30, 60]) / 30)
    assert f"{mean_db:.3f} [{per_sequence_db[0]:.3f}, {per_sequence_db[1]:.3f}]" in table.losses()


def test_a_pair_is_compared_on_the_same_sequences():
    mine = {"windows": [10, 10], "l1_rsrp_db": [10.0, 30.0]}
    rival = {"windows": [10, 10], "l1_rsrp_db": [12.0, 32.0]}
    rows = {"s/blocked-0/seed-0/twin_jepa_pretrained_1": mine, "s/blocked-0/seed-0/gru_cascade": rival}
    line = next(row for row in real_data._Table(rows, ["s"]).differences().splitlines() if "- gru_cascade" in row)
    assert "-0.200 [-0.200, -0.200]*" in line


def test_what_is_wrong_with_the_request_is_said_before_anything_is_made(tmp_path, dataset):
    with pytest.raises(UserError, match="--data"):
        run(tmp_path / "a")
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "b", [dataset], "lavish")
    assert not (tmp_path / "b").exists()
    with pytest.raises(UserError, match="two datasets have one name"):
        run(tmp_path / "b", [dataset, dataset.parent / "other" / dataset.name], "quick")


def test_rows_of_other_data_of_the_same_name_are_not_taken(finished, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(real_data.BUDGETS, "nano", NANO)
    other = tmp_path / dataset.name
    shutil.copytree(dataset, other)
    shutil.rmtree(other / "seq-0009")
    with pytest.raises(UserError, match="differs in data"):
        run(finished, [other], "nano")
