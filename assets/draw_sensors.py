"""Draws assets/sensors.png, one frame of a drive as every sensor sees it: `python assets/draw_sensors.py`.

Needs matplotlib, which comes with the extra `sionna`.
"""

import math
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Polygon, Rectangle

from twin.geometry.coordinates import equirectangular_m
from twin.sensors.lidar.depth_image import DEPTH_HIGHEST_DEG, DEPTH_LOWEST_DEG, depth_image
from twin.simulator import Simulator

SCENARIO, SEED, EPISODE, FRAME = "intersection", 0, 172, 216
UE_COLOUR = "#ff2d6f"
FAR_M = 45.0


def main() -> None:
    """Write the picture."""
    simulator = Simulator(SCENARIO, SEED, EPISODE)
    recording = simulator.run(FRAME + 1, ("rf", "gps"))
    figure = plt.figure(figsize=(13.5, 8.2), layout="constrained", dpi=110)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.35, 1))
    camera, above = top.subplots(1, 2, width_ratios=(1, 1.05))
    lidar, radar, spectrum = bottom.subplots(1, 3, width_ratios=(1.35, 1, 0.8))
    draw_camera(camera, simulator)
    draw_cloud(above, simulator, recording.arrays["gps"][FRAME])
    draw_depth(lidar, simulator)
    draw_radar(radar, simulator)
    draw_sweep(spectrum, recording.arrays["rf"][FRAME])
    figure.suptitle(f"{SCENARIO}, seed {SEED}, episode {EPISODE}, frame {FRAME}: the UE in pink", fontsize=12)
    figure.savefig(Path(__file__).parent / "sensors.png")


def draw_camera(axes: plt.Axes, simulator: Simulator) -> None:
    """The picture, with the box of the UE."""
    seen = simulator.sensors.picture(FRAME)
    axes.imshow(seen.image, aspect=9 / 16)
    left, top, right, bottom = simulator.sensors.camera.boxes_px(simulator.sensors.actors("camera", FRAME))[0]
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=UE_COLOUR, linewidth=1.5))
    axes.set(title="camera, 224 x 224, drawn as wide as its view", xticks=[], yticks=[])


def draw_cloud(axes: plt.Axes, simulator: Simulator, gps_deg: np.ndarray) -> None:
    """The LiDAR's points from above, the UE's box and the GPS fix."""
    cloud, sensors = simulator.sensors.cloud(FRAME), simulator.sensors
    point_m = sensors.mount("lidar").to_local(cloud.point_m.astype(np.float64))
    axes.scatter(point_m[:, 0], point_m[:, 1], c=cloud.intensity, s=0.4, cmap="viridis", vmin=0, vmax=0.5, linewidths=0)
    box = simulator.traffic.box[FRAME, 0]
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * box[3:5] / 2
    c, s = math.cos(box[6]), math.sin(box[6])
    axes.add_patch(Polygon(half @ np.array([[c, s], [-s, c]]) + box[:2], fill=False, color=UE_COLOUR, linewidth=1.5))
    site = simulator.scenario.site
    fix_m = equirectangular_m(gps_deg, np.array([site.latitude_deg, site.longitude_deg]))
    axes.plot(*fix_m, "+", color="black", markersize=10, markeredgewidth=2, label="GPS fix")
    axes.plot(0, 0, "^", color="black", markersize=8, label="base station")
    middle = box[:2] / 2
    axes.set(
        xlim=middle[0] + np.array([-1, 1]) * FAR_M, ylim=middle[1] + np.array([-0.75, 0.75]) * FAR_M, aspect="equal"
    )
    axes.set(title=f"LiDAR from above, {len(point_m):,} points by intensity", xlabel="east, m", ylabel="north, m")
    axes.legend(loc="upper right", fontsize=8)


def draw_depth(axes: plt.Axes, simulator: Simulator) -> None:
    """The depth image."""
    shown = depth_image(simulator.sensors.cloud(FRAME).point_m).astype(float)
    extent = (180, -180, DEPTH_LOWEST_DEG, DEPTH_HIGHEST_DEG)
    drawn = axes.imshow(
        shown, extent=extent, aspect="auto", cmap="turbo_r", vmin=0, vmax=FAR_M, interpolation="nearest"
    )
    axes.set(
        title="LiDAR as depth image, 64 x 256",
        xlabel="azimuth from the boresight, degrees",
        ylabel="elevation, degrees",
    )
    axes.figure.colorbar(drawn, ax=axes, label="m")


def draw_radar(axes: plt.Axes, simulator: Simulator) -> None:
    """The range-angle map, with the place of the UE."""
    found, radar = simulator.sensors.echo(FRAME).map_db.astype(float), simulator.scenario.radar
    bin_m = 299_792_458.0 / 2 / (radar.slope_hz_per_s * radar.samples / radar.sample_rate_hz)
    extent = (-1, 1, 0, 256 * bin_m)
    drawn = axes.imshow(
        found.T[:, ::1],
        extent=extent,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=np.median(found),
        vmax=found.max(),
    )
    x, y, z = simulator.sensors.mount("radar").to_sensor(simulator.sensors.actors("radar", FRAME).box[0, :3])
    distance_m = math.hypot(x, y, z)
    axes.plot(y / distance_m, distance_m, "o", color=UE_COLOUR, fillstyle="none", markersize=16, markeredgewidth=1.5)
    axes.set(
        title="radar: range and angle", xlabel="sine of azimuth, left is positive", ylabel="range, m", xlim=(1, -1)
    )
    axes.figure.colorbar(drawn, ax=axes, label="dB of 1 fW")


def draw_sweep(axes: plt.Axes, power_w: np.ndarray) -> None:
    """The measured power of the 64 beams."""
    power_dbm = 10 * np.log10(power_w) + 30
    colours = np.where(np.arange(64) == power_w.argmax(), UE_COLOUR, "#5b7fa6")
    axes.bar(np.arange(64), power_dbm - power_dbm.min() + 0.3, bottom=power_dbm.min() - 0.3, color=colours, width=1)
    axes.set(title="60 GHz sweep", xlabel="beam", ylabel="dBm")


if __name__ == "__main__":
    main()
