"""Figures 4 to 9 of the paper: JEPA, the beams that its RSSI head ranks, and the baselines of each task.

The rows of JEPA are those of table III where that was made in the same directory. What the paper draws stands in no
text, so that its curves cannot be laid beside ours; of JEPA-MSAC it prints the means (table III).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jepa.experiments.on_twin.study import Study
from jepa.experiments.pages.canvas import Interval, check_that_figures_can_be_drawn
from jepa.experiments.pages.drawing import Caption, against_horizon, bars, cdf, mismatch
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Claim, Estimate, Sums
from jepa.experiments.results.rows import (
    QUANTILES,
    Ordering,
    Rows,
    by_step,
    cells,
    estimate,
    estimates,
    judged,
    numbers_of_page,
)
from jepa.experiments.results.store import write_json
from jepa.experiments.table3 import METRICS, PAPER_JEPA, printed_cells

__all__ = ["ORDER", "TASKS", "run"]

JEPA, BY_SPECTRUM, BEST = "jepa", "jepa, RSSI head", "jepa, best"
TASKS = {
    "localization": (JEPA, BEST, "ar", "gru", "transformer", "kalman", "constant_velocity"),
    "beam": (JEPA, BEST, BY_SPECTRUM, "ar", "gru", "transformer", "m2beamllm", "gru_cascade"),
    "rssi": (JEPA, BEST, "ar", "gru", "transformer", "vision_position"),
}
"""Models by task, as the paper compares them, with ours: the preset `best`, constant velocity and a GRU over the raw
history."""
GENERIC = ("ar", "gru", "transformer")
"""Baselines that the paper sets against JEPA in every task."""
CLAIMS: tuple[Ordering, ...] = (
    *((f"JEPA locates better than {name}", "ade_m", JEPA, name, "lower") for name in (*GENERIC, "kalman")),
    *((f"JEPA finds the best beam more often than {name}", "top1", JEPA, name, "higher") for name in GENERIC),
    *((f"JEPA loses less power than {name}", "l1_rsrp_db", JEPA, name, "lower") for name in (*GENERIC, "m2beamllm")),
    *(
        (f"JEPA knows the RSSI better than {name}", "mae_db", JEPA, name, "lower")
        for name in (*GENERIC, "vision_position")
    ),
)
"""What the paper says of these figures (section IV-D)."""
OURS: tuple[Ordering, ...] = (
    ("JEPA finds the best beam more often than gru_cascade", "top1", JEPA, "gru_cascade", "higher"),
    ("the preset best loses less power than gru_cascade", "l1_rsrp_db", BEST, "gru_cascade", "lower"),
    ("the preset best locates better than kalman", "ade_m", BEST, "kalman", "lower"),
    ("the preset best locates better than ar", "ade_m", BEST, "ar", "lower"),
)
"""What would have to hold of the models that the paper does not have."""
ORDER = (
    "kalman",
    "vision_position",
    JEPA,
    "constant_velocity",
    BEST,
    "ar",
    "gru",
    "transformer",
    "gru_cascade",
    BY_SPECTRUM,
    "m2beamllm",
)
"""Of the colours: the first two and the last two, who share them, meet in no figure. Constant velocity is dashed: the
line of a model that never leaves it shows through."""
FIGURES = {
    4: "Distribution of the mean displacement over the five steps",
    5: "Displacement against the horizon",
    6: "Best beam found, against the horizon",
    7: "Power lost by the predicted beam",
    8: "How far the predicted beam is from the best one",
    9: "Error of the RSSI against the horizon",
}


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, draw the figures, print the page, write all to `out`.

    Raises:
        UserError: an unknown budget, rows of another one in `out`, or matplotlib is not installed.
    """
    study = Study(out, data, budget)
    check_that_figures_can_be_drawn()
    base = study.base_key
    found = {
        JEPA: study.collected(base, study.base),
        BEST: study.collected("best", study.best),
        BY_SPECTRUM: study.collected(f"{base}-by-spectrum", study.base_by_spectrum),
        **{
            name: study.collected(name, partial(study.baseline, name=name))
            for name in dict.fromkeys(model for models in TASKS.values() for model in models)
            if name not in (JEPA, BEST, BY_SPECTRUM)
        },
    }
    task = {name: {model: found[model] for model in models} for name, models in TASKS.items()}
    values = {model: estimates(rows, _compared(model)) for model, rows in found.items()}
    curves = _all_curves(task)
    _draw(out, task, values, curves, study.protocol)
    claims, ours = (judged(found, said, {}) for said in (CLAIMS, OURS))
    page = _page(values, study.describe(), claims, ours)
    (out / "figures.md").write_text(page)
    paper = {JEPA: PAPER_JEPA}
    said = [*claims, *ours]
    numbers = numbers_of_page(
        study.name, study.budget, rows=found, values=values, curves=curves, paper=paper, claims=said
    )
    write_json(out / "figures.json", numbers)
    print(page)


Curves = dict[str, dict[str, list[Estimate]]]
"""By title and model, what one figure shows at each step."""


