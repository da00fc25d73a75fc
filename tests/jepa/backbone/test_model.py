"""The backbone: parameter counts, positions, what the context encoder sees, the EMA."""

import pytest
import torch

from jepa.backbone.model import JepaModel, parameter_count
from jepa.config import ModelConfig
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.tokens.masking import future_mask, temporal_block
from jepa.tokens.tokenizers import MODALITY_NAMES, TOKEN_INDICES, TOKENIZERS, Layout, TokenEmbedding
from twin.errors import UserError

BACKBONE = {64: 399_872, 128: 1_586_176, 256: 6_318_080, 512: 25_219_072}
SMALL = ModelConfig(width=32, encoder_layers=2, predictor_layers=2, attention_heads=4)


def windows(batch=3, frames=T_WINDOW, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, frames, *TOKENIZERS[name].shape, generator=generator) for name in ("gps", "rf")}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return JepaModel(("rf", "gps"), SMALL).eval()


@pytest.mark.parametrize("width", sorted(BACKBONE))
def test_the_backbone_has_the_papers_parameters(width):
    net = JepaModel(("gps", "rf"), ModelConfig(width=width))
    assert parameter_count(net.context.encoder) + parameter_count(net.predictor) == BACKBONE[width]
    assert parameter_count(net.context.encoder) == parameter_count(net.target.encoder)


def test_the_tokenizers_and_tables_have_the_papers_parameters():
    assert parameter_count(TOKENIZERS["gps"].build(ModelConfig(width=128))) == 640
    assert parameter_count(TOKENIZERS["rf"].build(ModelConfig(width=128))) == 8_576
    embedding = TokenEmbedding(Layout.of(["gps", "rf"]), ModelConfig(width=128))
    tables = (embedding.time, embedding.modality, embedding.index)
    assert [len(table) for table in tables] == [T_WINDOW, len(MODALITY_NAMES), TOKEN_INDICES] == [13, 5, 16]
    assert JepaModel(("rf",), ModelConfig(width=128)).mask_token.shape == (128,)


def test_positions_are_sums_of_three_tables():
    layout = Layout.of(["gps", "rf"])
    embedding = TokenEmbedding(layout, ModelConfig(width=16))
    found = embedding.positions()
    frame, modality, index = layout.rows()
    for token in (0, 5, 12, 13, 25):
        expected = embedding.time[frame[token]] + embedding.modality[modality[token]] + embedding.index[index[token]]
        assert torch.equal(found[token], expected)
    assert MODALITY_NAMES[modality[0]] == "gps"
    assert MODALITY_NAMES[modality[13]] == "rf"
    assert int(frame[13 + 4]) == 4


def test_the_order_in_which_modalities_are_named_does_not_matter():
    assert Layout.of(["rf", "gps"]) == Layout.of(["gps", "rf"])


def test_the_context_depends_on_visible_tokens_only(model):
    inputs = windows()
    hidden = temporal_block(model.layout, 3, 0.5, torch.Generator().manual_seed(1))
    before, _ = model.encode(inputs, hidden)
    changed = {
        name: torch.where(hidden[:, at : at + T_WINDOW, None], values + 100, values)
        for (name, values), at in zip(inputs.items(), (0, T_WINDOW), strict=True)
    }
    after, _ = model.encode(changed, hidden)
    assert torch.equal(before, after)
    assert before.shape == (3, 14, 32)


def test_the_encoder_attends_to_tokens_as_a_plain_loop_would(model):
    """Each window alone, its visible tokens picked by hand, gives the context of the batch."""
    inputs = windows()
    hidden = temporal_block(model.layout, 3, 0.5, torch.Generator().manual_seed(2))
    batched, _ = model.encode(inputs, hidden)
    tokens = model.context.embedding(inputs)
    for number in range(3):
        alone = model.context.encoder(tokens[number][~hidden[number]][None])
        torch.testing.assert_close(batched[number], alone[0], atol=1e-5, rtol=1e-5)


