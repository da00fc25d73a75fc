"""Pretraining: the model, its loss over masked windows, the EMA, and the watch for collapse, in the one loop.

Latents or raw inputs of hidden frames are predicted, as the paradigm says; `jepa.paradigms.supervised` trains without a
mask.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jepa.backbone.model import JepaModel
from jepa.backbone.without_target import Backbone
from jepa.config import MaskConfig, PretrainConfig
from jepa.data.augment import Augmentation
from jepa.data.inputs import WindowInputs, relative
from jepa.data.windows import T_OBS
from jepa.paradigms.objectives import Health, collapse_name, ema_momentum, health_of, pretraining_loss
from jepa.paradigms.reconstruction import ReconstructionModel, reconstruction_loss
from jepa.paradigms.sigreg import random_directions
from jepa.tokens.camera import say_if_random, weights_follow
from jepa.tokens.masking import draw_mask
from jepa.tokens.modality_dropout import drop_modalities, dropped_tokens
from jepa.tokens.tokenizers import Inputs, Layout
from jepa.training.batches import adjacent_batches
from jepa.training.checkpoint import load_checkpoint
from jepa.training.loop import Plan, fit
from jepa.training.parallel import ALONE, Processes, trained_batch_norms
from twin.errors import UserError

__all__ = [
    "load_backbone",
    "new_model",
    "plan_of",
    "pretrain",
    "probe_inputs",
    "ranks_of",
]

PROBE_WINDOWS = 512
"""Windows on which rank and variance are measured after every epoch, and the scales of what is reconstructed."""


def new_model(config: PretrainConfig, device: torch.device | str = "cpu") -> JepaModel:
    """A model with random weights drawn from the seed."""
    torch.manual_seed(config.seed)
    modalities = config.inputs.modalities
    if config.paradigm == "reconstruction":
        return ReconstructionModel(modalities, config.model, config.inputs.image_size).to(device)
    if config.supervised:
        return Backbone(modalities, config.model).to(device)
    return JepaModel(modalities, config.model, len(config.objective.target_levels)).to(device)


def plan_of(config: PretrainConfig) -> Plan:
    """How long and how fast a backbone is trained: together with its heads for the epochs of both."""
    return Plan(
        epochs=config.epochs + (config.heads.epochs if config.supervised else 0),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        warmup_share=config.warmup_share,
        clip=config.clip,
        seed=config.seed,
    )


def probe_inputs(windows: WindowInputs, config: PretrainConfig) -> dict[str, Any]:
    """The inputs of some of the windows, evenly spaced."""
    chosen = torch.linspace(0, max(0, len(windows) - 1), min(PROBE_WINDOWS, len(windows))).long()
    return relative(windows.whole(chosen, config.inputs.modalities), config.inputs)


def ranks_of(model: JepaModel, probed: Inputs, config: PretrainConfig) -> dict[str, float | str]:
    """Ranks of the context's and the predicted tokens, for the log. Without a target branch none can collapse."""
    health = health_of(model, probed, config.objective.model_copy(update={"target": "online"}), T_OBS)
    return {name: value for name, value in health.values().items() if name.startswith("rankme")}


def pretrain(
    windows: WindowInputs,
    config: PretrainConfig,
    *,
    probe: WindowInputs | None = None,
    run: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    label: str = "pretraining",
    start: JepaModel | None = None,
    augmentation: Augmentation | None = None,
    processes: Processes = ALONE,
    compiled: bool | None = None,
) -> JepaModel:
    """Train a backbone on windows.

    Args:
        start: a backbone to go on from; random weights without.
        augmentation: changes the powers and positions of every batch.
        probe: windows for the watch on rank and variance, of several drives, since those of one differ little; the
            training windows where there are none.
        run: directory of checkpoints and log.
        processes: which share every batch; each returns the same weights.
        compiled: compile a JEPA's transformers; on a GPU unless it says otherwise.

    Raises:
        UserError: a batch does not divide among the processes, or training fails.
    """
    processes.check_batch(min(len(windows), config.batch_size))
    model = new_model(config, device)
    if start is not None:
        model.load_state_dict(start.state_dict())
    objective, layout = config.objective, model.layout
    watched = probe if probe is not None and len(probe) else windows
    collapses = not isinstance(model, Backbone)  # which has no targets
    accelerated = torch.device(device).type == "cuda"
    if collapses and (accelerated if compiled is None else compiled):
        model.compile_transformers(dynamic=None if config.mask.modality_dropout else False)
    # under the first weights: a checkpoint is restored later
    watch = _Watch(model, watched, config, run) if collapses else None
    if processes.is_first:
        _say_what_differs(model, config, processes)
    if isinstance(model, ReconstructionModel):
        model.fit_scales(probe_inputs(windows, config))

    def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        raw = windows.whole(processes.share(rows), layout.modalities)
        hidden = processes.share(_mask(layout, len(rows), config.mask, generator))
        if augmentation is not None:
            raw = augmentation(raw, rows, generator, processes)
        inputs, index = relative(raw, config.inputs), windows.index[rows]
        directions = None
        if objective.sigreg_weight:
            directions = random_directions(config.model.width, objective.sigreg_directions, config.seed, step)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=accelerated):
            if isinstance(model, ReconstructionModel):
                return reconstruction_loss(model, inputs, hidden, objective, generator, processes, index)
            return pretraining_loss(model, inputs, hidden, objective, generator, processes, index, directions)

    def after_step(step: int, steps: int) -> None:
        if objective.target == "ema" and not isinstance(model, Backbone):
            model.update_target(ema_momentum(objective, step, steps))

    def at_epoch_end(epoch: int, means: dict[str, float]) -> dict[str, float | str]:
        return watch(epoch, means) if watch else ranks_of(model, probe_inputs(watched, config), config)

    fit(
        model,
        loss,
        len(windows),
        plan_of(config),
        batches=partial(adjacent_batches, windows.index, config.batch_size, config.group, config.seed),
        label=label,
        after_step=after_step,
        at_epoch_end=at_epoch_end,
        run=run,
        resume=resume,
        processes=processes,
    )
    return model


