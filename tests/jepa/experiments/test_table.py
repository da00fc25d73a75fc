"""An experiment stopped halfway goes on where it was."""

import pytest

from jepa.experiments.table import RowStore, markdown_table
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
