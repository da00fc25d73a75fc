"""Exit status: 0 done, 2 a user's error in one line, anything else a defect with its traceback."""

import errno
import json

import pytest
import typer

from twin.console import print_json, run_command_line
from twin.errors import UserError


def outcome(action, capsys, monkeypatch, arguments=("go",)):
    commands = typer.Typer()
    commands.command("go")(action)
    commands.command("other")(lambda: None)
    monkeypatch.setattr("sys.argv", ["twin", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command_line(commands, "twin")
    return stop.value.code, capsys.readouterr().err


def test_a_users_error_is_one_line_and_status_2(capsys, monkeypatch):
    def action() -> None:
        raise UserError("no such\ncolumn", "a.csv", "add it")

    code, err = outcome(action, capsys, monkeypatch)
    assert (code, err) == (2, "error: a.csv: no such column; add it\n")


def test_success_is_status_0(capsys, monkeypatch):
    assert outcome(lambda: None, capsys, monkeypatch) == (0, "")


def test_a_full_disk_is_a_users_error(capsys, monkeypatch):
    def action() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/out/frames")

    code, err = outcome(action, capsys, monkeypatch)
    assert code == 2
    assert "the disk is full" in err
    assert err.count("\n") == 1


def test_an_unknown_option_is_a_users_error(capsys, monkeypatch):
    code, err = outcome(lambda: None, capsys, monkeypatch, ("go", "--speed", "3"))
    assert code == 2
    assert "--speed" in err
    assert err.count("\n") == 1


def test_a_defect_keeps_its_traceback(capsys, monkeypatch):
    def action() -> None:
        raise KeyError("lost")

    commands = typer.Typer()
    commands.command("go")(action)
    commands.command("other")(lambda: None)
    monkeypatch.setattr("sys.argv", ["twin", "go"])
    with pytest.raises(KeyError):
        run_command_line(commands, "twin")


def test_json_output_is_one_object(capsys):
    print_json({"windows": 3})
    assert json.loads(capsys.readouterr().out) == {"windows": 3}
    with pytest.raises(ValueError, match="JSON"):
        print_json({"value": float("nan")})


def test_ctrl_c_is_status_130_also_where_a_kernel_makes_a_system_error_of_it(capsys, monkeypatch):
    def action() -> None:
        hidden = SystemError("returned a result with an exception set")
        hidden.__cause__ = KeyboardInterrupt()
        raise SystemError("returned a result with an exception set") from hidden

    def defect() -> None:
        raise SystemError("something else")

    assert outcome(action, capsys, monkeypatch) == (130, "")
    with pytest.raises(SystemError, match="something else"):
        outcome(defect, capsys, monkeypatch)
