"""Traffic lights of a junction: two phases that take turns, each green, yellow and red."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from twin.compiled import leaf
from twin.scenario.street import Junction

__all__ = ["CROSSING", "GREEN", "RED", "STREET", "YELLOW", "SignalPlan", "light", "signal_plan"]

GREEN, YELLOW, RED = 0, 1, 2
STREET, CROSSING = 0, 1
"""Phases: of those who follow the street, and of those who cross it."""


@dataclass(frozen=True)
class SignalPlan:
    """The cycle [s]: green of the street, yellow, all red, green of those who cross, yellow, all red.

    At time 0 the cycle is `offset_s` old.
    """

    green_s: tuple[float, float]
    yellow_s: float
    all_red_s: float
    offset_s: float

    def as_tuple(self) -> tuple[float, float, float, float, float]:
        """The plan as `light` takes it."""
        return (*self.green_s, self.yellow_s, self.all_red_s, self.offset_s)

    def colours(self, time_s: Float[np.ndarray, "frame"]) -> Int[np.ndarray, "frame 2"]:
        """What both phases see: `GREEN`, `YELLOW` or `RED`."""
        plan = self.as_tuple()
        return np.array([[light(time, phase, plan)[0] for phase in (STREET, CROSSING)] for time in time_s], np.int64)


def signal_plan(junction: Junction | None) -> SignalPlan | None:
    """The plan of a junction; None without one."""
    if junction is None:
        return None
    greens = (junction.green_s, junction.cross_green_s)
    return SignalPlan(greens, junction.yellow_s, junction.all_red_s, junction.offset_s)


@leaf
def light(time, phase, plan):  # type: ignore[no-untyped-def]
    """Colour that a phase sees, and for how long it will not yet be red [s]."""
    green, other, yellow, all_red, offset = plan
    cycle = green + other + 2.0 * (yellow + all_red)
    into = (time + offset) % cycle
    if phase == CROSSING:
        into = (into - green - yellow - all_red) % cycle
        green = other
    if into < green:
        return GREEN, green + yellow - into
    if into < green + yellow:
        return YELLOW, green + yellow - into
    return RED, 0.0
