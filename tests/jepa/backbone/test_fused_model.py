"""A backbone whose frames are fused: what its places know, what it is asked for, and that it is trained and read."""

import itertools
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

import jepa.training.checkpoint
from jepa.backbone.model import JepaModel, parameter_count
from jepa.config import HeadConfig, ModelConfig, ObjectiveConfig, preset
from jepa.config_checks import check_config
from jepa.data.inputs import Normalisers, WindowInputs, relative
from jepa.data.preprocess import Normaliser
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.heads.network import Heads
from jepa.heads.training import HeadData
from jepa.paradigms.objectives import health_of, pretraining_loss
from jepa.paradigms.pretraining import load_backbone, new_model, pretrain
from jepa.paradigms.sigreg import random_directions
from jepa.paradigms.supervised import check_supervised, train_supervised
from jepa.tokens.fusion import FrameFusion, incomplete_frames
from jepa.tokens.masking import MASKS, future_mask, temporal_block
from jepa.tokens.tokenizers import MODALITY_NAMES, TOKENIZERS, Tokenizer
from jepa.training.parallel import Processes
from twin.errors import UserError

FUSED, WIDTH = 3, 16
SIZES = {"camera": (4, 9), "radar": (6, 16), "lidar": (5, 16)}
"""Values of a small frame, and the tokens that it becomes."""
TINY = ModelConfig(width=WIDTH, encoder_layers=2, predictor_layers=1, attention_heads=2, fusion_tokens=FUSED)


class Small(nn.Module):
    """A vector in place of a picture or a map, with as many tokens."""

    def __init__(self, values, tokens, width):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(values, tokens * width), nn.Unflatten(1, (tokens, width)))

    def forward(self, frame):
        return self.project(frame)


@pytest.fixture(autouse=True)
def small_frames(monkeypatch):
    for name, (values, tokens) in SIZES.items():

        def build(config, values=values, tokens=tokens):
            return Small(values, tokens, config.width)

        monkeypatch.setitem(TOKENIZERS, name, Tokenizer(build, tokens, (values,)))


def spread(model):
    """The same model with tokens that differ visibly: they start near zero."""
    with torch.no_grad():
        for branch in (model.context, model.target):
            branch.fusion.tokens.copy_(torch.randn(branch.fusion.tokens.shape))
    return model


@pytest.fixture
def model():
    torch.manual_seed(0)
    return spread(JepaModel(MODALITY_NAMES, TINY)).eval()


def windows(batch=4, frames=T_WINDOW, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, frames, *TOKENIZERS[name].shape, generator=generator) for name in MODALITY_NAMES}


def blocks(model, batch=4, seed=2):
    return temporal_block(model.layout, batch, 0.5, torch.Generator().manual_seed(seed))


def changed_where_hidden(model, inputs, hidden, value):
    """The inputs with `value` in every frame whose tokens are hidden."""
    found = {}
    for name, first, tokens in model.layout.pieces():
        unseen = hidden[:, first : first + T_WINDOW * tokens : tokens, None]
        found[name] = inputs[name].masked_fill(unseen, value)
    return found


def test_encoder_predictor_and_target_work_on_a_few_tokens_a_frame(model):
    assert model.layout.tokens == 559
    context, places = model.encode(windows(), blocks(model))
    assert context.shape == (4, FUSED * T_WINDOW, WIDTH)
    assert model.predict(context, places).shape == context.shape
    assert model.targets(windows()).shape == context.shape
    assert places.tolist() == [list(range(FUSED * T_WINDOW))] * 4


def test_the_fusion_layer_replaces_one_of_the_encoder_and_the_mask_token_goes(model):
    plain = JepaModel(MODALITY_NAMES, TINY.model_copy(update={"fusion_tokens": 0}))
    assert parameter_count(model) == parameter_count(plain) + 2 * FUSED * WIDTH - WIDTH
    assert not [name for name in plain.state_dict() if "fusion" in name]


