"""Generation on a Dask cluster: a scheduler and workers in processes of their own on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from twin.errors import UserError
from twin.generation import generate_dataset
from twin.recording import dataset_hash, scan, verify_dataset

pytest.importorskip("distributed")

HANG_S = 120
RADIO = ("rf", "gps")
REQUEST = {"episodes": 12, "frames": 30, "seed": 3, "modalities": RADIO}


def start(name, folder, *options):
    """A part of Dask, away from the working directory of this process."""
    log = (folder / f"{name}-{time.monotonic_ns()}.log").open("w")
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--host", "127.0.0.1", "--no-dashboard"]
    paths = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "error", "PYTHONPATH": paths}
    return subprocess.Popen([*command, *map(str, options)], cwd=folder, stdout=log, stderr=log, env=environment)


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler, and what starts workers of it."""
    folder, started = tmp_path / "cluster", []
    folder.mkdir()
    file = folder / "scheduler.json"
    started.append(start("scheduler", folder, "--port", 0, "--scheduler-file", file))
    until = time.monotonic() + HANG_S
    while not file.exists() or not file.read_text():
        assert time.monotonic() < until
        assert started[0].poll() is None
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]

    def workers(count):
        options = ("--no-nanny", "--nthreads", 1, "--local-directory", folder)
        started.extend(start("worker", folder, address, *options) for _ in range(count))
        wait_for(address, count)
        return started[1:]

    yield address, workers, started[0]
    for process in reversed(started):
        process.kill()
        process.wait()


def wait_for(address, count):
    from distributed import Client

    with Client(address, set_as_default=False, timeout=HANG_S) as client:
        client.wait_for_workers(count, timeout=HANG_S)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "one"
    generate_dataset("street_canyon", path, **REQUEST)
    return path


def hashes(path):
    found = scan(path)
    assert not found.damaged
    return {entry.name: entry.open().content_hash for entry in found.episodes}


def test_a_worker_is_killed_and_nothing_is_lost_or_made_twice(cluster, plain, tmp_path):
    address, workers, _ = cluster
    first, _second = workers(2)
    made = []

    def kill_one(frames):
        made.append(frames)
        if len(made) == 2:
            first.kill()
            first.wait()

    total = generate_dataset("street_canyon", tmp_path / "out", **REQUEST, cluster=address, on_frames=kill_one)
    assert made == [30] * 12
    assert total == 360
    assert hashes(tmp_path / "out") == hashes(plain)
    assert not any(verify_dataset(tmp_path / "out").values())
    assert not list((tmp_path / "out").glob(".*"))


def test_a_dataset_is_completed_on_a_cluster_and_a_relative_output_is_where_the_caller_is(
    cluster, plain, tmp_path, monkeypatch
):
    address, workers, _ = cluster
    workers(1)
    monkeypatch.chdir(tmp_path)
    generate_dataset("street_canyon", "out", **{**REQUEST, "episodes": 6})
    assert generate_dataset("street_canyon", "out", **REQUEST, cluster=address) == 180
    assert hashes(tmp_path / "out") == hashes(plain)


def test_a_users_error_comes_back_from_a_cluster(cluster, tmp_path):
    from twin.scenario import load_scenario

    address, workers, _ = cluster
    workers(1)
    scenario = tmp_path / "scenario.yaml"
    text = load_scenario("street_canyon").where.read_text()
    scenario.write_text(text + "\nscenery:\n  - {file: /nowhere.ply, material: concrete}\n")
    with pytest.raises(UserError, match=r"nowhere\.ply"):
        generate_dataset(scenario, tmp_path / "out", **REQUEST, cluster=address)
    assert not (tmp_path / "out").exists()


def generate(*options):
    """`twin generate`, and its standard error."""
    command = ["-m", "twin.cli", "generate", "street_canyon", "--frames", "30", "--modalities", "rf,gps", *options]
    return subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", ["the scheduler is killed", "Ctrl-C"])
def test_an_end_in_the_middle_is_one_line_and_what_is_whole_stays(cluster, tmp_path, end):
    address, workers, scheduler = cluster
    workers(1)
    out, until = tmp_path / "out", time.monotonic() + HANG_S
    command = generate("--out", out, "--episodes", 2000, "--cluster", address)
    while not list(out.glob("episode-*")):
        assert time.monotonic() < until
        assert command.poll() is None
        time.sleep(0.01)
    scheduler.kill() if end == "the scheduler is killed" else command.send_signal(signal.SIGINT)
    said = command.communicate(timeout=HANG_S)[1]
    assert said.count("\n") == 1, said
    assert command.returncode == (2 if end == "the scheduler is killed" else 130)
    assert "of 2000 episodes are whole and stay, --resume completes them" in said
    assert ("the scheduler is gone" in said) == (end == "the scheduler is killed")
    assert not any(problems for name, problems in verify_dataset(out).items() if name in hashes(out))


def test_a_scheduler_without_workers_is_one_line(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("twin.workers.ANSWER_S", 1.0)
    address, _, _ = cluster
    with pytest.raises(UserError, match="the scheduler has no workers"):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, cluster=address)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def silent():
    """Something listens and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody():
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"tcp://127.0.0.1:{port}"


@pytest.mark.parametrize("listener", ["silent", "nobody"])
def test_a_scheduler_that_does_not_answer_is_soon_said(listener, request, tmp_path, monkeypatch):
    monkeypatch.setattr("twin.workers.ANSWER_S", 0.5)
    address = request.getfixturevalue(listener)
    with pytest.raises(UserError, match=f"{address}: no scheduler answers within 0.5 s"):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, cluster=address)
    assert not (tmp_path / "out").exists()


def test_the_command_says_it_in_one_line(silent, tmp_path):
    command = generate("--out", tmp_path / "out", "--cluster", silent)
    (line,) = command.communicate(timeout=HANG_S)[1].splitlines()
    assert command.returncode == 2
    assert line.startswith(f"error: {silent}: no scheduler answers within 5 s")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp//127.0.0.1:1", "", "tcp://:x"]
)
def test_a_wrong_address_is_one_line(tmp_path, address):
    with pytest.raises(UserError, match=r"is no address of a scheduler; give one like tcp://127\.0\.0\.1:8786"):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, cluster=address)


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"Dask is not installed; pip install 'jepa-msac-twin\[cluster\]'"):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, cluster="tcp://127.0.0.1:8786")


def test_an_output_that_is_not_shared_is_noticed(tmp_path):
    """As a worker on another machine, where the same path is another disk."""

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, function, request, episode, out):
            return super().submit(function, request, episode, str(tmp_path / "other_disk"))

    with (
        Elsewhere(1) as executor,
        pytest.raises(UserError, match="episode-00000 was written by a worker and is not there; choose an output that"),
    ):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, executor=executor)
    assert len(scan(tmp_path / "other_disk").episodes) > 0


def test_a_worker_of_another_version_is_refused(tmp_path, monkeypatch):
    class Older(ThreadPoolExecutor):
        def submit(self, function, request, *rest):
            monkeypatch.setattr("twin.generation.episodes._version", lambda: "0.0.1")
            return super().submit(function, request, *rest)

    with Older(1) as executor, pytest.raises(UserError, match=r"a worker has version 0\.0\.1, not"):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, executor=executor)
    assert not (tmp_path / "out").exists()


def test_the_dataset_hash_is_that_of_any_other_executor(plain, tmp_path):
    with ThreadPoolExecutor(3) as executor:
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, executor=executor)
    assert dataset_hash(scan(tmp_path / "out").episodes) == dataset_hash(scan(plain).episodes)
