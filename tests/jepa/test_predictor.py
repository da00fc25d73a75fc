"""Pretraining to prediction on a small dataset: resume, frozen backbone, no peeking, controls."""

import dataclasses
import errno
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

import jepa.checkpoint
from jepa import workflows
from jepa.baselines import BASELINES
from jepa.checkpoint import load_tensors
from jepa.config import load_config, preset, with_settings
from jepa.evaluate import measures_of
from jepa.frames import FrameStore
from jepa.head_training import _Together, train_heads
from jepa.heads import Heads
from jepa.inputs import Normalisers
from jepa.predictor import JepaPredictor
from jepa.pretraining import load_backbone, new_model
from jepa.runs import check_not_trained_on, open_run
from jepa.splits import make_split
from jepa.stored_heads import load_heads
from jepa.windows import T_OBS
from twin.errors import UserError

TINY = [
    "model.width=16",
    "model.attention_heads=2",
    "model.encoder_layers=1",
    "model.predictor_layers=1",
    "epochs=3",
    "batch_size=32",
    "heads.epochs=1",
]
FIELDS = ("trajectory_m", "beam_logits", "spectrum_db", "latent")


def tiny(*settings):
    return preset("small", [*TINY, *settings])


def files_of(run):
    """The weights and the log of a run."""
    weights, _ = jepa.checkpoint.load_checkpoint(run / "checkpoints")
    return weights, (run / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A pretrained run with heads."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "run"
    workflows.pretrain_run([dataset], path, tiny(), device="cpu", label="")
    workflows.heads_run(path, [dataset], device="cpu", label="")
    return path


@pytest.mark.parametrize("stage", ["tensors", "manifest", "rename", "pointer"])
@pytest.mark.parametrize("checkpoint", [0, 1, 2])
def test_stopped_anywhere_in_a_checkpoint_write_it_resumes_bit_for_bit(
    dataset, run, tmp_path, monkeypatch, stage, checkpoint
):
    calls = {"count": 0}

    def stop_at(original, matches):
        def stopped(*args, **kwargs):
            if matches(*args):
                calls["count"] += 1
                if calls["count"] == checkpoint + 1:
                    raise KeyboardInterrupt
            return original(*args, **kwargs)

        return stopped

    path = type(tmp_path)
    with monkeypatch.context() as patch:
        if stage == "tensors":
            patch.setattr(jepa.checkpoint, "save_file", stop_at(jepa.checkpoint.save_file, lambda *_: True))
        elif stage == "manifest":
            patch.setattr(path, "write_text", stop_at(path.write_text, lambda p, *_: p.name == "manifest.json"))
        elif stage == "rename":
            patch.setattr(path, "rename", stop_at(path.rename, lambda p, *_: p.name.startswith(".step-")))
        else:
            patch.setattr(path, "replace", stop_at(path.replace, lambda p, *_: p.name == ".latest.partial"))
        with pytest.raises(KeyboardInterrupt):
            workflows.pretrain_run([dataset], tmp_path / "cut", tiny(), device="cpu", label="")
    workflows.pretrain_run([dataset], tmp_path / "cut", tiny(), device="cpu", label="", resume=True)
    (whole, whole_log), (cut, cut_log) = files_of(run), files_of(tmp_path / "cut")
    assert whole_log == cut_log
    assert whole.keys() == cut.keys()
    assert all(torch.equal(values, cut[name]) for name, values in whole.items())


def test_resuming_a_run_of_another_preset_is_a_users_error(dataset, run):
    with pytest.raises(UserError, match="was made with preset small"):
        workflows.pretrain_run([dataset], run, preset("paper"), device="cpu", label="", resume=True)
    with pytest.raises(UserError, match="differs in batch_size"):
        workflows.pretrain_run([dataset], run, tiny("batch_size=16"), device="cpu", label="", resume=True)
    with pytest.raises(UserError, match="another split"):
        workflows.pretrain_run([dataset], run, tiny(), split="folds", device="cpu", label="", resume=True)
    with pytest.raises(UserError, match="exists"):
        workflows.pretrain_run([dataset], run, tiny(), device="cpu", label="")


def test_nothing_is_written_for_a_wrong_configuration(dataset, tmp_path):
    with pytest.raises(UserError):
        workflows.pretrain_run([dataset], tmp_path / "run", tiny("mask.kinds={stripes: 1}"), device="cpu", label="")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def best_run(dataset, tmp_path_factory):
    """A run of the preset that moves from site to site: its own frame, relative inputs, gated heads, a beam map."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "best"
    config = preset("best", [*TINY, "objective.target_levels=[0, 1]", "heads.coarse_beam=map"])
    workflows.pretrain_run([dataset], path, config, device="cpu", label="")
    workflows.heads_run(path, [dataset], device="cpu", label="")
    return path


@pytest.mark.parametrize("which", ["run", "best_run"])
def test_no_frame_after_the_observed_ones_changes_a_bit_of_a_prediction(store, request, which):
    predictor = JepaPredictor.load(request.getfixturevalue(which))
    windows = make_split(store).parts["test"]
    first = {int(episode): row for row, episode in reversed(list(enumerate(windows.episode)))}
    one_each = windows.select(torch.tensor(sorted(first.values())))
    before = predictor.predict(store, one_each)
    values = {name: frames.clone() for name, frames in store.values.items()}
    beam = store.best_beam.clone()
    seen = torch.zeros(store.frames, dtype=torch.bool)
    seen[one_each.history.flatten()] = True
    for frames in values.values():
        frames[~seen] = frames[~seen].flip(0) * 7 + 1
    beam[~seen] = 63
    after = predictor.predict(dataclasses.replace(store, values=values, best_beam=beam), one_each)
    for name in FIELDS:
        assert np.array_equal(getattr(before, name), getattr(after, name))
        assert np.isfinite(getattr(before, name)).all()
    peeked = {name: frames.clone() for name, frames in store.values.items()}
    peeked["rf"][one_each.index[:, T_OBS - 1]] *= 2
    changed = predictor.predict(dataclasses.replace(store, values=peeked), one_each)
    assert not np.array_equal(before.spectrum_db, changed.spectrum_db)


def test_training_heads_leaves_the_backbone_as_it_is(store, run):
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


def test_the_control_backbones_are_what_they_say(store, run):
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


def test_evaluation_refuses_what_the_run_trained_on(dataset, store, run):
    report = workflows.evaluate_run(run, [dataset], device="cpu")
    assert report["protocol"] == "blocked"
    assert {"split", "protocol", "windows", "sequences", "localization", "beam", "rssi"} <= set(report)
    assert report["left_out"] == {"invalid": 0, "short": 0}
    assert sum(report["beam_mismatch"]) == pytest.approx(1.0)
    assert report["beam_mismatch"][0] == pytest.approx(report["beam"]["top1"]["value"])
    quantiles_m = list(report["ade_quantiles_m"].values())
    assert quantiles_m == sorted(quantiles_m)
    with pytest.raises(UserError, match="was trained on episode"):
        workflows.evaluate_run(run, [dataset], part="train", device="cpu")
    windows = make_split(store).parts["val"]
    check_not_trained_on(open_run(run), store, windows, run)


def test_predictions_say_what_the_evaluation_says(dataset, run):
    workflows.predict_run(run, [dataset], device="cpu")
    store = FrameStore.load([dataset])
    windows = make_split(store).parts["test"]
    stored = workflows.stored_output(run, store, windows)
    assert np.array_equal(stored.beam_logits, JepaPredictor.load(run).predict(store, windows).beam_logits)


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


@pytest.fixture(scope="module")
def site(tmp_path_factory, drive):
    """Another site than the one of `run`."""
    path = tmp_path_factory.mktemp("site") / "site"
    for number in range(10):
        drive(number, seed=4).save(path)
    return path


def backbone_of(run):
    return load_backbone(run, load_config(run / "config.yaml")).state_dict()


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


def test_a_camera_that_is_frozen_stays_so_where_the_backbone_is_trained_along():
    config = tiny("inputs.modalities=[camera, rf]", "model.camera=frozen")
    model = new_model(config)
    along = _Together(Heads(model.layout, model.width, config.heads), model, config.model)
    trained = {name for name, weight in along.backbone.named_parameters() if weight.requires_grad}
    camera = "context.embedding.tokenizers.camera."
    assert not [name for name in trained if name.startswith(f"{camera}features.")]
    assert f"{camera}project.weight" in trained


def test_gradients_reach_the_backbone_through_the_latents_that_the_heads_read(tmp_path, store, run):
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


def test_a_baseline_is_a_run_with_predictions(dataset, tmp_path):
    workflows.baseline_run("hold_last", [dataset], tmp_path / "hold")
    report = workflows.evaluate_run(tmp_path / "hold", [dataset], device="cpu")
    assert {"localization", "beam", "rssi"} <= report.keys()
    with pytest.raises(UserError, match="unknown baseline"):
        workflows.baseline_run("oracle", [dataset], tmp_path / "oracle")
    with pytest.raises(UserError, match="run of the baseline hold_last"):
        workflows.predict_run(tmp_path / "hold", [dataset], device="cpu")


def test_the_options_that_heads_were_trained_with_go_on_to_another_site(tmp_path, dataset, drive, best_run):
    workflows.heads_run(best_run, [dataset], settings=["heads.coarse_beam=last"], replace=True, device="cpu", label="")
    for number in range(10):
        drive(number, seed=6).save(tmp_path / "site")
    workflows.adapt_run(best_run, [tmp_path / "site"], tmp_path / "adapted", device="cpu", label="")
    assert JepaPredictor.load(tmp_path / "adapted").heads.config.coarse_beam == "last"


def test_heads_stay_where_the_data_for_new_ones_are_wrong(run, tmp_path):
    before = sorted(path.name for path in (run / "heads").iterdir())
    with pytest.raises(UserError, match="no such directory"):
        workflows.heads_run(run, [tmp_path / "nowhere"], replace=True, device="cpu", label="")
    assert sorted(path.name for path in (run / "heads").iterdir()) == before


def test_the_random_control_is_the_backbone_that_the_run_began_with(dataset, run):
    workflows.heads_run(run, [dataset], settings=["seed=3"], backbone="random", replace=True, device="cpu", label="")
    config = JepaPredictor.load(run).config
    began = new_model(config).state_dict()
    used = JepaPredictor.load(run, backbone="random").model.state_dict()
    assert all(torch.equal(values, used[name]) for name, values in began.items())


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


def test_a_readout_that_does_not_fit_the_width_is_refused_before_pretraining(dataset, tmp_path):
    config = tiny("model.width=12", "model.attention_heads=4", "heads.readout=attentive")
    with pytest.raises(UserError, match="do not divide a width of 12"):
        workflows.pretrain_run([dataset], tmp_path / "run", config, device="cpu", label="")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["", "garbage\n"])
def test_a_damaged_pointer_to_the_latest_checkpoint_is_a_users_error(dataset, run, tmp_path, content):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "checkpoints" / "latest").write_text(content)
    for attempt in (
        lambda: workflows.evaluate_run(copied, [dataset], device="cpu"),
        lambda: workflows.pretrain_run([dataset], copied, tiny(), device="cpu", label="", resume=True),
    ):
        with pytest.raises(UserError, match=r"latest.*step-"):
            attempt()


def test_a_damaged_recording_stops_training_and_is_named(tmp_path, drive):
    for number in range(10):
        drive(number).save(tmp_path / "data")
    (tmp_path / "data" / "seq-0004" / "manifest.json").write_text('{"schema')
    with pytest.raises(UserError, match=r"damaged recordings \(1\), the first seq-0004"):
        FrameStore.load([tmp_path / "data"])


def test_weights_that_the_disk_has_no_room_for_are_a_users_error(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(jepa.checkpoint, "save_file", full)
    with pytest.raises(UserError, match="No space left"):
        jepa.checkpoint.save_tensors(tmp_path / "weights", {"a": torch.zeros(3)}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("axes", [[], [[1, 0]], [["x", 0], [0, 1]], [[1, 0], [0, float("nan")]]])
def test_damaged_statistics_are_a_users_error(run, tmp_path, axes):
    stored = json.loads((run / "stats.json").read_text())
    for one in stored.values():
        one["axes"] = axes
    (tmp_path / "stats.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="statistics are damaged"):
        Normalisers.load(tmp_path / "stats.json")


def test_heads_without_any_history_are_refused_before_anything_is_written(dataset, run):
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match="every modality is missing"):
        workflows.heads_run(run, [dataset], missing=["rf", "gps"], label="")
    assert sorted(run.rglob("*")) == before


def test_the_controls_leave_the_predictions_of_the_model(dataset, run):
    workflows.predict_run(run, [dataset])
    workflows.heads_run(run, [dataset], backbone="zeroed", label="")
    assert list((run / "predictions").rglob("manifest.json"))


def test_what_a_run_trained_on_is_not_predicted_as_test(tmp_path, drive, run):
    for number in range(5):
        drive(number).save(tmp_path / "fewer")
    with pytest.raises(UserError, match="was trained on episode seq-000"):
        workflows.predict_run(run, [tmp_path / "fewer"])


def test_known_and_unknown_data_are_not_mixed_in_one_evaluation(dataset, tmp_path, drive, run):
    for number in range(5):
        drive(number, seed=9).save(tmp_path / "unknown")
    with pytest.raises(UserError, match="never saw it"):
        workflows.evaluate_run(run, [dataset, tmp_path / "unknown"])
    assert workflows.evaluate_run(run, [tmp_path / "unknown"])["sequences"] == 5


def test_the_scenario_that_was_held_out_can_be_judged_alone(tmp_path, drive, run):
    for number in range(5):
        drive(number, seed=9).save(tmp_path / "held-out")
    store = FrameStore.load([tmp_path / "held-out"])
    description = open_run(run).model_copy(update={"split": "leave-one-scenario-out", "fold": 1})
    description.datasets["held-out"] = store.datasets[0].hash
    split = workflows.split_for(description, store)
    assert len(split.parts["test"]) == 5 * 28
    assert not len(split.parts["train"])


def test_a_part_without_windows_is_not_predicted(tmp_path, drive, run):
    drive(3, seed=9).save(tmp_path / "unknown")
    with pytest.raises(UserError, match="no window of val"):
        workflows.predict_run(run, [tmp_path / "unknown"], parts=["val"])


def test_a_file_in_the_place_of_predictions_is_named(dataset, run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied, ignore=shutil.ignore_patterns("predictions"))
    (copied / "predictions").write_text("")
    with pytest.raises(UserError, match="is no directory"):
        workflows.predict_run(copied, [dataset])


def test_a_new_run_that_the_disk_has_no_room_for_leaves_nothing(dataset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jepa.training.save_checkpoint", full)
    with pytest.raises(OSError, match="No space") as error:
        workflows.pretrain_run([dataset], tmp_path / "new/run", tiny(), label="")
    assert error.value.filename == str(tmp_path / "new/run")
    assert list(tmp_path.iterdir()) == []


def test_predictions_that_are_partly_not_finite_are_refused(store, samples):
    test = samples["test"]
    output = BASELINES["hold_last"]().predict(test.history)
    output.beam_logits[3, 2, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        measures_of(output, test)


def test_a_backbone_goes_on_from_another_on_other_data(dataset, tmp_path, drive):
    """Pretrained on one dataset, then on it and another whose windows are repeated; both are remembered."""
    for number in range(10):
        drive(number, seed=5).save(tmp_path / "other")
    levels = ["objective.target_levels=[0, 1]", "objective.error=squared", "model.tokenizers=frozen"]
    first, second = tmp_path / "first", tmp_path / "second"
    workflows.pretrain_run([dataset], first, tiny(*levels), device="cpu", label="")
    both = tiny(*levels, "first_share=0.7", "inputs.normalise=by-dataset")
    workflows.pretrain_run([dataset, tmp_path / "other"], second, both, start=first, device="cpu", label="")
    (old, _), (new, _) = files_of(first), files_of(second)
    tokenizer = "model.context.embedding.tokenizers.rf.0.weight"
    assert torch.equal(old[tokenizer], new[tokenizer]), "frozen as drawn"
    assert not torch.equal(old["model.out.weight"], new["model.out.weight"])
    assert len(open_run(second).trained) == 7 + 14
    for data, split, message in (
        ([dataset], "blocked", "only the first dataset has training windows"),
        ([dataset, tmp_path / "other"], "leave-one-scenario-out", "the first dataset has no training window"),
    ):
        with pytest.raises(UserError, match=f"^first_share: {message}"):
            workflows.pretrain_run(data, tmp_path / "third", both, split=split, device="cpu", label="")
    other = tiny("model.tokenizers=frozen")
    with pytest.raises(UserError, match="predicts other levels"):
        workflows.pretrain_run([dataset], tmp_path / "third", other, start=first, device="cpu", label="")
    assert not (tmp_path / "third").exists()


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
