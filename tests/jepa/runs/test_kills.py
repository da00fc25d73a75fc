"""Killed with SIGKILL and resumed, a run ends with the weights and the log of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

SETTINGS = ["model.width=32", "model.attention_heads=4", "model.encoder_layers=2", "model.predictor_layers=2"]
RANDOM_KILLS = 6
WRITE_KILLS = 2
ATTEMPTS = 20


def command(dataset, run, epochs):
    settings = [*SETTINGS, "batch_size=32", f"epochs={epochs}"]
    options = [part for setting in settings for part in ("--set", setting)]
    base = [sys.executable, "-m", "jepa.cli", "pretrain", str(dataset), "--out", str(run), "--preset", "small"]
    return [*base, "--device", "cpu", "--resume", *options]


def start(dataset, run, epochs):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(dataset, run, epochs), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def drafts(run):
    return list((run / "checkpoints").glob(".step-*.partial"))


def wait_for(condition, process, limit_s=120.0):
    """Whether the condition came true before the process ended."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
    raise AssertionError("nothing happened")


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def final_hashes(run):
    latest = (run / "checkpoints/latest").read_text().strip()
    return latest, json.loads((run / "checkpoints" / latest / "manifest.json").read_text())


def assert_same(whole, cut):
    assert final_hashes(whole) == final_hashes(cut)
    assert (whole / "metrics.jsonl").read_bytes() == (cut / "metrics.jsonl").read_bytes()


def test_killed_once_inside_a_checkpoint_write_it_ends_the_same(dataset, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(dataset, whole, 8).wait() == 0
    latest = cut / "checkpoints/latest"
    for _ in range(ATTEMPTS):
        process = start(dataset, cut, 8)
        assert wait_for(lambda: latest.exists() and drafts(cut), process), "it ended before it was killed in a write"
        kill(process)
        if drafts(cut):
            break
    assert drafts(cut), "killed inside a write"
    assert start(dataset, cut, 8).wait() == 0
    assert_same(whole, cut)


@pytest.mark.long
def test_killed_at_random_moments_it_ends_the_same(dataset, tmp_path):
    epochs = 60
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    began = time.monotonic()
    assert start(dataset, whole, epochs).wait() == 0
    took_s = time.monotonic() - began
    draw = random.Random(1)
    in_write = at_random = 0
    for attempt in range(ATTEMPTS):
        process = start(dataset, cut, epochs)
        latest = cut / "checkpoints/latest"
        known = latest.read_text() if latest.exists() else ""
        if not wait_for(lambda latest=latest, known=known: latest.exists() and latest.read_text() != known, process):
            break  # it came to its end
        if attempt % 3 == 2:
            wait_for(lambda: drafts(cut), process)
        else:
            time.sleep(draw.uniform(0, took_s / 10))
            at_random += process.poll() is None
        kill(process)
        in_write += bool(drafts(cut))
        if in_write >= WRITE_KILLS and at_random >= RANDOM_KILLS:
            break
    assert in_write >= 1
    assert at_random >= 3
    assert start(dataset, cut, epochs).wait() == 0
    assert_same(whole, cut)
