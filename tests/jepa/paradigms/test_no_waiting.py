"""A training step never waits for the device: it asks it for nothing, and goes on while what it sends is on its way.

`meta` plays the device. It knows shapes alone, so that what needs a number of it (`.item()`, `if`, `nonzero`, a mask as
an index, `.cpu()`) is refused; copies that wait are refused here.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import jepa.heads.training
import jepa.paradigms.pretraining
from jepa.bench.given import drive, frames_of
from jepa.config import preset
from jepa.data.augment import Augmentation, MirrorLine
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.splits import make_split
from jepa.paradigms.objectives import Health
from jepa.training.parallel import Processes

CPU, DEVICE = torch.device("cpu"), torch.device("meta")
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
LOOKUPS = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)
EPOCHS = 2
TINY = ["model.width=16", "model.attention_heads=2", "inputs.frame=east-north", f"epochs={EPOCHS}"]
HEADS = ["heads.width=32", "heads.batch_size=128", f"heads.epochs={EPOCHS}", "inputs.modalities=[gps, rf]"]
PRETRAININGS = {
    "paper": [],
    "paper, frozen camera, fusion tokens": ["model.camera=frozen", "model.fusion_tokens=2"],
    "best": [],
    "best, fusion tokens": ["model.fusion_tokens=2", "objective.target_levels=[1, 4]"],
    "best, variance of what is predicted": ["objective.variance_on=predicted"],
    "best, fusion tokens, variance of what is predicted": [
        "model.fusion_tokens=2",
        "objective.target_levels=[1, 4]",
        "objective.variance_on=predicted",
    ],
    "best, augmented": ["augment.mirror=0.5", "augment.reverse=0.5", "augment.slowest=0.5"],
    "best, SIGReg": ["objective.sigreg_weight=0.02"],
    "small, no target branch": [
        "objective.sigreg_weight=0.02",
        "objective.target=online",
        "objective.sigreg_on=both",
    ],
    "small, noise on maps": ["inputs.modalities=[radar, lidar, gps, rf]", "objective.input_noise={radar: 0.1}"],
    "small, modalities drop out": ["mask.modality_dropout=0.5", "mask.kinds={random: 1, checkerboard: 1}"],
}
HEAD_TRAININGS = {
    "paper": [],
    "best": [],
    "best, linear paths": ["heads.coarse_beam=shifted", "heads.linear=true", "heads.readout=attentive"],
    "best, backbone along": ["heads.backbone_learning_rate=1e-4"],
}
WAITS = {
    "a number": lambda loss: loss.item(),
    "a condition": lambda loss: loss if loss > 0 else -loss,
    "a copy back": lambda loss: loss.cpu(),
    "places": lambda loss: loss[None].nonzero(),
    "a mask as an index": lambda loss: loss[None][loss[None] > 0],
    "a copy to the device": lambda loss: torch.ones(2).to(loss.device),
    "a copy into what lies there": lambda loss: loss.new_empty(2).copy_(torch.ones(2)),
    "an index from the CPU": lambda loss: loss[None][torch.zeros(1, dtype=torch.int64)],
}


class NoWaiting(TorchDispatchMode):
    """Refuses what the CPU sends to the device and waits for."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = operation(*args, **kwargs)
        sent = []
        if operation in COPIES and not (kwargs.get("non_blocking") or True in args[2:]):
            sent = [args[COPIES.index(operation)]]
        elif operation in LOOKUPS:
            sent = [index for index in args[1] if index is not None]
        if any(values.device == CPU != found.device for values in sent):
            raise RuntimeError(f"{operation} to meta waits")
        return found


@pytest.fixture
def read(monkeypatch):
    """What is read of the device: sums, once an epoch. Before the first step and between epochs reading is allowed."""
    torch.set_num_threads(1)
    found, fit, adamw = [], jepa.paradigms.pretraining.fit, torch.optim.AdamW

    def watched(*args, **kwargs):
        with NoWaiting():
            fit(*args, **kwargs)

    for module in (jepa.paradigms.pretraining, jepa.heads.training):
        monkeypatch.setattr(module, "fit", watched)
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: adamw(groups, lr))  # fused, it refuses `meta`
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # so does this
    monkeypatch.setattr(Processes, "means", lambda _, sums: found.append(sums) or dict.fromkeys(sums, 0.0))
    monkeypatch.setattr(jepa.paradigms.pretraining, "health_of", lambda *_: Health(1.0, {}, {}))
    monkeypatch.setattr(jepa.heads.training, "fit_estimate", lambda *_: None)
    return found


def pretrained(case, pictures=DEVICE):
    config = preset(case.partition(",")[0], [*TINY, "inputs.image_size=32", *PRETRAININGS[case]])
    windows = WindowInputs(frames_of(config.inputs.modalities, 16, 32, pictures), drive(4), DEVICE)
    lines = MirrorLine(torch.zeros(4, 1, 2), torch.ones(4, 1, 2))
    augmentation = Augmentation(config.augment, lines) if config.augment.used else None
    jepa.paradigms.pretraining.pretrain(windows, config, device=DEVICE, label="", augmentation=augmentation)


@pytest.mark.parametrize(("case", "pictures"), [*((case, DEVICE) for case in PRETRAININGS), ("paper", CPU)], ids=str)
def test_pretraining_reads_numbers_once_an_epoch(case, pictures, read):
    pretrained(case, pictures)
    assert [sums["loss"].device for sums in read] == [DEVICE] * EPOCHS


@pytest.mark.parametrize("case", HEAD_TRAININGS)
def test_training_of_heads_reads_numbers_once_an_epoch(case, read, store):
    config = preset(case.partition(",")[0], [*TINY, *HEADS, *HEAD_TRAININGS[case]])
    train = make_split(store).parts["train"]
    normalisers = Normalisers.fit(store, train, config.inputs)
    model = jepa.paradigms.pretraining.new_model(config, DEVICE)
    jepa.heads.training.train_heads(model, store, train, train, normalisers, config, label="")
    assert [sums["loss"].device for sums in read] == [DEVICE] * EPOCHS


@pytest.mark.parametrize("waits", WAITS)
def test_a_step_that_waits_is_found_out(waits, read, monkeypatch):
    loss = jepa.paradigms.pretraining.pretraining_loss

    def waiting(*args):
        value, parts = loss(*args)
        WAITS[waits](value)
        return value, parts

    monkeypatch.setattr(jepa.paradigms.pretraining, "pretraining_loss", waiting)
    with pytest.raises(RuntimeError, match="meta"):
        pretrained("best")
