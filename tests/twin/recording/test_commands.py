"""`twin import` and `twin verify` as a user meets them."""

import json
import subprocess
import sys

import pytest

import twin.cli
from twin.recording import scan


def run(arguments, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["twin", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        twin.cli.main()
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_an_import_and_what_it_says(folder, tmp_path, capsys, monkeypatch):
    code, out, err = run(["import", folder.csv, "--out", tmp_path / "out"], capsys, monkeypatch)
    assert (code, err) == (0, "")
    assert "30 samples in 2 sequences of scenario7" in out
    assert "present and not read: unit2_rgb" in out
    code, out, _ = run(["verify", tmp_path / "out"], capsys, monkeypatch)
    assert (code, out) == (0, f"{tmp_path}/out: 2 of 2 recordings are whole\n")


def test_json_is_all_that_is_on_standard_output(folder, tmp_path):
    command = [sys.executable, "-m", "twin.cli", "import", folder.csv, "--out", tmp_path / "out", "--json"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(made.stdout)["samples"] == 30
    verified = subprocess.run(
        [sys.executable, "-m", "twin.cli", "verify", tmp_path / "out", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(verified.stdout) == {"recordings": 2, "damaged": {}}


def test_damage_is_one_line_and_status_2(folder, tmp_path, capsys, monkeypatch):
    run(["import", folder.csv, "--out", tmp_path / "out"], capsys, monkeypatch)
    chunk = next((tmp_path / "out/seq-0002/frames.zarr/rf/c").rglob("*/0"))
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    code, out, err = run(["verify", tmp_path / "out", "--json"], capsys, monkeypatch)
    assert code == 2
    assert list(json.loads(out)["damaged"]) == ["seq-0002"]
    assert err.startswith(f"error: {tmp_path}/out: 1 damaged, the first: seq-0002, array 'rf'")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "missing.csv", "--out", "OUT"],
        ["import", "CSV", "--out", "OUT", "--max-bad", "2"],
        ["import", "CSV", "--out", "OUT", "--rate-hz", "fast"],
        ["import", "CSV", "--out", "OUT", "--modalities", "rf,sonar"],
        ["import", "CSV"],
        ["verify", "OUT"],
    ],
)
def test_a_users_error_is_one_line_and_leaves_nothing(folder, tmp_path, capsys, monkeypatch, arguments):
    places = {"CSV": folder.csv, "OUT": tmp_path / "out"}
    code, out, err = run([places.get(argument, argument) for argument in arguments], capsys, monkeypatch)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_an_import_into_what_exists_keeps_what_exists(folder, tmp_path, capsys, monkeypatch):
    for expected in (0, 2):
        code, _, _ = run(["import", folder.csv, "--out", tmp_path / "out"], capsys, monkeypatch)
        assert code == expected
    assert len(scan(tmp_path / "out").episodes) == 2
