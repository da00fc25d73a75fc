"""Supervised rivals: backbone and heads learn as one, on all tasks or on one, and are judged like every other run."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.backbone.model import parameter_count
from jepa.backbone.without_target import Backbone
from jepa.config import HeadConfig, InputConfig, ModelConfig, preset
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.splits import make_split
from jepa.data.windows import T_OBS
from jepa.heads.network import TASK_MODALITY
from jepa.heads.training import HeadData
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import load_backbone, new_model, plan_of
from jepa.paradigms.supervised import SupervisedModel, TaskHeads, check_supervised, train_supervised
from jepa.runs.directory import open_run
from jepa.runs.heads import load_heads
from jepa.training.checkpoint import load_checkpoint
from jepa.training.loop import save_checkpoint
from twin.errors import UserError

FIVE = ("camera", "radar", "lidar", "gps", "rf")
TINY = [
    "model.width=16",
    "model.attention_heads=2",
    "model.encoder_layers=1",
    "model.predictor_layers=1",
    "epochs=2",
    "batch_size=32",
    "heads.epochs=1",
    "heads.width=16",
    "heads.skip=8",
]
BACKBONE, HEADS = 5_790_076, 4_180_292
IDLE_TARGET = 793_088 + 34 * 128
"""Encoder and positions of a target branch that nothing trains."""
METRICS = {"localization": "ade_m", "beam": "top1", "rssi": "rmse_db"}


def tiny(paradigm, *settings):
    return preset("small", [*TINY, f"paradigm={paradigm}", *settings])


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    """A run of every supervised paradigm."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("runs")
    for paradigm in ("multi-task", *METRICS):
        workflows.pretrain_run([dataset], root / paradigm, tiny(paradigm), device="cpu", label="")
    return root


def trained(store, config, names=("gps", "rf")):
    """A model trained on every eighth training window."""
    train = make_split(store).parts["train"]
    some = train.select(torch.arange(0, len(train), 8))
    normalisers = Normalisers.fit(store, some, config.inputs)
    windows = WindowInputs(normalisers.frames(store), some.index)
    data = HeadData.of(windows, store, some, normalisers)
    return train_supervised(windows, data, normalisers, config, label="")


def test_the_model_has_the_papers_parts():
    """The sum is the paper's 10.77 M with the idle target encoder of a JEPA."""
    model = ModelConfig(width=128)
    backbone = Backbone(FIVE, model)
    whole = SupervisedModel(backbone, TaskHeads(backbone.layout, 128, HeadConfig(), tuple(METRICS)))
    assert parameter_count(whole.backbone) == BACKBONE
    assert parameter_count(whole.heads) == HEADS
    assert parameter_count(whole) == 9_970_368
    assert round((parameter_count(whole) + IDLE_TARGET) / 1e6, 2) == 10.77
    assert all(parameter.requires_grad for parameter in whole.parameters())


def test_the_budget_is_that_of_pretraining_and_heads():
    for paradigm in ("multi-task", *METRICS):
        assert plan_of(preset("paper", [f"paradigm={paradigm}"])).epochs == 130
    for paradigm in ("jepa", "reconstruction"):
        plan = plan_of(preset("paper", [f"paradigm={paradigm}"]))
        assert dataclasses.replace(plan, epochs=130) == plan_of(preset("paper", ["paradigm=multi-task"]))
        assert plan.epochs == 100


def test_all_paradigms_start_from_the_same_random_backbone():
    states = [new_model(tiny(paradigm)).state_dict() for paradigm in ("jepa", "multi-task", "beam")]
    for state in states[1:]:
        assert set(state) == {name for name in states[0] if not name.startswith("target.")}
        assert all(torch.equal(values, states[0][name]) for name, values in state.items())


@pytest.mark.parametrize("missing", [(), ("rf",)])
def test_trained_latents_are_those_that_the_frozen_model_gives(missing):
    torch.manual_seed(0)
    model = Backbone(
        ("gps", "rf"), ModelConfig(width=16, attention_heads=2, encoder_layers=1, predictor_layers=1)
    ).eval()
    history = {"gps": torch.randn(3, T_OBS, 2), "rf": torch.randn(3, T_OBS, 64)}
    found, frozen = model.latents(history, missing), model.future_latents(history, missing)
    for name, values in frozen.predicted.items():
        assert torch.equal(found.predicted[name], values)
    assert torch.equal(found.predicted_all, frozen.predicted_all)
    assert torch.equal(found.context, frozen.context)
    assert found.context.requires_grad
    assert not frozen.context.requires_grad


def task_heads(tasks, **options):
    torch.manual_seed(1)
    model = Backbone(("gps", "rf"), ModelConfig(width=16, attention_heads=2, encoder_layers=1, predictor_layers=1))
    return model, TaskHeads(model.layout, 16, HeadConfig(width=16, **options), tasks)


