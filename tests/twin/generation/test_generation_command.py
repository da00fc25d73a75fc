"""`twin generate` as a user sees it: progress on a terminal, one JSON object for a program."""

import json
import os
import subprocess
import sys

import pytest
from rich.progress import Task

from twin.console import EpisodeProgress
from twin.recording import dataset_hash, scan

HANG_S = 300


def command(*arguments):
    return [sys.executable, "-m", "twin.cli", "generate", *map(str, arguments)]


def on_a_terminal(*arguments):
    """Standard output, and what a terminal was sent on standard error."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    stdout, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    return stdout.decode(), shown.decode()


def test_with_json_standard_output_is_one_object_that_says_what_was_made(tmp_path):
    out = tmp_path / "data"
    request = ("street_canyon", "--out", out, "--frames", 10, "--seed", 1, "--modalities", "gps,rf", "--json")
    first = json.loads(on_a_terminal(*request, "--episodes", 2)[0])
    whole, shown = on_a_terminal(*request, "--episodes", 3, "--resume")
    said = json.loads(whole)
    assert set(said) == {
        *("out", "episodes", "frames", "made_episodes", "made_frames", "seconds", "frames_per_s"),
        *("bytes", "bytes_per_frame", "dataset_hash", "modalities"),
    }
    assert (first["made_episodes"], first["made_frames"]) == (2, 20)
    assert (said["made_episodes"], said["made_frames"], said["episodes"], said["frames"]) == (1, 10, 3, 30)
    assert said["out"] == str(out)
    assert said["modalities"] == ["rf", "gps"]
    assert said["dataset_hash"] == dataset_hash(scan(out).episodes)
    assert said["bytes"] == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert said["bytes_per_frame"] == pytest.approx(said["bytes"] / 30, abs=0.1)
    assert said["frames_per_s"] == pytest.approx(said["made_frames"] / said["seconds"], rel=0.01)
    assert "3/3" in shown
    assert "frames/s" in shown
    assert " left" in shown


def test_nothing_but_errors_is_shown_where_nobody_looks(tmp_path):
    request = ("street_canyon", "--out", tmp_path / "data", "--frames", 3, "--modalities", "rf")
    done = subprocess.run(command(*request), capture_output=True, text=True, timeout=HANG_S)
    assert done.stderr == ""
    assert f"{tmp_path / 'data'}: 1 episodes, 3 frames" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--frames", 4), "holds episode-00000 of another request (3 frames, not 4)"),
        (("--modalities", "rf,gps"), "holds episode-00000 of another request (modalities rf, not rf,gps)"),
        (("--modalities", "rf,lidar", "--keep", "lidar_points"), "(modalities rf, not rf,lidar)"),
        (("--modalities", "rf,sonar"), "--modalities: there is no 'sonar'; choose from rf, gps, camera, radar, lidar"),
        (("--modalities", ""), "--modalities: names nothing"),
        (("--keep", "everything"), "--keep: there is no 'everything'; choose from radar_cube, lidar_points,"),
        (("--keep", "radar_cube"), "--keep: radar_cube needs the modality radar; add it to --modalities"),
        (("--cluster", "tcp:/here"), "--cluster tcp:/here: is no address of a scheduler"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path_factory, options, complaint):
    out = tmp_path_factory.getbasetemp() / "refusals"
    request = ["street_canyon", "--out", out, "--frames", 3, "--modalities", "rf", "--resume"]
    if not out.exists():
        subprocess.run(command(*request), check=True, capture_output=True, timeout=HANG_S)
    more = ("--episodes", 2) if "--cluster" in options else ()
    done = subprocess.run(command(*request, *options, *more), capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert complaint in line
    assert len(scan(out).episodes) == 1


def columns(progress, elapsed_s):
    """What the bar shows after so many seconds."""
    (task,) = progress._bar.tasks
    task.start_time, task.stop_time = 0.0, elapsed_s
    rate, _, left = progress._bar.columns[3:]
    return str(rate.render(task)), str(left.render(task))


def test_time_left_is_that_of_the_episodes_made_now(monkeypatch):
    """Of 10 episodes 4 were there before; two of 50 frames each took 20 s together, so four more take 40 s."""
    progress = EpisodeProgress()
    progress.episodes(4, 10)
    assert columns(progress, 5.0) == ("0.0 frames/s", "-:--:-- left")
    monkeypatch.setattr(Task, "elapsed", property(lambda _task: 20.0))
    for done in (5, 6):
        progress.frames(50)
        progress.episodes(done, 10)
    assert columns(progress, 20.0) == ("5.0 frames/s", "0:00:40 left")
    monkeypatch.setattr(Task, "elapsed", property(lambda _task: 25.0))
    assert columns(progress, 25.0) == ("4.0 frames/s", "0:00:35 left")
