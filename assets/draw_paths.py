"""Draws assets/paths.png, the paths of one moment of a scenario: `python assets/draw_paths.py`.

Above the street from above, below what arrives when. Needs matplotlib, which comes with the extra `sionna`.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Polygon

from twin.propagation.paths import Interaction, Paths
from twin.simulator import Simulator
from twin.traffic.simulate import CLASSES

SCENARIO, EPISODE, FRAME = "street_canyon", 5, 102
ALONG_M, ACROSS_M = (-96.0, 82.0), (-18.0, 36.0)
STYLES = {
    "direct": ("#111111", "-"),
    "direct, past a vehicle": ("#111111", "--"),
    "one bounce": ("#0a6fd1", "-"),
    "two bounces": ("#1d8a4c", "-"),
    "over a corner or a roof": ("#d1570a", "-"),
}


def style_of(paths: Paths, path: int) -> str:
    """Which of `STYLES` a path of the first link is drawn in."""
    if paths.path_kind[0, path] == Interaction.DIFFRACTION:
        return "over a corner or a roof"
    if paths.order[0, path] == 0:
        return "direct, past a vehicle" if paths.blockage_db[0, path] > 1.0 else "direct"
    return "one bounce" if paths.order[0, path] == 1 else "two bounces"


def draw_street(axes: plt.Axes, simulator: Simulator) -> None:
    """Buildings, the carriageway, and the vehicles of the moment, from above."""
    half_m, middle_m = simulator.scenario.half_width_m, simulator.scenario.site.street_distance_m
    axes.axhspan(middle_m - half_m, middle_m + half_m, color="#e6e8ea", zorder=0)
    for body in simulator.scene.bodies[1:]:
        low, high = body.vertex_m[:, :2].min(axis=0), body.vertex_m[:, :2].max(axis=0)
        corners = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        colour = "#a9d5db" if body.material.name == "glass" else "#b9c3cd"
        axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="#6b7785", linewidth=0.8))
        left, right = max(low[0], ALONG_M[0]), min(high[0], ALONG_M[1])
        if right - left > 12.0:
            label = f"{body.material.name}, {body.vertex_m[:, 2].max():.0f} m high"
            bottom, top = max(low[1], ACROSS_M[0]), min(high[1], ACROSS_M[1])
            axes.text((left + right) / 2, (bottom + top) / 2, label, ha="center", va="center", fontsize=8, clip_on=True)
    for slot in np.flatnonzero(simulator.movers.shape[FRAME] >= 0):
        length, width = simulator.traffic.box[FRAME, slot, 3:5]
        x, y, _, heading = simulator.movers.pose[FRAME, slot]
        along, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
        corners = [
            [x, y] + a * length / 2 * along + b * width / 2 * left for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))
        ]
        colour = "#7fb0f0" if slot == 0 else "#8b929b"
        axes.add_patch(Polygon(np.array(corners), facecolor=colour, edgecolor="#333333", linewidth=0.6, zorder=3))
        if slot != 0 and ALONG_M[0] < x < ALONG_M[1]:
            name = CLASSES[simulator.movers.shape[FRAME, slot]]
            axes.text(x - length / 2, y - 2.4, name, ha="left", va="center", fontsize=7, color="#333333", zorder=7)


def draw_path(axes: plt.Axes, points_m: np.ndarray, style: str, strength: float) -> None:
    """A path from above, the wider the stronger (0 to 1), with its bounces."""
    colour, dashes = STYLES[style]
    marker = "s" if "over" in style else "o"
    axes.plot(points_m[:, 0], points_m[:, 1], dashes, color=colour, linewidth=0.6 + 1.8 * strength, zorder=4)
    axes.plot(points_m[1:-1, 0], points_m[1:-1, 1], marker, color=colour, markersize=4.5, zorder=5)


def main() -> None:
    """Draw the picture."""
    simulator = Simulator(SCENARIO, 0, EPISODE)
    paths, bs_m, ue_m = simulator.paths(FRAME, FRAME + 1), simulator.bs_m, simulator.ue_m[FRAME]
    found = np.flatnonzero(paths.valid[0])
    power_db = 20 * np.log10(np.abs(paths.gain[0, found]))
    floor_db = np.floor(power_db.min() / 10) * 10
    figure, (street, profile) = plt.subplots(2, 1, figsize=(11, 6), dpi=110, height_ratios=(2, 1), layout="constrained")
    draw_street(street, simulator)
    used = set()
    for path, level_db in reversed(list(zip(found, power_db, strict=True))):
        style = style_of(paths, path)
        used.add(style)
        bounces = paths.vertices_m[0, path]
        points_m = np.vstack([bs_m, bounces[np.isfinite(bounces[:, 0])], ue_m])
        draw_path(street, points_m, style, (level_db - floor_db) / (power_db.max() - floor_db))
        delay_ns = 1e9 * paths.delay_s[0, path]
        colour, dashes = STYLES[style]
        profile.plot([delay_ns, delay_ns], [floor_db, level_db], dashes, color=colour)
        profile.plot(delay_ns, level_db, "s" if "over" in style else "o", color=colour, markersize=4.5)
    for name, (colour, dashes) in STYLES.items():
        if name in used:
            street.plot([], [], dashes, color=colour, label=name)
    street.plot(*bs_m[:2], "^", color="#b00020", markersize=10, zorder=6, label=f"base station, {bs_m[2]:.0f} m")
    street.plot(*ue_m[:2], "*", color="#0b3d91", markersize=11, zorder=6, label=f"antenna of the car, {ue_m[2]:.1f} m")
    street.set(xlim=ALONG_M, ylim=ACROSS_M, aspect="equal", xlabel="east, m", ylabel="north, m")
    figure.legend(loc="outside upper center", ncols=len(used) + 2, fontsize=9, frameon=False)
    profile.set(xlabel="delay, ns", ylabel="path gain, dB", ylim=(floor_db, power_db.max() + 6))
    profile.grid(alpha=0.3)
    figure.savefig(Path(__file__).parent / "paths.png")


if __name__ == "__main__":
    main()
