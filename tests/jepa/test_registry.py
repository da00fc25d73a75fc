"""A further modality joins with one entry in the registry: an image of four tokens a frame goes through everything."""

import pytest
import torch
from torch import nn

from jepa.backbone.model import JepaModel
from jepa.config import HeadConfig, ModelConfig
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.heads.network import Heads
from jepa.tokens.masking import MASKS, future_mask
from jepa.tokens.tokenizers import TOKENIZERS, Layout, Tokenizer

TOKENS = 4


@pytest.fixture
def model(monkeypatch):
    def build(config):
        layers = nn.Linear(48, TOKENS * config.width), nn.Unflatten(1, (TOKENS, config.width))
        return nn.Sequential(nn.Flatten(), *layers)

    monkeypatch.setitem(TOKENIZERS, "radar", Tokenizer(build, tokens=TOKENS, shape=(6, 8)))
    torch.manual_seed(0)
    config = ModelConfig(width=32, encoder_layers=1, predictor_layers=1, attention_heads=4)
    return JepaModel(("gps", "rf", "radar"), config)


@pytest.fixture
def history():
    generator = torch.Generator().manual_seed(1)
    shapes = {"gps": (2,), "rf": (64,), "radar": (6, 8)}
    return {name: torch.randn(3, T_OBS, *shape, generator=generator) for name, shape in shapes.items()}


def test_its_tokens_have_their_places(model):
    layout = model.layout
    assert layout == Layout(("radar", "gps", "rf"))
    assert layout.tokens == T_WINDOW * (TOKENS + 2)
    frame, modality, index = layout.rows()
    assert modality[: T_WINDOW * TOKENS].unique().tolist() == [1]
    assert index[:8].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert frame[:8].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", sorted(MASKS))
def test_every_mask_hides_equally_many_of_its_tokens(model, kind):
    hidden = MASKS[kind](model.layout, 16, 0.5, torch.Generator().manual_seed(3))
    assert len(torch.unique(hidden.sum(1))) == 1
    block = hidden[:, : T_WINDOW * TOKENS].unflatten(1, (T_WINDOW, TOKENS))
    if kind in ("temporal-block", "joint-future"):
        assert torch.equal(block.all(-1), block.any(-1))


@pytest.mark.parametrize("missing", [(), ("radar",), ("rf", "radar")])
@pytest.mark.parametrize("readout", ["target", "pooled", "attentive"])
def test_heads_read_it(model, history, readout, missing):
    heads = Heads(model.layout, 32, HeadConfig(readout=readout, missing=missing, skip=8))
    latents = model.future_latents(history, missing)
    output = heads(latents, history)
    assert output.logits.shape == (3, T_PRED, 64)
    assert latents.predicted["radar"].shape == (3, T_PRED, 32)
    seen = int((~future_mask(model.layout, missing)).sum())
    assert latents.context.shape == (3, seen, 32)
    changed = heads(model.future_latents({**history, "radar": history["radar"] + 1}, missing), history)
    assert torch.equal(changed.logits, output.logits) == ("radar" in missing)
