"""How many directions the latents use: RankMe and LDA rank, with intervals over whole sequences."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepa.data.samples import History
from jepa.evaluation.metrics import effective_rank

__all__ = ["VIEWS", "representation", "view_of"]

VIEWS = 4
"""Augmented views of every window for the LDA rank."""
LDA_RIDGE = 1e-4
"""Added to the diagonal of the scatter within windows."""
VIEW_NOISE_DB, VIEW_GAIN_DB = 0.5, 1.0
"""Deviation of the noise on every beam and frame of a view, and of one gain for all its powers [dB]."""
VIEW_NOISE_M, VIEW_SHIFT_M = 0.1, 0.5
"""Deviation of the noise on every position of a view, and of one shift for all of them [m]."""
AUGMENTED = {
    "power_gain_db": VIEW_GAIN_DB,
    "power_noise_db": VIEW_NOISE_DB,
    "position_shift_m": VIEW_SHIFT_M,
    "position_noise_m": VIEW_NOISE_M,
}
"""Deviations, as a report names them."""
NORMAL_95 = 1.96
"""Standard errors on either side of a 95 % interval."""


def view_of(history: History, number: int) -> History:
    """An augmented view: another gain and noise of the powers, another shift and noise of the positions.

    A modality without an augmentation stays as it is.
    """
    generator = torch.Generator().manual_seed(number)

    def normal(like: Tensor, *shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(like)

    power, position_m, count = history.power, history.position_m, len(history)
    change_db = VIEW_NOISE_DB * normal(power, *power.shape) + VIEW_GAIN_DB * normal(power, count, 1, 1)
    shift_m = VIEW_SHIFT_M * normal(position_m, count, 1, 2)
    moved_m = position_m + VIEW_NOISE_M * normal(position_m, *position_m.shape) + shift_m
    return history.replaced({"rf": power * 10 ** (change_db / 10), "gps": moved_m})


def representation(
    latents: Float[np.ndarray, "window dim"],
    views: Float[np.ndarray, "window view dim"],
    sequence: Int[np.ndarray, "window"],
) -> dict[str, Any]:
    """`rankme` and `lda_rank`, each with `value` and `ci95` (None for a single sequence), and what the views are.

    RankMe is the effective rank of the latents (paper, eqs. 33 and 34); the LDA rank that of S_w^-1/2 S_b S_w^-1/2,
    with S_w of the views of each window and S_b between windows (eqs. 35 and 36). Intervals are the jackknife's over
    sequences: a bootstrap repeats some, and the rank of what it draws is always lower. No rank is below 1.
    """
    latents, views = np.asarray(latents, np.float64), np.asarray(views, np.float64)
    mean = views.mean(1)
    spread = views - mean[:, None]
    rows = [np.flatnonzero(sequence == number) for number in np.unique(sequence)]
    counts = np.array([len(row) for row in rows])
    gram = np.stack([latents[row].T @ latents[row] for row in rows])
    means = np.stack([mean[row].sum(0) for row in rows])
    outer = np.stack([mean[row].T @ mean[row] for row in rows])
    within = np.stack([np.einsum("nvd,nve->de", spread[row], spread[row]) for row in rows])

    def summed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.tensordot(weights, values, 1)

    def rankme_of(weights: np.ndarray) -> float:
        return effective_rank(np.sqrt(np.clip(np.linalg.eigvalsh(summed(gram, weights)), 0, None)))

    def lda_rank_of(weights: np.ndarray) -> float:
        count = weights @ counts
        centre = summed(means, weights) / count
        s_b = summed(outer, weights) / count - np.outer(centre, centre)
        s_w = summed(within, weights) / (count * views.shape[1]) + LDA_RIDGE * np.eye(len(centre))
        values, vectors = np.linalg.eigh(s_w)
        whitener = vectors / np.sqrt(values) @ vectors.T
        return effective_rank(np.clip(np.linalg.eigvalsh(whitener @ s_b @ whitener), 0, None))

    found: dict[str, Any] = {"views": {"number": views.shape[1], **AUGMENTED}}
    for name, rank in (("rankme", rankme_of), ("lda_rank", lda_rank_of)):
        value = rank(np.ones(len(rows)))
        found[name] = {"value": value, "ci95": None}
        if len(rows) > 1:
            without = [rank(weights) for weights in 1 - np.eye(len(rows))]
            half = NORMAL_95 * np.sqrt((len(rows) - 1) * np.var(without))
            found[name]["ci95"] = [max(1.0, float(value - half)), float(value + half)]
    return found
