"""An experiment stopped halfway goes on where it was."""

import pytest

from jepa.experiments import levers, sensors, table3, transfer
from jepa.experiments.on_twin import study
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.store import RowStore, check_stamp
from twin.errors import UserError


def test_a_row_is_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"value": 0.25}

    store = RowStore(tmp_path, {"epochs": 3})
    assert store.row("blocked/scenario1/seed0/gru", compute) == {"value": 0.25}
    assert RowStore(tmp_path, {"epochs": 3}).row("blocked/scenario1/seed0/gru", compute) == {"value": 0.25}
    assert len(calls) == 1


def test_rows_of_two_budgets_never_meet(tmp_path):
    RowStore(tmp_path, {"epochs": 3, "width": 64})
    with pytest.raises(UserError, match=r"differs in epochs.*--out"):
        RowStore(tmp_path, {"epochs": 4, "width": 64})


def test_what_is_known_of_a_budget_is_compared_before_anything_is_made(tmp_path):
    check_stamp(tmp_path, {"epochs": 4})
    RowStore(tmp_path, {"epochs": 3, "data": "made with it"})
    check_stamp(tmp_path, {"epochs": 3})
    with pytest.raises(UserError, match=r"differs in epochs\).*--out"):
        check_stamp(tmp_path, {"epochs": 4})
    with pytest.raises(UserError, match=r"differs in data\)"):
        RowStore(tmp_path, {"epochs": 3})


@pytest.mark.parametrize(
    ("experiment", "maker"), [(table3, study), (levers, levers), (transfer, transfer), (sensors, sensors)]
)
def test_a_budget_that_is_refused_makes_no_recordings(experiment, maker, tmp_path, monkeypatch):
    """They would join those that are there, and the rows would no longer be of their recordings."""
    RowStore(tmp_path / "rows", {"name": "default", "data": "some"})
    for name in ("recorded", "stand_ins", "_generated"):
        if hasattr(maker, name):
            monkeypatch.setattr(maker, name, lambda *_, **__: pytest.fail("recordings are made"))
    with pytest.raises(UserError, match="holds rows of another budget"):
        experiment.run(tmp_path, budget="quick")


def test_a_row_that_fails_leaves_nothing_behind(tmp_path):
    store = RowStore(tmp_path, {})
    with pytest.raises(ValueError, match="JSON"):
        store.row("a", lambda: {"value": float("nan")})
    assert not store.has("a")


def test_a_damaged_file_is_named(tmp_path):
    store = RowStore(tmp_path, {})
    store.row("a", dict)
    store.path("a").write_text('{"value": 0.')
    with pytest.raises(UserError, match=r"a\.json: is damaged"):
        store.row("a", dict)
    (tmp_path / "budget.json").write_text("")
    with pytest.raises(UserError, match=r"budget\.json: is damaged"):
        RowStore(tmp_path, {})


def test_markdown_table_has_one_line_a_row():
    assert markdown_table(["model", "dB"], [["gru", "0.8"]]).splitlines() == [
        "| model | dB |",
        "|---|---|",
        "| gru | 0.8 |",
    ]