@pytest.mark.parametrize("value", [100.0, float("nan")])
def test_what_is_hidden_reaches_neither_context_nor_prediction(model, value):
    hidden = blocks(model)
    context, places = model.encode(windows(), hidden)
    again, _ = model.encode(changed_where_hidden(model, windows(), hidden, value), hidden)
    assert torch.equal(again, context)
    assert torch.equal(model.predict(again, places), model.predict(context, places))


def test_what_is_visible_reaches_the_predictions_of_all_frames(model):
    hidden = future_mask(model.layout).expand(4, -1)
    inputs = windows()
    predicted = model.predict(*model.encode(inputs, hidden))
    for name in MODALITY_NAMES:
        other = {**inputs, name: inputs[name].clone()}
        other[name][:, 3] += 1
        moved = (model.predict(*model.encode(other, hidden)) - predicted).abs().amax(-1)
        assert bool((moved > 0).all()), name


@pytest.mark.parametrize("kind", MASKS)
def test_the_loss_is_the_mean_over_the_fusion_tokens_of_incomplete_frames(model, kind):
    inputs = windows()
    hidden = MASKS[kind](model.layout, 4, 0.5, torch.Generator().manual_seed(5))
    loss, parts = pretraining_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())
    predicted, target = model.predict(*model.encode(inputs, hidden)), model.targets(inputs)
    goal = functional.layer_norm(target, (WIDTH,))
    frame = model.layout.rows()[0]
    errors = [
        functional.smooth_l1_loss(predicted[window, place], goal[window, place])
        for window, place in itertools.product(range(4), range(FUSED * T_WINDOW))
        if bool(hidden[window, frame == place // FUSED].any())
    ]
    torch.testing.assert_close(loss, torch.stack(errors).mean())
    assert list(parts) == ["loss_fusion"]
    assert parts["loss_fusion"] == loss


def test_processes_that_share_a_batch_have_the_loss_of_one(model, monkeypatch):
    """The windows of each have another number of incomplete frames; what counts is that of all."""
    inputs, hidden = windows(), blocks(model, seed=11)
    whole, _ = pretraining_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())
    own, total = [], FUSED * incomplete_frames(model.layout, hidden).sum()

    def summed(processes, values):
        own.append(int(values))
        return total

    monkeypatch.setattr(Processes, "sum", summed)
    losses = []
    for processes in (Processes(0, 2), Processes(1, 2)):
        shares = {name: processes.share(values) for name, values in inputs.items()}
        part = processes.share(hidden)
        losses.append(pretraining_loss(model, shares, part, ObjectiveConfig(), torch.Generator(), processes)[0])
    assert sum(own) == total
    assert own[0] != own[1]
    torch.testing.assert_close((losses[0] + losses[1]) / 2, whole)


@pytest.mark.parametrize(
    "options",
    [
        {"target_levels": (1, 2), "error": "squared"},
        {"target_layers": 2},
        {"variance_weight": 0.5, "covariance_weight": 0.02},
        {"variance_weight": 0.5, "covariance_weight": 0.02, "variance_on": "predicted"},
        {"sigreg_weight": 0.05, "target": "online"},
        {"sigreg_weight": 0.05, "target": "online", "sigreg_on": "both"},
    ],
)
def test_every_objective_teaches_the_fusion_tokens_and_the_tokenizers(options):
    torch.manual_seed(0)
    config = ObjectiveConfig(**options)
    model = spread(JepaModel(MODALITY_NAMES, TINY, len(config.target_levels)))
    directions = random_directions(WIDTH, 8, 0, 0) if config.sigreg_weight else None
    loss, _ = pretraining_loss(model, windows(), blocks(model), config, torch.Generator(), directions=directions)
    loss.backward()
    for name, parameter in (*model.context.named_parameters(), *model.predictor.named_parameters()):
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in model.target.parameters())