def _say_what_differs(model: nn.Module, config: PretrainConfig, processes: Processes) -> None:
    """Lines on stderr: a camera that starts from random weights, batch norms that see a share of the batch."""
    if "camera" in config.inputs.modalities:
        say_if_random(config.model)
    if processes.world > 1 and trained_batch_norms(model.train()):
        remedy = "--set model.batch_norm=frozen trains as one process does"
        print(f"batch norm: each process normalises by the windows of its own ({remedy})", file=sys.stderr)


class _Watch:
    """Looks at a JEPA after every epoch, and says so on stderr where it collapses.

    Made before a checkpoint is restored: it remembers the model under its first weights.
    """

    def __init__(self, model: JepaModel, probe: WindowInputs, config: PretrainConfig, run: Path | None) -> None:
        self.model, self.probe, self.config, self.run = model, probe, config, run
        self.before: dict[str, Any] | None = None
        self.at_first = self._health()

    def _health(self) -> Health:
        return health_of(self.model, probe_inputs(self.probe, self.config), self.config.objective, T_OBS)

    def __call__(self, epoch: int, means: Mapping[str, float]) -> dict[str, float | str]:
        """Rank and variance after an epoch, for the log."""
        health, mean_loss = self._health(), means.get("prediction", means["loss"])
        collapse = collapse_name(mean_loss, health, self.before or _last_record(self.run, epoch), self.at_first)
        record: dict[str, float | str] = {**health.values()}
        self.before = {"loss": mean_loss, **record}
        if collapse:
            record["collapse"] = collapse
            print(f"collapse after epoch {epoch + 1}: {collapse}", file=sys.stderr)
        return record


def _mask(layout: Layout, batch: int, config: MaskConfig, generator: torch.Generator) -> Tensor:
    """A mask, and with it whole modalities where they drop out."""
    hidden = draw_mask(layout, batch, config.kinds, config.ratio, generator)
    if not config.modality_dropout:
        return hidden
    dropped = drop_modalities(layout.modalities, batch, config.modality_dropout, generator)
    return hidden | dropped_tokens(layout, dropped)


def _last_record(run: Path | None, epoch: int) -> dict[str, Any] | None:
    """The log's record of the epoch before: a resumed run judges as an uninterrupted one."""
    path = run / "metrics.jsonl" if run else None
    lines = path.read_text().splitlines() if path and path.exists() else []
    return json.loads(lines[-1]) if epoch and lines else None


def load_backbone(
    run: Path, config: PretrainConfig, which: str = "pretrained", device: torch.device | str = "cpu"
) -> JepaModel:
    """The backbone of a run: its latest checkpoint, or with `random` weights drawn from its seed.

    Raises:
        UserError: it has no checkpoint, or one of another model.
    """
    with nullcontext() if which == "random" else weights_follow():
        model = new_model(config, device)
    if which != "random":
        tensors, _ = load_checkpoint(run / "checkpoints")
        state = {
            name.removeprefix("model.").removeprefix("backbone."): value  # a supervised run keeps its heads beside it
            for name, value in tensors.items()
            if name.startswith("model.") and not name.startswith("model.heads.")
        }
        has_target = any(name.startswith("target.") for name in state)
        if not has_target and not isinstance(model, Backbone):  # what comes with the project was saved without one
            copied = {name.replace("context.", "target.", 1): values for name, values in state.items()}
            state = {**copied, **state}
        try:
            model.load_state_dict(state)
        except RuntimeError:
            raise UserError("its checkpoint is of another model", run, "use the config.yaml it was made with") from None
    return model.eval().requires_grad_(False)
