"""Operations are those of the formulas, the paper's digits come out in its way of counting, the clock is fair."""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from jepa import complexity
from jepa.backbone.model import Transformer, parameter_count
from jepa.complexity import (
    PAPER,
    WARM_UP,
    count_flops,
    latency_ms,
    profiled_flops,
    rounds_to,
    transformer_flops,
)
from jepa.heads.network import BeamHead, LocalizationHead, RssiHead
from twin.errors import UserError

WIDTHS = (64, 128, 256, 512)
FUTURE, HISTORY = 5, 8


class MapTokenizer(nn.Module):
    """Radar's and LiDAR's, as recovered from the paper's counts."""

    def __init__(self, width=128):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.project = nn.Sequential(nn.Linear(64, width), nn.LayerNorm(width))

    def forward(self, maps):
        return self.project(self.features(maps).flatten(2).mT)


class CameraTokenizer(nn.Module):
    """EfficientNet-B0, 3 x 3 tokens."""

    def __init__(self, width=128):
        super().__init__()
        transformers = pytest.importorskip("transformers")
        config = transformers.EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
        self.features = transformers.EfficientNetModel(config)
        self.pool = nn.AdaptiveAvgPool2d(3)
        self.project = nn.Linear(1280, width)

    def forward(self, images):
        return self.project(self.pool(self.features(images).last_hidden_state).flatten(2).mT)


class Seq2Seq(nn.Module):
    """The GRU baseline: encoder over the history, decoder step by step."""

    def __init__(self, inputs, hidden, outputs, embedded=0):
        super().__init__()
        self.embedding = nn.Embedding(embedded, inputs) if embedded else nn.Identity()
        self.encoder = nn.GRU(inputs, hidden, batch_first=True)
        self.decoder = nn.GRU(inputs, hidden, batch_first=True)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, history):
        seen = self.embedding(history)
        state, last = self.encoder(seen)[1], seen[:, -1:]
        for _ in range(FUTURE):
            found, state = self.decoder(last, state)
            self.out(found)


class Decoding(nn.Module):
    """The Transformer baseline: each step runs the decoder over all steps so far."""

    def __init__(self, inputs, outputs, width=64):
        super().__init__()
        self.read, self.reread = nn.Linear(inputs, width), nn.Linear(inputs, width)
        layer = {"dim_feedforward": 256, "batch_first": True}
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 8, **layer), 2, nn.LayerNorm(width))
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, 8, **layer), 2, nn.LayerNorm(width))
        self.out = nn.Linear(width, outputs)

    def forward(self, history):
        memory = self.encoder(self.read(history))
        for steps in range(1, FUTURE + 1):
            self.out(self.decoder(self.reread(history[:, -steps:]), memory)[:, -1])


def flops_of(module, *inputs):
    """2 x MAC of the products alone."""
    return count_flops(module, *inputs).products


def backbone_flops(width, tokens=43, layers=4):
    """One prediction: an encoder on the tokens of 8 frames, a predictor on those of 13."""
    return transformer_flops(width, 8 * tokens, layers) + transformer_flops(width, 13 * tokens, layers)


def vector_tokenizer(channels, width=128):
    return nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))


def test_tokenizers_cost_what_the_paper_prints():
    """2 x MAC, and 8 an element of a norm: GPS 2 x 2 x 128 + 8 x 128, RF 2 x 64 x 128 + 8 x 128."""
    assert profiled_flops(vector_tokenizer(2), torch.zeros(1, 2)) == 1536
    assert profiled_flops(vector_tokenizer(64), torch.zeros(1, 64)) == 17408
    maps = profiled_flops(MapTokenizer(), torch.zeros(1, 1, 64, 256))
    features = 32 * 128 * 64
    by_hand = features * 9 + 4 * features + (8 * 32 + 1) * 16 * 64 + 16 * 64 * 128 + 4 * 16 * 128
    assert maps == 2 * by_hand
    assert rounds_to(maps, PAPER["tokenizer/radar"].flops)
    camera = CameraTokenizer()
    assert parameter_count(camera) == 4_171_516
    assert rounds_to(profiled_flops(camera, torch.zeros(1, 3, 224, 224)), "0.831 G")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_backbone_printed_is_that_of_one_frame_and_the_true_one_is_larger(width):
    assert rounds_to(transformer_flops(width, 43, 8), PAPER[f"backbone/{width}"].flops)
    true = {64: "0.80 G", 128: "2.30 G", 256: "7.45 G", 512: "26.25 G"}
    assert rounds_to(backbone_flops(width), true[width])


