"""The bundle holds what the player draws, within a step of its 8-bit power."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.bundle import replay_bundle
from app.player import player_js
from app.sources import find_sources, load_recording, load_run_predictions, runs_for
from twin.errors import UserError

PLAYER = Path(__file__).parents[2] / "app" / "player"


def unpacked(packed):
    return np.frombuffer(base64.b64decode(packed["base64"]), packed["type"]).reshape(packed["shape"])


@pytest.fixture(scope="module")
def sources(demo):
    return find_sources(demo / "data", demo / "runs")


@pytest.fixture(scope="module")
def shown(sources):
    """The recording of the test part and its predictions."""
    recording = load_recording(sources, "drive_by", "episode-00004")
    return recording, load_run_predictions(sources, "drive_by", recording, "hold_last")


def test_datasets_and_runs_are_found_by_name(sources):
    assert sources.problems == []
    assert list(sources.datasets) == ["drive_by"]
    assert runs_for(sources, "drive_by", "episode-00004") == ["hold_last"]
    assert runs_for(sources, "drive_by", "episode-00000") == []


def test_power_is_within_half_a_step(shown):
    recording, predictions = shown
    bundle = replay_bundle(recording, predictions)
    step = bundle["power"]["step_db"]
    power_db = bundle["power"]["low_db"] + step * unpacked(bundle["power"]).astype(float)
    np.testing.assert_allclose(power_db, 10 * np.log10(recording.arrays["rf"]), atol=0.51 * step)


def test_predictions_are_those_of_the_run(shown):
    recording, predictions = shown
    bundle = replay_bundle(recording, predictions)["predictions"]
    np.testing.assert_array_equal(unpacked(bundle["t"]), predictions.t)
    best = predictions.output.beam_logits.argmax(-1)
    np.testing.assert_array_equal(unpacked(bundle["top_beams"])[..., 0], best)
    assert set(bundle["part"]) == {"test"}


def test_the_beam_that_is_drawn_peaks_where_the_codebook_does(shown):
    recording, _ = shown
    patterns = unpacked(replay_bundle(recording)["patterns"])
    weights = recording.manifest.codebook.weights()
    angle = np.linspace(-np.pi / 2, np.pi / 2, patterns.shape[1])
    for beam in (0, 20, 63):
        steering = np.exp(1j * np.pi * np.outer(np.sin(angle), np.arange(weights.shape[1])))
        assert patterns[beam, np.abs(steering.conj() @ weights[beam]).argmax()] == 255


def test_the_bundle_is_json_without_nan(shown):
    json.dumps(replay_bundle(*shown), allow_nan=False)


def test_predictions_for_another_recording_of_that_name_are_refused(sources, shown, tmp_path):
    recording, _ = shown
    other = recording.manifest.model_copy(update={"seed": 99})
    recording = type(recording)(recording.name, other, recording.arrays, recording.path)
    with pytest.raises(UserError, match="another recording"):
        load_run_predictions(sources, "drive_by", recording, "hold_last")


def test_one_module_without_imports_is_made_of_the_players_modules():
    source = player_js()
    assert "import " not in source
    assert source.count("export ") == 1


def test_the_players_own_tests():
    if shutil.which("node") is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("needs the Debian package nodejs")
    done = subprocess.run(["node", "--test", str(PLAYER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
