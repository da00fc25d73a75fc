"""Figure 10 of the paper: what the backbone is trained on, with the same data, windows, tokenizers and heads.

JEPA, reconstruction of raw inputs and random weights give a frozen backbone on which the same heads are trained;
multi-task and end-to-end train backbone and heads as one. How many passes each has is printed: a pass of the heads on
frozen latents costs next to nothing, one through the backbone as much as one of pretraining.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa.experiments.on_twin.study import HeadSetup, Place, Study
from jepa.experiments.pages.canvas import check_that_figures_can_be_drawn
from jepa.experiments.pages.drawing import Caption, bars
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Estimate
from jepa.experiments.results.rows import Ordering, cells, estimates, judged, numbers_of_page
from jepa.experiments.results.store import write_json
from jepa.experiments.table3 import METRICS, PAPER, PAPER_DEFAULT, passes, printed_cells

__all__ = ["run"]

JEPA = "jepa"
PRINTED = {JEPA: PAPER[PAPER_DEFAULT], "untrained": PAPER["untrained"], "end-to-end": PAPER["end-to-end"]}
"""What the paper prints (table III); of the other two it draws bars without numbers."""
FIGURES = {"ade_m": "ADE, m", "fde_m": "FDE, m", "l1_rsrp_db": "L1-RSRP difference, dB", "top1": "top-1 accuracy"}
CLAIMS: tuple[Ordering, ...] = (
    ("JEPA has a smaller error at the last step than reconstruction", "fde_m", JEPA, "reconstruction", "lower"),
    ("JEPA finds the best beam more often than reconstruction", "top1", JEPA, "reconstruction", "higher"),
    ("JEPA finds the best beam more often than multi-task training", "top1", JEPA, "multi-task", "higher"),
    ("JEPA finds the best beam more often than one model a task", "top1", JEPA, "end-to-end", "higher"),
    ("JEPA finds the best beam more often than random weights", "top1", JEPA, "untrained", "higher"),
    ("reconstruction knows the RSSI better than JEPA", "mae_db", JEPA, "reconstruction", "higher"),
)
"""What the paper says."""


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
    values = {name: estimates(rows, METRICS) for name, rows in found.items()}
    claims = judged(found, CLAIMS, PRINTED)
    _draw(out, values, study.protocol)
    page = "\n".join(
        ["# Training paradigms (figure 10)", "", study.describe(), "", passes(study), "", NOTE, "", _table(values), ""]
        + [
            *(f"![{label}](paradigms_{metric}.png)" for metric, label in FIGURES.items()),
            "",
            "## What the paper claims",
            "",
            *(f"- {one}" for one in claims),
            "",
        ]
    )
    (out / "paradigms.md").write_text(page)
    numbers = numbers_of_page(study.name, study.budget, rows=found, values=values, paper=PRINTED, claims=claims)
    write_json(out / "paradigms.json", numbers)
    print(page)


NOTE = """In brackets: 95 % intervals over whole drives. The paper's values are those of Scenario 32 under the leaky
split; the unit of its RSSI errors is unknown."""


def _table(values: Mapping[str, Mapping[str, Estimate]]) -> str:
    body = []
    for name, own in values.items():
        body.append([name, *cells(own, METRICS)])
        if name in PRINTED:
            body.append(["*paper*", *printed_cells(PRINTED[name], METRICS)])
    return markdown_table(
        ("paradigm", "ADE m", "FDE m", "top-1", "top-3", "L1 diff dB", "RSSI RMSE dB", "RSSI MAE dB"), body
    )


def _draw(out: Path, values: Mapping[str, Mapping[str, Estimate]], protocol: str) -> None:
    """One picture a metric."""
    for metric, label in FIGURES.items():
        drawn = {}
        for name, own in values.items():
            low, high = own[metric].interval or (own[metric].value, own[metric].value)
            drawn[name] = (own[metric].value, low, high)
        paper = {name: row[metric] for name, row in PRINTED.items()}
        caption = Caption("Training paradigms", f"{protocol}; lines: 95 % intervals over whole drives", tuple(values))
        bars(out / f"paradigms_{metric}.png", drawn, label, caption, paper)
