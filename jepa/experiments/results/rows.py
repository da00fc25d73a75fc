"""A row of an experiment: for each sequence of the test part, how many windows it has and what each metric sums to.

The sums are kept step by step: enough for means, intervals, curves and paired differences.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from jepa.data.frames import FrameStore
from jepa.data.samples import Samples
from jepa.data.windows import T_PRED, Windows
from jepa.evaluation.evaluate import measures_of
from jepa.evaluation.metrics import mismatch_histogram
from jepa.evaluation.predictions import Output
from jepa.evaluation.representation import VIEWS, representation, view_of
from jepa.experiments.results.comparison import Claim, Direction, Estimate, Sums, claim, difference, mean
from jepa.experiments.results.side_by_side import as_json
from jepa.inference.predictor import JepaPredictor

__all__ = [
    "QUANTILES",
    "Ordering",
    "Rows",
    "apart",
    "by_step",
    "cells",
    "estimate",
    "estimates",
    "judged",
    "numbers_of_page",
    "ranks",
    "summary",
    "sums",
]

Rows = list[list[dict[str, Any]]]
"""The rows of a model: for each fold those of its seeds."""
Ordering = tuple[str, str, str, str, Direction]
"""What somebody says: text, metric, two models, and how the first compares with the second."""

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


def estimate(summed: Sums, metric: str) -> Estimate:
    """A metric over all windows; a row sums up squares where it is a root of their mean."""
    found = mean(summed)
    return found.root() if metric == "rmse_db" else found


def estimates(rows: Sequence[Sequence[Mapping[str, Any]]], metrics: Iterable[str]) -> dict[str, Estimate]:
    """Metrics of a model, without those of tasks that it does not do."""
    found = {metric: sums(rows, metric) for metric in metrics}
    return {metric: estimate(summed, metric) for metric, summed in found.items() if summed}


def cells(found: Mapping[str, Estimate], metrics: Iterable[str], decimals: int = 3, sign: bool = False) -> list[str]:
    """Metrics as a table prints them: empty where there is none."""
    return [found[metric].text(decimals, sign) if metric in found else "" for metric in metrics]


def apart(printed: Mapping[str, Mapping[str, float]], metric: str, first: str, second: str) -> float | None:
    """By how much two rows that the paper prints differ, to its four decimals; None where it does not print both."""
    one, other = (printed.get(name, {}).get(metric) for name in (first, second))
    return None if one is None or other is None else round(one - other, 4)


def judged(
    found: Mapping[str, Rows], said: Iterable[Ordering], printed: Mapping[str, Mapping[str, float]]
) -> list[Claim]:
    """What the rows say of orderings, beside the paper's own differences."""
    claims = []
    for text, metric, first, second, direction in said:
        one, other = (sums(found[name], metric) for name in (first, second))
        if one and other:
            paper = apart(printed, metric, first, second)
            claims.append(claim(f"{text} ({metric})", difference(one, other), direction, paper))
    return claims


def numbers_of_page(name: str, budget: Any, **found: Any) -> dict[str, Any]:
    """What stands in the JSON beside a page: the budget with its name, and what was found."""
    return {"budget": {"name": name, **as_json(budget)}, **found}


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
