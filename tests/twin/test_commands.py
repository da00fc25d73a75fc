"""The twin's commands as a user calls them."""

import json
import subprocess
import sys

import jsonschema
import pytest
import yaml


def twin(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "twin.cli", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def refused(done):
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    out = tmp_path_factory.mktemp("commands") / "data"
    done = twin("generate", "street_canyon", "--out", out, "--episodes", 2, "--frames", 20, "--seed", 1, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out, json.loads(done.stdout)


def test_generate_says_what_it_made_and_verify_finds_it_whole(generated):
    out, said = generated
    assert (said["episodes"], said["frames"]) == (2, 40)
    done = twin("verify", out, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"recordings": 2, "damaged": {}}


def test_an_output_that_exists_is_refused_unless_it_is_to_be_completed(generated):
    out, said = generated
    request = ("generate", "street_canyon", "--out", out, "--episodes", 2, "--frames", 20, "--seed")
    assert "--resume" in refused(twin(*request, 1))
    again = twin(*request, 1, "--resume", "--json")
    assert json.loads(again.stdout)["dataset_hash"] == said["dataset_hash"]
    refused(twin(*request, 2, "--resume"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "street_cannon", "--out", "nowhere"),
        ("generate", "street_canyon", "--out", "nowhere", "--modalities", "rf,sonar"),
        ("generate", "street_canyon", "--out", "nowhere", "--episodes", "0"),
        ("generate", "street_canyon", "--out", "nowhere", "--episodes", "many"),
        ("generate", "street_canyon"),
        ("regress", "street_cannon"),
    ],
)
def test_a_users_error_is_one_line_and_status_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(twin(*arguments))
    assert not list(tmp_path.iterdir())


def test_scenarios_are_listed_and_described():
    names = [entry["name"] for entry in json.loads(twin("scenarios", "--json").stdout)["scenarios"]]
    assert {"street_canyon", "deepsense32", "drive_by"} <= set(names)
    assert all(name in twin("scenarios").stdout for name in names)


def test_the_schema_accepts_the_scenarios():
    from twin.scenario import load_scenario, scenario_names

    schema = json.loads(twin("scenarios", "--schema").stdout)
    for name in scenario_names():
        jsonschema.validate(yaml.safe_load(load_scenario(name).where.read_text()), schema)


@pytest.mark.long
def test_bench_prints_its_rates():
    rates = json.loads(twin("bench", "sweep", "generate", "--json").stdout)
    assert {"sweep_frames_per_s", "generate_frames_per_s_core"} <= rates.keys()
    assert all(rate > 0 for rate in rates.values())