def test_the_predictor_reads_context_where_visible_and_mask_tokens_elsewhere(model):
    inputs = windows()
    hidden = temporal_block(model.layout, 3, 0.5, torch.Generator().manual_seed(3))
    context, places = model.encode(inputs, hidden)
    filled = (model.mask_token + model.context.embedding.positions()).expand(3, -1, -1).clone()
    for number in range(3):
        filled[number][~hidden[number]] = context[number]
    torch.testing.assert_close(model.predict(context, places), model.predictor(filled))


def test_the_layer_follows_its_equations(model):
    """x + Att(LN x), then x + FFN(LN x), written out head by head."""
    layer = model.predictor.layers[0]
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(4))
    query, key, value = layer.query_key_value(layer.attention_norm(x))[0].chunk(3, -1)
    heads = []
    for part in range(4):
        at = slice(8 * part, 8 * part + 8)
        weight = torch.softmax(query[:, at] @ key[:, at].T / 8**0.5, -1)
        heads.append(weight @ value[:, at])
    y = x + layer.out(torch.cat(heads, -1))[None]
    y = y + layer.feed_forward(layer.feed_forward_norm(y))
    torch.testing.assert_close(layer(x), y, atol=1e-5, rtol=1e-5)


def test_the_target_follows_by_the_momentum(model):
    with torch.no_grad():
        for parameter in model.context.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in model.target.parameters()]
    model.update_target(0.75)
    for old, new, source in zip(before, model.target.parameters(), model.context.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * source)
        assert not new.requires_grad


def test_the_statistics_of_the_targets_batch_norms_are_those_of_the_context():
    model = JepaModel(("radar", "rf"), SMALL)
    with torch.no_grad():
        for number, statistics in enumerate(model.context.buffers()):
            statistics.fill_(number + 2)
    model.update_target(0.75)
    pairs = dict(zip(model.target.buffers(), model.context.buffers(), strict=True))
    assert sum(values.is_floating_point() for values in pairs) >= 2, "a mean and a variance"
    assert all(torch.equal(kept, new) for kept, new in pairs.items())


def test_positions_and_powers_stay_in_single_precision_where_all_else_is_halved():
    model = JepaModel(("radar", "gps", "rf"), SMALL).eval()
    frames = {name: torch.randn(4, *TOKENIZERS[name].shape) for name in ("radar", "gps", "rf")}
    with torch.no_grad():
        whole = {name: model.context.embedding.tokenize(name, values) for name, values in frames.items()}
        with torch.autocast("cpu", torch.bfloat16):
            found = {name: model.context.embedding.tokenize(name, values) for name, values in frames.items()}
            read = model.context.encoder(model.context.embedding(windows_of(frames)))
    assert torch.equal(found["gps"], whole["gps"])
    assert torch.equal(found["rf"], whole["rf"])
    assert not torch.equal(found["radar"].float(), whole["radar"]), "or nothing was halved"
    assert read.isfinite().all()


def windows_of(frames):
    return {name: values[:, None].expand(-1, T_WINDOW, *values.shape[1:]) for name, values in frames.items()}


def test_the_average_of_top_layers_is_that_of_their_normalised_outputs(model):
    encoder = model.target.encoder
    tokens = model.target.embedding(windows())
    first = encoder.layers[0](tokens)
    second = encoder.layers[1](first)
    expected = (encoder.norm(first) + encoder.norm(second)) / 2
    torch.testing.assert_close(encoder(tokens, 2), expected)
    torch.testing.assert_close(encoder(tokens), encoder.norm(second))
    every = model.target(windows(), average=2)
    torch.testing.assert_close(model.target(windows(), average=9), every, msg="of two layers no more are averaged")


def test_future_latents_are_the_predictions_under_the_joint_future_mask(model):
    inputs = windows()
    history = {name: values[:, :T_OBS] for name, values in inputs.items()}
    latents = model.future_latents(history)
    hidden = future_mask(model.layout).expand(3, -1)
    context, places = model.encode(inputs, hidden)
    whole = model.predict(context, places)
    assert torch.equal(latents.context, context)
    assert torch.equal(latents.predicted["gps"], whole[:, T_OBS:T_WINDOW])
    assert torch.equal(latents.predicted["rf"], whole[:, T_WINDOW + T_OBS :])
    assert latents.predicted_all.shape == (3, 2 * T_PRED, 32)


