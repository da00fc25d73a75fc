"""Draws scenarios/NAME/picture.png, one moment of a scenario from above: `python assets/draw_scenarios.py [NAME..]`.

Needs matplotlib, which comes with the extra `sionna`.
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Polygon

from twin.radio.array import ula_response
from twin.radio.sweep import best_beam
from twin.scenario.street_plan import street_areas
from twin.simulator import Simulator
from twin.traffic.simulate import CLASSES

SEED = 20_000
MOMENTS = {
    "bus_blockage": (6, 60, (-70, 70), (-18, 26)),
    "deepsense32": (4, 95, (-62, 62), (-50, 30)),
    "highway": (0, 60, (-160, 60), (-18, 22)),
    "intersection": (2, 150, (-75, 75), (-42, 50)),
}
"""Episode, frame, and what is shown along and across the street [m]."""
GROUND = {
    "carriageway": "#dcdce2",
    "cross_street": "#dcdce2",
    "median": "#c9d6bf",
    "verge": "#eceae6",
    "cycle_lane": "#e6d3cd",
    "sidewalk": "#f1f0ec",
    "crosswalk": "#f8f8fa",
    "stop_line": "#6b7785",
}
USERS = {"cyclist": "#1d8a4c", "pedestrian": "#d1570a"}
"""Colours of those that do not drive."""
BEAM_M = 26.0


def rectangle(simulator: Simulator, along: tuple[float, float], across: tuple[float, float]) -> np.ndarray:
    """Corners in the local frame of a rectangle of the street."""
    corners = np.array([(along[0], across[0]), (along[1], across[0]), (along[1], across[1]), (along[0], across[1])])
    return np.asarray(simulator.scenario.local_m(corners[:, 0], corners[:, 1]))


def draw_street(axes: plt.Axes, simulator: Simulator) -> None:
    """The ground by its use, lines between lanes, and buildings."""
    scenario = simulator.scenario
    for area in street_areas(scenario):
        corners = rectangle(simulator, area.along_m, area.across_m)
        edge = "#b9bcc4" if area.kind == "crosswalk" else "none"
        axes.add_patch(Polygon(corners, facecolor=GROUND[area.kind], edgecolor=edge, hatch=None, linewidth=0.6))
    reach, width = scenario.street.length_m / 2, scenario.street.lane_width_m
    for (low, _), (high, _) in zip(scenario.lanes, scenario.lanes[1:], strict=False):
        if high - low < width + 0.1:
            line = scenario.local_m(np.array([-reach, reach]), np.full(2, (low + high) / 2))
            axes.plot(*line.T, color="white", linewidth=1.0, dashes=(6, 6))
    for building in scenario.buildings:
        if building.present:
            along = (building.along_m - building.length_m / 2, building.along_m + building.length_m / 2)
            across = (building.across_m - building.depth_m / 2, building.across_m + building.depth_m / 2)
            axes.add_patch(Polygon(rectangle(simulator, along, across), facecolor="#b3a795", edgecolor="none"))


def draw_users(axes: plt.Axes, simulator: Simulator, frame: int) -> None:
    """Everybody on the street, the served car in blue with its way so far."""
    trace = simulator.traffic
    for slot in np.flatnonzero(trace.actor_id[frame] >= 0):
        x, y, _, length, width, _, heading = trace.box[frame, slot]
        along, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
        signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
        corners = np.array([[x, y] + a * length / 2 * along + b * width / 2 * left for a, b in signs])
        colour = "#0a6fb5" if slot == 0 else USERS.get(CLASSES[trace.actor_class[frame, slot]], "#7c858f")
        axes.add_patch(Polygon(corners, facecolor=colour, edgecolor=colour, linewidth=0.8, zorder=4))
    axes.plot(*trace.box[max(0, frame - 30) : frame + 1, 0, :2].T, color="#0a6fb5", linewidth=1.5, zorder=3)


def draw_beam(axes: plt.Axes, simulator: Simulator, frame: int) -> None:
    """The pattern of the strongest beam, in decibels."""
    beam = int(best_beam(simulator.rsrp_w(simulator.paths(frame, frame + 1)))[0])
    angle = np.linspace(-np.pi / 2, np.pi / 2, 361)
    weights = simulator.codebook[beam]
    gain_db = 20 * np.log10(np.abs(ula_response(np.sin(angle), len(weights)).conj() @ weights) + 1e-9)
    radius = BEAM_M * np.clip((gain_db - gain_db.max()) / 30 + 1, 0, 1)
    azimuth = simulator.scenario.boresight_rad + angle
    shape = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], -1)
    axes.add_patch(Polygon(shape, facecolor="#0a84c2", alpha=0.35, edgecolor="none", zorder=5))
    axes.plot(0, 0, "^", color="#2a2d3a", markersize=9, zorder=6)
    axes.annotate("base station", (0, 0), (8, -4), textcoords="offset points", fontsize=8, zorder=6)


def draw(name: str) -> None:
    """Draw the picture of a scenario."""
    episode, frame, along, across = MOMENTS[name]
    simulator = Simulator(name, SEED, episode)
    frame = min(frame, simulator.frames - 1)
    corners = rectangle(simulator, along, across)
    size = np.ptp(corners, axis=0)
    figure, axes = plt.subplots(figsize=(9.0, 9.0 * size[1] / size[0]), dpi=100)
    figure.subplots_adjust(0, 0, 1, 1)
    draw_street(axes, simulator)
    draw_users(axes, simulator, frame)
    draw_beam(axes, simulator, frame)
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes.plot([high[0] - 25, high[0] - 5], [low[1] + 2, low[1] + 2], color="#2a2d3a", linewidth=2)
    axes.annotate("20 m", (high[0] - 15, low[1] + 2.6), ha="center", fontsize=8)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.axis("off")
    figure.savefig(Path(__file__).parent.parent / "scenarios" / name / "picture.png")
    plt.close(figure)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or MOMENTS:
        draw(chosen)