def test_the_formula_of_the_backbone_is_what_its_layers_compute():
    encoder, predictor = (Transformer(2, 16, 2, 4) for _ in range(2))
    counted = flops_of(encoder, torch.zeros(1, 8 * 43, 16)) + flops_of(predictor, torch.zeros(1, 13 * 43, 16))
    assert counted == backbone_flops(16, layers=2)
    assert flops_of(encoder, torch.zeros(3, 10, 16)) == 3 * transformer_flops(16, 10, 2)


@pytest.mark.parametrize("width", WIDTHS)
def test_heads_cost_what_the_paper_prints(width):
    """Five steps; its coarse network is asked once, and only by the localization head."""
    latent, trajectory = torch.zeros(1, FUTURE, width), torch.zeros(1, FUTURE, 2)
    localization = LocalizationHead(width)
    once = profiled_flops(localization.coarse, latent[:, 0])
    steps = profiled_flops(localization, latent, trajectory)
    assert rounds_to(steps + once, PAPER[f"localization/jepa-{width}"].flops)
    beam = profiled_flops(BeamHead(width), latent, trajectory, None)
    assert rounds_to(beam, PAPER[f"beam/jepa-{width}"].flops)
    rssi = profiled_flops(RssiHead(width), latent, trajectory, torch.zeros(1, FUTURE, 64))
    assert rounds_to(rssi, PAPER[f"rssi/jepa-{width}"].flops)


@pytest.mark.parametrize(
    ("name", "build", "history"),
    [
        ("localization/gru", lambda: Seq2Seq(2, 64, 2), torch.zeros(1, HISTORY, 2)),
        ("rssi/gru", lambda: Seq2Seq(1, 64, 1), torch.zeros(1, HISTORY, 1)),
        ("beam/gru", lambda: Seq2Seq(32, 128, 64, 65), torch.zeros(1, HISTORY, dtype=torch.long)),
        ("localization/transformer", lambda: Decoding(2, 2), torch.zeros(1, HISTORY, 2)),
        ("rssi/transformer", lambda: Decoding(1, 1), torch.zeros(1, HISTORY, 1)),
    ],
)
def test_baselines_cost_what_the_paper_prints(name, build, history):
    module = build()
    assert rounds_to(parameter_count(module), PAPER[name].parameters)
    assert rounds_to(profiled_flops(module, history), PAPER[name].flops)


def test_the_linear_beam_baseline_costs_its_last_layer_alone():
    out = nn.Linear(32, 64)
    assert FUTURE * profiled_flops(out, torch.zeros(1, 32)) == 20_480
    assert rounds_to(20_480, PAPER["beam/ar"].flops)


def test_products_are_two_for_each_multiply_accumulate():
    assert flops_of(nn.Linear(7, 5), torch.zeros(3, 7)) == 2 * 3 * 7 * 5
    convolution = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    assert flops_of(convolution, torch.zeros(2, 4, 8, 8)) == 2 * 2 * 6 * 8 * 8 * 2 * 9
    steps, width, hidden = 5, 8, 16
    assert flops_of(nn.GRU(width, hidden), torch.zeros(steps, 1, width)) == 2 * steps * 3 * hidden * (width + hidden)


def test_what_fused_kernels_hide_is_counted():
    """An encoder layer on the fast path, and attention on a CPU: nothing of either is seen by the plain counter."""
    width, tokens, heads = 16, 6, 4
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True).eval()
    assert flops_of(layer, torch.zeros(1, tokens, width)) == transformer_flops(width, tokens, 1)
    assert torch.backends.mha.get_fastpath_enabled()
    attention = nn.MultiheadAttention(width, heads, batch_first=True)
    read, seen = torch.zeros(1, 3, width), torch.zeros(1, tokens, width)
    projections, products = 2 * (3 + tokens) * width**2, 2 * 3 * tokens * width
    assert flops_of(attention, read, seen, seen) == 2 * (projections + products)
    with pytest.raises(UserError, match="LSTM"):
        flops_of(nn.LSTM(3, 4), torch.zeros(2, 1, 3))


