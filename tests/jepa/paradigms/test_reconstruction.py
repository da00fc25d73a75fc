"""Reconstruction SSL: the decoder says the raw inputs of hidden frames; the same heads read what it says of the future.

Pictures are 32 x 32 here, and every frame shows the same car: a blob whose place follows its azimuth.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.backbone.model import JepaModel, parameter_count
from jepa.config import InputConfig, ModelConfig, ObjectiveConfig, preset
from jepa.config_checks import check_unread
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.sharing import SharedFrames
from jepa.data.splits import make_split
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.heads.training import train_heads
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import load_backbone, new_model, pretrain
from jepa.paradigms.reconstruction import ReconstructionModel, hidden_frames, raw_values, reconstruction_loss
from jepa.tokens.masking import MASKS, future_mask, temporal_block
from twin.errors import UserError

FIVE = ("camera", "radar", "lidar", "gps", "rf")
SIDE = 32
SMALL = ModelConfig(width=16, encoder_layers=1, predictor_layers=1, attention_heads=2)
TINY = [
    "paradigm=reconstruction",
    "model.width=16",
    "model.attention_heads=2",
    "model.encoder_layers=1",
    "model.predictor_layers=1",
    "epochs=3",
    "batch_size=32",
    "heads.epochs=1",
    "heads.width=16",
]
BACKBONE, DECODER = 4_996_860, 24_446_914
PAPER_DECODER = 24.71e6
LEARNED = 0.25
"""Of the squared error that saying the mean costs."""


def blobs(position_m, rows, columns, low, high):
    """Maps in which a car's azimuth moves a blob from left to right."""
    azimuth = np.arctan2(position_m[:, 0], position_m[:, 1])
    at = (azimuth / np.pi + 0.5) * columns
    row, column = np.mgrid[:rows, :columns]
    distance = np.hypot(column - at[:, None, None], (row - rows / 2) * columns / rows)
    return low + (high - low) * np.exp(-0.5 * (distance / (columns / 10)) ** 2)


@pytest.fixture(scope="module")
def five(store):
    """Frames of five modalities, two drives of the session's store with pictures and maps of the car."""
    position = store.values["gps"].numpy()
    depth = blobs(position, 64, 256, 90, 10)
    depth[depth > 80] = np.nan
    large = {
        "camera": torch.from_numpy(blobs(position, SIDE, SIDE, 40, 220).astype(np.uint8))[..., None].expand(
            -1, -1, -1, 3
        ),
        "radar": torch.from_numpy(blobs(position, 64, 256, -40, 0).astype(np.float16)),
        "lidar": torch.from_numpy(depth.astype(np.float16)),
    }
    valid = dict.fromkeys(large, torch.ones(store.frames, dtype=torch.bool))
    return dataclasses.replace(store, values={**store.values, **large}, valid={**store.valid, **valid})


@pytest.fixture(scope="module")
def windows(five):
    """The training windows of the five modalities, standardised."""
    train = make_split(five).parts["train"]
    return WindowInputs(Normalisers.fit(five, train, InputConfig()).frames(five), train.index)


@pytest.fixture
def model(windows):
    torch.manual_seed(0)
    model = ReconstructionModel(FIVE, SMALL, SIDE).eval()
    model.fit_scales(windows.whole(torch.arange(0, 196, 20), FIVE))
    return model


def test_backbone_and_decoder_have_the_papers_parameters():
    """The backbone to the unit; the decoder, of which the paper prints the sum alone, to 1.1 %."""
    whole = ReconstructionModel(FIVE, ModelConfig(width=128), 224)
    tokenizers = 4_171_516 + 2 * 9_344 + 640 + 8_576
    assert tokenizers + 4 * (12 * 128**2 + 13 * 128) + 34 * 128 == BACKBONE
    values = (3 * 224 * 224, 64 * 256, 64 * 256, 2, 64)
    assert sum(129 * count for count in values) + 4 * (12 * 128**2 + 13 * 128) + 128 == DECODER
    assert whole.parameters_by_part() == {"backbone": BACKBONE, "decoder": DECODER}
    assert pytest.approx(PAPER_DECODER, rel=0.011) == DECODER
    assert parameter_count(whole) == BACKBONE + DECODER, "there is no target branch"


