"""Pretraining does what its configuration says: what it hides, what it changes, and all five modalities at once."""

import json
import math

import pytest
import torch

from jepa.backbone.model import JepaModel
from jepa.bench.given import drive, frames_of
from jepa.config import InputConfig, preset
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.splits import make_split
from jepa.data.windows import T_WINDOW
from jepa.experiments.on_sites.backbones import pretraining_row
from jepa.paradigms.pretraining import new_model, pretrain
from jepa.training.checkpoint import load_checkpoint
from jepa.workflows import pretrain_run

TINY = ["model.width=16", "model.attention_heads=2", "model.encoder_layers=1", "model.predictor_layers=1", "epochs=1"]
CHANGES = ("augment.mirror=0.5", "augment.reverse=0.5", "augment.slowest=0.5")
TOKENS = {"camera": 9, "radar": 16, "lidar": 16, "gps": 1, "rf": 1}
FIRST_WEIGHT = {
    "camera": "features.network.embeddings.convolution.weight",
    "radar": "features.0.weight",
    "lidar": "features.0.weight",
    "gps": "0.weight",
    "rf": "0.weight",
}


def same(one, other):
    """Whether two trainings ended with the same weights."""
    assert one.keys() == other.keys()
    return all(torch.equal(values, other[name]) for name, values in one.items())


@pytest.mark.parametrize("paradigm", ["jepa", "reconstruction"])
def test_hiding_whole_modalities_trains_other_weights(store, paradigm):
    train = make_split(store).parts["train"]
    windows = WindowInputs(Normalisers.fit(store, train, InputConfig()).frames(store), train.index)

    def trained(share):
        config = preset("small", [*TINY, f"paradigm={paradigm}", "batch_size=32", f"mask.modality_dropout={share}"])
        return pretrain(windows, config, label="").state_dict()

    plain = trained(0.0)
    assert same(plain, trained(0.0))
    assert not same(plain, trained(0.5))


def test_a_modality_that_drops_out_is_hidden_from_whole_batches_of_the_training(store, monkeypatch):
    """At a share of a half each of two modalities from 1/2 - 1/8 of the batches, and never both."""
    train = make_split(store).parts["train"]
    windows = WindowInputs(Normalisers.fit(store, train, InputConfig()).frames(store), train.index)
    config = preset("small", [*TINY, "batch_size=2", "mask.kinds={temporal-block: 1}", "mask.modality_dropout=0.5"])
    gone, encode = [], JepaModel.encode

    def watched(model, inputs, hidden, *rest):
        if model.training:
            gone.append(hidden.unflatten(1, (2, T_WINDOW)).all(2))
        return encode(model, inputs, hidden, *rest)

    monkeypatch.setattr(JepaModel, "encode", watched)
    pretrain(windows, config, label="")
    batches = torch.stack(gone)
    assert len(batches) > 90
    assert bool((batches == batches[:, :1]).all()), "from all windows alike"
    assert not bool(batches.all(2).any())
    assert batches[:, 0].float().mean(0).tolist() == pytest.approx([0.375, 0.375], abs=0.15)


def by_command(dataset, store, config, run):
    pretrain_run([dataset], run, config, device="cpu", label="")


def by_experiment(dataset, store, config, run):
    pretraining_row(store, make_split(store).parts["train"], config, steps=6, run=run)


@pytest.mark.parametrize("way", [by_command, by_experiment])
def test_each_way_of_changing_the_drives_trains_weights_of_its_own(dataset, store, tmp_path, monkeypatch, way):
    monkeypatch.setattr("jepa.experiments.on_sites.backbones.pick_device", lambda _: torch.device("cpu"))

    def trained(name, *settings):
        config = preset("small", [*TINY, "batch_size=32", "inputs.frame=site", *settings])
        way(dataset, store, config, tmp_path / name)
        return load_checkpoint(tmp_path / name / "checkpoints")[0]

    found = {"plain": trained("plain"), **{change: trained(change, change) for change in CHANGES}}
    assert same(found["plain"], trained("again"))
    for name, weights in found.items():
        assert [other for other in found if same(weights, found[other])] == [name]


def test_a_few_steps_on_five_modalities_move_every_tokenizer_and_give_each_modality_its_loss(tmp_path):
    """Pictures of 32 pixels, whole maps; every token weighs the same in the loss, whatever it is of."""
    torch.set_num_threads(1)
    config = preset("paper", [*TINY, "inputs.image_size=32", "batch_size=4", "learning_rate=1e-3"])
    windows = WindowInputs(frames_of(TOKENS, 20, 32, torch.device("cpu")), drive(8))
    begun = new_model(config)
    ended = pretrain(windows, config, run=tmp_path, label="")
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert record["step"] == 2
    losses = [record[f"loss_{name}"] for name in TOKENS]
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    whole = sum(tokens * loss for tokens, loss in zip(TOKENS.values(), losses, strict=True)) / 43
    assert record["loss"] == pytest.approx(whole, rel=1e-4)
    for branch in ("context", "target"):
        for name, first in FIRST_WEIGHT.items():
            weight = f"{branch}.embedding.tokenizers.{name}.{first}"
            assert not torch.equal(begun.get_parameter(weight), ended.get_parameter(weight)), weight
    for name, values in ended.state_dict().items():
        assert bool(values.isfinite().all()), name
