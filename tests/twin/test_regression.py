"""The golden summaries hold, and notice when the world changes."""

import json

import pytest

from twin import regression, simulator
from twin.errors import UserError
from twin.regression import compare, regress
from twin.scenario import scenario_names


@pytest.mark.parametrize("name", scenario_names())
def test_the_scenario_is_as_expected(name):
    assert regress([name]) == {name: []}


def broken(monkeypatch, right):
    monkeypatch.setattr(simulator, "direction_sine", lambda *angles: -right(*angles))


@pytest.mark.parametrize("name", scenario_names())
def test_a_steering_phase_of_the_wrong_sign_is_seen(name, monkeypatch):
    broken(monkeypatch, simulator.direction_sine)
    (problems,) = regress([name]).values()
    assert any(problem.startswith("mean_beam_by_azimuth") for problem in problems)


def test_a_louder_receiver_is_seen(monkeypatch):
    right = simulator.Simulator.sweep_w
    monkeypatch.setattr(simulator.Simulator, "sweep_w", lambda self, power, start=0: 1.2 * right(self, power, start))
    (problems,) = regress(["street_canyon"]).values()
    assert any(problem.startswith("strongest_power_dbm") for problem in problems)
    assert any(problem.startswith("weakest_power_dbm") for problem in problems)


def test_update_writes_what_then_is_expected(tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "EPISODES", 2)
    with pytest.raises(UserError, match="--update"):
        regress(["drive_by"], folder=tmp_path)
    assert regress(["drive_by"], update=True, folder=tmp_path) == {"drive_by": []}
    assert regress(["drive_by"], folder=tmp_path) == {"drive_by": []}
    file = tmp_path / "drive_by" / "expected.json"
    content = json.loads(file.read_text())
    content["summary"]["speed_mps"]["values"][2] += 1.0
    file.write_text(json.dumps(content))
    (problems,) = regress(["drive_by"], folder=tmp_path).values()
    assert len(problems) == 1
    assert problems[0].startswith("speed_mps differs by 1,")


@pytest.mark.parametrize("content", ["{", "[]", '{"summary": []}', '{"summary": {"frames": {}}}'])
def test_a_damaged_expectation_is_a_users_error(tmp_path, content):
    (tmp_path / "drive_by").mkdir()
    (tmp_path / "drive_by" / "expected.json").write_text(content)
    with pytest.raises(UserError, match="no expected summary"):
        regress(["drive_by"], folder=tmp_path)


def test_numbers_that_appear_or_vanish_are_differences():
    expected = {"a": {"tolerance": 1.0, "values": [1.0, None]}, "b": {"tolerance": 1.0, "values": [1.0]}}
    assert compare(expected, {"a": [1.5, None], "b": [0.1]}) == []
    assert len(compare(expected, {"a": [1.5, 2.0], "c": [0.1]})) == 3
    assert len(compare(expected, {"a": [float("nan"), None], "b": [1.0]})) == 1
