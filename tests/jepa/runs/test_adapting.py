"""Adapting to another site: heads alone or the backbone along, few drives or many in as many steps."""

import json

import pytest
import torch

from jepa import workflows
from jepa.config import load_config, with_settings
from jepa.data.inputs import Normalisers
from jepa.data.splits import make_split
from jepa.heads.network import Heads
from jepa.heads.training import _Together, train_heads
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import load_backbone, new_model
from jepa.runs.directory import open_run
from jepa.runs.heads import load_heads
from jepa.training.checkpoint import load_tensors
from twin.errors import UserError


def backbone_of(run):
    return load_backbone(run, load_config(run / "config.yaml")).state_dict()


def test_adapted_heads_are_a_run_of_their_own(tmp_path, drive, run):
    for number in range(10):
        drive(number, seed=4).save(tmp_path / "site")
    site, out = tmp_path / "site", tmp_path / "adapted"
    unseen = workflows.evaluate_run(run, [site], device="cpu")
    assert unseen["protocol"] == "unseen"
    assert unseen["sequences"] == 10
    workflows.adapt_run(run, [site], out, fraction=0.3, device="cpu", label="")
    description = open_run(out)
    assert description.fraction == 0.3
    parent = open_run(run)
    assert len(description.trained) == len(parent.trained) + 2
    assert workflows.evaluate_run(out, [site], device="cpu")["protocol"] == "blocked"
    assert Normalisers.load(out / "stats.json") != Normalisers.load(run / "stats.json")
    with pytest.raises(UserError, match="exists"):
        workflows.adapt_run(run, [site], out, device="cpu", label="")
    with pytest.raises(UserError, match="made with readout pooled"):
        workflows.adapt_run(run, [site], tmp_path / "x", settings=["heads.readout=target"], device="cpu", label="")


def test_further_heads_of_an_adapted_run_see_the_drives_that_it_saw(tmp_path, run, site):
    out = tmp_path / "adapted"
    workflows.adapt_run(run, [site], out, drives=2, device="cpu", label="")
    before = open_run(out).trained
    workflows.heads_run(out, [site], missing=["rf"], device="cpu", label="")
    assert open_run(out).trained == before


def test_a_frozen_backbone_stays_to_the_bit_and_one_trained_along_does_not(tmp_path, dataset, run, site):
    before = backbone_of(run)
    for name, unfreeze in (("frozen", False), ("along", True)):
        workflows.adapt_run(run, [site], tmp_path / name, steps=3, unfreeze=unfreeze, device="cpu", label="")
    frozen, along = backbone_of(tmp_path / "frozen"), backbone_of(tmp_path / "along")
    assert all(torch.equal(values, frozen[name]) for name, values in before.items())
    for name, values in before.items():
        read = name.startswith(("context.", "predictor.", "mask_token"))
        assert read != torch.equal(values, along[name]), name
    assert load_config(tmp_path / "along" / "config.yaml").heads.backbone_learning_rate == 1e-4
    workflows.adapt_run(tmp_path / "along", [dataset], tmp_path / "back", steps=3, device="cpu", label="")
    again = backbone_of(tmp_path / "back")
    assert all(torch.equal(values, again[name]) for name, values in along.items()), "the next time it is frozen again"


def test_tokenizers_that_are_frozen_stay_so_where_the_backbone_is_trained_along(tmp_path, best_run, site):
    before = backbone_of(best_run)
    workflows.adapt_run(best_run, [site], tmp_path / "along", steps=3, unfreeze=True, device="cpu", label="")
    for name, values in backbone_of(tmp_path / "along").items():
        frozen = name.startswith(("target.", "out.", "context.embedding.tokenizers."))
        assert frozen == torch.equal(values, before[name]), name


def test_a_camera_that_is_frozen_stays_so_where_the_backbone_is_trained_along(tiny):
    config = tiny("inputs.modalities=[camera, rf]", "model.camera=frozen")
    model = new_model(config)
    along = _Together(Heads(model.layout, model.width, config.heads), model, config.model)
    trained = {name for name, weight in along.backbone.named_parameters() if weight.requires_grad}
    camera = "context.embedding.tokenizers.camera."
    assert not [name for name in trained if name.startswith(f"{camera}features.")]
    assert f"{camera}project.weight" in trained