def losses_of(model, heads):
    generator = torch.Generator().manual_seed(2)
    history = {name: torch.randn(6, T_OBS, n, generator=generator) for name, n in (("gps", 2), ("rf", 64))}
    position, power = torch.randn(6, 5, 2, generator=generator), torch.randn(6, 5, 64, generator=generator)
    output = heads(model.latents(history), history)
    return heads.loss(output, position, power, 5.0), output, position, power


def test_the_loss_of_all_tasks_is_the_sum_of_those_of_each():
    values = {}
    for tasks in (tuple(METRICS), *((task,) for task in METRICS)):
        model, heads = task_heads(tuple(METRICS))
        heads.tasks = tasks
        (loss, parts), output, position, power = losses_of(model, heads)
        values[tasks] = float(loss.detach())
        assert set(parts) == set(tasks)
    alone = [values[(task,)] for task in METRICS]
    assert values[tuple(METRICS)] == pytest.approx(sum(alone), rel=1e-5)
    l1 = (output.trajectory - position).abs().mean()
    entropy = -torch.log_softmax(output.logits, -1).gather(-1, power.argmax(-1, keepdim=True)).mean()
    square = (output.spectrum - power).square().mean()
    assert alone == pytest.approx([float(value.detach()) for value in (l1, entropy, square)], rel=1e-4)


@pytest.mark.parametrize("task", METRICS)
def test_a_model_of_one_task_follows_the_gradient_of_that_task_alone(task):
    model, heads = task_heads((task,))
    (loss, _), output, position, power = losses_of(model, heads)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model, heads = task_heads((task,))
    _, output, position, power = losses_of(model, heads)
    own = {
        "localization": lambda: (output.trajectory - position).abs().mean(),
        "beam": lambda: torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), power.argmax(-1).flatten()),
        "rssi": lambda: (output.spectrum - power).square().mean(),
    }[task]()
    own.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-7, rtol=1e-4)


def test_a_model_of_beams_alone_is_guided_by_a_straight_line():
    model, heads = task_heads(("beam",))
    history = {"gps": torch.randn(4, T_OBS, 2), "rf": torch.randn(4, T_OBS, 64)}
    trajectory = heads(model.latents(history), history).trajectory
    velocity = history["gps"][:, -1] - history["gps"][:, -2]
    for step in range(5):
        torch.testing.assert_close(trajectory[:, step], history["gps"][:, -1] + (step + 1) * velocity)


def test_every_weight_learns_from_all_tasks_and_only_its_own_from_one(store):
    begun = new_model(tiny("multi-task"))
    model = trained(store, tiny("multi-task"))
    for name, values in begun.named_parameters():
        assert not torch.equal(values, model.backbone.get_parameter(name)), name
    alone = trained(store, tiny("beam"))
    torch.manual_seed(0)
    untouched = TaskHeads(alone.backbone.layout, 16, tiny("beam").heads, ("beam",))
    for name, values in untouched.named_parameters():
        moved = not torch.equal(values, alone.heads.get_parameter(name))
        assert moved == name.startswith(("beam.", "readouts.beam.", "skip.")), name


def test_pictures_and_maps_train_the_tokenizers_that_read_them(store):
    """32-pixel pictures, maps, and frames that windows share."""
    generator = torch.Generator().manual_seed(3)
    count = store.frames
    large = {
        "camera": torch.randint(256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8),
        "radar": torch.randn(count, 64, 256, generator=generator).half(),
    }
    valid = dict.fromkeys(large, torch.ones(count, dtype=torch.bool))
    five = dataclasses.replace(store, values={**store.values, **large}, valid={**store.valid, **valid})
    settings = ["inputs.modalities=[camera, radar, gps, rf]", "inputs.image_size=32", "group=8", "batch_size=16"]
    config = tiny("multi-task", *settings, "epochs=1", "heads.epochs=1")
    train = make_split(five).parts["train"]
    some = train.select(torch.arange(16))
    normalisers = Normalisers.fit(five, some, InputConfig())
    windows = WindowInputs(normalisers.frames(five), some.index)
    model = train_supervised(windows, HeadData.of(windows, five, some, normalisers), normalisers, config, label="")
    begun, ended = new_model(config).context.embedding.tokenizers, model.backbone.context.embedding.tokenizers
    for name, first in (("camera", "features.network.embeddings.convolution.weight"), ("radar", "features.0.weight")):
        assert not torch.equal(begun[name].get_parameter(first), ended[name].get_parameter(first))
    output = JepaPredictor(model.backbone, model.heads, normalisers, config).predict(five, some.select(torch.arange(3)))
    assert np.isfinite(output.beam_logits).all()


