"""The table of complexity: the paper's values beside ours, which are those of the modules, measured once."""

import json

import pytest
import torch

from jepa.baselines import BASELINES
from jepa.complexity import PAPER, Printed, modules, rounds_to
from jepa.complexity.modules import Part, parts
from jepa.experiments import table4
from jepa.experiments.table4 import Budget, run
from twin.errors import UserError

OTHERWISE = {"localization/kalman", *(f"{task}/transformer" for task in ("localization", "beam"))}
"""Ours are built otherwise than the paper's."""
HEAVY = (
    "tokenizer/camera",
    "beam/m2beamllm",
    "rssi/vision_position",
    "all tasks/position_knn",
    "paradigm/reconstruction",
    "paradigm/reconstruction_decoder",
    "paradigm/multitask",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment without what is slow to build."""
    out = tmp_path_factory.mktemp("table4")
    light = {key: build for key, build in parts((64,)).items() if key not in HEAVY}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table4, "parts", lambda widths: light)
        run(out, budget="quick")
    (rows,) = json.loads((out / "table4.json").read_text())["devices"].values()
    return out, rows, light


def test_the_budget_stands_beside_the_numbers(finished):
    told = json.loads((finished[0] / "table4.json").read_text())["budget"]
    assert told["name"] == "quick"
    assert f"timed calls {told['repeats']}" in (finished[0] / "table4.md").read_text()


def line_of(page, module):
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {module} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_every_row_of_the_paper_stands_in_the_table_with_its_values(finished):
    out, _, _ = finished
    page = (out / "table4.md").read_text()
    for key, printed in PAPER.items():
        cells = line_of(page, table4._label(key))
        assert cells[1] == (printed.parameters or "")
        assert cells[4] == (printed.flops or "")
        assert cells[-1] == ("" if printed.latency_ms is None else f"{printed.latency_ms:g}")
    assert "Budget `quick`: timed calls 1, calls before them 0" in page


def test_ours_come_out_as_printed_to_the_last_digit_where_the_paper_can_be_counted_again(finished):
    out, rows, _ = finished
    page = (out / "table4.md").read_text()
    assert rows["backbone/64"]["parameters"] == 399_872
    assert rows["target_encoder/128"]["parameters"] == 793_088
    assert rows["tokenizer/rf"]["parameters"] == 8_576
    assert rows["localization/ar"]["parameters"] == 18
    assert rows["rssi/ar"]["parameters"] == 9
    assert rows["beam/ar"]["profiled_flops"] == 20_480
    assert line_of(page, "backbone, D = 64")[2:5] == ["796.23 M", "37.60 M", "37.60 M"]
    assert line_of(page, "localization: jepa, D = 64")[:2] == ["462.98 K", "0.46 M"]
    assert "21.2 times (backbone, D = 64)" in page
    for key in rows.keys() & PAPER.keys() - OTHERWISE:
        row, printed = rows[key], PAPER[key]
        assert printed.parameters is None or rounds_to(row["parameters"], printed.parameters), key
        assert printed.flops is None or rounds_to(row["profiled_flops"], printed.flops), key


def test_the_page_says_which_do_not(finished, monkeypatch):
    _, rows, _ = finished
    monkeypatch.setitem(PAPER, "beam/gru", Printed("134.76 K", "1.72 M", 0.18))
    some = {key: rows[key] for key in ("beam/gru", "beam/ar", "backbone/64")}
    parameters, flops, *_ = table4._sentences(some)
    assert parameters.endswith(
        "2 of 3 come out as printed, to the last digit; not beam: gru (134.75 K, printed 134.76 K)."
    )
    assert flops.endswith("3 of 3 come out as printed, to the last digit.")


def test_every_baseline_that_costs_something_is_measured():
    there = parts((64,)).keys()
    assert set(BASELINES) <= {key.partition("/")[2] for key in there}
    assert set(HEAVY) <= there


def test_a_backbone_reads_the_real_window(monkeypatch):
    part = modules._backbone(16)
    seen, asked = part.inputs
    assert (seen.shape[1], asked.shape[1]) == (8 * 43, 5 * 43)
    assert part.call(*part.inputs).shape == (1, 13 * 43, 16)


def test_networks_are_asked_what_their_baseline_asks_them():
    part = parts((64,))["localization/gru"]()
    assert [tuple(value.shape) for value in part.inputs] == [(1, 8, 2)]
    assert part.call(*part.inputs).shape == (1, 5, 2)


def test_a_second_run_builds_nothing(finished, monkeypatch, capsys):
    out, _, light = finished
    before = (out / "table4.md").read_text()
    monkeypatch.setattr(table4, "parts", lambda widths: dict.fromkeys(light, pytest.fail))
    run(out, budget="quick")
    assert capsys.readouterr().out.strip() == before.strip()


def test_each_device_has_a_column_and_functions_stay_on_the_processor(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table4, "_devices", lambda: {"A": torch.device("cpu"), "B": torch.device("meta")})
    found = {
        "backbone/64": lambda: Part(torch.nn.Linear(4, 4), (torch.zeros(1, 4),), profiled=1),
        "all tasks/hold_last": lambda: Part(lambda values: values + 1, (torch.zeros(3),), parameters=0),
    }
    monkeypatch.setattr(table4, "parts", lambda widths: found)
    run(tmp_path, budget="quick")
    page = capsys.readouterr().out
    assert "| ms, A | ms, B |" in page
    assert all("[" in cell for cell in line_of(page, "backbone, D = 64")[5:7])
    on_a, on_b = line_of(page, "all tasks: hold last")[5:7]
    assert "[" in on_a
    assert on_b == ""


def test_what_is_wrong_with_the_request_is_said_in_a_line(finished, tmp_path, monkeypatch):
    out, _, _ = finished
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "a", budget="lavish")
    with pytest.raises(UserError, match="recordings are named"):
        run(tmp_path / "a", [tmp_path], "quick")
    monkeypatch.setitem(table4.BUDGETS, "quick", Budget(3, 0, (64,)))
    with pytest.raises(UserError, match="differs in repeats"):
        run(out, budget="quick")
    assert not (tmp_path / "a").exists()
