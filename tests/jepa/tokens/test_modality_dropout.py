"""Modality dropout: how often each is hidden, never all, and what it does to a mask."""

import itertools

import pytest
import torch
from torch import nn

from jepa.backbone.model import JepaModel
from jepa.config import ModelConfig
from jepa.tokens.masking import MASKS
from jepa.tokens.modality_dropout import drop_modalities, dropped_tokens
from jepa.tokens.tokenizers import TOKENIZERS, Layout, Tokenizer
from twin.errors import UserError

ALL = ("camera", "radar", "lidar", "gps", "rf")


def drawn(modalities, share, count):
    generator = torch.Generator().manual_seed(4)
    return torch.stack([drop_modalities(modalities, 2, share, generator)[0] for _ in range(count)])


@pytest.mark.parametrize(("modalities", "share"), [(ALL, 0.3), (ALL[:3], 0.8), (ALL[3:], 0.5), (ALL[:2], 1.0)])
def test_each_modality_is_hidden_as_often_as_the_share_says_and_never_are_all(modalities, share):
    """Against all outcomes of independent draws, where a draw of all spares each one equally often."""
    count = len(modalities)
    expected = torch.zeros(count)
    for outcome in itertools.product((0, 1), repeat=count):
        chance = share ** sum(outcome) * (1 - share) ** (count - sum(outcome))
        kept = torch.tensor(outcome) * ((count - 1) / count if all(outcome) else 1)
        expected += chance * kept
    found = drawn(modalities, share, 3000)
    assert not bool(found.all(1).any())
    torch.testing.assert_close(found.float().mean(0), expected, atol=0.03, rtol=0)
    assert float(expected[0]) == pytest.approx(share - share**count / count)


def test_modalities_are_hidden_independently_of_each_other():
    found = drawn(ALL, 0.2, 4000).float()
    assert torch.corrcoef(found.T).fill_diagonal_(0).abs().max() < 0.06


def test_all_windows_of_a_batch_hide_the_same_modalities():
    found = drop_modalities(ALL, 32, 0.5, torch.Generator().manual_seed(0))
    assert found.shape == (32, 5)
    assert len(torch.unique(found, dim=0)) == 1


def test_nothing_is_hidden_without_a_share_nor_where_there_is_one_modality():
    assert not drawn(ALL, 0.0, 50).any()
    assert not drawn(("rf",), 1.0, 50).any()


def test_a_share_that_is_none_is_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="no share"):
            drop_modalities(ALL, 1, share, torch.Generator())


@pytest.fixture
def layout(monkeypatch):
    """Radar with three tokens a frame beside position and power."""
    made = Tokenizer(lambda _: nn.Sequential(nn.Linear(6, 48), nn.Unflatten(1, (3, 16))), 3, (6,))
    monkeypatch.setitem(TOKENIZERS, "radar", made)
    return Layout.of(("radar", "gps", "rf"))


def test_the_tokens_of_a_hidden_modality_are_its_own_in_all_frames(layout):
    dropped = torch.tensor([[True, False, False], [False, False, True]])
    hidden = dropped_tokens(layout, dropped)
    assert hidden.sum(1).tolist() == [39, 13]
    assert torch.equal(hidden[0], layout.rows()[1] == 1)
    assert torch.equal(hidden[1], layout.rows()[1] == 4)


@pytest.mark.parametrize("kind", sorted(set(MASKS) - {"joint-future-missing"}))
def test_with_a_mask_windows_still_hide_equally_many_tokens_and_show_some(layout, kind):
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        dropped = dropped_tokens(layout, drop_modalities(layout.modalities, 16, 0.9, generator))
        hidden = dropped | MASKS[kind](layout, 16, 0.5, generator)
        assert len(torch.unique(hidden.sum(1))) == 1
        assert int(hidden[0].sum()) < layout.tokens


def test_the_encoder_knows_nothing_of_a_hidden_modality(layout):
    torch.manual_seed(0)
    model = JepaModel(layout.modalities, ModelConfig(width=16, encoder_layers=1, predictor_layers=1, attention_heads=2))
    inputs = {"radar": torch.randn(2, 13, 6), "gps": torch.randn(2, 13, 2), "rf": torch.randn(2, 13, 64)}
    hidden = dropped_tokens(layout, torch.tensor([[True, False, False]]).expand(2, -1))
    context, _ = model.encode(inputs, hidden)
    other, _ = model.encode({**inputs, "radar": torch.randn(2, 13, 6)}, hidden)
    assert torch.equal(context, other)
