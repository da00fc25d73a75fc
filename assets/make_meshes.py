"""Makes assets/meshes/<class>.glb, low-poly bodies of the actors that sensors see: `python assets/make_meshes.py`.

Frame: origin on the ground under the middle of the box, x forward, y left, z up, metres. A mesh is a heap of closed
solids that overlap, and of patches (glass, lamps, lines) a little in front of them. Each surface of `SURFACES` becomes
one geometry of that name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import trimesh
from mesh_parts import (
    LIFT_M,
    Part,
    arch,
    box,
    end_pane,
    hull,
    line,
    loft,
    mirrored,
    patch,
    side_pane,
    side_patch,
    tube,
    wheel,
    within,
)
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from twin.sensors.surfaces.table import SURFACES
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["MAKERS", "glb_bytes", "main"]

FOLDER = Path(__file__).parent / "meshes"
DIGITS = 5
"""Decimals of a coordinate [m] that are kept, so that rounding errors of a machine do not reach the file."""
PAINT = {
    "car": (0.05, 0.17, 0.50),
    "van": (0.72, 0.72, 0.70),
    "bus": (0.65, 0.33, 0.02),
    "truck": (0.40, 0.04, 0.04),
    "cyclist": (0.05, 0.30, 0.12),
}
"""Linear red, green and blue of the paint in a viewer of such files; the sensors have their own."""


def car() -> list[Part]:
    """A saloon."""
    low, cabin = line(0.18, 0.82, 0.70, 0.87), line(0.90, 0.78, 1.47, 0.58)

    def section(x: float, factor: float, sill_m: float, belt_m: float, top_m: float):
        return x, factor, [(low(sill_m), sill_m), (low(belt_m), belt_m), (0.80, top_m)]

    body = hull(
        "paint",
        section(-2.27, 0.84, 0.30, 0.68, 0.92),
        section(-1.95, 1.0, 0.18, 0.70, 0.97),
        section(0.85, 1.0, 0.18, 0.70, 0.94),
        section(1.85, 0.99, 0.18, 0.68, 0.82),
        section(2.27, 0.80, 0.26, 0.58, 0.70),
    )
    profile = [(-1.80, 0.90), (-1.02, 1.42), (-0.35, 1.50), (0.22, 1.43), (1.10, 0.90)]
    top = loft("paint", *([(x, side * cabin(z), z) for x, z in profile] for side in (1, -1)))

    def screen(low_x: float, low_z: float, high_x: float, high_z: float):
        base, edge = cabin(low_z), cabin(high_z)
        return [(low_x, base, low_z), (low_x, -base, low_z), (high_x, -edge, high_z), (high_x, edge, high_z)]

    glass = [
        patch("glass", within(screen(1.10, 0.90, 0.22, 1.43), (0.05, 0.95), (0.12, 0.96)), (1, 0, 1)),
        patch("glass", within(screen(-1.80, 0.90, -1.02, 1.42), (0.06, 0.94), (0.16, 0.94)), (-1, 0, 1)),
    ]
    left = [
        side_patch("glass", [(-0.33, 0.98), (0.86, 0.98), (0.19, 1.39), (-0.33, 1.42)], cabin),
        side_patch("glass", [(-1.52, 0.98), (-0.43, 0.98), (-0.43, 1.42), (-0.96, 1.38)], cabin),
        loft("headlight", *([(2.285, 0.40, z), (2.285, 0.695, z), (1.95, 0.84, z)] for z in (0.55, 0.68))),
        loft("taillight", *([(-2.285, 0.40, z), (-2.285, 0.735, z), (-2.05, 0.82, z)] for z in (0.70, 0.86))),
        loft("trim", *([(0.62, 0.74, z), (0.78, 0.74, z), (0.70, 0.90, z)] for z in (0.93, 1.06))),
        side_pane("trim", (-0.39, -0.37), (0.26, 0.69), low),
    ]
    for x in (-1.38, 1.40):
        left += [*wheel(x, 0.885, 0.20, 0.32), arch(x, 0.38, 0.32, low)]
    ends = [
        loft("trim", *([(1.84, 0.86, z), (2.30, 0.68, z), (2.30, -0.68, z), (1.84, -0.86, z)] for z in (0.22, 0.43))),
        loft(
            "trim", *([(-1.93, 0.87, z), (-2.30, 0.74, z), (-2.30, -0.74, z), (-1.93, -0.87, z)] for z in (0.26, 0.47))
        ),
        end_pane("metal", 2.30, (-0.26, 0.26), (0.27, 0.38)),
        end_pane("trim", 2.27, (-0.36, 0.36), (0.50, 0.66)),
        end_pane("metal", -2.27, (-0.26, 0.26), (0.62, 0.74)),
    ]
    return [body, top, *glass, *ends, *mirrored(left)]


def van() -> list[Part]:
    """A panel van with a short bonnet."""
    low, high = line(0.25, 0.92, 1.15, 0.965), line(1.15, 0.965, 2.25, 0.84)

    def section(x: float, factor: float, sill_m: float, belt_m: float, top_m: float):
        return x, factor, [(low(sill_m), sill_m), (low(belt_m), belt_m), (min(high(top_m), low(belt_m) - 0.02), top_m)]

    body = hull(
        "paint",
        section(-2.66, 1.0, 0.25, 1.15, 2.26),
        section(1.10, 1.0, 0.25, 1.15, 2.30),
        section(2.05, 1.0, 0.25, 1.15, 1.36),
        section(2.52, 0.95, 0.28, 0.95, 1.14),
        section(2.66, 0.88, 0.30, 0.80, 0.95),
    )
    screen = [
        (x, side * high(z), z) for x, z, side in ((2.05, 1.36, 1), (2.05, 1.36, -1), (1.1, 2.3, -1), (1.1, 2.3, 1))
    ]
    left = [
        side_patch("glass", [(0.62, 1.28), (1.92, 1.28), (1.86, 1.42), (1.20, 2.08), (0.62, 2.08)], high),
        side_pane("trim", (0.50, 0.53), (0.40, 1.15), low),
        side_pane("trim", (-0.95, -0.92), (0.40, 1.15), low),
        side_pane("trim", (-2.4, 0.53), (1.17, 1.22), high),
        side_pane("trim", (-1.15, 1.13), (0.34, 0.46), low),
        loft("headlight", *([(2.675, 0.52, z), (2.675, 0.84, z), (2.50, 0.895, z)] for z in (0.68, 0.92))),
        box("taillight", (-2.68, 0.80, 0.95), (-2.60, 0.93, 1.45)),
        patch("glass", [(-2.66, 0.08, 1.4), (-2.66, 0.74, 1.4), (-2.66, 0.68, 2.05), (-2.66, 0.08, 2.05)], (-1, 0, 0)),
        loft("trim", *([(1.55, 0.90, z), (1.74, 0.90, z), (1.62, 1.0, z)] for z in (1.28, 1.58))),
    ]
    for x in (-1.62, 1.60):
        left += [*wheel(x, 0.985, 0.24, 0.36), arch(x, 0.44, 0.36, low)]
    ends = [
        patch("glass", within(screen, (0.05, 0.95), (0.06, 0.94)), (1, 0, 1)),
        loft("trim", *([(2.1, 0.96, z), (2.70, 0.84, z), (2.70, -0.84, z), (2.1, -0.96, z)] for z in (0.26, 0.58))),
        box("trim", (-2.70, -0.94, 0.28), (-2.45, 0.94, 0.50)),
        end_pane("trim", 2.66, (-0.46, 0.46), (0.66, 0.90)),
        end_pane("metal", 2.70, (-0.26, 0.26), (0.36, 0.47)),
        end_pane("metal", -2.66, (-0.26, 0.26), (0.70, 0.81)),
        end_pane("trim", -2.66, (-0.015, 0.015), (0.85, 2.20)),
    ]
    return [body, *ends, *mirrored(left)]


def bus() -> list[Part]:
    """A low-floor city bus; its doors are on the right."""
    flank = line(0.30, 1.245, 2.75, 1.245)
    outline = [(1.245, 0.30), (1.245, 2.72), (1.05, 2.92)]
    body = hull(
        "paint",
        (-5.94, 1.0, outline),
        (5.55, 1.0, outline),
        (5.86, 0.96, [(1.245, 0.32), (1.245, 2.62), (1.05, 2.78)]),
    )
    left = [
        end_pane("headlight", 5.86, (0.70, 1.14), (0.64, 0.86)),
        end_pane("taillight", -5.94, (0.96, 1.18), (0.75, 1.40)),
        loft("trim", *([(5.75, y, 2.66), (6.0, y, 2.50), (6.0, y, 1.95)] for y in (1.02, 1.20))),
    ]
    for x in (-2.75, 3.15):
        left += [*wheel(x, 1.275, 0.30, 0.48), arch(x, 0.58, 0.48, flank)]
    windows = [(-5.6, -4.3), (-4.2, -2.9), (-2.8, -1.5), (-1.4, -0.1), (0.0, 1.3), (1.4, 2.7), (2.8, 4.1), (4.2, 5.45)]
    panes = [side_pane("glass", x, (1.25, 2.45), flank) for x in windows]
    doors = []
    for x in (-0.1, 4.2):
        doors.append(side_pane("trim", (x, x + 1.28), (0.36, 2.48), flank))
        for leaf in (x + 0.06, x + 0.67):
            outline_xz = [(leaf, 0.52), (leaf + 0.55, 0.52), (leaf + 0.55, 2.40), (leaf, 2.40)]
            doors.append(side_patch("glass", outline_xz, flank, 2 * LIFT_M))
    opposite = [pane for pane, (x, _) in zip(panes, windows, strict=True) if x not in (0.0, 4.2)]
    ends = [
        end_pane("glass", 5.86, (-1.14, 1.14), (1.05, 2.34)),
        end_pane("trim", 5.86, (-0.95, 0.95), (2.40, 2.68)),
        end_pane("glass", -5.94, (-1.05, 1.05), (1.55, 2.40)),
        end_pane("trim", -5.94, (-0.85, 0.85), (0.65, 1.30)),
        box("trim", (5.70, -1.20, 0.28), (5.95, 1.20, 0.52)),
        box("trim", (-6.0, -1.20, 0.28), (-5.85, 1.20, 0.50)),
        box("metal", (-3.6, -0.85, 2.88), (-0.8, 0.85, 3.10)),
        box("metal", (1.6, -0.75, 2.88), (3.6, 0.75, 3.04)),
    ]
    right = mirrored([*opposite, *doors])[len(opposite) + len(doors) :]
    return [body, *ends, *panes, *right, *mirrored(left)]


def truck() -> list[Part]:
    """A rigid lorry of two axles: a cab, and a box on a frame."""
    low, high = line(0.45, 1.21, 1.55, 1.21), line(1.55, 1.21, 2.75, 1.13)

    def section(x: float, factor: float, sill_m: float, top_m: float):
        return x, factor, [(low(sill_m), sill_m), (1.21, 1.55), (high(top_m), top_m)]

    cab = hull("paint", section(2.42, 1.0, 0.60, 2.75), section(4.10, 1.0, 0.45, 2.75), section(4.44, 0.97, 0.45, 1.60))
    screen = [(4.44, 1.17, 1.60), (4.44, -1.17, 1.60), (4.10, -1.13, 2.75), (4.10, 1.13, 2.75)]
    left = [
        side_patch("glass", [(2.95, 1.65), (4.16, 1.65), (4.02, 2.50), (2.95, 2.50)], high),
        side_pane("trim", (2.85, 2.88), (0.95, 1.55), low),
        end_pane("headlight", 4.44, (0.70, 1.12), (0.74, 0.94)),
        box("taillight", (-4.50, 0.80, 0.80), (-4.40, 1.15, 0.95)),
        loft("trim", *([(4.0, 1.10, z), (4.26, 1.10, z), (4.14, 1.25, z)] for z in (1.75, 2.35))),
        box("trim", (-1.75, 1.02, 0.45), (1.30, 1.10, 0.85)),
        *wheel(3.45, 1.235, 0.34, 0.48),
        *wheel(-2.75, 1.235, 0.60, 0.48),
        arch(3.45, 0.58, 0.50, low),
    ]
    others = [
        box("metal", (-4.46, -1.235, 1.05), (2.30, 1.235, 3.60)),
        box("trim", (-4.40, -0.45, 0.65), (3.0, 0.45, 1.07)),
        box("trim", (-4.48, -1.20, 0.50), (-4.36, 1.20, 0.66)),
        loft("paint", *([(2.45, y, 2.70), (3.95, y, 2.74), (2.45, y, 3.50)] for y in (0.95, -0.95))),
        loft("trim", *([(4.2, 1.2, z), (4.50, 1.0, z), (4.50, -1.0, z), (4.2, -1.2, z)] for z in (0.38, 0.68))),
        patch("glass", within(screen, (0.05, 0.95), (0.06, 0.86)), (1, 0, 0.3)),
        end_pane("trim", 4.44, (-0.80, 0.80), (1.00, 1.50)),
        end_pane("metal", 4.50, (-0.26, 0.26), (0.46, 0.57)),
        end_pane("trim", -4.46, (-0.02, 0.02), (1.12, 3.52)),
        end_pane("metal", -4.48, (-0.26, 0.26), (0.53, 0.64)),
    ]
    return [cab, *others, *mirrored(left)]


def head(x: float, y: float, z: float) -> list[Part]:
    """A head with hair around the point of its middle, 0.26 m high, that looks ahead."""
    skull = [(0.02, -0.125, 0.038), (0.012, -0.055, 0.072), (-0.01, 0.09, 0.045)]
    mop = [(-0.055, -0.075, 0.058), (-0.042, -0.01, 0.084), (-0.015, 0.055, 0.094), (-0.01, 0.115, 0.06)]
    face = tube("skin", 6, *(((x + dx, y, z + dz), r, 1.2 * r) for dx, dz, r in skull))
    hair = tube("hair", 6, *(((x + dx, y, z + dz), r, 1.15 * r) for dx, dz, r in mop))
    return [face, hair]


def shoe(heel: np.ndarray, pitch_rad: float = 0.0) -> Part:
    """A shoe on its heel, with its toe turned up by `pitch_rad`."""
    corner = [(-0.07, 0.0), (0.18, 0.0), (0.18, 0.045), (0.03, 0.10), (-0.07, 0.10)]
    c, s = np.cos(pitch_rad), np.sin(pitch_rad)
    return loft("trim", *([heel + (c * u - s * v, w, s * u + c * v) for u, v in corner] for w in (0.045, -0.045)))


def arm(shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray, sides: int) -> list[Part]:
    """A sleeve, and a hand that goes on as the forearm does."""
    sleeve = tube("cloth", sides, (shoulder, 0.05, 0.055), (elbow, 0.046, 0.05), (wrist, 0.035, 0.038))
    tip = wrist + 0.11 * (wrist - elbow) / np.linalg.norm(wrist - elbow)
    return [sleeve, tube("skin", 4, (wrist, 0.026, 0.042), (tip, 0.024, 0.032))]


def pedestrian() -> list[Part]:
    """A walker in mid-step, the left leg and the right arm ahead."""
    trunk = [(0.93, 0.165, 0.108), (1.08, 0.150, 0.098), (1.30, 0.190, 0.118), (1.42, 0.205, 0.088), (1.50, 0.07, 0.06)]
    parts = [
        tube("cloth", 8, *(((0.0, 0.0, z), wide, deep) for z, wide, deep in trunk)),
        tube("trousers", 8, ((0, 0, 0.80), 0.115, 0.075), ((0, 0, 0.88), 0.16, 0.10), ((0, 0, 0.96), 0.16, 0.10)),
        tube("skin", 5, ((0, 0, 1.46), 0.05, 0.05), ((0.01, 0, 1.55), 0.05, 0.05)),
        *head(0.015, 0, 1.62),
        shoe(np.array((0.19, 0.085, 0.025)), 0.18),
        shoe(np.array((-0.22, -0.085, 0.11)), -0.60),
    ]
    for y, (knee_x, knee_z), (foot_x, foot_z) in (
        (0.085, (0.10, 0.48), (0.17, 0.10)),
        (-0.085, (0.0, 0.46), (-0.19, 0.16)),
    ):
        hip, knee, ankle = (0, y, 0.90), (knee_x, y, knee_z), (foot_x, y, foot_z)
        parts.append(tube("trousers", 6, (hip, 0.082, 0.10), (knee, 0.062, 0.068), (ankle, 0.05, 0.055)))
    for side, elbow_x, hand_x, hand_z in ((1, -0.10, -0.07, 0.86), (-1, 0.05, 0.20, 0.93)):
        joints = (0, 0.175 * side, 1.43), (elbow_x, 0.235 * side, 1.13), (hand_x, 0.25 * side, hand_z)
        parts += arm(*(np.array(joint) for joint in joints), 5)
    return parts


CRANK, SADDLE, GRIP = np.array((-0.08, 0, 0.29)), np.array((-0.24, 0, 0.90)), np.array((0.35, 0, 1.0))
"""The bicycle's pedal bearing, saddle, and middle of the handlebar [m]."""
PEDALS = ((1, CRANK + (0.05, 0.11, -0.16)), (-1, CRANK + (-0.03, -0.11, 0.17)))
"""Side (left 1) and place of the pedals [m]."""


