"""Levers are judged on validation drives, each beside its control; one that changes heads alone shares the backbone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa.config import preset
from jepa.config_checks import check_config
from jepa.data.frames import FrameStore
from jepa.data.splits import make_split
from jepa.experiments import levers
from jepa.experiments.levers import run
from jepa.experiments.on_sites.changes import LEVERS, control_of, slug
from jepa.experiments.results import side_by_side
from jepa.paradigms.pretraining import new_model
from jepa.training.checkpoint import load_checkpoint
from twin.errors import UserError

CHOSEN = (
    "none",
    "trained tokenizers",
    "real windows",
    "heads on latents alone",
    "a fifth of the twin's heads kept",
    "heads on latents alone, trained tokenizers",
    "heads on latents alone, modality dropout",
)


@pytest.fixture(scope="module")
def dataset(drive, tmp_path_factory):
    """A site whose ten drives are of different lengths: how many windows a sequence has says which one it is."""
    root = tmp_path_factory.mktemp("sites") / "site"
    for number in range(10):
        drive(number, frames=30 + number).save(root)
    return root


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A tiny run on one site, rows in this process."""
    out = tmp_path_factory.mktemp("levers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "processes_here", lambda: 1)
        patch.setitem(levers.BUDGETS, "quick", replace(levers.BUDGETS["quick"], levers=CHOSEN))
        run(out, [dataset], "quick")
    return out


def test_every_lever_stands_beside_its_control(finished):
    rows = json.loads((finished / "levers.json").read_text())["rows"]
    for name in CHOSEN:
        assert any(key.endswith(f"/{slug(name)}_pretrained") for key in rows)
    controls = {key.split("/")[-1] for key in rows if key.endswith("_random")}
    assert controls == {"none_random", "heads-on-latents-alone_random", "a-fifth-of-the-twins-heads-kept_random"}
    page = (finished / "levers.md").read_text()
    for name in CHOSEN:
        tables = 2 if name == "heads on latents alone" else 1
        assert page.count(f"| {name} |") == 3 * tables, "power, displacement, top-1"
    assert "Budget `quick`: width 16, twin_episodes 12" in page


def test_the_json_holds_what_the_page_prints(finished, dataset):
    told = json.loads((finished / "levers.json").read_text())
    assert told["budget"]["name"] == "quick"
    values, page = told["values"][dataset.name], (finished / "levers.md").read_text()
    for name in CHOSEN:
        metrics = values[f"{slug(name)}_pretrained"]
        for metric in ("l1_rsrp_db", "ade_m", "top1"):
            low, high = metrics[metric]["ci95"]
            assert low <= metrics[metric]["value"] <= high
            assert f"| {name} | {metrics[metric]['value']:.3f}; " in page


def test_a_lever_of_pretraining_is_compared_under_the_same_heads(finished, dataset):
    compared = json.loads((finished / "levers.json").read_text())["levers"][dataset.name]
    means = {name: found["l1_rsrp_db"]["mean"]["value"] for name, found in compared.items()}
    for name, base in (
        ("trained tokenizers", "none"),
        ("heads on latents alone", "none"),
        ("heads on latents alone, trained tokenizers", "heads on latents alone"),
    ):
        found = compared[name]["l1_rsrp_db"][f"against {base}"]["value"]
        assert found == pytest.approx(means[name] - means[base], abs=1e-9)


def test_it_is_judged_on_validation_drives_alone(finished, dataset):
    parts = make_split(FrameStore.load([dataset]), "folds", 0, 0).parts
    windows = {name: np.unique(part.episode, return_counts=True)[1].tolist() for name, part in parts.items()}
    assert windows["val"] != windows["test"]
    rows = json.loads((finished / "levers.json").read_text())["rows"]
    cells = [row for key, row in rows.items() if key.endswith(("_pretrained", "_random"))]
    assert len(cells) == len(CHOSEN) + 3, "each lever, and three controls"
    assert all(row["windows"] == windows["val"] for row in cells)


def test_levers_of_the_heads_share_a_backbone(finished):
    runs = {path.name for path in (finished / "runs").iterdir() if list(path.glob("seed-*"))}
    assert runs == {"none", "trained-tokenizers", "modality-dropout", "none-with-sites-0"}


def test_real_windows_are_those_of_training_drives_and_the_heads_know_the_backbone_that_saw_them(finished, dataset):
    twin = finished / "twin" / "drive_by"
    store = FrameStore.load([twin, dataset])
    seen = levers._of_twin_and_sites(store, fold=0, seed=0)
    names = {store.episodes[number].name for number in seen.episode.tolist() if store.episodes[number].dataset == 1}
    alone = FrameStore.load([dataset])
    kept = make_split(alone, "folds", 0, 0).parts["train"].episode.unique().tolist()
    assert names == {alone.episodes[number].name for number in kept}
    before, after = (
        load_checkpoint(finished / "runs" / name / "seed-0" / "checkpoints")[0]
        for name in ("none", "none-with-sites-0")
    )
    assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith("model.context."))
    assert (finished / "runs" / "real-windows" / "heads-pretrained-fold-0-seed-0").exists()


def test_a_second_run_computes_nothing_again(finished, dataset, monkeypatch):
    monkeypatch.setitem(levers.BUDGETS, "quick", replace(levers.BUDGETS["quick"], levers=CHOSEN))
    monkeypatch.setattr(side_by_side, "_timed", None)
    run(finished, [dataset], "quick")


def read_by_heads(weights):
    """Without what serves pretraining alone: the target branch, and the way from predictions to its levels."""
    return {key: value for key, value in weights.items() if not key.startswith(("target.", "out."))}


@pytest.mark.parametrize("name", LEVERS)
def test_levers_that_share_a_control_have_the_same_random_backbone_and_heads(name):
    own, shared = (
        preset("best", ["model.width=16", "model.attention_heads=2", *lever.settings, *lever.adapting])
        for lever in (LEVERS[name], LEVERS[control_of(name)])
    )
    assert own.heads == shared.heads
    weights, others = (read_by_heads(new_model(config).state_dict()) for config in (own, shared))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize("name", LEVERS)
def test_every_lever_is_a_configuration_that_can_be_trained(name):
    lever = LEVERS[name]
    check_config(preset("best", [*lever.settings, *lever.adapting]))


def test_an_unknown_budget_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown budget"):
        run(tmp_path, budget="huge")