@pytest.mark.parametrize("paradigm", ["multi-task", *METRICS])
def test_a_run_is_complete_and_says_what_it_does(dataset, runs, paradigm):
    report = workflows.evaluate_run(runs / paradigm, [dataset], device="cpu")
    tasks = set(METRICS) if paradigm == "multi-task" else {paradigm}
    assert set(METRICS) & set(report) == tasks
    assert all(np.isfinite(report[task][METRICS[task]]["value"]) for task in tasks)
    assert report["representation"]["rankme"]["value"] > 1
    assert workflows.predict_run(runs / paradigm, [dataset], device="cpu") == 3
    store = FrameStore.load([dataset])
    stored = workflows.stored_output(runs / paradigm, store, make_split(store).parts["test"])
    for task, values in zip(TASK_MODALITY, (stored.trajectory_m, stored.beam_logits, stored.spectrum_db), strict=True):
        assert np.isfinite(values).all() if task in tasks else np.isnan(values).all()


@pytest.mark.parametrize("paradigm", ["multi-task", "rssi"])
def test_its_log_holds_the_losses_of_its_tasks_and_names_no_collapse(runs, paradigm):
    records = [json.loads(line) for line in (runs / paradigm / "metrics.jsonl").read_text().splitlines()]
    tasks = set(METRICS) if paradigm == "multi-task" else {paradigm}
    ranks = {"rankme", "rankme_future_gps", "rankme_future_rf"}
    assert len(records) == 3
    assert all(set(record) == {"step", "epoch", "loss"} | tasks | ranks for record in records)
    assert all(record["loss"] == pytest.approx(sum(record[task] for task in tasks), rel=1e-4) for record in records)
    assert records[-1]["loss"] < records[0]["loss"]


def test_the_run_holds_the_backbone_and_the_heads_of_one_training(runs):
    config = tiny("multi-task")
    tensors, _ = load_checkpoint(runs / "multi-task/checkpoints")
    backbone = load_backbone(runs / "multi-task", config)
    heads = load_heads(runs / "multi-task", backbone, config.heads)
    for prefix, part in (("backbone", backbone), ("heads", heads)):
        state = part.state_dict()
        assert {f"model.{prefix}.{name}" for name in state} == {
            name for name in tensors if name.startswith(f"model.{prefix}.")
        }
        assert all(torch.equal(values, tensors[f"model.{prefix}.{name}"]) for name, values in state.items())
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert heads.config.latent_dropout == 0


def test_heads_are_not_trained_on_it_again(dataset, runs):
    before = {path: path.read_bytes() for path in runs.rglob("*.safetensors")}
    for options in ({}, {"replace": True}, {"backbone": "random"}):
        with pytest.raises(UserError, match=r"was trained with its heads \(paradigm multi-task\)"):
            workflows.heads_run(runs / "multi-task", [dataset], device="cpu", label="", **options)
    assert before == {path: path.read_bytes() for path in runs.rglob("*.safetensors")}