def test_a_missing_modality_is_not_looked_at(model):
    history = windows(frames=T_OBS)
    other = {**history, "rf": history["rf"] + 5}
    alone = {"gps": history["gps"]}
    found = [model.future_latents(values, ["rf"]) for values in (history, other, alone)]
    for latents in found[1:]:
        assert torch.equal(latents.predicted_all, found[0].predicted_all)
    assert found[0].context.shape == (3, T_OBS, 32)


def test_a_lost_frame_does_not_reach_the_latents_and_its_context_is_what_the_predictor_makes_of_it(model):
    history = windows(frames=T_OBS)
    lost = {"rf": torch.arange(T_OBS) == 5}
    found = model.future_latents(history, lost=lost)
    garbage = {**history, "rf": history["rf"].masked_fill(lost["rf"][:, None], 1e6)}
    again = model.future_latents(garbage, lost=lost)
    assert torch.equal(found.context, again.context)
    assert torch.equal(found.predicted["rf"], again.predicted["rf"])
    assert found.context.shape == (3, 2 * T_OBS, 32), "gps and rf, eight frames each"
    hidden = future_mask(model.layout)
    hidden[T_WINDOW + 5] = True
    context, places = model.encode(history, hidden.expand(3, -1))
    assert torch.equal(found.context[:, T_OBS + 5], model.predict(context, places)[:, T_WINDOW + 5])
    assert not torch.equal(found.predicted["rf"], model.future_latents(history).predicted["rf"])


def test_nothing_observed_is_refused(model):
    every = {name: torch.ones(T_OBS, dtype=torch.bool) for name in ("gps", "rf")}
    with pytest.raises(UserError, match="nothing was observed"):
        model.future_latents(windows(frames=T_OBS), lost=every)


def test_several_levels_of_the_target_are_predicted_side_by_side():
    torch.manual_seed(0)
    net = JepaModel(("rf", "gps"), SMALL, target_levels=2).eval()
    inputs = windows()
    levels = net.target_levels(inputs, (0, 2))
    tokens = net.target.embedding(inputs)
    norm = torch.nn.LayerNorm(32, elementwise_affine=False)
    torch.testing.assert_close(levels[..., :32], norm(tokens))
    torch.testing.assert_close(levels[..., 32:], net.targets(inputs))
    assert net.out(net.predict(*net.encode(inputs, temporal_block(net.layout, 3, 0.5, torch.Generator())))).shape == (
        3,
        26,
        64,
    )


def test_frozen_tokenizers_stay_as_they_were_drawn():
    torch.manual_seed(0)
    net = JepaModel(("rf", "gps"), SMALL.model_copy(update={"tokenizers": "frozen"}))
    context, _ = net.encode(windows(), temporal_block(net.layout, 3, 0.5, torch.Generator()))
    context.square().sum().backward()
    assert all(parameter.grad is None for parameter in net.context.embedding.tokenizers.parameters())
    assert net.context.embedding.time.grad is not None


@pytest.mark.parametrize(("norms", "moves"), [("trained", True), ("frozen", False)])
def test_batch_norms_of_frozen_tokenizers_follow_the_data_unless_they_are_frozen_too(norms, moves):
    net = JepaModel(("radar", "rf"), SMALL.model_copy(update={"tokenizers": "frozen", "batch_norm": norms})).train()
    before = {name: values.clone() for name, values in net.context.embedding.tokenizers.state_dict().items()}
    given = {"radar": torch.randn(1, T_WINDOW, *TOKENIZERS["radar"].shape), "rf": windows(1)["rf"]}
    net.encode(given, temporal_block(net.layout, 1, 0.5, torch.Generator()))
    after = net.context.embedding.tokenizers.state_dict()
    moved = {name for name, values in before.items() if not torch.equal(values, after[name])}
    assert bool(moved) == moves
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)