def test_the_random_weights_of_the_backbone_are_those_of_the_jepa():
    ours, jepa = (
        new_model(preset("small", [f"paradigm={paradigm}"])).state_dict() for paradigm in ("reconstruction", "jepa")
    )
    shared = [name for name in jepa if not name.startswith("target.")]
    assert all(torch.equal(ours[name], jepa[name]) for name in shared)
    assert {name for name in ours if name not in shared} == {
        *(f"outputs.{name}.{part}" for name in ("gps", "rf") for part in ("weight", "bias")),
        *(f"{part}_{name}" for name in ("gps", "rf") for part in ("mean", "deviation")),
    }


def gathered(inputs):
    """Frames by window."""
    return {name: values.gathered() if hasattr(values, "gathered") else values for name, values in inputs.items()}


def by_hand(name, frame):
    """The raw values of a frame: pictures by ImageNet's mean and deviation, depth as 1 - r / 100 m."""
    if name == "camera":
        colours = (frame.double() / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        return colours.permute(2, 0, 1).flatten()
    if name == "lidar":
        return torch.where(frame.isnan(), 0.0, 1 - frame.double() / 100).flatten()
    return frame.double().flatten()


@pytest.mark.parametrize("kind", ["temporal-block", "random"])
def test_the_loss_is_the_mean_over_modalities_of_the_squared_error_of_hidden_frames(model, windows, kind):
    rows = torch.arange(0, 60, 20)
    inputs = windows.whole(rows, FIVE)
    hidden = MASKS[kind](model.layout, 3, 0.5, torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss, parts = reconstruction_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())
        context, places = model.encode(inputs, hidden)
        decoded = model.predict(context, places)
    frames = gathered(inputs)
    errors = {}
    for name, first, tokens in model.layout.pieces():
        squares = []
        for window in range(3):
            for time in range(T_WINDOW):
                at = slice(first + time * tokens, first + (time + 1) * tokens)
                if hidden[window, at].any():
                    said = model.outputs[name](decoded[window, at].mean(0)).detach().double()
                    raw = by_hand(name, frames[name][window, time])
                    goal = (raw - model.get_buffer(f"mean_{name}")) / model.get_buffer(f"deviation_{name}")
                    squares.append((said - goal).square().mean())
        errors[name] = float(torch.stack(squares).mean())
        assert float(parts[f"loss_{name}"]) == pytest.approx(errors[name], rel=1e-3)
    assert float(loss) == pytest.approx(np.mean(list(errors.values())), rel=1e-3)


def test_saying_the_mean_of_everything_costs_one_in_every_modality(model, windows):
    """So that no modality outweighs another."""
    for name in FIVE:
        torch.nn.init.zeros_(model.outputs[name].weight)
        torch.nn.init.zeros_(model.outputs[name].bias)
    hidden = temporal_block(model.layout, 49, 0.5, torch.Generator().manual_seed(2))
    inputs = windows.whole(torch.arange(0, 196, 4), FIVE)
    with torch.no_grad():
        _, parts = reconstruction_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())
    for name in FIVE:
        assert float(parts[f"loss_{name}"]) == pytest.approx(1, abs=0.15)


def test_hidden_frames_are_targets_and_no_inputs(model, windows):
    """Another hidden frame changes the loss and nothing that is decoded."""
    inputs = gathered(windows.whole(torch.arange(3), ("radar", "gps", "rf")))
    net = ReconstructionModel(("radar", "gps", "rf"), SMALL, SIDE).eval()
    hidden = future_mask(net.layout).expand(3, -1)
    changed = {name: values.clone() for name, values in inputs.items()}
    for values in changed.values():
        values[:, T_OBS:] += 3
    with torch.no_grad():
        decoded = [net.predict(*net.encode(values, hidden)) for values in (inputs, changed)]
        losses = [
            reconstruction_loss(net, values, hidden, ObjectiveConfig(), torch.Generator())[0]
            for values in (inputs, changed)
        ]
    assert torch.equal(*decoded)
    assert losses[1] > losses[0] + 1


