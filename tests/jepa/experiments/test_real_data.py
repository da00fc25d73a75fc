"""The table of real drives: every model and control has its row, intervals are over sequences, nothing runs twice."""

import json
import shutil

import numpy as np
import pytest

from jepa.config import load_config
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers
from jepa.data.preprocess import Normaliser
from jepa.data.splits import make_split
from jepa.experiments import real_data
from jepa.experiments.pages.real_data import BACKBONES, KINDS, Results
from jepa.experiments.real_data import Budget, run
from jepa.experiments.results import side_by_side
from jepa.experiments.results.store import write_json
from jepa.runs.directory import open_run
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
    fractions=(0.1, 1.0),
    baselines=("hold_last", "gru_power_position", "gru_cascade"),
)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("real-data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(real_data.BUDGETS, "nano", NANO)
        run(out, [dataset], "nano")
    return out


@pytest.mark.long
def test_every_model_and_every_control_has_a_row_at_every_place(finished):
    rows = json.loads((finished / "real_data.json").read_text())["rows"]
    both = ("jepa_pretrained", "jepa_random", "gru_cascade")
    for place in ("folds-1/seed-0", "folds-1/seed-1"):
        models = {key.rsplit("/", 1)[1] for key in rows if f"/{place}/" in key}
        assert {"gru_power_position", "site_gru_cascade"} <= models
        arms = (*both, *(f"{heads}_{backbone}" for heads in ("latents", "fused") for backbone in BACKBONES))
        assert {f"twin_{arm}_{share}" for arm in arms for share in ("0", "0.1", "1")} <= models
        of_one_seed = {"jepa_paper", "hold_last", "gru_cascade"}
        assert models & of_one_seed == (of_one_seed if place == "folds-1/seed-0" else set())
    assert {f"drive_by/blocked-0/seed-{seed}/{arm}" for seed in (0, 1) for arm in both} <= rows.keys()


@pytest.mark.long
def test_both_kinds_of_heads_stand_on_one_backbone_and_fusion_tokens_on_another(finished):
    for seed in (0, 1):
        runs = [finished / "runs" / f"twin-{heads}-seed-{seed}" for heads in ("jepa", "latents")]
        backbones = [next((run / "checkpoints").glob("step-*/tensors.safetensors")).read_bytes() for run in runs]
        assert backbones[0] == backbones[1]
        assert [load_config(run / "config.yaml").heads.skip for run in runs] == [256, 0]
        fused = load_config(finished / "runs" / f"twin-fused-seed-{seed}" / "config.yaml")
        assert (fused.model.fusion_tokens, fused.heads.skip) == (2, 0)


@pytest.mark.long
def test_what_has_seen_the_sites_has_seen_their_training_drives_alone(finished, dataset):
    seen = {piece.content_hash for piece in open_run(finished / "runs/twin-and-sites-folds-1-seed-0").trained}
    store = FrameStore.load([dataset])
    parts = make_split(store, "folds", 1, 0).parts
    hashes = {
        part: {store.episodes[n].content_hash for n in windows.episode.tolist()} for part, windows in parts.items()
    }
    assert hashes["train"] <= seen
    assert not (hashes["val"] | hashes["test"]) & seen


@pytest.mark.long
def test_the_page_holds_every_table(finished, dataset):
    page = (finished / "real_data.md").read_text()
    assert "### drive_by, held-out drives" in page
    assert "1 folds, 2 seeds: against the best baseline" in page
    assert "twin_latents_pretrained_0.1 - twin_latents_random_0.1" in page
    assert "twin_fused_pretrained_1 - twin_latents_random_1" in page


@pytest.mark.long
def test_each_site_keeps_its_own_statistics_in_further_pretraining(finished, dataset):
    found = Normalisers.load(finished / "runs/twin-and-sites-folds-1-seed-0/stats.json").found
    assert found.keys() == {"drive_by", dataset.name}
    store = FrameStore.load([dataset])
    own = Normaliser.fit(store, make_split(store, "folds", 1, 0).parts["train"], "site")
    assert found[dataset.name].power_mean_db == pytest.approx(own.power_mean_db, abs=0.5)
    assert found[dataset.name].position_scale_m == pytest.approx(own.position_scale_m, rel=0.1)
    assert abs(found["drive_by"].power_mean_db - own.power_mean_db) > 20, "which no common statistic would do justice"


@pytest.mark.long
def test_the_page_says_what_was_spent(finished):
    page = (finished / "real_data.md").read_text()
    assert "Budget `nano`: width 16, twin_episodes 10" in page
    assert "minutes of one core" in page
    seconds = sum(json.loads(path.read_text()).get("seconds", 0) for path in (finished / "rows").rglob("*.json"))
    assert f"Cost: {seconds / 60:.0f} minutes" in page


@pytest.mark.long
def test_a_second_run_computes_nothing_again(finished, dataset, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in (finished / "rows").rglob("*.json")}
    monkeypatch.setitem(real_data.BUDGETS, "nano", NANO)
    monkeypatch.setattr(side_by_side, "_timed", None)
    run(finished, [dataset], "nano")
    assert {path: path.stat().st_mtime_ns for path in (finished / "rows").rglob("*.json")} == before


def test_seeds_of_a_sequence_are_averaged_before_sequences_are_drawn():
    row = {"windows": [10, 30], "l1_rsrp_db": [5.0, 30.0], "top1": [1.0, 3.0]}
    other = {"windows": [10, 30], "l1_rsrp_db": [15.0, 60.0], "top1": [1.0, 3.0]}
    table = Results({"s/blocked-0/seed-0/jepa": row, "s/blocked-0/seed-1/jepa": other}, ["s"])
    mean_db = (np.mean([5, 15]) + np.mean([30, 60])) / 40
    per_sequence_db = (np.mean([5, 15]) / 10, np.mean([30, 60]) / 30)
    assert f"{mean_db:.3f} [{per_sequence_db[0]:.3f}, {per_sequence_db[1]:.3f}]" in table.losses()


def test_a_pair_is_compared_on_the_same_sequences():
    mine = {"windows": [10] * 6, "l1_rsrp_db": [10.0, 30.0] * 3}
    rival = {"windows": [10] * 6, "l1_rsrp_db": [12.0, 32.0] * 3}
    rows = {"s/blocked-0/seed-0/twin_jepa_pretrained_1": mine, "s/blocked-0/seed-0/gru_cascade": rival}
    line = next(row for row in Results(rows, ["s"]).differences().splitlines() if "- gru_cascade" in row)
    assert "-0.200 [-0.200, -0.200]*" in line


def test_the_best_baseline_is_the_one_that_loses_least_and_never_one_that_knows_the_twin():
    def row(lost_db, top1, ade_m):
        return {
            "windows": [10] * 6,
            "l1_rsrp_db": [10 * lost_db] * 6,
            "top1": [10 * top1] * 6,
            "ade_m": [10 * ade_m] * 6,
        }

    losses = {"gru": row(3, 0.3, 1), "gru_cascade": row(2, 0.4, 1), "twin_gru_cascade_1": row(0.5, 0.9, 1)}
    losses["twin_jepa_pretrained_1"] = row(1.5, 0.5, 0.2)
    losses["site_gru_cascade"] = row(1.6, 0.45, 0.9)
    losses["kalman"] = {"windows": [10] * 6, "ade_m": [3.0] * 6}
    table = Results({f"s/folds-0/seed-0/{name}": row for name, row in losses.items()}, ["s"]).goals()
    assert "| best | gru_cascade |" in table
    assert "| ratio of power lost | 0.750 [0.750, 0.750]* |" in table
    assert "| difference in top-1 | +0.100 [+0.100, +0.100]* |" in table
    assert "| ratio of power lost, site_gru_cascade | 0.938 [0.938, 0.938]* |" in table
    assert "| difference in top-1, site_gru_cascade | +0.050 [+0.050, +0.050]* |" in table
    assert "| displacement error, kalman | -0.100 [-0.100, -0.100]* |" in table


def test_the_json_holds_what_the_page_prints(tmp_path, as_printed):
    rng = np.random.default_rng(0)
    models = ("hold_last", "gru_cascade", "kalman", "twin_jepa_pretrained_1", "twin_jepa_random_1")
    keys = [f"s/folds-{fold}/seed-0/{model}" for fold in (0, 1) for model in models]
    keys += [f"drive_by/blocked-0/seed-0/{heads}_{arm}" for heads in KINDS for arm in BACKBONES]
    metrics = ("l1_rsrp_db", "top1", "top3", "ade_m", "mae_db")
    rows = {
        key: {"windows": [10] * 8, "seconds": 1.0, **{name: rng.uniform(1, 9, 8).tolist() for name in metrics}}
        for key in keys
    }
    results = Results({**rows, "twin/data": {"seconds": 1.0}}, ["s"])
    write_json(tmp_path / "found.json", results.numbers())
    found, page = (
        json.loads((tmp_path / "found.json").read_text()),
        results.page("nano", {"folds": [0, 1], "seeds": 1}, 1),
    )

    def starred(told, equal=0.0):
        low, high = told["ci95"]
        return f"{as_printed(told, sign=not equal)}{'' if low <= equal <= high else '*'}"

    assert found["values"]["s"].keys() == set(models)
    for model, values in found["values"]["s"].items():
        assert f"| {model} | {as_printed(values['l1_rsrp_db'])} ({values['top1']['value']:.3f}) |" in page
        assert f"| {model} | {values['ade_m']['value']:.3f} / {values['mae_db']['value']:.3f} |" in page
    for heads in KINDS:
        arms = [found["values"]["drive_by"][f"{heads}_{arm}"] for arm in BACKBONES]
        cells = [f"{as_printed(one['l1_rsrp_db'])} ({one['top1']['value']:.3f})" for one in arms]
        apart = found["differences"]["drive_by"][f"{heads}_pretrained - {heads}_random"]
        assert f"| {heads} | {' | '.join(cells)} | {starred(apart)} |" in page
    pairs = {pair: told for pair, told in found["differences"]["s"].items() if told}
    for pair, told in pairs.items():
        assert f"| {pair} | {starred(told)} |" in page
    assert pairs.keys() == {f"twin_jepa_pretrained_1 - {rival}" for rival in ("gru_cascade", "twin_jepa_random_1")}
    goals = found["goals"]["s"]
    assert f"| best | {goals['best']} |" in page
    assert f"| ratio of power lost | {starred(goals['ratio of power lost'], 1.0)} |" in page
    for name in ("difference in top-1", "displacement error, kalman"):
        assert f"| {name} | {starred(goals[name])} |" in page


def test_what_is_wrong_with_the_request_is_said_before_anything_is_made(tmp_path, dataset):
    with pytest.raises(UserError, match="--data"):
        run(tmp_path / "a")
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "b", [dataset], "lavish")
    assert not (tmp_path / "b").exists()
    with pytest.raises(UserError, match="two datasets have one name"):
        run(tmp_path / "b", [dataset, dataset.parent / "other" / dataset.name], "quick")


@pytest.mark.long
def test_a_run_that_stops_after_a_seed_leaves_its_page(finished, dataset, tmp_path, monkeypatch):
    out, whole = tmp_path / "stopped", real_data._stages

    def stopped(*given):
        if given[-1] == 1:
            raise KeyboardInterrupt
        return whole(*given)

    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("*.md", "real_data.json"))
    monkeypatch.setitem(real_data.BUDGETS, "nano", NANO)
    monkeypatch.setattr(real_data, "_stages", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(out, [dataset], "nano")
    assert "1 folds, 1 seed of 2: against the best baseline" in (out / "real_data.md").read_text()
    told = json.loads((out / "real_data.json").read_text())
    assert told["budget"]["seeds"] == 1
    assert not [key for key in told["rows"] if "seed-1/gru" in key]


@pytest.mark.long
def test_rows_of_other_data_of_the_same_name_are_not_taken(finished, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(real_data.BUDGETS, "nano", NANO)
    other = tmp_path / dataset.name
    shutil.copytree(dataset, other)
    shutil.rmtree(other / "seq-0009")
    with pytest.raises(UserError, match="differs in data"):
        run(finished, [other], "nano")
