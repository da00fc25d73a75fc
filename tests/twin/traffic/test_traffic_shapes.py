"""The annotated shapes and types of the traffic are true."""

import dataclasses

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from twin.traffic import simulate
from twin.traffic.routes import Route
from twin.traffic.signals import SignalPlan


def checked(function):
    return jaxtyped(typechecker=beartype)(function)


def test_the_traffic_of_an_episode_passes_only_what_is_annotated(monkeypatch, episode):
    drivers = []

    def follow(crowd, *others):
        drivers.append(crowd)
        return checked(original)(crowd, *others)

    original = simulate.follow_lanes
    monkeypatch.setattr(simulate, "follow_lanes", follow)
    monkeypatch.setattr(Route, "place", checked(Route.place))
    monkeypatch.setattr(SignalPlan, "colours", checked(SignalPlan.colours))
    seen = episode("intersection", 0, {"frames": 20})
    assert seen.trace.frames == 20
    SignalPlan((3.0, 4.0), 3.0, 1.0, 0.0).colours(seen.time_s)
    for value in (drivers[0], seen.trace):
        with jaxtyped("context"):
            for field in dataclasses.fields(value):
                assert isinstance(getattr(value, field.name), field.type), field.name


def test_a_wrong_shape_is_noticed():
    with pytest.raises(TypeCheckError):
        checked(SignalPlan.colours)(SignalPlan((3.0, 4.0), 3.0, 1.0, 0.0), np.zeros((2, 2)))
