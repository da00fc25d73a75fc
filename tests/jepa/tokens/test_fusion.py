"""The fusion layer: what its tokens see, what they cost, and that it is a transformer layer that forgets."""

import pytest
import torch
from torch import nn

from jepa.backbone.model import TransformerLayer, parameter_count
from jepa.config import ModelConfig
from jepa.data.windows import T_OBS, T_WINDOW
from jepa.tokens.fusion import FrameFusion, by_frame, incomplete_frames
from jepa.tokens.masking import future_mask, temporal_block
from jepa.tokens.tokenizers import TOKENIZERS, Layout, TokenEmbedding, Tokenizer
from twin.errors import UserError

WIDTH, HEADS, FUSED, RADAR = 16, 4, 3, 5
PER_FRAME = RADAR + 2


@pytest.fixture
def layout(monkeypatch):
    """Radar with five tokens a frame beside position and power."""
    made = Tokenizer(lambda _: nn.Sequential(nn.Linear(6, 5 * WIDTH), nn.Unflatten(1, (5, WIDTH))), RADAR, (6,))
    monkeypatch.setitem(TOKENIZERS, "radar", made)
    return Layout.of(("radar", "gps", "rf"))


@pytest.fixture
def fusion(layout):
    torch.manual_seed(0)
    layer = FrameFusion(layout, WIDTH, HEADS, 4, FUSED)
    nn.init.normal_(layer.tokens)
    return layer


@pytest.fixture
def tokens(layout):
    return torch.randn(2, layout.tokens, WIDTH, generator=torch.Generator().manual_seed(1))


TIME = torch.randn(T_WINDOW, WIDTH, generator=torch.Generator().manual_seed(2))


def test_tokens_are_sorted_by_frame_and_in_a_frame_by_modality(layout):
    frame, modality, index = (by_frame(layout, row[None])[0] for row in layout.rows())
    assert frame.shape == (T_WINDOW, PER_FRAME)
    assert bool((frame == torch.arange(T_WINDOW)[:, None]).all())
    assert modality[4].tolist() == [1] * RADAR + [3, 4]
    assert index[4].tolist() == [*range(RADAR), 0, 0]


def test_it_is_a_transformer_layer_over_each_frame_that_drops_the_modality_tokens(layout, fusion, tokens):
    layer = TransformerLayer(WIDTH, HEADS, 4)
    state = {name: values for name, values in fusion.state_dict().items() if name != "tokens"}
    for kind in ("weight", "bias"):
        parts = [state.pop(f"{name}.{kind}") for name in ("query", "key_value")]
        state[f"query_key_value.{kind}"] = torch.cat(parts)
    layer.load_state_dict(state)
    fused = fusion(tokens, TIME).unflatten(1, (T_WINDOW, FUSED))
    for frame in range(T_WINDOW):
        of_frame = tokens[:, layout.rows()[0] == frame]
        entering = (fusion.tokens + TIME[frame]).expand(2, -1, -1)
        whole = layer(torch.cat([entering, of_frame], 1))
        torch.testing.assert_close(fused[:, frame], whole[:, :FUSED])


def test_it_has_the_parameters_of_the_layer_that_it_replaces_and_its_tokens(layout):
    for width, count in ((16, 1), (128, 4)):
        fusion = FrameFusion(layout, width, 4, 4, count)
        assert parameter_count(fusion) == 12 * width**2 + 13 * width + count * width


def test_a_frame_tells_its_own_fusion_tokens_and_no_others(layout, fusion, tokens):
    other = tokens.clone()
    other[:, layout.rows()[0] == 6] += 1
    changed = (fusion(tokens, TIME) - fusion(other, TIME)).abs().amax((0, 2)).reshape(T_WINDOW, FUSED) > 0
    assert changed.any(1).tolist() == [frame == 6 for frame in range(T_WINDOW)]
    assert bool(changed[6].all())


def test_hidden_tokens_tell_nothing_and_visible_ones_do(layout, fusion, tokens):
    hidden = temporal_block(layout, 2, 0.5, torch.Generator().manual_seed(3))
    shown = fusion(tokens, TIME, hidden)
    noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(fusion(torch.where(hidden[..., None], noise, tokens), TIME, hidden), shown)
    for token in (0, 20, 70, 90):
        for window in range(2):
            other = tokens.clone()
            other[window, token] += 1
            moved = bool(((fusion(other, TIME, hidden) - shown).abs() > 0).any())
            assert moved == (not hidden[window, token])


def test_a_frame_of_which_nothing_is_seen_is_known_by_its_time_alone(layout, fusion, tokens):
    hidden = future_mask(layout).expand(2, -1)
    fused = fusion(tokens, TIME, hidden).unflatten(1, (T_WINDOW, FUSED))
    torch.testing.assert_close(fused[0, T_OBS:], fused[1, T_OBS:])
    assert torch.isfinite(fused).all()
    assert (fused[0, :T_OBS] - fused[1, :T_OBS]).abs().amax(-1).min() > 0


def test_a_frame_is_incomplete_by_any_hidden_token(layout):
    hidden = temporal_block(layout, 8, 0.5, torch.Generator().manual_seed(5))
    frame = layout.rows()[0]
    for window in range(8):
        for number in range(T_WINDOW):
            found = hidden[window, frame == number]
            assert bool(incomplete_frames(layout, hidden)[window, number]) == bool(found.any())


def test_a_missing_modality_leaves_every_frame_incomplete(layout):
    hidden = (layout.rows()[1] == 3).expand(2, -1)
    assert bool(incomplete_frames(layout, hidden).all())


def test_the_tokenizers_learn_through_the_layer_that_drops_their_tokens(layout, fusion):
    torch.manual_seed(1)
    embedding = TokenEmbedding(layout, ModelConfig(width=WIDTH))
    inputs = {"radar": torch.randn(2, 13, 6), "gps": torch.randn(2, 13, 2), "rf": torch.randn(2, 13, 64)}
    fusion(embedding(inputs), embedding.time).square().sum().backward()
    for name, parameter in (*embedding.named_parameters(), *fusion.named_parameters()):
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_positions_are_what_an_empty_frame_enters_with(fusion):
    positions = fusion.positions(TIME)
    assert positions.shape == (T_WINDOW * FUSED, WIDTH)
    torch.testing.assert_close(positions[5 * FUSED + 2], TIME[5] + fusion.tokens[2])


def test_no_fusion_token_is_too_few(layout):
    with pytest.raises(UserError, match="at least 1"):
        FrameFusion(layout, WIDTH, HEADS, 4, 0)
