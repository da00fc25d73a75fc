"""The benchmark compares like with like, and measures what it says. How fast anything is, is nobody's assertion."""

import copy
import json
import subprocess
import sys

import pytest
import torch

import jepa.bench.measure
import jepa.bench.steps
from jepa.bench import PARTS, Sizes, bench
from jepa.bench.given import drive, frames_of
from jepa.bench.plain import PlainJepa, PlainTraining, plain_names
from jepa.bench.steps import compared_steps
from jepa.config import preset
from jepa.data.frames import TARGETS
from jepa.data.inputs import WindowInputs
from jepa.paradigms.objectives import pretraining_loss
from jepa.paradigms.pretraining import new_model
from jepa.tokens.camera import pooled_features
from jepa.tokens.masking import draw_mask
from jepa.training.loop import Plan
from twin.errors import UserError

TINY = Sizes(
    repeats=1,
    batch=2,
    width=16,
    cached_pixels=32,
    trained_pixels=32,
    pushes=2,
    pixels=32,
    windows=3,
    pretrained=128,
    predicted=64,
)
ROUNDING = 2e-4
"""Of gradients, relative to the largest of their tensor: sums in another order."""
CPU = torch.device("cpu")


def paper(*settings):
    tiny = ["model.width=16", "model.encoder_layers=2", "model.predictor_layers=1", "inputs.image_size=32"]
    return preset("paper", [*tiny, *settings])


def both_losses(config, batch=4):
    """Model, loss and plain model, plain loss of the same windows under the same mask."""
    torch.set_num_threads(1)
    model = new_model(config)
    with torch.no_grad():
        for name, values in model.target.named_parameters():
            if config.model.camera == "trained" or ".features." not in name:  # what is frozen is so in both branches
                values.add_(0.05 * torch.randn(values.shape, generator=torch.Generator().manual_seed(values.numel())))
    plain = PlainJepa(model, config.model).train()
    frames = frames_of(model.layout.modalities, batch + 12, 32, CPU)
    index = drive(batch)
    kept = dict(frames)
    if config.model.camera == "frozen":
        kept["camera"] = torch.cat(
            list(pooled_features(model.context.embedding.tokenizers["camera"], frames["camera"]))
        )
    windows = WindowInputs(kept, index)
    generator = torch.Generator().manual_seed(4)
    hidden = draw_mask(model.layout, batch, config.mask.kinds, config.mask.ratio, generator)
    model.train()
    inputs = windows.whole(slice(None), model.layout.modalities)
    loss, _ = pretraining_loss(model, inputs, hidden, config.objective, generator)
    plain_loss = plain.loss({name: values[index] for name, values in frames.items()}, hidden)
    return model, loss, plain, plain_loss


@pytest.mark.parametrize("kind", ["temporal-block", "joint-future"])
def test_the_plain_model_has_the_same_loss_and_the_same_gradients(kind):
    config = paper("model.batch_norm=frozen", f"mask.kinds={{{kind}: 1}}")
    model, loss, plain, plain_loss = both_losses(config)
    assert float(loss.detach()) == pytest.approx(float(plain_loss.detach()), rel=1e-5)
    loss.backward()
    plain_loss.backward()
    theirs = dict(plain.named_parameters())
    names = plain_names(model.state_dict())
    compared = 0
    for name, values in model.named_parameters():
        if not values.requires_grad:
            continue
        wanted = theirs[names[name]].grad
        scale = max(float(wanted.abs().max()), 1e-6)
        assert float((values.grad - wanted).abs().max()) < ROUNDING * scale, name
        compared += values.numel()
    assert compared > 4_000_000, "EfficientNet is among them"


def test_kept_features_of_a_frozen_camera_give_the_loss_of_its_pictures():
    config = paper("model.batch_norm=frozen", "model.camera=frozen")
    _, loss, plain, plain_loss = both_losses(config)
    assert float(loss.detach()) == pytest.approx(float(plain_loss.detach()), rel=1e-3), (
        "features are kept in half precision"
    )
    plain_loss.backward()
    camera = plain.context.tokenizers["camera"]
    assert all(values.grad is None for values in camera.features.parameters())
    assert camera.project.weight.grad is not None


def test_a_plain_step_learns_and_moves_the_target():
    config = preset("paper", ["model.width=16", "inputs.modalities=[gps, rf]", "model.predictor_layers=1"])
    model = new_model(config)
    frames = frames_of(("gps", "rf"), 40, 0, CPU)
    training = PlainTraining(PlainJepa(model, config.model), frames, Plan(1, 1e-2))
    before = copy.deepcopy(training.model)
    hidden = draw_mask(model.layout, 16, {"joint-future": 1.0}, 0.5, torch.Generator().manual_seed(1))
    losses = [float(training.step(drive(16), hidden, 0.9)) for _ in range(8)]
    assert losses[-1] < losses[0]
    moved = dict(training.model.named_parameters())
    for name, values in before.named_parameters():
        if name.startswith("target.encoder") and "norm" not in name:
            assert not torch.equal(values, moved[name])
    assert not torch.equal(before.mask_token, training.model.mask_token)


