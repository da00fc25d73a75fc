"""The annotated shapes and types of the radio, the tracer and the sensors are true.

Compiled functions cannot be checked as they run, so the functions around them are, in a whole episode.
"""

import dataclasses

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from twin import simulator
from twin.propagation.paths import Paths
from twin.propagation.tracer import Tracer
from twin.radio import codebook, sweep
from twin.radio.array import ula_response
from twin.sensors import suite


def checked(function):
    return jaxtyped(typechecker=beartype)(function)


def test_an_episode_passes_only_what_is_annotated(monkeypatch):
    for name in ("through_antennas", "direction_sine", "beam_power", "measure_sweep", "best_beam"):
        monkeypatch.setattr(simulator, name, checked(getattr(simulator, name)))
    for name in ("uniform_angle", "uniform_sine", "with_phase_errors", "reversed_order"):
        monkeypatch.setattr(codebook, name, checked(getattr(codebook, name)))
    monkeypatch.setattr(Tracer, "paths", checked(Tracer.paths))
    for name in ("actors_at", "capture_times", "gps_fixes"):
        monkeypatch.setattr(suite, name, checked(getattr(suite, name)))
    for name in ("street_canyon", "deepsense32", "drive_by"):
        episode = simulator.Simulator(name, 0)
        episode.run()
        paths = episode.paths()
        with jaxtyped("context"):
            for field in dataclasses.fields(Paths):
                assert isinstance(getattr(paths, field.name), field.type), field.name


def test_the_readable_channel_takes_any_batch():
    gain, sine = np.ones((2, 3, 5), complex), np.zeros((2, 3, 5))
    assert checked(sweep.channel)(gain, sine, 16).shape == (2, 3, 16)
    assert checked(ula_response)(sine, 16).shape == (2, 3, 5, 16)


def test_a_wrong_shape_is_noticed():
    with pytest.raises(TypeCheckError):
        checked(sweep.beam_power)(np.ones((3, 4), complex), np.ones((3, 5)), codebook.uniform_angle())
