"""The heads: parameter counts, coarse estimates, the cascade, what they may see."""

import pytest
import torch

from jepa.backbone.model import JepaModel, parameter_count
from jepa.config import HeadConfig, ModelConfig
from jepa.data.windows import T_OBS, T_PRED
from jepa.heads.coarse import CoarseSpectrum
from jepa.heads.network import BeamHead, Heads, LocalizationHead, RssiHead

COUNTS = {
    64: (462_980, 1_759_552, 1_826_688),
    128: (495_748, 1_792_320, 1_892_224),
    256: (561_284, 1_857_856, 2_023_296),
    512: (692_356, 1_988_928, 2_285_440),
}
BATCH = 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    return JepaModel(("gps", "rf"), ModelConfig(width=32, encoder_layers=1, predictor_layers=1, attention_heads=4))


@pytest.fixture
def history():
    generator = torch.Generator().manual_seed(1)
    return {
        "gps": torch.randn(BATCH, T_OBS, 2, generator=generator),
        "rf": torch.randn(BATCH, T_OBS, 64, generator=generator),
    }


def heads_of(model, **options):
    torch.manual_seed(2)
    return Heads(model.layout, 32, HeadConfig(**options))


def answer(model, heads, history, episode=None):
    return heads(model.future_latents(history, heads.config.missing), history, episode)


@pytest.mark.parametrize("width", sorted(COUNTS))
def test_the_heads_have_the_papers_parameters(width):
    assert tuple(parameter_count(head(width)) for head in (LocalizationHead, BeamHead, RssiHead)) == COUNTS[width]
    whole = Heads(JepaModel(("gps", "rf"), ModelConfig(width=64)).layout, width, HeadConfig())
    assert parameter_count(whole) == sum(COUNTS[width])


def test_without_residual_the_trajectory_has_constant_velocity_and_the_spectrum_stays(model, history):
    heads = heads_of(model)
    for head in (heads.localization.residual, heads.rssi.residual):
        torch.nn.init.zeros_(head.out.weight)
        torch.nn.init.zeros_(head.out.bias)
    output = answer(model, heads, history)
    last, before = history["gps"][:, -1], history["gps"][:, -2]
    for step in range(T_PRED):
        torch.testing.assert_close(output.trajectory[:, step], last + (step + 1) * (last - before))
        torch.testing.assert_close(output.spectrum[:, step], history["rf"][:, -1])


@pytest.mark.parametrize("readout", ["target", "pooled", "attentive"])
@pytest.mark.parametrize("missing", [(), ("gps",), ("rf",)])
@pytest.mark.parametrize("gated", [False, True])
def test_a_missing_history_is_not_looked_at(model, history, readout, missing, gated):
    options = {"gated": gated, "relative_power": gated}
    heads = heads_of(model, readout=readout, missing=missing, skip=8, coarse_beam="last", **options)
    if gated:
        open_gates(heads)
    output = answer(model, heads, history)
    for name in missing:
        changed = {**history, name: history[name] + 3}
        other = answer(model, heads, changed)
        for values in ("trajectory", "logits", "spectrum"):
            assert torch.equal(getattr(output, values), getattr(other, values))
    assert output.trajectory.shape == (BATCH, T_PRED, 2)
    assert output.logits.shape == output.spectrum.shape == (BATCH, T_PRED, 64)


def open_gates(heads):
    with torch.no_grad():
        for name, gain in heads.named_parameters():
            if name.endswith(".gain"):
                gain.fill_(1.0)


def test_behind_a_closed_gate_the_latent_says_nothing_and_behind_an_open_one_it_does(model, history):
    heads = heads_of(model, skip=8, gated=True, readout="pooled")
    latents = model.future_latents(history)
    with torch.no_grad():
        closed = [heads(found, history).logits for found in (latents, latents.zeroed())]
        open_gates(heads)
        opened = [heads(found, history).logits for found in (latents, latents.zeroed())]
    assert torch.equal(*closed)
    assert not torch.allclose(*opened)


def test_dropped_latents_are_those_of_no_backbone_window_by_window(model, history):
    latents = model.future_latents(history)
    kept = torch.arange(BATCH) % 2 == 0
    some = latents.where(kept)
    for values, whole in ((some.predicted_all, latents.predicted_all), (some.context, latents.context)):
        assert torch.equal(values[kept], whole[kept])
        assert not values[~kept].any()
    assert torch.equal(some.predicted["rf"][kept], latents.predicted["rf"][kept])
    assert not some.predicted["rf"][~kept].any()


def test_relative_heads_see_a_stronger_signal_as_the_same_scene(model, history):
    heads = heads_of(model, skip=8, gated=True, relative_power=True, readout="pooled")
    latents = model.future_latents(history)
    stronger = {**history, "rf": 2.0 * history["rf"] + 3.0}
    with torch.no_grad():
        output, other = heads(latents, history), heads(latents, stronger)
    torch.testing.assert_close(other.logits, output.logits, atol=1e-4, rtol=1e-4)
    change, twice = (found.spectrum - seen["rf"][:, -1:] for found, seen in ((output, history), (other, stronger)))
    torch.testing.assert_close(twice, 2 * change, atol=1e-4, rtol=1e-4)


def test_the_cascade_reads_the_trajectory_detached(model, history):
    heads = heads_of(model)
    output = answer(model, heads, history)
    (output.logits.sum() + output.spectrum.sum()).backward()
    assert all(parameter.grad is None for parameter in heads.localization.parameters())
    with torch.no_grad():
        heads.localization.residual.out.bias.add_(1.0)
    assert not torch.equal(answer(model, heads, history).logits, output.logits)