def test_both_sides_see_the_same_windows_under_the_same_masks(monkeypatch):
    seen = {"project": [], "plain": []}
    loss, step = jepa.bench.steps.pretraining_loss, PlainTraining.step

    def watched(model, inputs, hidden, *rest):
        seen["project"].append((inputs["rf"], hidden))
        return loss(model, inputs, hidden, *rest)

    def watched_plain(plain, index, hidden, momentum):
        seen["plain"].append((plain.frames["rf"][index], hidden))
        return step(plain, index, hidden, momentum)

    monkeypatch.setattr(jepa.bench.steps, "pretraining_loss", watched)
    monkeypatch.setattr(PlainTraining, "step", watched_plain)
    sizes = Sizes(repeats=1, steps=2, batch=2, width=16, cached_pixels=32)
    report = compared_steps("frozen", sizes, CPU, compiled=False)
    assert len(seen["project"]) == len(seen["plain"]) == 4
    for ours, theirs in zip(seen["project"], seen["plain"], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    masks = [hidden for _, hidden in seen["plain"]]
    assert not any(torch.equal(mask, masks[0]) for mask in masks[1:]), "every step of every repeat draws its own"
    ratio = report["plain_step_ms_cached"] / report["train_step_ms_cached"]
    assert report["train_step_ratio_cached"] == pytest.approx(ratio)


def test_our_frames_lie_where_training_keeps_them_and_all_of_the_plain_sides_on_the_device(monkeypatch):
    """`meta` plays the GPU; powers and positions are gathered by window on the CPU, and moved as a batch."""
    found = {}

    def watched(model, windows, *rest):
        found.update(windows.frames)
        assert (windows.index.device, windows.device.type) == (CPU, "meta")
        batch = windows.whole(torch.arange(2), model.layout.modalities)
        assert {values.device.type for values in batch.values()} == {"meta"}

    plain = {}
    monkeypatch.setattr(jepa.bench.steps, "PlainJepa", lambda *_: None)
    monkeypatch.setattr(jepa.bench.steps, "PlainTraining", lambda _, frames, plan: plain.update(frames))
    monkeypatch.setattr(jepa.bench.steps, "_steps", watched)
    monkeypatch.setattr(jepa.bench.steps, "_plain_steps", lambda *_: None)
    sizes = Sizes(repeats=1, batch=2, width=16, cached_pixels=32)
    compared_steps("frozen", sizes, torch.device("meta"), compiled=False)
    here = {name for name, values in found.items() if values.device == CPU}
    assert here == set(TARGETS)
    assert {values.device.type for values in plain.values()} == {"meta"}
    assert plain.keys() == found.keys() == set(preset("paper").inputs.modalities)


def test_a_compiled_model_is_the_same_model():
    config = paper("inputs.modalities=[gps, rf]")
    model = new_model(config).eval()
    history = {name: values[drive(3)[:, :8]] for name, values in frames_of(("gps", "rf"), 20, 0, CPU).items()}
    windows = {name: torch.cat([values, values[:, :5]], 1) for name, values in history.items()}
    wanted, targets = model.future_latents(history).predicted["rf"], model.target_levels(windows, (0, 2))
    names = set(model.state_dict())
    taken = []

    def backend(graph, example_inputs):
        taken.append(graph)
        return graph.forward

    model.compile_transformers(backend)
    assert torch.allclose(model.target_levels(windows, (0, 2)), targets, atol=1e-6)
    assert taken, "the levels that are targets are compiled as well"
    assert torch.allclose(model.future_latents(history).predicted["rf"], wanted, atol=1e-6)
    assert set(model.state_dict()) == names, "a checkpoint does not notice"


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_every_part_measures_something(part):
    torch.set_num_threads(1)
    report = bench([part], sizes=TINY)
    figures = {
        name: value for name, value in report.items() if name.endswith(("_s", "_ms", "_batch1")) or "ratio" in name
    }
    assert figures
    assert all(value > 0 for value in figures.values())
    assert report["device"] == "cpu"
    assert report["threads"] == 1


@pytest.mark.parametrize(("pixels", "told"), [(224, True), (96, False)])
def test_the_papers_whole_pretraining_follows_from_its_step(monkeypatch, pixels, told):
    """A hundred epochs of 2,138 windows at 10 windows a second; only a step of the paper's size says so."""
    step = {"train_step_pixels_trained": pixels, "train_step_width": 128, "train_step_batch": 32}
    monkeypatch.setattr(jepa.bench.measure, "compared_steps", lambda *_: {**step, "train_step_ms_trained": 3200.0})
    said = []
    report = bench(["train-step"], note=said.append)
    assert ("paper_pretraining_min" in report) == told
    assert any("extrapolated from steps of 32 windows of one long drive" in line for line in said) == told
    if told:
        assert report["paper_pretraining_min"] == pytest.approx(100 * 2138 / 10 / 60, rel=1e-3)


def test_all_parts_together_have_every_figure(monkeypatch):
    said = []
    for part in PARTS:
        monkeypatch.setitem(PARTS, part, lambda *rest, part=part: {part: 1.23456789})
    assert list(bench(note=said.append)) == ["device", "threads", "compiled", *PARTS]
    assert bench()["predict"] == 1.235
    assert said == [f"measuring {part}" for part in PARTS]


def test_the_command_prints_one_json_object():
    done = subprocess.run(
        [sys.executable, "-m", "jepa.cli", "bench", "predict", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(done.stdout)
    assert report["predict_windows_per_s"] > 0


def test_the_command_prints_the_figures_by_their_names(call, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(Sizes, "of", lambda device: TINY)
    status, printed, said = call("bench", "train-step", "inference", "--device", "cpu", "--json")
    assert status == 0
    report = json.loads(printed)
    assert report["device"] == "cpu"
    for name in ("train_step_ratio_cached", "train_step_ratio_trained", "inference_ms_batch1"):
        assert report[name] > 0
    assert "paper_pretraining_min" not in report, "these steps are not of the paper's size"
    assert said.count("measuring") == 2


def test_an_unknown_part_is_named():
    with pytest.raises(UserError, match="unknown part 'sweep'"):
        bench(["sweep"])
