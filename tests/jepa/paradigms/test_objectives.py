"""The loss against a second formulation; a forced collapse is named."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from jepa.backbone.model import JepaModel
from jepa.config import InputConfig, ModelConfig, ObjectiveConfig, preset
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.splits import make_split
from jepa.data.windows import T_OBS
from jepa.paradigms.objectives import (
    Health,
    PlacedTokens,
    collapse_name,
    ema_momentum,
    health_of,
    pretraining_loss,
    variance_covariance,
)
from jepa.paradigms.pretraining import pretrain
from jepa.paradigms.sigreg import epps_pulley, random_directions
from jepa.tokens.masking import temporal_block

TINY = [
    "inputs.modalities=[gps, rf]",
    "model.width=32",
    "model.attention_heads=4",
    "model.encoder_layers=2",
    "model.predictor_layers=2",
    "batch_size=32",
    "learning_rate=3e-3",
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return JepaModel(("gps", "rf"), ModelConfig(width=32, encoder_layers=2, predictor_layers=1, attention_heads=4))


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(5)
    return {"gps": torch.randn(6, 13, 2, generator=generator), "rf": torch.randn(6, 13, 64, generator=generator)}


def test_the_loss_is_the_mean_smooth_l1_over_hidden_positions(model, inputs):
    hidden = temporal_block(model.layout, 6, 0.5, torch.Generator().manual_seed(1))
    loss, parts = pretraining_loss(model, inputs, hidden, ObjectiveConfig(smooth_l1_beta=0.7), torch.Generator())
    context, places = model.encode(inputs, hidden)
    predicted, target = model.predict(context, places), model.targets(inputs)
    total, count = 0.0, 0
    for window in range(6):
        for token in range(26):
            if hidden[window, token]:
                goal = target[window, token]
                goal = (goal - goal.mean()) / (goal.var(unbiased=False) + 1e-5).sqrt()
                gap = (predicted[window, token] - goal).abs()
                total += torch.where(gap < 0.7, gap**2 / 1.4, gap - 0.35).sum().item()
                count += 32
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert float(parts["loss_gps"] + parts["loss_rf"]) == pytest.approx(2 * loss.item(), rel=1e-5)


def test_no_gradient_reaches_the_target(model, inputs):
    hidden = temporal_block(model.layout, 6, 0.5, torch.Generator().manual_seed(1))
    pretraining_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())[0].backward()
    assert all(parameter.grad is None for parameter in model.target.parameters())
    assert all(parameter.grad is not None for parameter in model.predictor.parameters())


def test_input_noise_reaches_the_context_and_not_the_target(model, inputs):
    hidden = temporal_block(model.layout, 6, 0.5, torch.Generator().manual_seed(1))
    noisy = ObjectiveConfig(input_noise={"rf": 0.5})
    values = {
        pretraining_loss(model, inputs, hidden, config, torch.Generator().manual_seed(seed))[0].item()
        for config, seed in ((ObjectiveConfig(), 0), (noisy, 0), (noisy, 1), (noisy, 1))
    }
    assert len(values) == 3


def test_variance_and_covariance_follow_their_definition():
    """Tokens of one position, all visible: the textbook formulas on the sample covariance."""
    tokens = torch.randn(200, 1, 8, generator=torch.Generator().manual_seed(3)) * torch.linspace(0.2, 2, 8)
    places = torch.zeros(200, 1, dtype=torch.int64)
    variance, covariance = variance_covariance(PlacedTokens(tokens, places), 26)
    matrix = torch.cov(tokens[:, 0].T)
    expected = functional.relu(1 - (matrix.diagonal() + 1e-4).sqrt()).mean()
    off = matrix - torch.diag(matrix.diagonal())
    assert variance.item() == pytest.approx(expected.item(), rel=1e-4)
    assert covariance.item() == pytest.approx(float(off.square().sum() / 8), rel=1e-4)


def test_what_the_position_alone_tells_has_no_variance():
    """Tokens that differ between positions and not between windows are collapsed."""
    tokens = torch.randn(1, 10, 8, generator=torch.Generator().manual_seed(3)).expand(50, -1, -1)
    places = torch.arange(10).expand(50, -1)
    variance, _ = variance_covariance(PlacedTokens(tokens, places), 26)
    assert variance.item() == pytest.approx(0.99, abs=1e-3)


def test_tokens_that_do_not_count_are_as_if_they_were_not_there():
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(50, 6, 8, generator=generator)
    places = torch.arange(6).expand(50, -1)
    counted = (torch.rand(50, 6, generator=generator) < 0.7).float()
    counted[:, 4] = 0
    kept = counted.bool()
    centred = torch.cat([tokens[kept[:, n], n] - tokens[kept[:, n], n].mean(0) for n in range(6) if n != 4])
    matrix = centred.T @ centred / (len(centred) - 5)
    variance, covariance = variance_covariance(PlacedTokens(tokens, places, counted), 6)
    assert variance.item() == pytest.approx(
        functional.relu(1 - (matrix.diagonal() + 1e-4).sqrt()).mean().item(), rel=1e-4
    )
    off = matrix - torch.diag(matrix.diagonal())
    assert covariance.item() == pytest.approx(float(off.square().sum() / 8), rel=1e-4)


def test_variance_is_that_of_the_context_or_of_what_is_predicted(model, inputs):
    hidden = temporal_block(model.layout, 6, 0.5, torch.Generator().manual_seed(1))

    def variance(on):
        config = ObjectiveConfig(variance_weight=0.5, variance_on=on)
        return pretraining_loss(model, inputs, hidden, config, torch.Generator())[1]["variance"].item()

    context, places = model.encode(inputs, hidden)
    assert variance("context") == variance_covariance(PlacedTokens(context, places), 26)[0].item()
    at = torch.stack([row.nonzero()[:, 0] for row in hidden])
    asked = torch.stack([values[row] for values, row in zip(model.predict(context, places), at, strict=True)])
    assert variance("predicted") == pytest.approx(variance_covariance(PlacedTokens(asked, at), 26)[0].item(), rel=1e-5)
    assert variance("predicted") != variance("context")


def test_the_momentum_rises_linearly_to_its_end():
    config = ObjectiveConfig()
    assert ema_momentum(config, 0, 101) == 0.996
    assert ema_momentum(config, 50, 101) == pytest.approx(0.998)
    assert ema_momentum(config, 100, 101) == 1.0


def _pretrain(store, run, settings):
    train = make_split(store).parts["train"]
    normalisers = Normalisers.fit(store, train, InputConfig())
    run.mkdir()
    config = preset("paper", [*TINY, *settings])
    pretrain(WindowInputs(normalisers.frames(store), train.index), config, run=run, label="")
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_forced_collapse_is_named_and_a_healthy_run_is_not(store, tmp_path, capfd):
    forced = _pretrain(store, tmp_path / "forced", ["objective.target=online", "epochs=24"])
    assert "constant targets" in forced[-1]["collapse"]
    assert "collapse after epoch 24: constant targets" in capfd.readouterr().err
    assert forced[-1]["loss"] < 0.2 * forced[0]["loss"]
    assert forced[-1]["rankme"] < forced[0]["rankme"]
    healthy = _pretrain(store, tmp_path / "healthy", ["epochs=24"])
    assert not any("collapse" in record for record in healthy)
    assert {"loss_gps", "loss_rf", "rankme", "target_variance_gps", "target_variance_rf"} <= healthy[0].keys()


def test_a_sudden_drop_of_the_loss_with_falling_rank_is_named(model, inputs):
    health = health_of(model, inputs, ObjectiveConfig(), T_OBS)
    before = {"loss": 1.0, "rankme": 2 * health.rankme}
    assert collapse_name(0.4, health, before, health) == "sudden loss drop with falling rank"
    assert collapse_name(0.6, health, before, health) is None
    assert collapse_name(0.4, health, {"loss": 1.0, "rankme": health.rankme}, health) is None
    assert collapse_name(0.4, health, None, health) is None


def test_a_rank_that_sinks_below_that_of_random_weights_is_named_however_slowly(model, inputs):
    health = health_of(model, inputs, ObjectiveConfig(), T_OBS)
    before = {"loss": 1.0, "rankme": 1.02 * health.rankme}
    assert collapse_name(0.99, health, before, replace(health, rankme=2 * health.rankme)) == (
        "rank below that of random weights"
    )
    assert collapse_name(0.99, health, before, replace(health, rankme=1.2 * health.rankme)) is None


def test_targets_are_constant_when_training_made_them_so_and_not_when_the_world_stands_still():
    def named(lidar, at_first):
        start = Health(10.0, {}, {"rf": 0.6, "lidar": at_first})
        return collapse_name(0.4, Health(10.0, {}, {"rf": 0.5, "lidar": lidar}), None, start)

    assert named(0.003, 0.2) == "constant targets (lidar)"
    assert named(0.003, 0.004) is None, "little variance, and all there was"
    assert named(0.0, 0.0) == "constant targets (lidar)", "a sensor that shows nothing"
    assert named(0.02, 0.9) is None, "much is lost, and enough left"


def test_threads_that_share_the_work_do_not_change_a_bit_of_a_gradient():
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(128, 13, 64, generator=generator)
    places = torch.stack([torch.randperm(26, generator=generator)[:13] for _ in range(128)])

    def gradient():
        leaf = tokens.clone().requires_grad_(True)
        sum(variance_covariance(PlacedTokens(leaf, places), 26)).backward()
        return leaf.grad

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(torch.equal(gradient(), first) for _ in range(20))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("on", ["context", "both"])
def test_sigreg_takes_its_share_of_the_loss(model, inputs, on):
    hidden = temporal_block(model.layout, 6, 0.5, torch.Generator().manual_seed(1))
    axes = random_directions(32, 16, 0, 5)
    target = "online" if on == "both" else "ema"
    weighed = ObjectiveConfig(target=target, sigreg_weight=0.1, sigreg_on=on)
    loss, parts = pretraining_loss(model, inputs, hidden, weighed, torch.Generator(), directions=axes)
    plain, _ = pretraining_loss(model, inputs, hidden, ObjectiveConfig(target=target), torch.Generator())
    context, places = model.encode(inputs, hidden)
    centred = context.clone()
    for token in range(26):
        at_token = places == token
        if at_token.any():
            centred[at_token] -= context[at_token].mean(0)
    score = epps_pulley(centred.flatten(0, 1) @ axes.T).mean()
    if on == "both":
        whole = model.context(inputs)
        score = (score + epps_pulley((whole - whole.mean(0)).flatten(0, 1) @ axes.T).mean()) / 2
    assert loss.item() == pytest.approx(0.9 * plain.item() + 0.1 * score.item(), rel=1e-4)
    assert float(parts["prediction"]) == pytest.approx(plain.item(), rel=1e-5)


def test_only_on_both_does_sigreg_see_targets_that_are_all_alike(model, inputs, monkeypatch):
    """An encoder that notices whole windows can make them alike, while what it makes of masked ones stays normal."""
    hidden = temporal_block(model.layout, 6, 0.5, torch.Generator().manual_seed(1))
    axes = random_directions(32, 16, 0, 5)
    told = model.context.forward

    def score(on):
        config = ObjectiveConfig(target="online", sigreg_weight=0.1, sigreg_on=on)
        return float(pretraining_loss(model, inputs, hidden, config, torch.Generator(), directions=axes)[1]["sigreg"])

    before = {on: score(on) for on in ("context", "both")}
    monkeypatch.setattr(model.context, "forward", lambda *given: told(*given).mean(0, keepdim=True).expand(6, -1, -1))
    assert score("context") == before["context"]
    assert score("both") > 1.2 * before["both"]


def test_sigreg_keeps_an_online_target_from_collapse(store, tmp_path):
    kept = _pretrain(store, tmp_path / "kept", ["objective.target=online", "objective.sigreg_weight=0.05", "epochs=12"])
    assert not any("collapse" in record for record in kept)
    assert kept[-1]["target_variance_rf"] > 0.1
    assert kept[-1]["sigreg"] < kept[0]["sigreg"]