def test_the_loss_is_l1_cross_entropy_and_squared_error(model, history):
    heads = heads_of(model)
    output = answer(model, heads, history)
    position, power = torch.randn(BATCH, T_PRED, 2), torch.randn(BATCH, T_PRED, 64)
    loss, parts = heads.loss(output, position, power, 2.0)
    assert float(parts["localization"]) == pytest.approx((output.trajectory - position).abs().mean().item())
    assert float(parts["rssi"]) == pytest.approx((output.spectrum - power).square().mean().item())
    picked = torch.log_softmax(output.logits, -1).gather(-1, power.argmax(-1, keepdim=True))
    assert float(parts["beam"]) == pytest.approx(-picked.mean().item(), rel=1e-5)
    assert loss.item() == pytest.approx(float(sum(parts.values())), rel=1e-5)


def test_soft_labels_are_the_softmax_of_the_measured_power(model, history):
    heads = heads_of(model, soft_label_db=0.3)
    output = answer(model, heads, history)
    power = torch.randn(BATCH, T_PRED, 64)
    labels = torch.softmax(5.0 * power / 0.3, -1)
    expected = -(labels * torch.log_softmax(output.logits, -1)).sum(-1).mean()
    parts = heads.loss(output, torch.zeros(BATCH, T_PRED, 2), power, torch.full((BATCH,), 5.0))[1]
    assert float(parts["beam"]) == pytest.approx(expected.item(), rel=1e-4)


def _circling(windows=60, frames=13, radius=2.0):
    """Cars on a circle around the station; the best beam follows the azimuth by 20 beams a radian."""
    generator = torch.Generator().manual_seed(8)
    first = torch.rand(windows, 1, generator=generator) * 1.5 + 0.5
    azimuth = first + 0.05 * torch.arange(frames)
    position = radius * torch.stack([azimuth.cos(), azimuth.sin()], -1)
    beam = 20 * azimuth
    power = -((torch.arange(64) - beam[..., None]) ** 2) / 50
    return position, power


def test_the_shifted_spectrum_follows_the_azimuth():
    position, power = _circling()
    estimate = CoarseSpectrum(3)
    estimate.fit(position, power, torch.arange(60), torch.zeros(2))
    assert float(estimate.beams_per_radian) == pytest.approx(20, rel=0.05)
    found = estimate("shifted", power[:, :8], position[:, :8], position[:, 8:], None)
    inside = slice(15, 55)
    assert float((found - power[:, 8:])[..., inside].abs().median()) < 0.3
    still = estimate("last", power[:, :8], position[:, :8], position[:, 8:], None)
    assert float((still - power[:, 8:])[..., inside].abs().median()) > 1.0


def test_the_map_leaves_the_own_episode_out_and_finds_the_others():
    position, power = _circling()
    estimate = CoarseSpectrum(1)
    estimate.fit(position, power, torch.arange(60), torch.zeros(2))
    last = position[:, -1:].expand(-1, T_PRED, -1)
    own = estimate("map", None, None, last, None)
    torch.testing.assert_close(own, power[:, -1:].expand(-1, T_PRED, -1))
    others = estimate("map", None, None, last, torch.arange(60))
    assert not torch.equal(others, own)
    assert float((others - own).abs().median()) < 2.0


def test_the_attentive_readout_reads_every_token(model, history):
    heads = heads_of(model, readout="attentive")
    latents = model.future_latents(history)
    before = heads.readouts["beam"](latents)
    for name in ("predicted_all", "context"):
        tokens = getattr(latents, name)
        for token in range(tokens.shape[1]):
            kept = tokens[:, token].clone()
            tokens[:, token] += 1.0
            assert not torch.equal(heads.readouts["beam"](latents), before)
            tokens[:, token] = kept


@pytest.mark.parametrize("known", ["gps", "rf"])
def test_a_modality_that_the_model_does_not_know_is_not_looked_at(history, known):
    """The ablations without position or power: neither tokens nor coarse estimates see it."""
    config = ModelConfig(width=32, encoder_layers=1, predictor_layers=1, attention_heads=4)
    alone = JepaModel((known,), config)
    heads = heads_of(alone, readout="pooled", skip=8, coarse_beam="shifted")
    other = {"gps": "rf", "rf": "gps"}[known]
    first = answer(alone, heads, history)
    second = answer(alone, heads, {**history, other: history[other] * 3})
    for values in ("trajectory", "logits", "spectrum"):
        assert torch.equal(getattr(first, values), getattr(second, values))


def test_linear_paths_and_the_spectrum_in_the_logits_say_nothing_new_at_first(model, history):
    """Linear paths begin at zero; the spectrum is added to the logits with its gain, and is not trained by them."""
    torch.manual_seed(3)
    plain = heads_of(model)
    more = heads_of(model, linear=True, spectrum_in_logits=True)
    more.load_state_dict(plain.state_dict(), strict=False)
    before, after = answer(model, plain, history), answer(model, more, history)
    torch.testing.assert_close(after.spectrum, before.spectrum)
    torch.testing.assert_close(after.logits, before.logits + before.spectrum)
    torch.nn.functional.cross_entropy(after.logits.flatten(0, 1), torch.zeros(BATCH * T_PRED).long()).backward()
    assert more.spectrum_gain.grad is not None
    assert more.linear["beam"].weight.grad.abs().sum() > 0
    assert more.linear["rssi"].weight.grad is None
    assert all(parameter.grad is None for parameter in more.rssi.parameters())