def bicycle_wheel(hub: np.ndarray, radius_m: float) -> list[Part]:
    """A thin tyre on four spokes."""
    rays = [np.array((np.cos(a), 0, np.sin(a))) for a in 2 * np.pi * np.arange(16) / 16]
    inner, half = radius_m - 0.06, np.array((0, 0.024, 0))
    rings = [[hub + radius_m * ray, hub + inner * ray + half, hub + inner * ray - half] for ray in rays]
    spokes = [(hub - inner * ray, hub + inner * ray) for ray in (rays[2], rays[6])]
    return [
        loft("tyre", *rings, endless=True),
        *(tube("metal", 3, (a, 0.007, 0.007), (b, 0.007, 0.007)) for a, b in spokes),
    ]


def bicycle() -> list[Part]:
    """A bicycle with a diamond frame and lamps."""
    rear, front = np.array((-0.56, 0, 0.34)), np.array((0.56, 0, 0.34))
    neck, post, top = np.array((0.42, 0, 0.76)), np.array((-0.21, 0, 0.80)), np.array((0.37, 0, 0.83))
    rods = [(CRANK, neck, 0.028), (CRANK, SADDLE, 0.024), (post, top, 0.024), (CRANK, rear, 0.018), (post, rear, 0.018)]
    bar = [(GRIP + (0, y, 0), 0.018, 0.018) for y in (-0.30, 0.30)]
    nose, tail = SADDLE + (0.14, 0, 0.01), SADDLE + (-0.12, 0, 0.01)
    cushion = [((nose, 0.03), (tail, 0.10)), ((nose + (0, 0, 0.05), 0.03), (tail + (0, 0, 0.06), 0.10))]
    return [
        *bicycle_wheel(rear, 0.34),
        *bicycle_wheel(front, 0.34),
        *(tube("paint", 3, (a, radius, radius), (b, radius, radius)) for a, b, radius in rods),
        tube("paint", 3, (GRIP, 0.022, 0.022), (neck, 0.03, 0.028), (front, 0.035, 0.018)),
        tube("metal", 3, *bar, reference=(0, 0, 1)),
        tube("metal", 3, *((pedal * (1, 0.6, 1), 0.014, 0.018) for _, pedal in PEDALS), reference=(1, 0, 0)),
        loft("trim", *([a + (0, w, 0), b + (0, v, 0), b - (0, v, 0), a - (0, w, 0)] for (a, w), (b, v) in cushion)),
        loft("headlight", *([(0.36, y, 0.90), (0.46, y, 0.87), (0.46, y, 0.95)] for y in (0.035, -0.035))),
        loft("taillight", *([(-0.20, y, 0.80), (-0.31, y, 0.75), (-0.31, y, 0.84)] for y in (0.035, -0.035))),
    ]


