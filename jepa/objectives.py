"""The loss of pretraining, and what tells a healthy run from a collapsed one.

Shape suffixes: B batch, N tokens of a window, V visible tokens, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from jepa.config import ObjectiveConfig
from jepa.metrics import rankme
from jepa.model import JepaModel
from jepa.tokenizers import Layout

__all__ = ["Health", "collapse_name", "ema_momentum", "health_of", "pretraining_loss", "variance_covariance"]

COLLAPSED_VARIANCE = 0.01
"""Variance of the targets over windows, per token position, below which they say nothing; a healthy one is near 1."""
LOSS_DROP, RANK_DROP = 0.5, 0.7
"""A loss below this share of the last epoch's with a RankMe below that share of the last epoch's is a collapse."""
EPSILON = 1e-4
"""Added to variances before the square root."""


def ema_momentum(config: ObjectiveConfig, step: int, steps: int) -> float:
    """Momentum of the target branch, linear over the steps."""
    return config.ema_start + (config.ema_end - config.ema_start) * step / max(1, steps - 1)


def variance_covariance(
    context_BVD: Float[Tensor, "batch visible dim"], places_BV: Tensor, tokens: int
) -> tuple[Tensor, Tensor]:
    """VICReg's variance (hinge at 1) and covariance (off-diagonal squares / D) of the context tokens.

    Tokens are centred per token position over the batch, so that what the position alone tells does not count.
    """
    width = context_BVD.shape[-1]
    flat = context_BVD.float().flatten(0, 1)
    place = places_BV.flatten()
    sums = flat.new_zeros(tokens, width).index_add(0, place, flat)
    counts = flat.new_zeros(tokens).index_add(0, place, torch.ones_like(flat[:, 0]))
    # gradients of plain indexing are summed in any order when threads share the work
    centred = flat - (sums / counts.clamp_min(1)[:, None]).index_select(0, place)
    freedom = (len(flat) - (counts > 0).sum()).clamp_min(1)
    with torch.autocast(flat.device.type, enabled=False):
        covariance = centred.T @ centred / freedom
    diagonal = covariance.diagonal()
    variance_loss = functional.relu(1 - (diagonal + EPSILON).sqrt()).mean()
    off_diagonal = covariance.square().sum() - diagonal.square().sum()
    return variance_loss, off_diagonal / width


def pretraining_loss(
    model: JepaModel,
    inputs: dict[str, Tensor],
    hidden_BN: Bool[Tensor, "batch token"],
    config: ObjectiveConfig,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """Mean over hidden positions and channels of smooth-L1 between prediction and target, and its parts."""
    seen = {name: _noisy(values, config.input_noise.get(name, 0.0), generator) for name, values in inputs.items()}
    context_BVD, places = model.encode(seen, hidden_BN)
    predicted_BND = model.predict(context_BVD, places)
    if config.target == "online":
        target_BND = model.context.encoder(model.context.embedding(inputs), config.target_layers)
    else:
        target_BND = model.targets(inputs, config.target_layers)
    if config.normalise_targets:
        target_BND = functional.layer_norm(target_BND.float(), target_BND.shape[-1:])
    error_BN = functional.smooth_l1_loss(
        predicted_BND.float(), target_BND.float(), beta=config.smooth_l1_beta, reduction="none"
    ).mean(-1)
    loss = error_BN[hidden_BN].mean()
    parts = _by_modality(error_BN.detach(), hidden_BN, model.layout)
    if config.variance_weight or config.covariance_weight:
        variance, covariance = variance_covariance(context_BVD, places, model.layout.tokens)
        parts |= {"variance": variance.item(), "covariance": covariance.item(), "prediction": loss.item()}
        loss = loss + config.variance_weight * variance + config.covariance_weight * covariance
    return loss, parts


def _noisy(values: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    if not deviation:
        return values
    noise = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
    return values + deviation * noise


def _by_modality(error_BN: Tensor, hidden_BN: Tensor, layout: Layout) -> dict[str, float]:
    modality = layout.rows()[1].to(error_BN.device)
    parts = {}
    for name, row in zip(layout.modalities, torch.unique(modality), strict=True):
        chosen = hidden_BN & (modality == row)
        parts[f"loss_{name}"] = float(error_BN[chosen].mean()) if bool(chosen.any()) else 0.0
    return parts


@dataclass(frozen=True)
class Health:
    """State of the representation on a fixed sample of windows.

    Attributes:
        rankme: of the target branch's tokens pooled over a window.
        rankme_future: by modality, of the predicted tokens of the future frames.
        target_variance: by modality, of the layer-normed targets over windows at each token position, averaged.
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


@torch.no_grad()
def health_of(model: JepaModel, inputs: dict[str, Tensor], config: ObjectiveConfig, observed: int) -> Health:
    """Rank and variance on some windows; `observed` frames are the history."""
    training = model.training
    model.eval()
    branch = model.context if config.target == "online" else model.target
    target_BND = branch.encoder(branch.embedding(inputs), config.target_layers).float()
    normed = functional.layer_norm(target_BND, target_BND.shape[-1:])
    future = model.future_latents({name: values[:, :observed] for name, values in inputs.items()})
    model.train(training)
    modality = model.layout.rows()[1].to(normed.device)
    rows = torch.unique(modality)
    variance_N = normed.var(0).mean(-1)
    return Health(
        rankme=rankme(target_BND.mean(1).cpu().numpy()),
        rankme_future={
            name: rankme(values.float().flatten(0, 1).cpu().numpy()) for name, values in future.predicted.items()
        },
        target_variance={
            name: float(variance_N[modality == row].mean())
            for name, row in zip(model.layout.modalities, rows, strict=True)
        },
    )


def collapse_name(loss: float, health: Health, previous: Mapping[str, Any] | None) -> str | None:
    """The collapse that an epoch shows, or None: `constant targets (modality)` or `sudden loss drop with falling rank`.

    Args:
        loss: mean prediction loss of the epoch.
        previous: the record of the epoch before in the log.
    """
    flat = [name for name, value in health.target_variance.items() if value < COLLAPSED_VARIANCE]
    if flat:
        return f"constant targets ({', '.join(flat)})"
    if previous is None:
        return None
    fell = loss < LOSS_DROP * previous.get("prediction", previous["loss"])
    return "sudden loss drop with falling rank" if fell and health.rankme < RANK_DROP * previous["rankme"] else None
