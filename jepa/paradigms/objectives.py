"""The loss of pretraining, and what tells a healthy run from a collapsed one.

Shape suffixes: B batch, N tokens of a window, V visible tokens, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from jepa.backbone.model import JepaModel
from jepa.config import ObjectiveConfig
from jepa.data.sending import send
from jepa.data.sharing import SharedFrames
from jepa.evaluation.metrics import rankme
from jepa.paradigms.sigreg import epps_pulley
from jepa.tokens.fusion import FusedLayout, incomplete_frames
from jepa.tokens.masking import hidden_places
from jepa.tokens.noise import with_noise
from jepa.tokens.tokenizers import Inputs, Layout
from jepa.training.parallel import ALONE, Processes

__all__ = [
    "Health",
    "PlacedTokens",
    "collapse_name",
    "ema_momentum",
    "health_of",
    "pretraining_loss",
    "variance_covariance",
]

COLLAPSED_VARIANCE = 0.01
"""Variance of the targets over windows, per token position, below which they say nothing; a healthy one is near 1."""
COLLAPSED_SHARE = 0.1
"""Share of the variance under the first weights that training has to lose for a collapse: LiDAR tokens of a street that
stands still begin with 0.003."""
DEAD_VARIANCE = 1e-6
"""Below this targets are constant whatever they began with: of a sensor that shows nothing."""
LOSS_DROP, RANK_DROP = 0.5, 0.7
"""A loss below this share of the last epoch's with a RankMe below that share of the last epoch's is a collapse; so is a
RankMe below that share of what it was under the first weights, however slowly it got there."""
EPSILON = 1e-4
"""Added to variances before the square root."""


def ema_momentum(config: ObjectiveConfig, step: int, steps: int) -> float:
    """Momentum of the target branch, linear over the steps."""
    return config.ema_start + (config.ema_end - config.ema_start) * step / max(1, steps - 1)


@dataclass(frozen=True)
class PlacedTokens:
    """Some tokens of windows, and where in them.

    Attributes:
        values: the tokens.
        place: their positions in the window.
        counted: 1 for tokens that count, 0 for others; None counts all.
    """

    values: Float[Tensor, "batch token dim"]
    place: Int[Tensor, "batch token"]
    counted: Float[Tensor, "batch token"] | None = None


def centred_by_place(
    tokens: PlacedTokens, places: int, processes: Processes = ALONE
) -> tuple[Float[Tensor, "sample dim"], Tensor]:
    """Tokens less the mean at their position over the batch of all processes, zero where they do not count, and the
    degrees of freedom, tokens less positions: what the position alone tells does not count as variance.

    Args:
        places: positions of a window.
    """
    flat, place = tokens.values.float().flatten(0, 1), tokens.place.flatten()
    counted = torch.ones_like(flat[:, :1]) if tokens.counted is None else tokens.counted.reshape(-1, 1)
    flat = flat * counted
    sums = processes.sum(flat.new_zeros(places, flat.shape[-1]).index_add(0, place, flat))
    counts = processes.sum(flat.new_zeros(places, 1).index_add(0, place, counted))
    # gradients of plain indexing are summed in any order when threads share the work
    centred = flat - (sums / counts.clamp_min(1)).index_select(0, place) * counted
    return centred, (counts.sum() - (counts > 0).sum()).clamp_min(1)


def variance_covariance(tokens: PlacedTokens, places: int, processes: Processes = ALONE) -> tuple[Tensor, Tensor]:
    """VICReg's variance (hinge at 1) and covariance (off-diagonal squares / D) of centred tokens."""
    width = tokens.values.shape[-1]
    centred, freedom = centred_by_place(tokens, places, processes)
    with torch.autocast(centred.device.type, enabled=False):
        covariance = processes.sum(centred.T @ centred / freedom)
    diagonal = covariance.diagonal()
    variance_loss = functional.relu(1 - (diagonal + EPSILON).sqrt()).mean()
    off_diagonal = covariance.square().sum() - diagonal.square().sum()
    return variance_loss, off_diagonal / width