def test_gradients_reach_the_backbone_through_the_latents_that_the_heads_read(tiny, tmp_path, store, run):
    """The heads have next to no learning rate: what the loss falls by is the backbone's doing."""
    parts, normalisers = make_split(store).parts, Normalisers.load(run / "stats.json")
    fall = {}
    for rate in (3e-3, 1e-12):
        config = tiny("heads.epochs=8", "heads.learning_rate=1e-12", f"heads.backbone_learning_rate={rate}")
        config = with_settings(config, ["heads.latent_dropout=0", "heads.input_noise={}"])
        model = load_backbone(run, config)
        heads = load_heads(run, model, config.heads)
        with torch.no_grad():
            for name, gain in heads.named_parameters():
                if name.endswith(("residual.gain", "logits.gain")):
                    gain.fill_(1.0)
        out = tmp_path / str(rate)
        train_heads(model, store, parts["train"], parts["val"], normalisers, config, start=heads, run=out, label="")
        losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
        fall[rate] = losses[0] - losses[-1]
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert fall[3e-3] > 0.1
    assert abs(fall[1e-12]) < 0.02


def test_few_drives_and_many_are_trained_in_as_many_steps(tmp_path, run, site, monkeypatch):
    counted = []
    whole = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *given, **named: (counted.append(1), whole(*given, **named)))
    for drives in (1, 7):
        counted.clear()
        out = tmp_path / str(drives)
        workflows.adapt_run(run, [site], out, drives=drives, steps=11, device="cpu", label="")
        assert len(counted) == 11
        description = open_run(out)
        assert len(description.trained) == len(open_run(run).trained) + drives
        assert description.fraction == pytest.approx(drives / 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drives": 8}, "there are 7 training drives with a window, not 8"),
        ({"drives": 0}, "there are 7 training drives with a window, not 0"),
        ({"drives": 2, "fraction": 0.5}, "and so does --fraction"),
        ({"steps": 5, "settings": ["heads.epochs=2"]}, "and so does heads.epochs"),
        ({"steps": 0}, "heads.steps is 0"),
        ({"steps": 5, "settings": ["heads.select_on_validation=true"]}, "heads.steps makes but one"),
        ({"unfreeze": True, "backbone": "random"}, "not a random one"),
        ({"settings": ["heads.backbone_learning_rate=0.1"]}, "use jepa finetune --unfreeze"),
        ({"unfreeze": True, "settings": ["heads.backbone_learning_rate=-1"]}, "backbone_learning_rate is -1"),
        ({"unfreeze": True, "settings": ["heads.backbone_learning_rate=null"]}, "which freezes the backbone"),
        ({"fold": 7}, "split blocked has no fold 7"),
    ],
)
def test_adaptations_that_cannot_be_meant_are_refused(tmp_path, run, dataset, site, options, message):
    if options.get("backbone") == "random":
        workflows.heads_run(run, [dataset], backbone="random", replace=True, device="cpu", label="")
    with pytest.raises(UserError, match=message):
        workflows.adapt_run(run, [site], tmp_path / "out", **options, device="cpu", label="")
    assert not (tmp_path / "out").exists()


def test_heads_on_a_run_that_was_trained_along_leave_its_backbone_as_it_is(tmp_path, run, site):
    out = tmp_path / "along"
    workflows.adapt_run(run, [site], out, steps=2, unfreeze=True, device="cpu", label="")
    before = backbone_of(out)
    workflows.heads_run(out, [site], settings=["heads.epochs=1"], replace=True, device="cpu", label="")
    options = JepaPredictor.load(out).heads.config
    assert options.backbone_learning_rate is None
    assert options.steps is None
    assert all(torch.equal(values, before[name]) for name, values in backbone_of(out).items())


def test_the_options_that_heads_were_trained_with_go_on_to_another_site(tmp_path, dataset, drive, best_run):
    workflows.heads_run(best_run, [dataset], settings=["heads.coarse_beam=last"], replace=True, device="cpu", label="")
    for number in range(10):
        drive(number, seed=6).save(tmp_path / "site")
    workflows.adapt_run(best_run, [tmp_path / "site"], tmp_path / "adapted", device="cpu", label="")
    assert JepaPredictor.load(tmp_path / "adapted").heads.config.coarse_beam == "last"


def test_adapted_heads_are_averaged_with_those_they_started_from(dataset, run, tmp_path):
    found = []
    for share in (0.0, 0.5, 0.999):
        out = tmp_path / str(share)
        settings = ["heads.epochs=2", f"heads.kept_share={share}"]
        workflows.adapt_run(run, [dataset], out, settings=settings, device="cpu", label="", split="folds")
        found.append(load_tensors(out / "heads" / "beam")[0])
    start = load_tensors(run / "heads" / "beam")[0]
    name = "beam.logits.out.weight"
    torch.testing.assert_close(found[1][name], (found[0][name] + start[name]) / 2)
    torch.testing.assert_close(found[2][name], start[name], atol=1e-3, rtol=0)
