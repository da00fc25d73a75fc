"""Table III from nothing: drives of the twin, every row, every claim; what is there is not computed again."""

import json

import numpy as np
import pytest

from jepa.experiments import table3
from jepa.experiments.on_twin.budgets import BUDGETS
from jepa.experiments.on_twin.study import Study

DRIVES = 8


def _row(key):
    """A row out of the air, the same for a key: one seed on eight drives, with ranks."""
    rng = np.random.default_rng(list(key.encode()))
    row = {name: rng.uniform(0, 10, DRIVES).tolist() for name in table3.METRICS}
    ranks = {name: {"value": 2.0, "ci95": sorted(rng.uniform(1, 3, 2).tolist())} for name in table3.RANKS}
    return [[{"windows": [10] * DRIVES, **row, "representation": ranks}]]


@pytest.fixture
def written(tmp_path, dataset, monkeypatch):
    """Page and JSON of rows out of the air."""
    monkeypatch.setattr(Study, "collected", lambda self, key, compute, places=None: _row(key))
    monkeypatch.setattr(Study, "end_to_end", lambda self: _row("end-to-end"))
    table3.run(tmp_path, [dataset], "quick")
    return (tmp_path / "table3.md").read_text().splitlines(), json.loads((tmp_path / "table3.json").read_text())


def test_the_json_holds_what_the_page_prints(written, as_printed):
    page, told = written
    assert told["budget"]["name"] == "quick"
    assert told["budget"]["epochs"] == BUDGETS["quick"].epochs
    assert told["values"].keys() == told["rows"].keys()
    for name, values in told["values"].items():
        (line,) = [line for line in page if line.startswith(f"| {name} |")]
        ranks = [as_printed(values[rank], 2) for rank in table3.RANKS]
        metrics = [as_printed(values[metric]) for metric in table3.METRICS]
        assert line == f"| {name} | {' | '.join([*ranks, *metrics])} |"
    (row,) = told["rows"]["untrained"][0]
    assert told["values"]["untrained"]["top1"]["value"] == pytest.approx(sum(row["top1"]) / sum(row["windows"]))
    assert told["values"]["untrained"]["rmse_db"]["value"] == pytest.approx(
        np.sqrt(sum(row["rmse_db"]) / sum(row["windows"]))
    )


def test_the_json_holds_every_claim_of_the_page(written, as_printed):
    page, told = written
    claimed = [line for line in page[page.index("## What the paper claims") :] if line.startswith("- ")]
    lines = []
    for one in told["claims"]:
        if "values" in one:
            measured = " and ".join(as_printed(rank, 2) for rank in one["values"])
        else:
            measured = f"{as_printed(one, sign=True)}, {one['sequences']} sequences"
        paper = "" if one["paper"] is None else f"; paper {one['paper']:+g}"
        lines.append(f"- {one['claim']}: {one['verdict']}, {measured}{paper}")
    assert lines == claimed
    assert len(lines) == len(table3.CLAIMS) + 2 * len(table3.RANKS)


def test_a_claim_ends_with_the_papers_difference_where_both_numbers_are_printed(written):
    """Differences of numbers typed from the paper's table."""
    _, told = written
    paper = {one["claim"]: one["paper"] for one in told["claims"]}
    assert paper["the pretrained backbone finds the best beam more often than the untrained (top1)"] == 0.234
    assert paper["the pretrained backbone loses less power than the untrained (l1_rsrp_db)"] == -0.7906
    assert paper["RSSI needs power more than vision (mae_db)"] == 0.1239
    assert paper["localization needs position more than radar (ade_m)"] == 2.9626
    assert paper["temporal blocks have a higher RankMe than the checkerboard"] == 9.838
    assert {text for text, difference in paper.items() if difference is None} == {
        "the beam needs power more than position (top1)",
        "RSSI needs power more than position (mae_db)",
        "localization needs position more than power (ade_m)",
    }


def test_power_is_compared_with_position_as_well(written):
    """The paper: for beam and RSSI prediction it is the most essential input."""
    _, told = written
    for text, metric in (("the beam needs", "top1"), ("RSSI needs", "mae_db")):
        (one,) = [one for one in told["claims"] if one["claim"] == f"{text} power more than position ({metric})"]
        power, position = (told["values"][f"without {name}"][metric]["value"] for name in ("power", "position"))
        assert one["value"] == pytest.approx(power - position)


def test_the_page_says_how_long_everything_was_trained(written):
    page, _ = written
    assert any("each model of end-to-end 2 of both" in line for line in page)


@pytest.fixture
def made(quick_study):
    """The experiment, run once on recordings of five modalities that it makes itself: its directory."""
    return quick_study


@pytest.mark.long
def test_every_row_stands_over_the_papers(made):
    page = (made / "table3.md").read_text().splitlines()
    rows = json.loads((made / "table3.json").read_text())["rows"]
    ours = {f"D = {width}" for width in BUDGETS["quick"].widths} | {"fusion tokens", "best", "best, untrained"}
    assert rows.keys() == ours | {name for name in table3.PAPER if not name.startswith("D = ")}
    for name, row in rows.items():
        (number,) = (number for number, line in enumerate(page) if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in page[number].split("|")[2:-1]]
        assert all(cells[2:]), "every task is done"
        assert all(cells[:2]) == (name != "end-to-end"), "ranks of every backbone that is frozen"
        (one,) = row[0]
        assert cells[4].startswith(f"{sum(one['top1']) / sum(one['windows']):.3f}")
        if name in table3.PAPER:
            printed = table3.printed_cells(table3.PAPER[name], table3.COLUMNS)
            assert page[number + 1] == f"| *paper* | {' | '.join(printed)} |"


@pytest.mark.long
def test_every_claim_is_judged(made):
    claimed = (made / "table3.md").read_text().split("## What the paper claims")[1]
    for text, metric, *_ in table3.CLAIMS:
        assert claimed.count(f"{text} ({metric})") == 1
    assert claimed.count("temporal blocks have a higher") == 2 * len(table3.RANKS)


@pytest.mark.long
def test_widths_that_the_budget_leaves_out_keep_the_papers_row(made):
    page = (made / "table3.md").read_text().splitlines()
    (number,) = (number for number, line in enumerate(page) if line.startswith("| D = 512 (not at this budget) |"))
    assert page[number + 1].startswith("| *paper* | 7.9904 | 3.1104 |")


@pytest.mark.long
def test_a_second_run_computes_nothing_again(made, monkeypatch):
    before = (made / "table3.md").read_text()
    for name in ("pretrained", "supervised", "judged"):
        monkeypatch.setattr(Study, name, None)
    table3.run(made, budget="quick")
    assert (made / "table3.md").read_text() == before