def leg(hip: np.ndarray, ankle: np.ndarray, bone_m: float) -> Part:
    """Thigh and shin, equally long, with the knee ahead."""
    middle, reach = (hip + ankle) / 2, ankle - hip
    ahead = np.array((-reach[2], 0, reach[0]))
    knee = middle + ahead / np.linalg.norm(ahead) * np.sqrt(bone_m**2 - reach @ reach / 4)
    return tube("trousers", 5, (hip, 0.085, 0.10), (knee, 0.06, 0.065), (ankle, 0.045, 0.05))


def cyclist() -> list[Part]:
    """A bicycle and its rider, who leans on the handlebar."""
    trunk = [
        ((-0.29, 0, 0.94), 0.155, 0.12),
        ((-0.18, 0, 1.15), 0.145, 0.10),
        ((0.06, 0, 1.37), 0.195, 0.11),
        ((0.20, 0, 1.48), 0.10, 0.065),
    ]
    parts = [
        *bicycle(),
        tube("cloth", 6, *trunk),
        tube("skin", 3, ((0.18, 0, 1.44), 0.05, 0.05), ((0.25, 0, 1.55), 0.05, 0.05)),
        *head(0.26, 0, 1.62),
    ]
    for side, pedal in PEDALS:
        heel = pedal + (-0.05, 0, 0.01)
        hip, ankle = np.array((-0.25, 0.09 * side, 0.99)), heel + (0.01, 0, 0.08)
        shoulder, wrist = np.array((0.12, 0.15 * side, 1.41)), GRIP + (-0.03, 0.25 * side, 0.05)
        elbow = (shoulder + wrist) / 2 + (-0.03, 0.05 * side, -0.05)
        parts += [leg(hip, ankle, 0.43), shoe(heel), *arm(shoulder, elbow, wrist, 4)]
    return parts


