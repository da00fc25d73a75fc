"""How heads are trained: on the latents of a frozen backbone, or with the backbone along."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepa.backbone.model import JepaModel, Latents
from jepa.config import HeadConfig, ModelConfig, PretrainConfig
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers, WindowInputs, relative
from jepa.data.sending import send
from jepa.data.windows import Windows, dataset_of_windows
from jepa.heads.displacement import DISPLACEMENTS
from jepa.heads.frozen_latents import CHUNK, latents_of
from jepa.heads.network import Heads
from jepa.training.loop import Plan, fit
from twin.errors import UserError

__all__ = ["HeadData", "fit_estimate", "head_loss", "train_heads"]


@dataclass
class HeadData:
    """Everything that head training reads beside the latents, standardised, computed once."""

    history: dict[str, Tensor]
    position: Float[Tensor, "window 5 2"]
    power: Float[Tensor, "window 5 64"]
    power_std_db: Float[Tensor, "window"]
    episode: Tensor

    @classmethod
    def of(cls, inputs: WindowInputs, store: FrameStore, windows: Windows, normalisers: Normalisers) -> "HeadData":
        """Histories, truth and scales of the windows that `inputs` reads."""
        future, device = inputs.future(), inputs.device
        deviation = torch.tensor([normalisers.of(dataset).power_std_db for dataset in store.datasets])
        return cls(
            history=inputs.small_history(),
            position=future["gps"],
            power=future["rf"],
            power_std_db=deviation[dataset_of_windows(store, windows)].to(device),
            episode=windows.episode.to(device),
        )


def fit_estimate(heads: Heads, data: HeadData, normalisers: Normalisers) -> None:
    """Fit the heads' coarse estimates on the training windows.

    Raises:
        UserError: several base stations, where one is asked for.
    """
    options = heads.config
    if "shifted" in (options.coarse_beam, options.coarse_spectrum) and len(normalisers.found) > 1:
        raise UserError(
            "the base stations lie at different standardised places", "heads.coarse_beam: shifted", "choose last or map"
        )
    origin = next(iter(normalisers.found.values())).position(torch.zeros(2, device=data.position.device))
    heads.estimate.fit(
        torch.cat([data.history["gps"], data.position], 1),
        torch.cat([data.history["rf"], data.power], 1),
        data.episode,
        origin,
        with_map="map" in (options.coarse_beam, options.coarse_spectrum),
    )
    if options.coarse_trajectory in DISPLACEMENTS:
        heads.displacement.fit(torch.cat([data.history["gps"], data.position], 1))


def head_loss(
    heads: Heads, latents: Latents, data: HeadData, rows: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the heads on the latents of the windows `rows`, and its parts.

    Args:
        generator: for noise on the raw history and dropped latents, in training.
    """
    rows = send(rows, data.position.device)  # to index with what lies elsewhere would block
    history, position = {name: values[rows] for name, values in data.history.items()}, data.position[rows]
    if generator is not None:
        history, position = _disturbed(history, position, heads.config, generator)
        if heads.config.latent_dropout:
            drawn = torch.rand(len(rows), generator=generator)
            latents = latents.where(send(drawn >= heads.config.latent_dropout, position.device))
    output = heads(latents, history, None if generator is None else data.episode[rows])
    return heads.loss(output, position, data.power[rows], data.power_std_db[rows])


