"""Evaluation: from predictions and measured truth to the numbers that `evaluate --json` prints."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jepa.data.samples import Samples
from jepa.evaluation.metrics import (
    DBA_DELTA,
    DBA_K,
    Measure,
    beam_measures,
    localization_measures,
    mismatch_histogram,
    rssi_measures,
)
from jepa.evaluation.predictions import Output
from jepa.evaluation.representation import representation
from twin.errors import UserError

__all__ = ["BY_SPECTRUM", "TASKS", "evaluate", "measures_of", "site_floor"]

ADE_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Points of the distribution of the displacement error."""
TASKS = ("localization", "beam", "rssi")
BY_SPECTRUM = "beam_by_spectrum"
"""The entry of beams ranked by the predicted spectrum, in place of the scores (paper, IV-B): no task of its own."""
SPECTRUM_METRICS = ("top1", "top3", "l1_rsrp_db")


def site_floor(samples: Samples) -> Float[np.ndarray, "window"]:
    """Floor of the site of every window, linear: the median over its frames of the weakest beam's power."""
    weakest = samples.power.cpu().numpy().min(-1)
    site = np.zeros(len(weakest), int) if samples.site is None else samples.site.cpu().numpy()
    floor = np.empty(len(weakest), weakest.dtype)
    for number in np.unique(site):
        floor[site == number] = np.median(weakest[site == number])
    return floor


def measures_of(output: Output, samples: Samples) -> dict[str, dict[str, Measure]]:
    """The measures by task; a task that the predictor does not do, NaN throughout, is left out.

    Raises:
        UserError: some predictions of a task are not finite.
    """
    power, true_m = samples.power.cpu().numpy(), samples.position_m.cpu().numpy()
    measures = {}
    for task, values in zip(TASKS, (output.trajectory_m, output.beam_logits, output.spectrum_db), strict=True):
        if not np.isfinite(values).all() and not np.isnan(values).all():
            raise UserError("holds numbers that are not finite", f"predictions, {task}", "train and predict again")
    if np.isfinite(output.trajectory_m).all():
        measures["localization"] = localization_measures(output.trajectory_m, true_m)
    if np.isfinite(output.beam_logits).all():
        measures["beam"] = beam_measures(output.beam_logits, power, site_floor(samples))
    if np.isfinite(output.spectrum_db).all():
        measures["rssi"] = rssi_measures(output.spectrum_db, power)
    return measures


def evaluate(
    output: Output,
    samples: Samples,
    part: str,
    protocol: str,
    seed: int = 0,
    views: Float[np.ndarray, "window view dim"] | None = None,
) -> dict[str, Any]:
    """The evaluation object: windows, sequences, and for each metric `value`, `ci95`, `per_step` and `per_step_ci95`.

    Beside the metrics: `beam_by_spectrum`, those of the beam where they are ranked by the predicted spectrum, of a
    predictor that does both; `beam_mismatch`, the share of predictions that are 0, 1, ... 63 beams from the best one;
    `ade_quantiles_m`, the distribution of the displacement error by share of the windows; `representation`, the ranks
    of the latents pooled over a window, where `views` holds those of augmented views; `dba` carries its parameters.
    """
    sequence = samples.episode.cpu().numpy()
    report: dict[str, Any] = {
        "split": part,
        "protocol": protocol,
        "windows": len(samples),
        "sequences": len(np.unique(sequence)),
    }
    found = measures_of(output, samples)
    for task, measures in found.items():
        report[task] = {name: measure.summary(sequence, seed) for name, measure in measures.items()}
        if task == "beam":
            report[task]["dba"] |= {"k": DBA_K, "delta": DBA_DELTA}
            counts = mismatch_histogram(output.beam_logits, samples.power.cpu().numpy())
            report["beam_mismatch"] = (counts / counts.sum()).tolist()
        if task == "localization":
            error_m = measures["ade_m"].values.mean(1)
            report["ade_quantiles_m"] = {f"{share:g}": float(np.quantile(error_m, share)) for share in ADE_SHARES}
    if {"beam", "rssi"} <= found.keys():
        ranked = beam_measures(output.spectrum_db, samples.power.cpu().numpy(), site_floor(samples))
        report[BY_SPECTRUM] = {name: ranked[name].summary(sequence, seed) for name in SPECTRUM_METRICS}
    if output.latent is not None and views is not None:
        report["representation"] = representation(output.latent.mean(1), views, sequence)
    return report
