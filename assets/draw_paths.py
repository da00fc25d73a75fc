"""Draws assets/paths.png, the paths of one moment of a scenario: `python assets/draw_paths.py`.

Needs matplotlib, which comes with the extra `sionna`.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from twin.geometry.scene import VEHICLE_MATERIAL, box_body
from twin.propagation.paths import Interaction, Paths
from twin.simulator import Simulator

SCENARIO, EPISODE, FRAME = "street_canyon", 5, 102
ALONG_M, ACROSS_M, UP_M = (-45.0, 50.0), (-14.0, 30.0), (0.0, 24.0)
STYLES = {
    "direct": ("#111111", 2.0),
    "direct, past a vehicle": ("#111111", 1.2),
    "one bounce": ("#0a6fd1", 1.4),
    "two bounces": ("#2ca25f", 1.0),
    "over an edge": ("#d1570a", 1.0),
}


def style_of(paths: Paths, path: int) -> str:
    """Which of `STYLES` a path of the first link is drawn in."""
    if paths.path_kind[0, path] == Interaction.DIFFRACTION:
        return "over an edge"
    if paths.order[0, path] == 0:
        return "direct, past a vehicle" if paths.blockage_db[0, path] > 1.0 else "direct"
    return "one bounce" if paths.order[0, path] == 1 else "two bounces"


def draw_box(axes: plt.Axes, vertex_m: np.ndarray, face: np.ndarray, colour: str, alpha: float) -> None:
    """A body as shaded triangles, cut to the view."""
    low, high = np.array([ALONG_M, ACROSS_M, UP_M]).T
    triangles = np.clip(vertex_m, low, high)[face]
    axes.add_collection3d(Poly3DCollection(triangles, facecolor=colour, alpha=alpha, edgecolor="none", zsort="min"))


def main() -> None:
    """Draw the picture."""
    simulator = Simulator(SCENARIO, 0, EPISODE)
    paths, bs_m, ue_m = simulator.paths(FRAME, FRAME + 1), simulator.bs_m, simulator.ue_m[FRAME]
    figure = plt.figure(figsize=(11, 4.6), dpi=110)
    axes = figure.add_axes((-0.25, -0.45, 1.5, 1.85), projection="3d", computed_zorder=False)
    low, high = ALONG_M
    road = np.array([[low, 5.5, 0.0], [high, 5.5, 0.0], [high, 18.5, 0.0], [low, 18.5, 0.0]])
    draw_box(axes, road, np.array([[0, 1, 2], [0, 2, 3]]), "#d9dcdf", 0.9)
    for body in simulator.scene.bodies[1:]:
        near = body.vertex_m[:, 1].mean() < 0.0  # would hide the street
        colour = "#8fd0d8" if body.material.name == "glass" else "#9fb2c4"
        draw_box(axes, body.vertex_m * [1, 1, not near], body.face, colour, 0.5 if near else 0.28)
    for slot in np.flatnonzero(simulator.movers.shape[FRAME] >= 0):
        length, width, height = simulator.traffic.box[FRAME, slot, 3:6]
        body = box_body("vehicle", length, width, height, VEHICLE_MATERIAL)
        x, y, z, heading = simulator.movers.pose[FRAME, slot]
        c, s = np.cos(heading), np.sin(heading)
        placed = body.vertex_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [x, y, z]
        if ALONG_M[0] < x < ALONG_M[1]:
            draw_box(axes, placed, body.face, "#0b57d0" if slot == 0 else "#6b7280", 0.85)
    for path in np.flatnonzero(paths.valid[0])[::-1]:
        style = style_of(paths, path)
        colour, width = STYLES[style]
        bounces = paths.vertices_m[0, path]
        line = np.vstack([bs_m, bounces[np.isfinite(bounces[:, 0])], ue_m])
        dashes = "--" if style == "direct, past a vehicle" else "-"
        axes.add_collection3d(Line3DCollection([line], colors=colour, linewidths=width, linestyles=dashes, zorder=9))
    used = [name for name in STYLES if name in {style_of(paths, path) for path in np.flatnonzero(paths.valid[0])}]
    for name in used:
        axes.plot([], [], color=STYLES[name][0], linewidth=2, ls="--" if "past" in name else "-", label=name)
    axes.scatter(*bs_m, color="#b00020", s=40, label="base station", depthshade=False, zorder=10)
    axes.set(xlim=ALONG_M, ylim=ACROSS_M, zlim=UP_M)
    axes.set_box_aspect((ALONG_M[1] - ALONG_M[0], ACROSS_M[1] - ACROSS_M[0], UP_M[1]), zoom=1.2)
    axes.view_init(elev=34, azim=-80)
    axes.set_axis_off()
    figure.legend(loc="lower left", fontsize=10)
    figure.savefig(Path(__file__).parent / "paths.png")


if __name__ == "__main__":
    main()
