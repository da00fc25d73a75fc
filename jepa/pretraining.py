"""Pretraining: the model, its loss over masked windows, the EMA, and the watch for collapse, in the one loop."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa.checkpoint import load_checkpoint
from jepa.config import PretrainConfig
from jepa.heads import READOUT_HEADS
from jepa.inputs import WindowInputs, relative
from jepa.masking import draw_mask
from jepa.model import JepaModel
from jepa.objectives import collapse_name, ema_momentum, health_of, pretraining_loss
from jepa.training import Plan, fit
from jepa.windows import T_OBS
from twin.errors import UserError

__all__ = ["check_config", "load_backbone", "new_model", "pretrain"]

PROBE_WINDOWS = 512
"""Windows on which rank and variance are measured after every epoch."""


def new_model(config: PretrainConfig, device: torch.device | str = "cpu") -> JepaModel:
    """A model with random weights drawn from the seed."""
    torch.manual_seed(config.seed)
    return JepaModel(config.inputs.modalities, config.model).to(device)


def check_config(config: PretrainConfig) -> None:
    """Refuse a configuration that no model can be made of, before anything is written.

    Raises:
        UserError: what is wrong.
    """
    layout = new_model(config).layout
    for where, noise in (
        ("objective.input_noise", config.objective.input_noise),
        ("heads.input_noise", config.heads.input_noise),
    ):
        unknown = set(noise) - set(layout.modalities)
        if unknown:
            raise UserError(f"no modality {sorted(unknown)[0]!r}", where, f"choose from {', '.join(layout.modalities)}")
    if config.heads.position_offset and config.inputs.position != "last":
        raise UserError(
            "shifts positions that the backbone has seen unshifted",
            "heads.position_offset",
            "set inputs.position=last as well, or leave it at 0",
        )
    if config.heads.readout == "attentive" and config.model.width % READOUT_HEADS:
        raise UserError(
            f"has {READOUT_HEADS} attention heads, which do not divide a width of {config.model.width}",
            "heads.readout: attentive",
            "choose another readout or model.width",
        )
    draw_mask(layout, 1, config.mask.kinds, config.mask.ratio, torch.Generator())


def pretrain(
    windows: WindowInputs,
    config: PretrainConfig,
    *,
    probe: WindowInputs | None = None,
    run: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    label: str = "pretraining",
) -> JepaModel:
    """Train a backbone on windows.

    Args:
        probe: windows for the watch on rank and variance; the training windows where there are none.
        run: directory of checkpoints and log.
    """
    model = new_model(config, device)
    objective, layout = config.objective, model.layout
    watched = probe if probe is not None and len(probe) else windows
    chosen = torch.linspace(0, max(0, len(watched) - 1), min(PROBE_WINDOWS, len(watched))).long()
    history: list[dict[str, Any]] = []
    sums = {"loss": 0.0, "steps": 0}
    accelerated = torch.device(device).type == "cuda"

    def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        inputs = relative(windows.whole(rows), config.inputs)
        hidden = draw_mask(layout, len(rows), config.mask.kinds, config.mask.ratio, generator)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=accelerated):
            value, parts = pretraining_loss(model, inputs, hidden, objective, generator)
        sums["loss"] += parts.get("prediction", value.item())
        sums["steps"] += 1
        return value, parts

    def after_step(step: int, steps: int) -> None:
        if objective.target == "ema":
            model.update_target(ema_momentum(objective, step, steps))

    def at_epoch_end(epoch: int) -> dict[str, float | str]:
        health = health_of(model, relative(watched.whole(chosen), config.inputs), objective, T_OBS)
        mean_loss = sums["loss"] / max(1, sums["steps"])
        before = history[-1] if history else _last_record(run, epoch)
        collapse = collapse_name(mean_loss, health, before)
        sums.update(loss=0.0, steps=0)
        record: dict[str, float | str] = {**health.values()}
        history.append({"loss": mean_loss, **record})
        if collapse:
            record["collapse"] = collapse
            print(f"collapse after epoch {epoch + 1}: {collapse}", file=sys.stderr)
        return record

    plan = Plan(
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        warmup_share=config.warmup_share,
        clip=config.clip,
        seed=config.seed,
    )
    fit(
        model,
        loss,
        len(windows),
        plan,
        label=label,
        after_step=after_step,
        at_epoch_end=at_epoch_end,
        run=run,
        resume=resume,
    )
    return model


def _last_record(run: Path | None, epoch: int) -> dict[str, Any] | None:
    """The log's record of the epoch before: a resumed run judges as an uninterrupted one."""
    path = run / "metrics.jsonl" if run else None
    lines = path.read_text().splitlines() if path and path.exists() else []
    return json.loads(lines[-1]) if epoch and lines else None


def load_backbone(
    run: Path, config: PretrainConfig, which: str = "pretrained", device: torch.device | str = "cpu"
) -> JepaModel:
    """The backbone of a run: its latest checkpoint, or with `random` the weights it began with.

    Raises:
        UserError: it has no checkpoint, or one of another model.
    """
    model = new_model(config, device)
    if which != "random":
        tensors, _ = load_checkpoint(run / "checkpoints")
        state = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        try:
            model.load_state_dict(state)
        except RuntimeError:
            raise UserError("its checkpoint is of another model", run, "use the config.yaml it was made with") from None
    return model.eval().requires_grad_(False)