MAKERS: dict[str, Callable[[], list[Part]]] = {
    "car": car,
    "van": van,
    "bus": bus,
    "truck": truck,
    "cyclist": cyclist,
    "pedestrian": pedestrian,
}


def fitted(parts: Sequence[Part], size_m: tuple[float, float, float]) -> list[Part]:
    """The parts, stretched to fill the class's box to the last digit."""
    every = np.concatenate([part.vertex_m for part in parts])
    low, high = every.min(axis=0), every.max(axis=0)
    floor, stretch = np.array([-size_m[0] / 2, -size_m[1] / 2, 0.0]), np.array(size_m) / (high - low)
    return [Part(part.surface, np.round(floor + (part.vertex_m - low) * stretch, DIGITS), part.face) for part in parts]


def glb_bytes(name: str) -> bytes:
    """The file of a class: binary glTF, in its frame (y up)."""
    parts = fitted(MAKERS[name](), VEHICLE_CLASSES[name])
    scene = trimesh.Scene()
    for surface in dict.fromkeys(part.surface for part in parts):
        own = [part for part in parts if part.surface == surface]
        first = np.cumsum([0, *(len(part.vertex_m) for part in own)])
        vertex = np.concatenate([part.vertex_m for part in own])
        face = np.concatenate([part.face + start for part, start in zip(own, first, strict=False)])
        colour = PAINT.get(name, (0.5,) * 3) if surface == "paint" else SURFACES[surface].albedo
        shine = {"metallicFactor": 0.0, "roughnessFactor": 0.7}
        material = PBRMaterial(name=surface, baseColorFactor=[*(round(255 * c) for c in colour), 255], **shine)
        shape = trimesh.Trimesh(vertex[:, [0, 2, 1]] * (1, 1, -1), face, process=False)
        shape.visual = TextureVisuals(material=material)
        scene.add_geometry(shape, node_name=surface, geom_name=surface)
    return trimesh.exchange.gltf.export_glb(scene, include_normals=False)


def main() -> None:
    """Write the files."""
    content = {name: glb_bytes(name) for name in MAKERS}
    FOLDER.mkdir(exist_ok=True)
    for name, data in content.items():
        (FOLDER / f"{name}.glb").write_bytes(data)


if __name__ == "__main__":
    main()