def _all_curves(task: Mapping[str, Mapping[str, Rows]]) -> dict[str, Curves]:
    """What is drawn against the horizon, by figure."""
    return {
        "figure5": {
            "ADE up to the step, m": _curves(task["localization"], "ade_m", so_far=True),
            "FDE: error at the step, m": _curves(task["localization"], "ade_m"),
        },
        "figure6": {
            "top-1 accuracy": _curves(task["beam"], "top1"),
            "top-3 accuracy": _curves(task["beam"], "top3"),
        },
        "figure9": {"RMSE, dB": _curves(task["rssi"], "rmse_db"), "MAE, dB": _curves(task["rssi"], "mae_db")},
    }


def _draw(
    out: Path,
    task: Mapping[str, Mapping[str, Rows]],
    values: Mapping[str, Mapping[str, Estimate]],
    curves: Mapping[str, Curves],
    protocol: str,
) -> None:
    """Write the six figures."""
    bands = f"{protocol}; bands: 95 % intervals over whole drives"

    def caption(number: int, made: str = bands) -> Caption:
        return Caption(f"{FIGURES[number]} (the paper's figure {number})", made, ORDER)

    errors_m = {model: _errors_m(rows) for model, rows in task["localization"].items()}
    cdf(out / "figure4.png", errors_m, "mean displacement of a window, m", caption(4, protocol))
    for number in (5, 6, 9):
        drawn = {
            title: {model: _interval(steps) for model, steps in by_model.items()}
            for title, by_model in curves[f"figure{number}"].items()
        }
        against_horizon(out / f"figure{number}.png", drawn, caption(number), shares=number == 6)
    lost_db = {model: _interval([values[model]["l1_rsrp_db"]]) for model in task["beam"]}
    made = f"{protocol}; lines: 95 % intervals over whole drives; the paper's: Scenario 32, leaky split"
    bars(out / "figure7.png", lost_db, "L1-RSRP difference, dB", caption(7, made), {JEPA: PAPER_JEPA["l1_rsrp_db"]})
    mismatch(
        out / "figure8.png", {model: _mismatch(rows) for model, rows in task["beam"].items()}, caption(8, protocol)
    )


def _errors_m(rows: Rows) -> Float[np.ndarray, "window"]:
    """Displacement of every window [m], read off the distribution that each row keeps; seeds one after another."""
    shares = np.linspace(0, 1, QUANTILES)
    found = []
    for row in (row for seeds in rows for row in seeds):
        windows = sum(row["windows"])
        found.append(np.interp((np.arange(windows) + 0.5) / windows, shares, row["ade_quantiles_m"]))
    return np.concatenate(found)


def _mismatch(rows: Rows) -> Float[np.ndarray, "64"]:
    """Share of the predictions that are 0, 1, ... 63 beams off."""
    counts = np.sum([row["mismatch"] for seeds in rows for row in seeds], axis=0)
    shares: np.ndarray = counts / counts.sum()
    return shares


def _curves(models: Mapping[str, Rows], metric: str, *, so_far: bool = False) -> dict[str, list[Estimate]]:
    """By model the metric at each step, or its mean over the steps so far."""
    curves = {}
    for model, rows in models.items():
        steps = by_step(rows, metric)
        assert steps is not None
        if so_far:
            summed = np.cumsum([step.sums for step in steps], 0)
            steps = [Sums(part / (k + 1), steps[0].windows) for k, part in enumerate(summed)]
        curves[model] = [estimate(step, metric) for step in steps]
    return curves


def _interval(found: Sequence[Estimate]) -> Interval:
    """Values and the ends of their intervals; a single drive has none, and the ends lie on the value."""
    ends = [one.interval or (one.value, one.value) for one in found]
    return [one.value for one in found], [low for low, _ in ends], [high for _, high in ends]


NOTE = """Means over windows and steps with 95 % intervals over whole drives. What the paper prints of JEPA-MSAC (table
III, D = 128) was measured on Scenario 32 under a split in which test windows share frames with training windows; the
unit of its RSSI errors is unknown: they are not to be compared. *jepa, RSSI head*: beams ranked by the spectrum that
the RSSI head predicts. *jepa, best* (the preset `best`, which reads power and position alone), `constant_velocity` and
`gru_cascade` are ours, the others are those of the paper's table II."""
HEADER = ("model", "ADE m", "FDE m", "top-1", "top-3", "L1 diff dB", "RSSI RMSE dB", "RSSI MAE dB")


def _page(
    values: Mapping[str, Mapping[str, Estimate]], budget: str, claims: Sequence[Claim], ours: Sequence[Claim]
) -> str:
    body = [[model, *cells(own, METRICS)] for model, own in values.items()]
    body.insert(1, ["*paper's jepa*", *printed_cells(PAPER_JEPA, METRICS)])
    pictures = [f"![Figure {number}: {title}](figure{number}.png)\n" for number, title in FIGURES.items()]
    lines = ["# Figures 4 to 9", "", budget, "", NOTE, "", markdown_table(HEADER, body), ""]
    lines += ["## What the paper claims", "", *(f"- {one}" for one in claims), ""]
    lines += ["## Models that the paper does not have", "", *(f"- {one}" for one in ours), ""]
    return "\n".join([*lines, *pictures])


TASK_OF = dict(zip(METRICS, ["localization"] * 2 + ["beam"] * 3 + ["rssi"] * 2, strict=True))


def _compared(model: str) -> list[str]:
    """The metrics of the tasks at which a model is compared."""
    return [metric for metric in METRICS if model in TASKS[TASK_OF[metric]]]