def pretraining_loss(
    model: JepaModel,
    inputs: Inputs,
    hidden_BN: Bool[Tensor, "batch token"],
    config: ObjectiveConfig,
    generator: torch.Generator,
    processes: Processes = ALONE,
    index: Int[Tensor, "whole time"] | None = None,
    directions: Float[Tensor, "direction dim"] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over hidden positions and channels of smooth-L1 between prediction and target, and its parts.

    Hidden are the fusion tokens of frames of which the mask hides a token. Of several processes each gives the means
    over its own windows, except for the terms against collapse; of fusion tokens, of which windows hide more or fewer,
    the sum over its own windows by the mean number of a process.

    Args:
        inputs: of this process's windows.
        hidden_BN: the mask, on the CPU.
        generator: for noise, on the CPU.
        index: frames of the windows of all processes; needed for noise on frames that windows share.
        directions: of this step, for SIGReg.
    """
    seen = with_noise(inputs, config.input_noise, generator, processes, index)
    context = PlacedTokens(*model.encode(seen, hidden_BN))
    predicted_BND = model.predict(context.values, context.place)
    if config.target_levels:
        predicted_BND = model.out(predicted_BND)
    target_BND = _predicted_targets(model, inputs, config)
    every_BN = torch.arange(model.places, device=target_BND.device).expand(len(target_BND), -1)
    if isinstance(model.layout, FusedLayout):
        asked_BN = _of_incomplete(hidden_BN, model.layout, target_BND.device)
        predicted = PlacedTokens(predicted_BND.float(), every_BN, asked_BN)
        error_BN = _error(predicted.values, target_BND.float(), config)
        # windows have more or fewer of them: all weigh the same
        loss = processes.world * (error_BN * asked_BN).sum() / processes.sum(asked_BN.sum())
        parts = {"loss_fusion": loss.detach()}
    else:
        places_BH = send(hidden_places(hidden_BN), target_BND.device)
        predicted = PlacedTokens(_at(predicted_BND, places_BH).float(), places_BH)
        error_BH = _error(predicted.values, _at(target_BND, places_BH).float(), config)
        loss = error_BH.mean()
        parts = _by_modality(error_BH.detach(), hidden_BN, model.layout)
    if config.variance_weight or config.covariance_weight:
        spread = context if config.variance_on == "context" else predicted
        variance, covariance = variance_covariance(spread, model.places, processes)
        parts |= {"variance": variance.detach(), "covariance": covariance.detach(), "prediction": loss.detach()}
        loss = loss + config.variance_weight * variance + config.covariance_weight * covariance
    if directions is not None:
        normality = _normality(context, model.places, directions, processes)
        if config.sigreg_on == "both":  # an encoder that tells whole windows from masked ones would make them alike
            targets = PlacedTokens(target_BND, every_BN)
            normality = (normality + _normality(targets, model.places, directions, processes)) / 2
        parts |= {"sigreg": normality.detach(), "prediction": parts.get("prediction", loss.detach())}
        loss = (1 - config.sigreg_weight) * loss + config.sigreg_weight * normality
    return loss, parts


def _predicted_targets(model: JepaModel, inputs: Inputs, config: ObjectiveConfig) -> Float[Tensor, "batch token wide"]:
    """What is predicted: of whole windows, several levels of the target branch, the mean of its top layers, or that of
    the context branch."""
    if config.target_levels:
        return model.target_levels(inputs, config.target_levels)
    if config.target == "online":
        return model.context(inputs, config.target_layers)
    return model.targets(inputs, config.target_layers)


def _error(
    predicted_BHD: Float[Tensor, "batch hidden wide"],
    target_BHD: Float[Tensor, "batch hidden wide"],
    config: ObjectiveConfig,
) -> Float[Tensor, "batch hidden"]:
    """Smooth-L1 or squared error, mean over the channels."""
    if config.normalise_targets and not config.target_levels:  # whose levels are normalised one by one
        target_BHD = functional.layer_norm(target_BHD, target_BHD.shape[-1:])
    if config.error == "squared":
        return (predicted_BHD - target_BHD).square().mean(-1)
    found = functional.smooth_l1_loss(predicted_BHD, target_BHD, beta=config.smooth_l1_beta, reduction="none")
    return found.mean(-1)


def _normality(
    tokens: PlacedTokens, places: int, directions: Float[Tensor, "direction dim"], processes: Processes
) -> Tensor:
    """SIGReg of tokens less the mean at their place."""
    centred, _ = centred_by_place(tokens, places, processes)
    with torch.autocast(centred.device.type, enabled=False):
        projected = centred @ send(directions, centred.device).T
    return epps_pulley(projected, total=processes.sum if processes.world > 1 else None).mean()


def _at(tokens_BND: Float[Tensor, "batch token dim"], places_BH: Tensor) -> Float[Tensor, "batch hidden dim"]:
    return tokens_BND.gather(1, places_BH[..., None].expand(-1, -1, tokens_BND.shape[-1]))


def _of_incomplete(
    hidden_BN: Bool[Tensor, "batch token"], layout: FusedLayout, device: torch.device
) -> Float[Tensor, "batch place"]:
    """1 for the fusion tokens of incomplete frames, 0 for others."""
    asked_BT = incomplete_frames(layout, hidden_BN)
    return send(asked_BT.repeat_interleave(layout.fusion_tokens, 1), device).float()


def _by_modality(
    error_BH: Float[Tensor, "batch hidden"], hidden_BN: Bool[Tensor, "batch token"], layout: Layout
) -> dict[str, Tensor]:
    """The loss of each modality: masks hide equally many of its tokens in every window, so that it has columns."""
    parts, first = {}, 0
    for name, start, tokens in layout.pieces():
        count = int(hidden_BN[0, start : start + layout.frames * tokens].sum())
        parts[f"loss_{name}"] = error_BH[:, first : first + count].mean() if count else error_BH.new_zeros(())
        first += count
    return parts


@dataclass(frozen=True)
class Health:
    """State of the representation on a fixed sample of windows.

    Attributes:
        rankme: of the target branch's tokens pooled over a window.
        rankme_future: by modality, of the predicted tokens of the future frames.
        target_variance: by modality, variance of the layer-normed targets over windows at each token position,
            averaged; of fusion tokens one, `fusion`.
    """

    rankme: float
    rankme_future: dict[str, float]
    target_variance: dict[str, float]

    def values(self) -> dict[str, float]:
        """The values by their names in the log."""
        return {
            "rankme": self.rankme,
            **{f"rankme_future_{name}": value for name, value in self.rankme_future.items()},
            **{f"target_variance_{name}": value for name, value in self.target_variance.items()},
        }


def _watched_targets(model: JepaModel, inputs: Inputs, config: ObjectiveConfig) -> Float[Tensor, "batch token dim"]:
    """The last layers of the target branch, in eval mode, however many levels are predicted."""
    training = model.training
    model.eval()
    branch = model.context if config.target == "online" else model.target
    target_BND = branch(inputs, config.target_layers).float()
    model.train(training)
    return target_BND


def _variance(target_BND: Float[Tensor, "batch token dim"], model: JepaModel) -> dict[str, float]:
    variance_N = functional.layer_norm(target_BND, target_BND.shape[-1:]).var(0).mean(-1)
    return {
        name: float(variance_N[first : first + model.layout.frames * tokens].mean())
        for name, first, tokens in model.pieces()
    }


@torch.no_grad()
def health_of(model: JepaModel, inputs: Inputs, config: ObjectiveConfig, observed: int) -> Health:
    """Rank and variance on some windows; `observed` frames are the history."""
    target_BND = _watched_targets(model, inputs, config)
    future = model.future_latents({name: _observed(values, observed) for name, values in inputs.items()})
    return Health(
        rankme=rankme(target_BND.mean(1).cpu().numpy()),
        rankme_future={
            name: rankme(values.float().flatten(0, 1).cpu().numpy()) for name, values in future.predicted.items()
        },
        target_variance=_variance(target_BND, model),
    )


def _observed(values: Tensor | SharedFrames, frames: int) -> Tensor | SharedFrames:
    return values.first(frames) if isinstance(values, SharedFrames) else values[:, :frames]


def collapse_name(loss: float, health: Health, previous: Mapping[str, Any] | None, start: Health) -> str | None:
    """The collapse that an epoch shows: `constant targets (modality)`, `sudden loss drop with falling rank` or `rank
    below that of random weights`; else None.

    Args:
        loss: mean prediction loss of the epoch.
        previous: the record of the epoch before in the log.
        start: health under the first weights, on the same windows.
    """
    flat = [
        name
        for name, value in health.target_variance.items()
        if value < COLLAPSED_VARIANCE and value < max(COLLAPSED_SHARE * start.target_variance[name], DEAD_VARIANCE)
    ]
    if flat:
        return f"constant targets ({', '.join(flat)})"
    fell = previous is not None and loss < LOSS_DROP * previous.get("prediction", previous["loss"])
    if previous is not None and fell and health.rankme < RANK_DROP * previous["rankme"]:
        return "sudden loss drop with falling rank"
    return "rank below that of random weights" if health.rankme < RANK_DROP * start.rankme else None
