"""Windows share frames: what is computed once a frame is what would be computed window by window."""

import pytest
import torch

from jepa.backbone.model import JepaModel
from jepa.config import ModelConfig, ObjectiveConfig
from jepa.data.sharing import WindowValues, share
from jepa.data.windows import T_OBS, T_WINDOW
from jepa.paradigms.objectives import pretraining_loss
from jepa.tokens.masking import MASKS

TINY = ModelConfig(width=16, encoder_layers=1, predictor_layers=1, attention_heads=2, batch_norm="frozen")
STARTS = (3, 4, 5, 6, 20)
"""Four neighbours and one window for itself."""


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(0)
    shapes = {"radar": (16, 32), "lidar": (16, 32), "gps": (2,), "rf": (64,)}
    return {name: torch.randn(40, *shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def index():
    return torch.tensor(STARTS)[:, None] + torch.arange(T_WINDOW)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return JepaModel(("radar", "lidar", "gps", "rf"), TINY)


def test_neighbours_hold_their_frames_once(frames, index):
    shared = share(frames["radar"], index)
    assert len(shared.values) == T_WINDOW + 3 + T_WINDOW == 29
    assert torch.equal(shared.gathered(), frames["radar"][index])
    assert shared.shape == (5, T_WINDOW, 16, 32)


def test_of_hidden_frames_only_those_stay_that_some_window_sees(frames, index):
    visible = torch.zeros(5, T_WINDOW, dtype=torch.bool)
    visible[0, 0] = visible[1, 0] = visible[2, 5] = True
    kept = share(frames["gps"], index).seen(visible)
    assert len(kept.values) == 3
    assert torch.equal(kept.gathered()[visible], frames["gps"][index][visible])


def test_values_of_windows_are_gathered_when_they_are_asked_for(frames, index):
    values = WindowValues(frames, index[:, :T_OBS])
    assert list(values) == list(frames)
    assert torch.equal(values.select(torch.tensor([4]))["rf"], frames["rf"][20 : 20 + T_OBS][None])
    assert len(values.select(torch.tensor([0, 1])).shared("rf").values) == T_OBS + 1


def test_to_ask_whether_a_modality_is_there_gathers_nothing(index):
    class Untouchable:
        def __getitem__(self, rows):
            raise AssertionError("gathered")

    values = WindowValues({"camera": Untouchable()}, index)
    assert "camera" in values
    assert "radar" not in values


def test_the_last_frame_alone_is_gathered(frames, index):
    values = WindowValues(frames, index)
    assert torch.equal(values.last("rf"), values["rf"][:, -1])
    own = WindowValues(frames, index, {"rf": values["rf"] * 2})
    assert torch.equal(own.last("rf"), 2 * values["rf"][:, -1])


@pytest.mark.parametrize("kind", ["temporal-block", "random", "joint-future"])
def test_loss_and_gradients_are_those_of_windows_that_share_nothing(model, frames, index, kind):
    shared = {
        name: share(values, index) if name in ("radar", "lidar") else values[index] for name, values in frames.items()
    }
    alone = {name: values[index] for name, values in frames.items()}
    hidden = MASKS[kind](model.layout, len(index), 0.5, torch.Generator().manual_seed(1))
    found = []
    for inputs in (shared, alone):
        model.zero_grad()
        loss, parts = pretraining_loss(model, inputs, hidden, ObjectiveConfig(), torch.Generator())
        loss.backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        found.append((loss.detach(), parts, gradients))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    torch.testing.assert_close(found[0][2], found[1][2], atol=1e-6, rtol=1e-4)


def test_a_frame_that_no_window_sees_is_not_tokenized(model, frames, index):
    seen = []
    model.context.embedding.tokenizers["radar"].register_forward_hook(
        lambda _, inputs, out: seen.append(len(inputs[0]))
    )
    hidden = MASKS["joint-future"](model.layout, len(index), 0.5, torch.Generator())
    model.encode({name: share(values, index) for name, values in frames.items()}, hidden)
    assert seen == [(T_OBS + 3) + T_OBS], "the last five frames of every window are hidden"


def test_values_of_their_own_leave_the_other_modalities_shared(frames, index):
    own = torch.ones(len(index), T_WINDOW, 64)
    values = WindowValues(frames, index, {"rf": own}).select(torch.tensor([1, 3]))
    assert torch.equal(values["rf"], own[:2])
    assert torch.equal(values["gps"], frames["gps"][index[[1, 3]]])
    assert len(values.shared("radar").values) == T_WINDOW + 2
