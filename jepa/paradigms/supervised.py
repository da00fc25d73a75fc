"""Supervised rivals of the JEPA: backbone and heads trained as one from random weights, on the heads' losses.

`multi-task` is one model on the sum of the three losses, `localization`, `beam` and `rssi` one model a task (the
paper's figure 10 and its end-to-end row). They see what the frozen heads see: the same tokenizers, windows, hidden
future and raw history, with the same noise on them; nothing is dropped. Each model makes
`epochs + heads.epochs` passes over the training windows; the experiments set them so that it has about as many
optimiser steps as a pretrained backbone with its heads. Learning rate, weight decay, warm-up and batches are those of
pretraining.

9,970,368 parameters with five modalities at D = 128: backbone 5,790,076, heads 4,180,292. The paper prints 10.77 M:
to the printed digit this with an idle target encoder and its positions (793,088 + 4,352).
"""

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepa.backbone.model import JepaModel
from jepa.backbone.without_target import Backbone
from jepa.config import HeadConfig, PretrainConfig
from jepa.config_checks import check_missing, check_unread
from jepa.data.inputs import Normalisers, WindowInputs, relative
from jepa.heads.network import TASK_MODALITY, HeadOutput, Heads
from jepa.heads.training import HeadData, fit_estimate, head_loss
from jepa.paradigms.pretraining import new_model, plan_of, probe_inputs, ranks_of
from jepa.tokens.camera import say_if_random
from jepa.tokens.noise import with_noise
from jepa.tokens.tokenizers import Layout
from jepa.training.batches import adjacent_batches
from jepa.training.loop import fit
from twin.errors import UserError

__all__ = ["SupervisedModel", "TaskHeads", "check_supervised", "train_supervised"]


class TaskHeads(Heads):
    """The three heads, of which those of the given tasks are trained.

    The others keep their first weights. A model without localization has no cascade: its trajectory is the coarse one.
    """

    def __init__(self, layout: Layout, width: int, config: HeadConfig, tasks: tuple[str, ...]) -> None:
        super().__init__(layout, width, config)
        self.tasks = tasks
        for task in TASK_MODALITY:
            if task not in tasks:
                self.get_submodule(task).requires_grad_(False)
                self.readouts[task].requires_grad_(False)
        if "localization" not in tasks:
            for last in (self.localization.residual.out, self.localization.coarse[-1]):
                for parameter in last.parameters():
                    nn.init.zeros_(parameter)

    def loss(
        self,
        output: HeadOutput,
        position: Float[Tensor, "batch 5 2"],
        power: Float[Tensor, "batch 5 64"],
        power_std_db: Float[Tensor, "batch"] | float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the losses of the trained tasks, and each by name."""
        told = zip(TASK_MODALITY, (output.trajectory, output.logits, output.spectrum), strict=True)
        own = HeadOutput(*(values if task in self.tasks else values.detach() for task, values in told))
        total, parts = super().loss(own, position, power, power_std_db)
        for task in TASK_MODALITY:
            if task not in self.tasks:
                total = total - parts.pop(task)
        return total, parts


class SupervisedModel(nn.Module):
    """Backbone and heads as one."""

    def __init__(self, backbone: Backbone, heads: TaskHeads) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads


def check_supervised(config: PretrainConfig) -> None:
    """Refuse options that mean nothing where backbone and heads are trained as one.

    Raises:
        UserError: what is wrong.
    """
    check_missing(config, "heads.missing")
    if config.heads.backbone != "pretrained":
        raise UserError(
            f"is {config.heads.backbone}, but paradigm {config.paradigm} trains it", "heads.backbone", "leave it out"
        )
    if config.heads.select_on_validation:
        raise UserError(
            f"has no meaning for paradigm {config.paradigm}, which keeps its last weights",
            "heads.select_on_validation",
            "leave it out",
        )
    check_unread(config)


def train_supervised(
    windows: WindowInputs,
    data: HeadData,
    normalisers: Normalisers,
    config: PretrainConfig,
    *,
    probe: WindowInputs | None = None,
    run: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    label: str = "training",
    start: JepaModel | None = None,
) -> SupervisedModel:
    """Train backbone and heads on windows.

    Args:
        start: a backbone to go on from, under new heads; random weights without.
        data: what the heads read of the same windows.
        probe: windows on which ranks are measured; the training windows where there are none.
        run: directory of checkpoints and log.
    """
    backbone = new_model(config, device)
    assert isinstance(backbone, Backbone)
    if start is not None:
        backbone.load_state_dict(start.state_dict())
    layout = backbone.layout
    options = config.heads.model_copy(update={"latent_dropout": 0.0})
    torch.manual_seed(config.seed)
    heads = TaskHeads(layout, backbone.width, options, config.supervised).to(device)
    fit_estimate(heads, data, normalisers)
    names = [name for name in layout.modalities if name not in options.missing]
    watched = probe if probe is not None and len(probe) else windows
    accelerated = torch.device(device).type == "cuda"
    if "camera" in names:
        say_if_random(config.model)

    def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        history = relative(windows.history(rows, names), config.inputs)
        seen = with_noise(history, config.objective.input_noise, generator)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=accelerated):
            latents = backbone.latents(seen, options.missing)
        return head_loss(heads, latents, data, rows, generator)

    def at_epoch_end(epoch: int, means: dict[str, float]) -> dict[str, float | str]:
        return ranks_of(backbone, probe_inputs(watched, config), config)

    model = SupervisedModel(backbone, heads)
    fit(
        model,
        loss,
        len(windows),
        plan_of(config),
        batches=partial(adjacent_batches, windows.index, config.batch_size, config.group, config.seed),
        label=label,
        at_epoch_end=at_epoch_end,
        run=run,
        resume=resume,
    )
    return model.eval()
