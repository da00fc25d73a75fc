"""Datasets: the same whatever the workers and their order; whole or not there."""

import re
from concurrent.futures import Executor, Future

import pytest
import yaml

from twin.errors import UserError
from twin.generation import generate_dataset
from twin.recording import MODALITIES, dataset_hash, scan, verify_dataset
from twin.scenario import load_scenario

RADIO = ("rf", "gps")
REQUEST = {"episodes": 4, "frames": 30, "seed": 3, "modalities": RADIO}
SENSED = {"episodes": 4, "frames": 3, "seed": 3, "modalities": MODALITIES}


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


@pytest.fixture(scope="module")
def sensed(tmp_path_factory):
    """A junction, with everything that its sensors see."""
    path = tmp_path_factory.mktemp("sensed") / "one"
    generate_dataset("intersection", path, **SENSED)
    return path


@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_changes_nothing_that_a_sensor_sees(sensed, tmp_path, workers):
    for entry in scan(sensed).episodes:
        arrays = entry.open().arrays
        assert set(MODALITIES) <= set(arrays)
        assert all(arrays[f"valid_{name}"].any() for name in MODALITIES)
    generate_dataset("intersection", tmp_path / "more", **SENSED, workers=workers)
    assert len(hashes(sensed)) == SENSED["episodes"]
    assert hashes(tmp_path / "more") == hashes(sensed)
    assert dataset_hash(scan(tmp_path / "more").episodes) == dataset_hash(scan(sensed).episodes)


def test_the_order_changes_nothing_and_any_executor_will_do(dataset, tmp_path):
    generate_dataset("street_canyon", tmp_path / "backwards", **REQUEST, executor=Backwards())
    assert hashes(tmp_path / "backwards") == hashes(dataset)


def test_progress_is_told(tmp_path):
    episodes, frames = [], []
    total = generate_dataset(
        "drive_by",
        tmp_path / "d",
        episodes=2,
        frames=5,
        modalities=RADIO,
        progress=lambda *pair: episodes.append(pair),
        on_frames=frames.append,
    )
    assert episodes == [(0, 2), (1, 2), (2, 2)]
    assert frames == [5, 5]
    assert total == 10


def test_a_users_error_survives_the_way_back_from_a_worker(tmp_path):
    scenario = tmp_path / "scenario.yaml"
    from twin.scenario import load_scenario

    text = load_scenario("street_canyon").where.read_text()
    scenario.write_text(text + "\nscenery:\n  - {file: /nowhere.ply, material: concrete}\n")
    with pytest.raises(UserError, match=r"nowhere\.ply"):
        generate_dataset(scenario, tmp_path / "out", episodes=2, frames=5, modalities=RADIO, workers=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"episodes": 0}, "--episodes: 0 is too small"),
        ({"frames": 0}, "--frames: 0 is too small"),
        ({"seed": -1}, "--seed: -1 is too small"),
        ({"workers": 0}, "--workers: 0 is too small"),
        ({"modalities": ["rf", "sonar"]}, "--modalities: there is no 'sonar'; choose from rf, gps"),
        ({"modalities": []}, "--modalities: names nothing"),
        ({"keep": ["radar_sphere"]}, "--keep: there is no 'radar_sphere'; choose from radar_cube"),
        ({"keep": ["radar_cube"]}, "--keep: radar_cube needs the modality radar"),
        ({"backend": "abacus"}, "--backend: there is no 'abacus'"),
        ({"workers": 2, "cluster": "tcp://127.0.0.1:8786"}, "--workers: a cluster has workers of its own"),
    ],
)
def test_a_senseless_request_is_a_users_error_and_leaves_nothing(tmp_path, change, complaint):
    with pytest.raises(UserError, match=re.escape(complaint)):
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


def test_an_episode_of_noise_alone_is_made_and_said_to_be(tmp_path):
    """A wall between the base station and the street, higher than both, and nothing to go around."""
    raw = dict(load_scenario("street_canyon").raw)
    wall = {"along_m": 0, "across_m": -9, "length_m": 4000, "depth_m": 0.5, "height_m": 9, "material": "concrete"}
    raw |= {"buildings": [wall], "propagation": {"order": 0, "diffraction": 0}}
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.warns(UserWarning, match="street_canyon, episode 0: no path reaches the UE in any frame"):
        generate_dataset(path, tmp_path / "out", episodes=1, frames=3, modalities=RADIO)
    assert verify_dataset(tmp_path / "out") == {"episode-00000": []}


def test_more_frames_than_the_scenario_has_are_refused(tmp_path):
    with pytest.raises(UserError, match="5000 is more than the 200 of scenario street_canyon"):
        generate_dataset("street_canyon", tmp_path / "out", episodes=1, frames=5000)
