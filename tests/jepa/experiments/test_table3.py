"""Table III from nothing: drives of the twin, every row, every claim; what is there is not computed again."""

import json

import pytest

from jepa.experiments import table3
from jepa.experiments.budgets import BUDGETS
from jepa.experiments.study import Study

pytestmark = pytest.mark.long


@pytest.fixture
def made(quick_study):
    """The experiment, run once on recordings of five modalities that it makes itself: its directory."""
    return quick_study


def test_every_row_stands_over_the_papers(made):
    page = (made / "table3.md").read_text().splitlines()
    rows = json.loads((made / "table3.json").read_text())
    ours = {f"D = {width}" for width in BUDGETS["quick"].widths} | {"fusion tokens", "best", "best, untrained"}
    assert rows.keys() == ours | {name for name in table3.PAPER if not name.startswith("D = ")}
    for name, row in rows.items():
        (number,) = (number for number, line in enumerate(page) if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in page[number].split("|")[2:-1]]
        assert all(cells[2:]), "every task is done"
        assert all(cells[:2]) == (name != "end-to-end"), "ranks of every backbone that is frozen"
        (one,) = row["rows"][0]
        assert cells[4].startswith(f"{sum(one['top1']) / sum(one['windows']):.3f}")
        if name in table3.PAPER:
            printed = ["" if value is None else f"{value:g}" for value in table3.PAPER[name]]
            assert page[number + 1] == f"| *paper* | {' | '.join(printed)} |"


def test_every_claim_is_judged(made):
    claimed = (made / "table3.md").read_text().split("## What the paper claims")[1]
    for text, metric, *_ in table3.CLAIMS:
        assert claimed.count(f"{text} ({metric})") == 1
    assert claimed.count("temporal blocks have a higher") == 2 * len(table3.RANKS)


def test_widths_that_the_budget_leaves_out_keep_the_papers_row(made):
    page = (made / "table3.md").read_text().splitlines()
    (number,) = (number for number, line in enumerate(page) if line.startswith("| D = 512 (not at this budget) |"))
    assert page[number + 1].startswith("| *paper* | 7.9904 | 3.1104 |")


def test_a_second_run_computes_nothing_again(made, monkeypatch):
    before = (made / "table3.md").read_text()
    for name in ("pretrained", "supervised", "judged"):
        monkeypatch.setattr(Study, name, None)
    table3.run(made, budget="quick")
    assert (made / "table3.md").read_text() == before
