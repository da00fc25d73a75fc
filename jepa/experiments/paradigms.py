"""Figure 10 of the paper: what the backbone is trained on, with the same data, windows, tokenizers and heads.

JEPA, reconstruction of raw inputs and random weights give a frozen backbone on which the same heads are trained;
multi-task and end-to-end train backbone and heads as one. How many passes each has is printed: a pass of the heads on
frozen latents costs next to nothing, one through the backbone as much as one of pretraining.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa.experiments.canvas import check_that_figures_can_be_drawn
from jepa.experiments.comparison import Claim, claim, difference, mean
from jepa.experiments.drawing import Caption, bars
from jepa.experiments.rows import Rows, metric_text, sums
from jepa.experiments.study import HeadSetup, Place, Study
from jepa.experiments.table import markdown_table, write_json
from jepa.experiments.table3 import METRICS, PAPER

__all__ = ["run"]

JEPA = "jepa"
PAPER_ROWS = {JEPA: "D = 128", "untrained": "untrained", "end-to-end": "end-to-end"}
"""Rows that the paper prints (table III); of the other two it draws bars without numbers."""
FIGURES = {"ade_m": "ADE, m", "fde_m": "FDE, m", "l1_rsrp_db": "L1-RSRP difference, dB", "top1": "top-1 accuracy"}
CLAIMS: tuple[tuple[str, str, str, Any], ...] = (
    ("JEPA has a smaller error at the last step than reconstruction", "fde_m", "reconstruction", "lower"),
    ("JEPA finds the best beam more often than reconstruction", "top1", "reconstruction", "higher"),
    ("JEPA finds the best beam more often than multi-task training", "top1", "multi-task", "higher"),
    ("JEPA finds the best beam at least as often as one model a task", "top1", "end-to-end", "higher"),
    ("JEPA finds the best beam more often than random weights", "top1", "untrained", "higher"),
    ("reconstruction knows the RSSI better than JEPA", "mae_db", "reconstruction", "higher"),
)
"""What the paper says: text, metric, the other paradigm, and how JEPA's compares with it."""


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, draw the figure, print the page, write all to `out`.

    Raises:
        UserError: an unknown budget, rows of another one in `out`, or matplotlib is not installed.
    """
    check_that_figures_can_be_drawn()
    study = Study(out, data, budget)

    def untrained(place: Place) -> dict[str, Any]:
        return study.judged(place, "untrained", study.pretrained(place, "jepa"), HeadSetup(backbone="random"))

    def reconstruction(place: Place) -> dict[str, Any]:
        trained = study.pretrained(place, "jepa-reconstruction", ["paradigm=reconstruction"])
        return study.judged(place, "reconstruction", trained)

    found = {
        JEPA: study.collected(study.base_key, study.base),
        "reconstruction": study.collected("jepa-reconstruction", reconstruction),
        "multi-task": study.collected("jepa-multi-task", lambda place: study.supervised(place, "multi-task")),
        "end-to-end": study.end_to_end(),
        "untrained": study.collected("jepa-untrained", untrained),
    }
    _draw(out, found, study.protocol)
    claims = [f"- {one}" for one in _claims(found)]
    page = "\n".join(
        ["# Training paradigms (figure 10)", "", study.describe(), "", _passes(study), "", NOTE, "", _table(found), ""]
        + [
            *(f"![{label}](paradigms_{metric}.png)" for metric, label in FIGURES.items()),
            "",
            "## What the paper claims",
            "",
            *claims,
            "",
        ]
    )
    (out / "paradigms.md").write_text(page)
    write_json(out / "paradigms.json", {"rows": found, "paper": {name: PAPER[row] for name, row in PAPER_ROWS.items()}})
    print(page)


NOTE = """In brackets: 95 % intervals over whole drives. The paper's values are those of Scenario 32 under the leaky
split; the unit of its RSSI errors is unknown."""


def _passes(study: Study) -> str:
    budget = study.budget
    whole = budget.epochs + budget.supervised_epochs
    return (
        f"Passes over the training windows: jepa and reconstruction {budget.epochs} of the backbone, then "
        f"{budget.head_epochs} of the heads on frozen latents; multi-task and each model of end-to-end {whole} of both."
    )


def _table(found: Mapping[str, Rows]) -> str:
    body = []
    for name, rows in found.items():
        body.append([name, *(metric_text(rows, metric) for metric in METRICS)])
        if name in PAPER_ROWS:
            printed = PAPER[PAPER_ROWS[name]][2:]
            body.append(["*paper*", *("" if value is None else f"{value:g}" for value in printed)])
    return markdown_table(
        ("paradigm", "ADE m", "FDE m", "top-1", "top-3", "L1 diff dB", "RSSI RMSE dB", "RSSI MAE dB"), body
    )


def _claims(found: Mapping[str, Rows]) -> list[Claim]:
    claims = []
    for text, metric, rival, direction in CLAIMS:
        own, other = sums(found[JEPA], metric), sums(found[rival], metric)
        if own is not None and other is not None:
            claims.append(claim(f"{text} ({metric})", difference(own, other), direction))
    return claims


def _draw(out: Path, found: Mapping[str, Rows], protocol: str) -> None:
    """One picture a metric."""
    for metric, label in FIGURES.items():
        values = {}
        for name, rows in found.items():
            summed = sums(rows, metric)
            assert summed is not None
            estimate = mean(summed)
            low, high = estimate.interval or (estimate.value, estimate.value)
            values[name] = (estimate.value, low, high)
        printed = {name: PAPER[row][2 + METRICS.index(metric)] for name, row in PAPER_ROWS.items()}
        paper = {name: value for name, value in printed.items() if value is not None}
        caption = Caption("Training paradigms", f"{protocol}; lines: 95 % intervals over whole drives", tuple(found))
        bars(out / f"paradigms_{metric}.png", values, label, caption, paper)
