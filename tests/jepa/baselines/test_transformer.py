"""The paper's Transformers: their sizes, what a decoder may see, and that they learn to go on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from jepa.baselines.transformer import PLAN, BeamTransformer, SeriesTransformer, Transformer, sinusoidal_positions
from jepa.data.samples import History, Samples


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def samples_of(position_m, beams):
    """Samples of drives whose best beam stands out by 10 dB."""
    power = 1 + 9 * nn.functional.one_hot(beams, 64).float()
    history = History({"gps": position_m[:, :8], "rf": power[:, :8]})
    return Samples(history, power[:, 8:], position_m[:, 8:], beams[:, 8:], torch.zeros(len(beams), dtype=torch.long))


def test_sizes_are_the_papers():
    """12 d^2 + 13 d an encoder layer, 16 d^2 + 19 d a decoder layer, a hidden width of 4 d, and what is around them."""
    d = 64
    layers = 2 * (12 * d**2 + 13 * d) + 2 * (16 * d**2 + 19 * d) + 2 * 2 * d
    assert parameters(SeriesTransformer(2)) == layers + 2 * 3 * d + (2 * d + 2) == 234_242
    assert parameters(SeriesTransformer(1)) == layers + 2 * 2 * d + (d + 1) == 234_049
    assert parameters(BeamTransformer()) == layers + 65 * d + (64 * d + 64) == 242_048
    embeddings = [part for part in BeamTransformer().modules() if isinstance(part, nn.Embedding)]
    assert [embedding.num_embeddings for embedding in embeddings] == [65]


def test_positions_are_waves_of_a_geometric_series():
    found = sinusoidal_positions(8, 64)
    assert found.shape == (8, 64)
    for t, channel in ((0, 0), (3, 0), (7, 10), (5, 62)):
        angle = t / 10_000 ** (channel / 64)
        np.testing.assert_allclose(found[t, channel : channel + 2], [math.sin(angle), math.cos(angle)], atol=1e-6)


def test_layers_do_not_start_as_copies():
    core = SeriesTransformer(2).core
    for stack in (core.encoder, core.decoder):
        first, second = (layer.linear1.weight for layer in stack.layers)
        assert not torch.equal(first, second)


def series():
    torch.manual_seed(0)
    return SeriesTransformer(2).eval(), torch.randn(3, 7, 2), torch.randn(3, 5, 2)


def beams():
    torch.manual_seed(0)
    return BeamTransformer().eval(), torch.randint(64, (3, 8)), torch.randint(64, (3, 5))


@pytest.mark.parametrize("make", [series, beams])
def test_a_step_depends_on_what_was_before_it_alone(make):
    model, history, future = make()
    before = model(history, future)
    for step in range(5):
        changed = future.clone()
        changed[:, step] = (changed[:, step] + 1) % 64
        after = model(history, changed)
        torch.testing.assert_close(after[:, : step + 1], before[:, : step + 1])
        for later in range(step + 1, 5):
            assert not torch.allclose(after[:, later], before[:, later])


@pytest.mark.parametrize("make", [series, beams])
def test_predicting_is_being_shown_what_was_predicted(make):
    model, history, _ = make()
    rolled = model(history)
    own = rolled.argmax(-1) if make is beams else rolled
    torch.testing.assert_close(model(history, own), rolled)


@pytest.mark.parametrize("make", [series, beams])
def test_the_order_of_the_history_matters(make):
    model, history, _ = make()
    swapped = history.clone()
    swapped[:, [1, 2]] = history[:, [2, 1]]
    assert not torch.allclose(model(swapped), model(history))


def test_where_nothing_changes_nothing_is_predicted_to_change():
    parked = samples_of(torch.full((8, 13, 2), 7.0, dtype=torch.double), torch.full((8, 13), 20))
    transformer = Transformer(replace(PLAN, epochs=1))
    transformer.fit(parked, parked, 0)
    found = transformer.predict(parked.history)
    np.testing.assert_allclose(found.trajectory_m, 7.0, atol=1e-3)
    np.testing.assert_allclose(found.spectrum_db, 10 * math.log10(73 / 64), atol=1e-3)