@pytest.mark.parametrize("checkpoint", [0, 1, 2])
@pytest.mark.parametrize("paradigm", ["multi-task", "beam"])
def test_an_interrupted_run_ends_bit_for_bit_the_same(dataset, runs, tmp_path, monkeypatch, paradigm, checkpoint):
    """Stopped before each of its checkpoints: the heads, too, are those of the run that was left alone."""
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == checkpoint + 1:
            raise KeyboardInterrupt
        save_checkpoint(*args)

    cut = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr("jepa.training.loop.save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            workflows.pretrain_run([dataset], cut, tiny(paradigm), device="cpu", label="")
    with pytest.raises(UserError, match="holds no"):
        workflows.evaluate_run(cut, [dataset], device="cpu")
    workflows.pretrain_run([dataset], cut, tiny(paradigm), device="cpu", label="", resume=True)
    whole = runs / paradigm
    states = [load_checkpoint(run / "checkpoints")[0] for run in (whole, cut)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())
    assert (whole / "metrics.jsonl").read_bytes() == (cut / "metrics.jsonl").read_bytes()
    for path in (whole / "heads").rglob("*.safetensors"):
        assert path.read_bytes() == (cut / path.relative_to(whole)).read_bytes()


def test_a_run_that_ended_before_its_heads_were_written_gets_them_on_resume(dataset, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jepa.workflows.pretrain.save_heads", stopped)
        with pytest.raises(KeyboardInterrupt):
            workflows.pretrain_run([dataset], tmp_path / "run", tiny("beam"), device="cpu", label="")
    workflows.pretrain_run([dataset], tmp_path / "run", tiny("beam"), device="cpu", label="", resume=True)
    assert "beam" in workflows.evaluate_run(tmp_path / "run", [dataset], device="cpu")


def test_its_heads_adapt_to_another_site_on_the_frozen_backbone(tmp_path, drive, runs):
    for number in range(10):
        drive(number, seed=4).save(tmp_path / "site")
    workflows.adapt_run(runs / "multi-task", [tmp_path / "site"], tmp_path / "out", device="cpu", label="")
    assert {"localization", "beam", "rssi"} <= set(workflows.evaluate_run(tmp_path / "out", [tmp_path / "site"]))
    before, after = (
        load_backbone(run, tiny("multi-task")).state_dict() for run in (runs / "multi-task", tmp_path / "out")
    )
    assert all(torch.equal(values, after[name]) for name, values in before.items())


def test_a_history_that_is_missing_is_missing_throughout(dataset, store, tmp_path):
    run = tmp_path / "run"
    config = tiny("multi-task", "heads.missing=[rf]", "epochs=1")
    workflows.pretrain_run([dataset], run, config, device="cpu", label="")
    assert "beam" in workflows.evaluate_run(run, [dataset], missing=["rf"], device="cpu")
    with pytest.raises(UserError, match="holds no heads"):
        workflows.evaluate_run(run, [dataset], device="cpu")
    windows = make_split(store).parts["test"].select(torch.arange(4))
    predictor = JepaPredictor.load(run, missing=("rf",))
    louder = dataclasses.replace(store, values={**store.values, "rf": store.values["rf"] * 3})
    assert np.array_equal(predictor.predict(store, windows).beam_logits, predictor.predict(louder, windows).beam_logits)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("heads.select_on_validation=true", "has no meaning for paradigm beam"),
        ("heads.backbone=random", "is random, but paradigm beam trains it"),
        ("heads.missing=[sonar]", "no modality 'sonar'"),
        ("heads.missing=[gps, rf]", "every modality is missing"),
        ("augment.mirror=0.5", "augment.mirror: is not read by the paradigm beam"),
        ("mask.ratio=0.25", "mask.ratio: is not read"),
        ("objective.variance_weight=0", "objective.variance_weight: is not read"),
        ("heads.steps=5", "heads.steps: is not read"),
        ("heads.learning_rate=0.1", "heads.learning_rate: is not read"),
        ("heads.backbone_learning_rate=0.1", "heads.backbone_learning_rate: is not read"),
        ("heads.latent_dropout=0.1", "heads.latent_dropout: is not read"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_written(dataset, tmp_path, setting, message):
    with pytest.raises(UserError, match=message):
        workflows.pretrain_run([dataset], tmp_path / "run", tiny("beam", setting), device="cpu", label="")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["small", "paper", "best"])
@pytest.mark.parametrize("paradigm", ["multi-task", *METRICS])
def test_every_preset_and_noise_go_with_every_task(recipe, paradigm):
    check_supervised(preset(recipe, [f"paradigm={paradigm}", "objective.input_noise={rf: 0.2}", "heads.width=32"]))


def test_it_goes_on_from_the_backbone_of_another_run(dataset, runs, tmp_path):
    """With next to no learning rate the weights are still those that it began with."""
    still, first = tiny("multi-task", "learning_rate=1e-12", "epochs=1"), runs / "multi-task"
    workflows.pretrain_run([dataset], tmp_path / "run", still, start=first, device="cpu", label="")
    begun, ended = (load_backbone(run, still).state_dict() for run in (first, tmp_path / "run"))
    for name, values in begun.items():
        torch.testing.assert_close(values, ended[name], atol=1e-6, rtol=0)
    drawn = new_model(still).state_dict()
    assert any((values - drawn[name]).abs().max() > 1e-3 for name, values in begun.items())
    assert len(open_run(tmp_path / "run").trained) == 2 * len(open_run(first).trained)
    with pytest.raises(UserError, match="its paradigm is another"):
        workflows.pretrain_run([dataset], tmp_path / "other", tiny("beam"), start=first, device="cpu", label="")


def test_an_unknown_paradigm_is_named():
    with pytest.raises(UserError, match="paradigm is 'oracle'"):
        preset("small", ["paradigm=oracle"])


def test_the_commands_lead_from_training_to_evaluation(dataset, tmp_path, monkeypatch, capsys):
    from jepa.cli import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["jepa", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    run = tmp_path / "run"
    options = [part for setting in [*TINY, "paradigm=multi-task"] for part in ("--set", setting)]
    code, out, _ = call("pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *options)
    assert code == 0
    assert f"trained with its heads for 3 epochs; next: jepa evaluate {run}" in out
    code, out, err = call("heads", run, "--data", dataset)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "was trained with its heads (paradigm multi-task)" in err
    assert set(METRICS) <= set(json.loads(call("evaluate", run, "--data", dataset, "--json")[1]))
