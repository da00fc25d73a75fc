"""Datasets: the same whatever the workers and their order; whole or not there."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future

import pytest
import yaml
from typer.testing import CliRunner

from twin.cli import commands
from twin.errors import UserError
from twin.generation import generate_dataset
from twin.recording import dataset_hash, scan, verify_dataset
from twin.scenario import load_scenario

REQUEST = {"episodes": 4, "frames": 30, "seed": 3}


def hashes(path):
    found = scan(path)
    assert not found.damaged
    return {entry.name: entry.open().content_hash for entry in found.episodes}


class Backwards(Executor):
    """Does the last job first, when the first result is asked for."""

    def __init__(self):
        self.jobs = []

    def submit(self, function, /, *args, **options):
        future = Future()
        self.jobs.append((future, function, args, options))
        if len(self.jobs) == REQUEST["episodes"]:
            for waiting, job, values, named in reversed(self.jobs):
                waiting.set_result(job(*values, **named))
        return future


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("generated") / "one"
    generate_dataset("street_canyon", path, **REQUEST)
    return path


def test_a_dataset_is_whole(dataset):
    assert len(hashes(dataset)) == 4
    assert not any(verify_dataset(dataset).values())


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.long)])
def test_the_number_of_workers_changes_nothing(dataset, tmp_path, workers):
    generate_dataset("street_canyon", tmp_path / "more", **REQUEST, workers=workers)
    assert hashes(tmp_path / "more") == hashes(dataset)
    assert dataset_hash(scan(tmp_path / "more").episodes) == dataset_hash(scan(dataset).episodes)


def test_the_order_changes_nothing_and_any_executor_will_do(dataset, tmp_path):
    generate_dataset("street_canyon", tmp_path / "backwards", **REQUEST, executor=Backwards())
    assert hashes(tmp_path / "backwards") == hashes(dataset)


def test_progress_is_told(tmp_path):
    told = []
    generate_dataset("drive_by", tmp_path / "d", episodes=2, frames=5, progress=lambda *pair: told.append(pair))
    assert told[-1] == (2, 2)


def test_a_part_is_completed(dataset, tmp_path):
    out = tmp_path / "part"
    generate_dataset("street_canyon", out, episodes=2, frames=30, seed=3)
    generate_dataset("street_canyon", out, **REQUEST)
    assert hashes(out) == hashes(dataset)


@pytest.mark.parametrize("change", [{"seed": 4}, {"frames": 29}, {"modalities": ["rf"]}])
def test_what_another_request_made_is_not_completed(tmp_path, change):
    out = tmp_path / "other"
    generate_dataset("street_canyon", out, episodes=1, frames=30, seed=3)
    before = hashes(out)
    with pytest.raises(UserError, match="of another scenario, seed or request"):
        generate_dataset("street_canyon", out, **{**REQUEST, **change})
    assert hashes(out) == before


def test_a_users_error_survives_the_way_back_from_a_worker(tmp_path):
    scenario = tmp_path / "scenario.yaml"
    from twin.scenario import load_scenario

    text = load_scenario("street_canyon").where.read_text()
    scenario.write_text(text + "\nscenery:\n  - {file: /nowhere.ply, material: concrete}\n")
    with pytest.raises(UserError, match=r"nowhere\.ply"):
        generate_dataset(scenario, tmp_path / "out", episodes=2, frames=5, workers=2)
    assert not (tmp_path / "out").exists() or not scan(tmp_path / "out").episodes


@pytest.mark.parametrize(
    "change", [{"episodes": 0}, {"frames": 0}, {"seed": -1}, {"workers": 0}, {"modalities": ["sonar"]}]
)
def test_a_senseless_request_is_a_users_error_and_leaves_nothing(tmp_path, change):
    with pytest.raises(UserError):
        generate_dataset("street_canyon", tmp_path / "out", **{**REQUEST, **change})
    assert not (tmp_path / "out").exists()


def test_a_world_that_cannot_be_is_refused_before_the_first_episode(tmp_path):
    text = load_scenario("street_canyon").where.read_text()
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(text + "\nparked:\n  - {along_m: 0, across_m: {choice: [9, 9, 9, 2]}}\n")
    told = []
    with pytest.raises(UserError, match=r"parked\.0 stands on the carriageway"):
        generate_dataset(scenario, tmp_path / "out", episodes=12, frames=3, progress=lambda *pair: told.append(pair))
    assert not told
    assert not (tmp_path / "out").exists()


def test_a_failure_in_the_middle_leaves_no_part_of_a_dataset(tmp_path):
    text = load_scenario("street_canyon").where.read_text()
    scenario = tmp_path / "scenario.yaml"
    jam = "{arrivals_per_minute: {choice: [5, 60]}, speed_mps: {choice: [12, 1]}}"
    scenario.write_text(re.sub(r"(?m)^traffic:(\n  .*)*", f"traffic: {jam}", text))
    with pytest.raises(UserError, match="cannot enter the street"):
        generate_dataset(scenario, tmp_path / "out", episodes=24, frames=3)
    assert not (tmp_path / "out").exists()


def test_an_episode_of_noise_alone_is_made_and_said_to_be(tmp_path):
    """A wall between the base station and the street, higher than both, and nothing to go around."""
    raw = dict(load_scenario("street_canyon").raw)
    wall = {"along_m": 0, "across_m": -9, "length_m": 4000, "depth_m": 0.5, "height_m": 9, "material": "concrete"}
    raw |= {"buildings": [wall], "propagation": {"order": 0, "diffraction": 0}}
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.warns(UserWarning, match="street_canyon, episode 0: no path reaches the UE in any frame"):
        generate_dataset(path, tmp_path / "out", episodes=1, frames=3)
    assert verify_dataset(tmp_path / "out") == {"episode-00000": []}


def test_more_frames_than_the_scenario_has_are_refused(tmp_path):
    with pytest.raises(UserError, match="5000 is more than the 200 of scenario street_canyon"):
        generate_dataset("street_canyon", tmp_path / "out", episodes=1, frames=5000)


@pytest.mark.parametrize("command", [["generate", "street_canyon"], ["import", "a.csv"]])
def test_a_url_is_not_taken_for_a_local_folder(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(commands, [*command, "--out", "memory://drives"])
    assert isinstance(result.exception, UserError)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_killed_at_any_moment_only_whole_episodes_are_there_and_the_rest_is_made_later(tmp_path):
    reference = tmp_path / "reference"
    generate_dataset("street_canyon", reference, episodes=40, frames=60, seed=1)
    out = tmp_path / "killed"
    request = f"'street_canyon', {str(out)!r}, episodes=40, frames=60, seed=1"
    call = f"from twin.generation import generate_dataset; generate_dataset({request})"
    killed = 0
    for delay in (0.02, 0.1, 0.15, 0.2, 0.25):
        before = len(list(out.glob("episode-*")))
        process = subprocess.Popen([sys.executable, "-c", call], start_new_session=True)
        while process.poll() is None and len(list(out.glob("episode-*"))) == before:
            time.sleep(0.01)
        time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        assert not scan(out).damaged
        assert not any(verify_dataset(out).values())
    assert killed > 1
    generate_dataset("street_canyon", out, episodes=40, frames=60, seed=1)
    assert hashes(out) == hashes(reference)
