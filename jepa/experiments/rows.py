"""A row of an experiment: for each sequence of the test part, how many windows it has and what each metric sums to.

The sums are kept step by step: enough for means, intervals, curves and paired differences.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from jepa.evaluate import measures_of
from jepa.experiments.comparison import Sums, mean
from jepa.frames import FrameStore
from jepa.metrics import mismatch_histogram
from jepa.predict import Output
from jepa.predictor import JepaPredictor
from jepa.representation import VIEWS, representation, view_of
from jepa.samples import Samples
from jepa.windows import T_PRED, Windows

__all__ = ["QUANTILES", "Rows", "by_step", "metric_text", "ranks", "summary", "sums"]

Rows = list[list[dict[str, Any]]]
"""The rows of a model: for each fold those of its seeds."""

QUANTILES = 101
"""Points of the distribution of the displacement error."""
RANKED_WINDOWS = 512
"""Test windows, evenly spread, on which the rank of the latents is measured: each is seen in five views."""


def summary(output: Output, samples: Samples) -> dict[str, Any]:
    """A row: numbers and windows of all sequences, sums of every metric over them by step, and distributions."""
    measures = measures_of(output, samples)
    sequences, group = np.unique(samples.episode.cpu().numpy(), return_inverse=True)
    found: dict[str, Any] = {"sequences": sequences.tolist(), "windows": np.bincount(group).tolist(), "steps": {}}
    for task in measures.values():
        for name, measure in task.items():
            power = 2 if measure.average == "rms" else 1
            by_step = [np.bincount(group, weights=step) for step in measure.values.astype(float).T ** power]
            found["steps"][name] = np.array(by_step).tolist()
            found[name] = (by_step[-1] if measure.last_only else np.mean(by_step, 0)).tolist()
    if "localization" in measures:
        error_m = measures["localization"]["ade_m"].values.mean(1)
        found["ade_quantiles_m"] = np.quantile(error_m, np.linspace(0, 1, QUANTILES)).tolist()
    if "beam" in measures:
        found["mismatch"] = mismatch_histogram(output.beam_logits, samples.power.cpu().numpy()).tolist()
    return found


def sums(rows: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> Sums | None:
    """A metric of a model, or None where it does not do that task."""
    return Sums.of(rows, metric) if metric in rows[0][0] else None


def metric_text(rows: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> str:
    """A metric of a model as a table prints it: empty where the model does not do that task."""
    found = sums(rows, metric)
    if found is None:
        return ""
    estimate = mean(found)
    return (estimate.root() if metric == "rmse_db" else estimate).text()


def by_step(rows: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> list[Sums] | None:
    """A metric of a model at each of the five future steps, or None where it does not do that task."""
    if metric not in rows[0][0]:
        return None
    steps = [
        [[{"windows": row["windows"], metric: row["steps"][metric][k]} for row in seeds] for seeds in rows]
        for k in range(T_PRED)
    ]
    return [Sums.of(step, metric) for step in steps]


def ranks(predictor: JepaPredictor, store: FrameStore, windows: Windows, output: Output) -> dict[str, Any]:
    """RankMe and LDA rank of the latents, on windows spread evenly."""
    chosen = torch.linspace(0, len(windows) - 1, min(RANKED_WINDOWS, len(windows))).long()
    some = windows.select(chosen)
    views = []
    for number in range(VIEWS):
        latent = predictor.predict(store, some, partial(view_of, number=number)).latent
        assert latent is not None
        views.append(latent.mean(1))
    assert output.latent is not None
    return representation(output.latent[chosen.numpy()].mean(1), np.stack(views, 1), some.episode.cpu().numpy())
