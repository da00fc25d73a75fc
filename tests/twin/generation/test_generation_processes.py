"""Worker processes: what becomes of a dataset, and of them, when one of them or their parent dies or is interrupted."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from twin.errors import UserError
from twin.generation import generate_dataset
from twin.recording import dataset_hash, scan, verify_dataset
from twin.workers import _interrupts_held_back, processes

FRAMES = 150
HANG_S = 300
"""A test that waits longer than this has failed."""


def hash_of(place):
    found = scan(place)
    assert not found.damaged
    return dataset_hash(found.episodes)


def start(out, episodes, *options):
    """`twin generate` in a group of processes of its own, as a terminal starts it."""
    command = ["generate", "street_canyon", "--out", str(out), "--episodes", str(episodes), "--frames", str(FRAMES)]
    return subprocess.Popen(
        [sys.executable, "-m", "twin.cli", *command, "--modalities", "rf,gps", "--resume", *map(str, options)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, *arguments):
    until = time.monotonic() + HANG_S
    while not condition(*arguments):
        assert time.monotonic() < until
        time.sleep(0.005)


def nobody_is_left(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def members(group):
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found += int(path.read_text().rpartition(") ")[2].split()[2]) == group
    return found


def test_workers_have_one_thread_each():
    with processes(2) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert pool.submit(os.getenv, "NUMBA_NUM_THREADS").result() == "1"


def test_the_environment_stays_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with processes(1) as pool:
        pool.submit(os.getpid).result()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_work_that_is_begun_is_finished_when_another_piece_fails(tmp_path):
    begun = tmp_path / "begun"

    def failing():
        with processes(2) as pool:
            pool.submit(_slow, str(begun))
            wait_until(begun.exists)
            pool.submit(os.stat, tmp_path / "nothing").result()

    with pytest.raises(FileNotFoundError):
        failing()
    assert begun.read_text() == "finished"


def _slow(path):
    with open(path, "w") as file:
        time.sleep(1)
        file.write("finished")


def test_a_worker_that_dies_is_one_line_that_says_what_to_do(tmp_path):
    def kill_one(_frames):
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    request = {"episodes": 30, "frames": 20, "seed": 3, "modalities": ("rf", "gps"), "workers": 2}
    with pytest.raises(UserError) as death:
        generate_dataset("street_canyon", tmp_path / "out", **request, on_frames=kill_one)
    whole = len(scan(tmp_path / "out").episodes)
    assert str(death.value) == (
        f"{tmp_path / 'out'}: a worker died, of too little memory perhaps; give fewer --workers; "
        f"{whole} of 30 episodes are whole and stay, --resume completes them"
    )
    assert 0 < whole < 30
    assert not any(verify_dataset(tmp_path / "out").values())
    assert not list((tmp_path / "out").glob(".*"))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_everything_and_keeps_what_is_whole(tmp_path, workers):
    out = tmp_path / "out"
    command = start(out, 500, "--workers", workers)
    wait_until(lambda: list(out.glob("episode-*")))
    os.killpg(command.pid, signal.SIGINT)
    stdout, stderr = command.communicate(timeout=HANG_S)
    assert command.returncode == 130
    assert stdout == ""
    whole = len(scan(out).episodes)
    assert stderr == f"warning: {out}: {whole} of 500 episodes are whole and stay, --resume completes them\n"
    wait_until(lambda: nobody_is_left(command.pid))
    assert not scan(out).damaged
    assert not list(out.glob(".*"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells who is in a group of processes")
def test_ctrl_c_before_the_first_episode_leaves_nothing(tmp_path):
    out = tmp_path / "new/out"
    command = start(out, 500, "--workers", 2)
    wait_until(lambda: members(command.pid) > 2)
    os.killpg(command.pid, signal.SIGINT)
    _, stderr = command.communicate(timeout=HANG_S)
    assert command.returncode == 130
    wait_until(lambda: nobody_is_left(command.pid))
    assert out.exists() == bool(stderr)
    assert (tmp_path / "new").exists() == out.exists()


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    command = start(tmp_path / "out", 500, "--workers", 2)
    wait_until(lambda: list((tmp_path / "out").glob("episode-*")))
    command.kill()
    command.wait()
    wait_until(lambda: nobody_is_left(command.pid))
    assert not scan(tmp_path / "out").damaged


@pytest.mark.long
def test_killed_at_a_hundred_moments_the_dataset_becomes_what_it_would_have_been(tmp_path):
    """Kills before anything is written, soon after, and after an episode is whole; of the group or its parent."""
    episodes, kills = 200, 100
    generate_dataset("street_canyon", tmp_path / "plain", episodes=episodes, frames=FRAMES, modalities=("rf", "gps"))
    out, rng = tmp_path / "out", random.Random(0)

    def written():
        return set(out.glob("*")) | set(out.glob(".*"))

    def has_begun(command, before):
        return command.poll() is not None or written() - before

    def has_made_one(command, before):
        return command.poll() is not None or set(out.glob("episode-*")) - before

    for _ in range(kills):
        before = written()
        command = start(out, episodes, "--workers", rng.choice((1, 2)))
        moment = rng.random()
        if moment < 0.25:
            time.sleep(rng.uniform(0, 1))
        else:
            wait_until(has_begun if moment < 0.75 else has_made_one, command, before)
            time.sleep(rng.uniform(0, 0.05))
        assert command.poll() is None, "there are too few episodes for so many kills"
        rng.choice((os.kill, os.killpg))(command.pid, signal.SIGKILL)
        command.wait()
        command.stdout.close()
        command.stderr.close()
        wait_until(nobody_is_left, command.pid)
        if out.exists():
            assert not scan(out).damaged
    assert not any(verify_dataset(out).values())
    last = start(out, episodes, "--workers", 2)
    assert last.communicate(timeout=HANG_S)[1] == ""
    assert hash_of(out) == hash_of(tmp_path / "plain")
    assert not list(out.glob(".*"))


def test_an_interrupt_waits_until_a_process_has_been_started_whichever_thread_gets_it():
    go, done = threading.Event(), []

    def interrupted():
        go.wait(HANG_S)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    def start_a_process():
        with _interrupts_held_back():
            go.set()
            other.join()
            time.sleep(0.01)
            done.append("started")

    other = threading.Thread(target=interrupted)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        start_a_process()
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
