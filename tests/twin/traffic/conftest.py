"""Traces of scenarios in street coordinates."""

from dataclasses import dataclass

import numpy as np
import pytest

from twin.scenario import Template, load_scenario
from twin.traffic.simulate import CLASSES, TrafficTrace, simulate_traffic

PER_SIDE = ((1, 1), (-1, 1), (-1, -1), (1, -1))


@dataclass(frozen=True)
class Seen:
    """An episode's traffic; `along_m`, `across_m` and `turn_rad` in street coordinates, NaN where nobody is."""

    scenario: object
    trace: TrafficTrace

    @property
    def _local(self):
        turn = self.scenario.street_heading_rad
        c, s = np.cos(turn), np.sin(turn)
        return self.trace.box[..., :2] @ np.array([[c, -s], [s, c]])

    @property
    def along_m(self):
        return self._local[..., 0]

    @property
    def across_m(self):
        return self._local[..., 1] - self.scenario.site.street_distance_m

    @property
    def turn_rad(self):
        return self.trace.box[..., 6] - self.scenario.street_heading_rad

    def of(self, *names):
        """Where the slots hold these classes."""
        return np.isin(self.trace.actor_class, [CLASSES.index(name) for name in names]) & (self.trace.actor_id >= 0)

    @property
    def time_s(self):
        """On the clock of the signals."""
        return (self.trace.first + np.arange(self.trace.frames)) / self.scenario.frame_rate_hz

    def corners_m(self):
        """Corners of the boxes, along and across (frame, actor, 4, 2)."""
        c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
        forward, left = np.stack([c, s], -1), np.stack([-s, c], -1)
        half_length, half_width = self.trace.box[..., 3:4] / 2, self.trace.box[..., 4:5] / 2
        middle = np.stack([self.along_m, self.across_m], -1)
        return np.stack([middle + a * half_length * forward + b * half_width * left for a, b in PER_SIDE], -2)

    def reddens(self):
        """Whether the street, and the cross street, are red in each frame (frame, 2), told from the numbers alone."""
        lights = self.scenario.junction
        before = lights.green_s + lights.yellow_s
        cycle = before + lights.cross_green_s + lights.yellow_s + 2 * lights.all_red_s
        into = (self.time_s + lights.offset_s) % cycle
        crossing = (into >= before + lights.all_red_s) & (into < cycle - lights.all_red_s)
        return np.stack([into >= before, ~crossing], -1)


def changed(raw, changes):
    """A copy with fields replaced; `traffic.pedestrians.speed_mps` names one."""
    raw = {**raw}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        raw[first] = changed(raw[first], {rest: value}) if rest else value
    return raw


@pytest.fixture(scope="session")
def episode():
    """Traffic of an episode of a scenario with some fields changed; its frames are as many as the scenario's."""

    def seen(name, number=0, changes=None):
        template = Template(changed(load_scenario(name).raw, changes or {}), load_scenario(name).where)
        scenario, _ = template.draw(11, number)
        return Seen(scenario, simulate_traffic(scenario, scenario.frames, 11, number))

    return seen