def test_the_fusion_layer_is_the_lowest_level_and_one_of_the_layers_that_are_averaged(model):
    inputs = windows()
    norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
    branch = model.target
    low = branch.fusion(branch.embedding(inputs), branch.embedding.time)
    high = branch.encoder.layers[0](low)
    torch.testing.assert_close(model.target_levels(inputs, (1, 2)), torch.cat([norm(low), norm(high)], -1))
    torch.testing.assert_close(model.targets(inputs, 2), (norm(low) + norm(high)) / 2)
    torch.testing.assert_close(model.targets(inputs), norm(high))


def test_the_latents_are_the_fusion_tokens_of_future_and_history(model):
    inputs = windows()
    history = {name: values[:, :T_OBS] for name, values in inputs.items()}
    found = model.future_latents(history)
    context, places = model.encode(inputs, future_mask(model.layout).expand(4, -1))
    predicted = model.predict(context, places)
    assert torch.equal(found.predicted_all, predicted[:, FUSED * T_OBS :])
    assert torch.equal(found.context, context[:, : FUSED * T_OBS])
    assert set(found.predicted) == set(MODALITY_NAMES)
    for name in MODALITY_NAMES:
        for step in range(T_PRED):
            of_frame = predicted[:, FUSED * (T_OBS + step) : FUSED * (T_OBS + step + 1)]
            torch.testing.assert_close(found.predicted[name][:, step], of_frame.mean(1))


@pytest.mark.parametrize("gone", ["missing", "lost"])
def test_a_modality_that_drops_out_is_not_looked_at(model, gone):
    history = windows(frames=T_OBS)
    options = {"missing": ["lidar"]} if gone == "missing" else {"lost": {"lidar": torch.ones(T_OBS, dtype=torch.bool)}}
    found = model.future_latents(history, **options)
    again = model.future_latents({**history, "lidar": torch.full_like(history["lidar"], torch.nan)}, **options)
    for one, other in ((found.predicted_all, again.predicted_all), (found.context, again.context)):
        assert torch.isfinite(one).all()
        assert torch.equal(one, other)
    assert not torch.allclose(found.predicted_all, model.future_latents(history).predicted_all)


@pytest.mark.parametrize("readout", ["target", "pooled", "attentive"])
@pytest.mark.parametrize("missing", [(), ("rf",)])
def test_heads_of_every_readout_read_the_fusion_tokens(model, readout, missing):
    config = HeadConfig(readout=readout, missing=missing, width=16, linear=True)
    heads = Heads(model.layout, WIDTH, config).eval()
    for parameter in heads.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    history = windows(frames=T_OBS)
    found = heads(model.future_latents(history, missing), history)
    assert found.logits.shape == (4, T_PRED, 64)
    seen = heads(model.future_latents({**history, "radar": history["radar"] + 1}, missing), history)
    assert not torch.allclose(seen.logits, found.logits)


@pytest.fixture
def drives():
    """Drives in which each sensor shows the same phase: what is hidden can be told from what is seen."""
    generator = torch.Generator().manual_seed(0)
    count, number = 40, 10
    rate = 0.15 + 0.35 * torch.rand(number, 1, generator=generator)
    phase = 6 * torch.rand(number, 1, generator=generator) + rate * torch.arange(count)
    wave = torch.stack([phase.sin(), phase.cos(), (2 * phase).sin()], -1).flatten(0, 1)
    frames = {name: wave @ torch.randn(3, *TOKENIZERS[name].shape, generator=generator) for name in MODALITY_NAMES}
    starts = torch.cat([drive * count + torch.arange(count - T_WINDOW + 1) for drive in range(number)])
    return WindowInputs(frames, starts[:, None] + torch.arange(T_WINDOW))


def tiny(epochs):
    """A configuration of five modalities in which half of the batches hide the future."""
    return preset(
        "paper",
        [
            *("model.width=16", "model.attention_heads=2", "model.encoder_layers=2", "model.predictor_layers=1"),
            *("model.fusion_tokens=2", "batch_size=28", "group=1", "learning_rate=5e-3", f"epochs={epochs}"),
            *("mask.kinds={temporal-block: 0.5, joint-future: 0.5}", "objective.ema_start=0.99"),
            *("objective.variance_weight=0.5", "objective.covariance_weight=0.02"),
        ],
    )


