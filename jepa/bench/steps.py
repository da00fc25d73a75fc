"""A training step of this project beside one of the plain model: same weights, batches, masks and frames in memory."""

from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from jepa.backbone.model import JepaModel
from jepa.bench.given import drive, frames_of, seconds
from jepa.bench.plain import PlainJepa, PlainTraining
from jepa.bench.sizes import Sizes
from jepa.config import PretrainConfig, preset
from jepa.data.inputs import WindowInputs
from jepa.data.windows import T_WINDOW
from jepa.paradigms.objectives import ema_momentum, pretraining_loss
from jepa.paradigms.pretraining import new_model
from jepa.tokens.camera import CameraTokenizer, pooled_features
from jepa.tokens.masking import draw_mask
from jepa.training.batches import adjacent_batches
from jepa.training.loop import Plan, fit

__all__ = ["compared_steps"]

GROUPS = 4
"""Times the frames of a batch that are in memory."""


def compared_steps(camera: str, sizes: Sizes, device: torch.device, compiled: bool) -> dict[str, Any]:
    """Times of a training step on both sides [ms], medians of repeats in turns, and their ratio.

    Ours finds its frames where training has them, powers and positions on the CPU; the plain side has all of them on
    the device.

    Args:
        camera: `trained`; or `frozen`, in which case this project keeps its features, as in training.
    """
    pixels = sizes.cached_pixels if camera == "frozen" else sizes.trained_pixels
    settings = [f"model.camera={camera}", f"model.width={sizes.width}", f"batch_size={sizes.batch}"]
    config = preset("paper", [*settings, f"inputs.image_size={pixels}"])
    model = new_model(config, device)
    count = GROUPS * sizes.batch * sizes.steps
    frames = frames_of(model.layout.modalities, count + T_WINDOW - 1, pixels, device)
    at_hand = {name: values.to(device) for name, values in frames.items()}
    plain = PlainTraining(PlainJepa(model, config.model), at_hand, _plan(config, 0))
    kept = dict(frames)
    if camera == "frozen":
        tokenizer = model.context.embedding.tokenizers["camera"]
        assert isinstance(tokenizer, CameraTokenizer)
        kept["camera"] = torch.cat(list(pooled_features(tokenizer, frames["camera"])))
    windows = WindowInputs(kept, drive(count), device)
    if compiled:
        model.compile_transformers()
    times: dict[str, list[float]] = {"project": [], "plain": []}
    for repeat in range(sizes.repeats + 1):
        drawn = adjacent_batches(windows.index, sizes.batch, config.group, repeat, 0)[: sizes.steps]
        took = {
            "project": seconds(partial(_steps, model, windows, config, drawn, repeat), device),
            "plain": seconds(partial(_plain_steps, plain, windows, model, config, drawn, repeat), device),
        }
        if repeat:  # the first one allocates, and compiles
            for side, value in took.items():
                times[side].append(value / sizes.steps)
    ours, theirs = median(times["project"]), median(times["plain"])
    name = "cached" if camera == "frozen" else "trained"
    return {
        f"train_step_ratio_{name}": theirs / ours,
        f"train_step_ms_{name}": 1e3 * ours,
        f"plain_step_ms_{name}": 1e3 * theirs,
        f"train_step_pixels_{name}": pixels,
        "train_step_batch": sizes.batch,
        "train_step_width": sizes.width,
    }


def _hidden(
    model: JepaModel, config: PretrainConfig, batch: int, repeat: int, step: int
) -> Bool[Tensor, "batch token"]:
    """The mask of a step, drawn alike by both sides."""
    state = int(np.random.default_rng([repeat, step]).integers(2**62))
    generator = torch.Generator().manual_seed(state)
    return draw_mask(model.layout, batch, config.mask.kinds, config.mask.ratio, generator)


def _steps(model: JepaModel, windows: WindowInputs, config: PretrainConfig, drawn: list[Tensor], repeat: int) -> None:
    """Steps as in pretraining: one loop, frames that windows share held once, bfloat16 on a GPU."""
    place = windows.device.type

    def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        inputs = windows.whole(rows, model.layout.modalities)
        hidden = _hidden(model, config, len(rows), repeat, step)
        with torch.autocast(place, torch.bfloat16, enabled=place == "cuda"):
            return pretraining_loss(model, inputs, hidden, config.objective, generator)

    def after_step(step: int, steps: int) -> None:
        model.update_target(ema_momentum(config.objective, step, steps))

    fit(model, loss, len(windows), _plan(config, repeat), batches=lambda epoch: drawn, after_step=after_step)


def _plain_steps(
    plain: PlainTraining,
    windows: WindowInputs,
    model: JepaModel,
    config: PretrainConfig,
    drawn: list[Tensor],
    repeat: int,
) -> None:
    for step, rows in enumerate(drawn):
        hidden = _hidden(model, config, len(rows), repeat, step)
        plain.step(windows.index[rows], hidden, config.objective.ema_start)


def _plan(config: PretrainConfig, seed: int) -> Plan:
    return Plan(
        epochs=1,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        clip=config.clip,
        seed=seed,
    )
