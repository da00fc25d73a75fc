"""Levers are judged on validation drives, each beside its control; one that changes heads alone shares the backbone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa.config import preset
from jepa.experiments import levers, side_by_side
from jepa.experiments.levers import LEVERS, run
from jepa.frames import FrameStore
from jepa.pretraining import check_config, new_model
from jepa.splits import make_split
from twin.errors import UserError

CHOSEN = ("none", "trained tokenizers", "real windows", "a fifth of the twin's heads kept")


@pytest.fixture(scope="module")
def dataset(drive, tmp_path_factory):
    """A site whose ten drives are of different lengths: how many windows a sequence has says which one it is."""
    root = tmp_path_factory.mktemp("sites") / "site"
    for number in range(10):
        drive(number, frames=30 + number).save(root)
    return root


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A tiny run on one site."""
    out = tmp_path_factory.mktemp("levers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(levers.BUDGETS, "quick", replace(levers.BUDGETS["quick"], levers=CHOSEN))
        run(out, [dataset], "quick")
    return out


def test_every_lever_stands_beside_its_control(finished):
    rows = json.loads((finished / "levers.json").read_text())
    for name in CHOSEN:
        assert any(key.endswith(f"/{levers._slug(name)}_pretrained") for key in rows)
    controls = {key.split("/")[-1] for key in rows if key.endswith("_random")}
    assert controls == {"none_random", "a-fifth-of-the-twins-heads-kept_random"}
    page = (finished / "levers.md").read_text()
    for name in CHOSEN:
        assert page.count(f"| {name} |") == 3, "power, displacement, top-1"
    assert "Budget `quick`: width 16, twin_episodes 12" in page


def test_it_is_judged_on_validation_drives_alone(finished, dataset):
    parts = make_split(FrameStore.load([dataset]), "folds", 0, 0).parts
    windows = {name: np.unique(part.episode, return_counts=True)[1].tolist() for name, part in parts.items()}
    assert windows["val"] != windows["test"]
    rows = json.loads((finished / "levers.json").read_text())
    cells = [row for key, row in rows.items() if key.endswith(("_pretrained", "_random"))]
    assert len(cells) == 6
    assert all(row["windows"] == windows["val"] for row in cells)


def test_levers_of_the_heads_share_a_backbone(finished):
    runs = {path.name for path in (finished / "runs").iterdir() if list(path.glob("seed-*"))}
    assert runs == {"none", "trained-tokenizers"}


def test_a_second_run_computes_nothing_again(finished, dataset, monkeypatch):
    monkeypatch.setitem(levers.BUDGETS, "quick", replace(levers.BUDGETS["quick"], levers=CHOSEN))
    monkeypatch.setattr(side_by_side, "_timed", None)
    run(finished, [dataset], "quick")


@pytest.mark.parametrize("name", LEVERS)
def test_levers_that_share_a_control_have_the_same_random_backbone_and_heads(name):
    own, shared = (
        preset("best", ["model.width=16", "model.attention_heads=2", *lever.settings, *lever.adapting])
        for lever in (LEVERS[name], LEVERS[levers._control_of(name)])
    )
    assert own.heads == shared.heads
    weights, others = (new_model(config).context.state_dict() for config in (own, shared))
    assert all(torch.equal(weights[key], others[key]) for key in weights | others)


@pytest.mark.parametrize("name", LEVERS)
def test_every_lever_is_a_configuration_that_can_be_trained(name):
    lever = LEVERS[name]
    check_config(preset("best", [*lever.settings, *lever.adapting]))


def test_an_unknown_budget_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown budget"):
        run(tmp_path, budget="huge")