def test_a_window_of_five_modalities_learns_and_does_not_collapse(drives, tmp_path):
    pretrain(drives, tiny(6), run=tmp_path, label="")
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["loss_fusion"] < log[0]["loss_fusion"]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert 2 * log[-1]["loss_fusion"] < 0.7 * log[-1]["target_variance_fusion"], "better than the mean of all windows"
    assert all("collapse" not in record for record in log)
    assert log[-1]["target_variance_fusion"] > 0.1
    assert log[-1]["rankme"] > 2


def test_stopped_before_its_second_checkpoint_it_resumes_bit_for_bit(drives, tmp_path, monkeypatch):
    config, save, calls = tiny(2), jepa.training.checkpoint.save_file, []

    def stopped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return save(*arguments, **options)

    pretrain(drives, config, run=tmp_path / "whole", label="")
    with monkeypatch.context() as patch:
        patch.setattr(jepa.training.checkpoint, "save_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain(drives, config, run=tmp_path / "cut", label="")
    pretrain(drives, config, run=tmp_path / "cut", resume=True, label="")
    whole, cut = (load_backbone(tmp_path / name, config).state_dict() for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(values, cut[name]) for name, values in whole.items())
    assert not torch.equal(whole["target.fusion.tokens"], whole["context.fusion.tokens"]), "it follows, slowly"


SUPERVISED = [
    *("model.width=16", "model.attention_heads=2", "model.encoder_layers=2", "model.predictor_layers=1"),
    *("paradigm=multi-task", "heads.width=16", "heads.skip=8", "heads.gated=false", "epochs=1", "heads.epochs=1"),
]


def test_fusion_tokens_that_say_nothing_are_seen_by_the_watch():
    torch.manual_seed(0)
    model, inputs = JepaModel(MODALITY_NAMES, TINY), windows(64)
    healthy = health_of(model, inputs, ObjectiveConfig(), T_OBS).target_variance
    assert set(healthy) == {"fusion"}
    assert healthy["fusion"] > 0.01
    with torch.no_grad():
        model.target.fusion.out.weight.zero_()  # the way in of what the modalities say
    assert health_of(model, inputs, ObjectiveConfig(), T_OBS).target_variance["fusion"] < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.encoder_layers=1"], "only layer of the encoder"),
        (["objective.target_levels=[0, 4]"], "objective.target_levels: 0"),
        (["paradigm=reconstruction"], "paradigm: reconstruction"),
    ],
)
def test_what_does_not_go_with_fusion_tokens_is_refused(settings, message):
    check_config(preset("small", settings))
    check_config(preset("small", ["model.fusion_tokens=2"]))
    with pytest.raises(UserError, match=message):
        check_config(preset("small", ["model.fusion_tokens=2", *settings]))


def test_a_supervised_model_may_fuse_its_frames(drives):
    """Two steps move every weight of its backbone."""
    config = preset("small", [*SUPERVISED, "model.fusion_tokens=2", f"batch_size={len(drives)}"])
    check_config(config)
    check_supervised(config)
    future = drives.future()
    count = len(drives)
    data = HeadData(drives.small_history(), future["gps"], future["rf"], torch.ones(count), torch.arange(count) // 28)
    normalisers = Normalisers({"*": Normaliser(0.0, 1.0, (0.0, 0.0), 1.0)})
    model = train_supervised(drives, data, normalisers, config, label="")
    assert isinstance(model.backbone.context.fusion, FrameFusion)
    begun = dict(new_model(config).named_parameters())
    for name, weight in model.backbone.named_parameters():
        assert not torch.equal(weight, begun[name]), name
    history = relative(drives.history(torch.arange(4), ["gps", "rf"]), config.inputs)
    output = model.heads(model.backbone.future_latents(history), history)
    assert output.trajectory.shape == (4, T_PRED, 2)
    assert all(bool(torch.isfinite(values).all()) for values in (output.trajectory, output.logits, output.spectrum))