class _Together(nn.Module):
    """Heads and a backbone that is trained along, but for what `model.tokenizers` and `model.camera` freeze; its batch
    norms keep the statistics that they have."""

    def __init__(self, heads: Heads, backbone: JepaModel, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.backbone = heads, backbone
        frozen = ["target."]  # which no head reads
        if config.tokenizers == "frozen":
            frozen.append("context.embedding.tokenizers.")
        if config.camera == "frozen":
            frozen.append("context.embedding.tokenizers.camera.features.")
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(not name.startswith(tuple(frozen)))

    def train(self, mode: bool = True) -> "_Together":
        """The heads' mode."""
        super().train(mode)
        self.backbone.eval()
        return self


def train_heads(
    model: JepaModel,
    store: FrameStore,
    train: Windows,
    val: Windows,
    normalisers: Normalisers,
    config: PretrainConfig,
    *,
    start: Heads | None = None,
    run: Path | None = None,
    resume: bool = False,
    label: str = "heads",
) -> Heads:
    """Train the three heads on the frozen backbone, or the backbone along with them (`heads.backbone_learning_rate`).

    Args:
        model: changed in place where it is trained along; its target branch stays.
        val: judged after every epoch when `heads.select_on_validation` is set; may be empty.
        start: heads to go on from; new ones without.
        run: directory for checkpoints and log.

    Raises:
        UserError: there is no training window, or options contradict each other.
    """
    if not len(train):
        raise UserError("there is no training window", label or "heads", "use more or longer sequences")
    options, along = config.heads, config.heads.backbone_learning_rate
    if options.steps is not None and options.select_on_validation:
        raise UserError("selects an epoch, and heads.steps makes but one", "heads.select_on_validation", "drop either")
    device = next(model.parameters()).device
    torch.manual_seed(config.seed)
    before = copy.deepcopy(start)
    heads = (start or Heads(model.layout, model.width, options)).to(device)
    names = [name for name in model.layout.modalities if name not in options.missing]

    def read(windows: Windows) -> tuple[HeadData, Callable[[Tensor], Latents]]:
        inputs = WindowInputs(normalisers.frames(store), windows.index, device)
        data = HeadData.of(inputs, store, windows, normalisers)

        def history(rows: Tensor) -> dict[str, Any]:
            return relative(inputs.history(rows.cpu(), names), config.inputs)

        if along is None:
            return data, latents_of(model, history, len(inputs), options).select
        return data, lambda rows: model.latents(history(rows), options.missing)

    data, latents = read(train)
    fit_estimate(heads, data, normalisers)
    selected = options.select_on_validation and len(val) > 0
    judged = read(val) if selected else None

    def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return head_loss(heads, latents(rows), data, rows, generator)

    @torch.no_grad()
    def validate() -> float:
        assert judged is not None
        data, latents = judged
        every = torch.arange(len(data.episode), device=device)
        values = [float(head_loss(heads, latents(rows), data, rows)[0]) * len(rows) for rows in every.split(CHUNK)]
        return sum(values) / len(every)

    plan = Plan(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        batch_size=options.batch_size,
        seed=config.seed,
        steps=options.steps,
        rates={} if along is None else {"backbone.": along},
    )
    fit(
        heads if along is None else _Together(heads, model, config.model),
        loss,
        len(data.episode),
        plan,
        label=label,
        validate=validate if selected else None,
        run=run,
        resume=resume,
    )
    if along is not None:
        model.requires_grad_(False)
    if before is not None and options.kept_share:
        with torch.no_grad():
            for adapted, kept in zip(heads.parameters(), before.parameters(), strict=True):
                adapted.lerp_(kept.to(adapted), options.kept_share)
    return heads.eval()


def _disturbed(
    history: dict[str, Tensor],
    position: Float[Tensor, "batch 5 2"],
    config: HeadConfig,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Float[Tensor, "batch 5 2"]]:
    """History and future positions with noise: white on what is read, one shift a window on all its positions."""

    def normal(shape: Sequence[int]) -> Tensor:
        return send(torch.randn(shape, generator=generator, dtype=position.dtype), position.device)

    found = {
        name: values + config.input_noise[name] * normal(values.shape) if config.input_noise.get(name) else values
        for name, values in history.items()
    }
    if config.position_offset and "gps" not in config.missing:
        shift = config.position_offset * normal((len(position), 1, 2))
        found, position = {**found, "gps": found["gps"] + shift}, position + shift
    return found, position
