"""Heads on a run's backbone: it stays as it is, its controls are what they say, wrong requests change nothing."""

import json

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.data.inputs import Normalisers
from jepa.data.splits import make_split
from jepa.heads.training import train_heads
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import load_backbone, new_model
from twin.errors import UserError


def test_training_heads_leaves_the_backbone_as_it_is(tiny, store, run):
    config = tiny()
    model = load_backbone(run, config)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    parts = make_split(store).parts
    normalisers = Normalisers.load(run / "stats.json")
    train_heads(model, store, parts["train"], parts["val"], normalisers, config, label="")
    assert not model.training
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_the_heads_log_their_losses(run):
    record = json.loads((run / "heads/metrics.jsonl").read_text().splitlines()[0])
    assert {"localization", "beam", "rssi", "loss"} <= record.keys()


def test_heads_are_not_trained_twice_by_mistake(dataset, run):
    with pytest.raises(UserError, match="trained already"):
        workflows.heads_run(run, [dataset], device="cpu", label="")
    weights = (run / "heads/beam/tensors.safetensors").read_bytes()
    workflows.heads_run(run, [dataset], resume=True, device="cpu", label="")
    assert (run / "heads/beam/tensors.safetensors").read_bytes() == weights
    with pytest.raises(UserError, match="belongs to the backbone"):
        workflows.heads_run(run, [dataset], settings=["model.width=8"], device="cpu", label="")
    with pytest.raises(UserError, match="no modality 'radar'"):
        workflows.heads_run(run, [dataset], missing=["radar"], device="cpu", label="")


def test_heads_stay_where_the_data_for_new_ones_are_wrong(run, tmp_path):
    before = sorted(path.name for path in (run / "heads").iterdir())
    with pytest.raises(UserError, match="no such directory"):
        workflows.heads_run(run, [tmp_path / "nowhere"], replace=True, device="cpu", label="")
    assert sorted(path.name for path in (run / "heads").iterdir()) == before


def test_heads_stay_where_the_training_of_new_ones_fails(run, store, dataset, monkeypatch):
    before = {path: path.read_bytes() for path in sorted((run / "heads").rglob("*")) if path.is_file()}

    def stopped(*given, run, **named):
        (run / "checkpoints").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("jepa.workflows.heads.train_heads", stopped)
    with pytest.raises(KeyboardInterrupt):
        workflows.heads_run(run, [dataset], settings=["seed=5"], replace=True, device="cpu", label="")
    assert {path: path.read_bytes() for path in sorted((run / "heads").rglob("*")) if path.is_file()} == before
    assert not list(run.glob(".*"))


def test_linear_paths_read_the_last_context_even_where_the_readout_does_not(run, dataset):
    settings = ["heads.linear=true", "heads.readout=target", "heads.cascade=false"]
    workflows.heads_run(run, [dataset], settings=settings, device="cpu", label="")
    report = workflows.evaluate_run(run, [dataset], cascade=False, device="cpu")
    assert np.isfinite(report["beam"]["top1"]["value"])


def test_the_random_control_is_the_backbone_that_the_run_began_with(dataset, run):
    workflows.heads_run(run, [dataset], settings=["seed=3"], backbone="random", replace=True, device="cpu", label="")
    config = JepaPredictor.load(run).config
    began = new_model(config).state_dict()
    used = JepaPredictor.load(run, backbone="random").model.state_dict()
    assert all(torch.equal(values, used[name]) for name, values in began.items())


def test_the_control_backbones_are_what_they_say(tiny, store, run):
    config = tiny()
    begun, random = new_model(config), load_backbone(run, config, "random")
    trained = load_backbone(run, config)
    for name, values in begun.state_dict().items():
        assert torch.equal(values, random.state_dict()[name])
    assert not torch.equal(trained.mask_token, begun.mask_token)
    parts, normalisers = make_split(store).parts, Normalisers.load(run / "stats.json")
    zeroed = tiny("heads.backbone=zeroed")
    heads = train_heads(trained, store, parts["train"], parts["val"], normalisers, zeroed, label="")
    outputs = [
        JepaPredictor(model, heads, normalisers, zeroed).predict(store, parts["test"]) for model in (trained, random)
    ]
    assert np.array_equal(outputs[0].beam_logits, outputs[1].beam_logits)
    assert not outputs[0].latent.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["heads.missing=[gps]"], "use --missing"),
        (["heads.backbone=random"], "use --backbone"),
        (["heads.position_offset=0.3"], "inputs.position=last"),
        (["heads.input_noise={sonar: 1.0}"], "no modality 'sonar'"),
    ],
)
def test_head_settings_that_cannot_be_meant_are_refused(dataset, run, settings, message):
    with pytest.raises(UserError, match=message):
        workflows.heads_run(run, [dataset], settings=settings, replace=True, device="cpu", label="")


def test_heads_go_on_only_with_the_options_they_began_with(dataset, run):
    with pytest.raises(UserError, match="differs in heads"):
        workflows.heads_run(run, [dataset], settings=["heads.epochs=50"], resume=True, device="cpu", label="")


def test_heads_without_any_history_are_refused_before_anything_is_written(dataset, run):
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match="every modality is missing"):
        workflows.heads_run(run, [dataset], missing=["rf", "gps"], label="")
    assert sorted(run.rglob("*")) == before


def test_the_controls_leave_the_predictions_of_the_model(dataset, run):
    workflows.predict_run(run, [dataset])
    workflows.heads_run(run, [dataset], backbone="zeroed", label="")
    assert list((run / "predictions").rglob("manifest.json"))