def test_a_frame_counts_as_hidden_with_any_of_its_tokens():
    hidden = torch.zeros(2, 3 + 4 * 2 + 5, dtype=torch.bool)
    hidden[0, 3] = hidden[0, 4] = hidden[1, 3 + 5] = hidden[1, 2] = True
    assert hidden_frames(hidden, 3, 4, 2).tolist() == [0, 4 + 2]


def test_gradients_reach_every_part_and_every_tokenizer(model, windows):
    model.train()
    hidden = temporal_block(model.layout, 4, 0.5, torch.Generator().manual_seed(3))
    inputs = windows.whole(torch.arange(4), FIVE)
    reconstruction_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())[0].backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []
    assert all(float(model.outputs[name].weight.grad.abs().sum()) > 0 for name in FIVE)


def test_features_of_a_frozen_camera_are_reconstructed_in_place_of_pictures():
    frozen = SMALL.model_copy(update={"camera": "frozen"})
    net = ReconstructionModel(("camera", "gps"), frozen, 224)
    assert net.outputs["camera"].out_features == 9 * 1280
    features = torch.randn(5, 9, 1280).half()
    assert torch.equal(raw_values("camera", features), features.float().flatten(1))
    with pytest.raises(UserError, match="camera has 3072 values a frame"):
        net.goal("camera", torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8))


def scenes(batch, generator):
    """Windows of one strength each, which scales a fixed map and a fixed spectrum; cars at constant speed."""
    strength = torch.randn(batch, 1, 1, generator=generator)
    pattern = torch.linspace(-1, 1, 64)
    start, speed = torch.randn(2, batch, 1, 2, generator=generator)
    return {
        "radar": SharedFrames(strength * pattern[:, None].expand(-1, 256), torch.arange(batch)[:, None].expand(-1, 13)),
        "gps": start + speed * torch.linspace(-1, 1, T_WINDOW)[:, None],
        "rf": (strength * pattern).expand(-1, T_WINDOW, -1),
    }