@pytest.mark.parametrize(
    ("module", "shape", "others"),
    [
        (nn.LayerNorm(10), (3, 10), 7 * 30),
        (nn.LayerNorm(10, elementwise_affine=False), (3, 10), 5 * 30),
        (nn.BatchNorm2d(4), (2, 4, 3, 3), 4 * 72),
        (nn.GELU(), (6,), 5 * 6),
        (nn.Softmax(-1), (2, 9), 5 * 18),
        (nn.AdaptiveAvgPool2d(4), (1, 2, 8, 16), 2 * 8 * 16 + 2 * 16),
        (nn.AdaptiveAvgPool2d(3), (1, 1, 7, 7), (3 + 3 + 3) ** 2 + 9),  # rows 0-2, 2-4, 4-6
        (nn.GRU(8, 16), (5, 1, 8), 5 * 16 * 16),  # two sigmoid gates of 5, the candidate 3, the mean of old and new 3
        (nn.Embedding(9, 4), (3,), 0),
    ],
)
def test_what_is_no_product_is_counted_by_element(module, shape, others):
    inputs = torch.zeros(shape, dtype=torch.long if isinstance(module, nn.Embedding) else torch.float32)
    assert count_flops(module, inputs).others == others


def test_counting_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    module[1].eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    count_flops(module, torch.ones(4, 3))
    profiled_flops(module, torch.ones(4, 3))
    latency_ms(module, torch.ones(4, 3), repeats=2)
    assert [part.training for part in module] == [True, False]
    assert all(torch.equal(before[name], values) for name, values in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


def test_a_layer_counts_as_often_as_it_is_called():
    layer = nn.Linear(3, 3)
    twice = nn.Sequential(layer, layer)
    assert profiled_flops(twice, torch.zeros(1, 3)) == 2 * profiled_flops(layer, torch.zeros(1, 3))


def test_latency_is_the_median_after_a_warm_up_and_outliers_are_the_spread(monkeypatch):
    """A clock that goes by what each call takes: the warm-up 100 s, then 1, 2, ... 11 ms in any order."""
    now = 0.0
    spent = iter([100.0] * WARM_UP + [t / 1e3 for t in (7, 1, 11, 3, 5, 2, 9, 4, 10, 6, 8)])

    def call(value):
        nonlocal now
        now += next(spent)
        assert torch.is_inference_mode_enabled()
        return value

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    found = latency_ms(call, torch.zeros(1), repeats=11)
    assert (found.median_ms, found.low_ms, found.high_ms) == pytest.approx((6, 2, 10))
    assert str(found) == "6 [2, 10]"
    assert next(spent, None) is None
    with pytest.raises(UserError, match="0 repeats"):
        latency_ms(call, repeats=0)


def test_on_a_gpu_the_clock_waits_before_and_after_each_call(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    monkeypatch.setattr(time, "perf_counter", lambda: events.append("clock") or 0.0)
    latency_ms(lambda: events.append("call"), device="cuda", repeats=2)
    assert events[WARM_UP:] == ["wait", "clock", "call", "wait", "clock"] * 2


def test_the_table_of_the_paper_grows_with_the_width():
    for task in ("backbone/", "localization/jepa-", "beam/jepa-", "rssi/jepa-"):
        rows = [PAPER[f"{task}{width}"] for width in WIDTHS]
        values = [float(row.flops[:-2]) * complexity.UNITS[row.flops[-1]] for row in rows]
        assert all(small < large for small, large in pairwise(values))
    assert np.isclose(sum(row.latency_ms for key, row in PAPER.items() if key.startswith("tokenizer/")), 0.96)


def test_rounding_is_to_the_printed_digit():
    assert rounds_to(0.1449e9, "0.14 G")
    assert not rounds_to(0.1451e9, "0.14 G")
    assert rounds_to(640, "640")
    assert not rounds_to(641, "640")