@pytest.mark.parametrize(("names", "batch", "steps"), [(("gps", "rf"), 32, 200), (("radar", "rf"), 8, 120)])
def test_the_decoder_learns_to_say_a_hidden_future(names, batch, steps):
    """Of scenes that it never saw: what stays and what moves on, in maps, positions and spectra."""
    torch.manual_seed(0)
    net = ReconstructionModel(names, SMALL.model_copy(update={"width": 32, "batch_norm": "frozen"}), SIDE).train()
    generator = torch.Generator().manual_seed(5)
    net.fit_scales(scenes(256, generator))
    hidden = future_mask(net.layout).expand(batch, -1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        loss, _ = reconstruction_loss(net, scenes(batch, generator), hidden, ObjectiveConfig(), generator)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        unseen = [
            reconstruction_loss(net.eval(), scenes(batch, generator), hidden, ObjectiveConfig(), generator)[1]
            for _ in range(4)
        ]
    for name in names:
        assert np.mean([float(parts[f"loss_{name}"]) for parts in unseen]) < LEARNED


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run of reconstruction with heads."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "reconstruction"
    workflows.pretrain_run([dataset], path, preset("small", TINY), device="cpu", label="")
    workflows.heads_run(path, [dataset], device="cpu", label="")
    return path


def test_a_run_of_reconstruction_is_evaluated_like_any_other(dataset, run):
    report = workflows.evaluate_run(run, [dataset], device="cpu")
    for task, metric in (("localization", "ade_m"), ("beam", "top1"), ("rssi", "rmse_db")):
        assert np.isfinite(report[task][metric]["value"])
    assert report["representation"]["rankme"]["value"] > 1
    assert workflows.predict_run(run, [dataset], device="cpu") == 3
    stored = json.loads(next((run / "predictions").rglob("manifest.json")).read_text())
    assert stored["model"] == "reconstruction"


def test_its_log_holds_ranks_and_losses_and_names_no_collapse(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {"step", "epoch", "loss", "loss_gps", "loss_rf", "rankme", "rankme_future_gps", "rankme_future_rf"}
    assert all(set(record) == expected for record in records)
    assert records[-1]["loss"] < records[0]["loss"]


@pytest.mark.parametrize(("paradigm", "collapses"), [("jepa", True), ("reconstruction", False)])
def test_tokens_that_say_nothing_are_a_collapse_of_targets_alone(store, tmp_path, capfd, paradigm, collapses):
    """On frames that never change: where raw inputs are the target there is no target branch to watch."""
    train = make_split(store).parts["train"]
    flat = {name: torch.zeros_like(store.values[name]) for name in ("gps", "rf")}
    config = preset("small", [*TINY, f"paradigm={paradigm}"])
    pretrain(WindowInputs(flat, train.index), config, run=tmp_path, label="")
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(("collapse" in record) == collapses for record in records)
    assert ("collapse after epoch 1" in capfd.readouterr().err) == collapses


def test_its_heads_leave_the_backbone_as_it_is(store, run):
    config = preset("small", TINY)
    model = load_backbone(run, config)
    assert isinstance(model, ReconstructionModel)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    parts = make_split(store).parts
    train_heads(model, store, parts["train"], parts["val"], Normalisers.load(run / "stats.json"), config, label="")
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_its_latents_are_the_decoders_tokens_of_the_hidden_future(run, store):
    predictor = JepaPredictor.load(run)
    model = predictor.model
    history = {"gps": torch.randn(2, T_OBS, 2), "rf": torch.randn(2, T_OBS, 64)}
    latents = model.future_latents(history)
    with torch.no_grad():
        whole = model.predict(*model.encode(history, future_mask(model.layout).expand(2, -1)))
    assert torch.equal(latents.predicted["gps"], whole[:, T_OBS:T_WINDOW])
    assert torch.equal(latents.predicted["rf"], whole[:, T_WINDOW + T_OBS :])
    assert latents.predicted_all.shape == (2, 2 * T_PRED, 16)
    assert not isinstance(JepaModel(("gps", "rf"), SMALL), ReconstructionModel)


@pytest.mark.parametrize(
    "setting", ["objective.target_levels=[0, 1]", "objective.sigreg_weight=0.1", "objective.target=online"]
)
def test_terms_of_the_latent_objective_are_refused_unless_they_come_with_the_preset(dataset, tmp_path, setting):
    for recipe in ("small", "paper", "best"):
        check_unread(preset(recipe, ["paradigm=reconstruction", "objective.input_noise={rf: 0.2}", "mask.ratio=0.25"]))
    check_unread(preset("small", ["paradigm=jepa", setting]))
    with pytest.raises(UserError, match=f"^{setting.partition('=')[0]}: is not read by the paradigm reconstruction"):
        workflows.pretrain_run([dataset], tmp_path / "run", preset("small", [*TINY, setting]), device="cpu", label="")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_of_reconstruction_ends_bit_for_bit_the_same(dataset, run, tmp_path, monkeypatch):
    from jepa.training.checkpoint import load_checkpoint
    from jepa.training.loop import save_checkpoint

    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save_checkpoint(*args)

    with monkeypatch.context() as patch:
        patch.setattr("jepa.training.loop.save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            workflows.pretrain_run([dataset], tmp_path / "cut", preset("small", TINY), device="cpu", label="")
    workflows.pretrain_run([dataset], tmp_path / "cut", preset("small", TINY), device="cpu", label="", resume=True)
    whole, cut = (load_checkpoint(path / "checkpoints")[0] for path in (run, tmp_path / "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(values, cut[name]) for name, values in whole.items())
    assert (run / "metrics.jsonl").read_bytes() == (tmp_path / "cut/metrics.jsonl").read_bytes()
    jepa = preset("small", [*TINY, "paradigm=jepa"])
    with pytest.raises(UserError, match="differs in paradigm"):
        workflows.pretrain_run([dataset], run, jepa, device="cpu", label="", resume=True)
