"""Lamps of the actors by night: what headlights shed on the road, and how lamps look themselves."""

import math

import numpy as np

from twin.compiled import leaf
from twin.sensors.actors import Actors
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.traffic.vehicles import MOTOR_CLASSES, VEHICLE_CLASSES

__all__ = ["BEAM", "BEAM_REACH_M", "BEAM_RGB", "LIT_HEIGHT_M", "WIDEST", "beam_light", "beams_of", "own_light"]

BEAM = np.dtype([(name, np.float64) for name in ("x", "y", "z", "cosine", "sine", "intensity", "reach")])
"""The headlights of an actor as one lamp: place, direction, radiant intensity of its brightest part, and how far it
shines [m]. None where the intensity is 0."""
BEAM_REACH_M = 35.0
LIT_HEIGHT_M = 3.0
"""Headlights light nothing higher than this worth seeing [m]."""
BEAM_RGB = (1.0, 0.94, 0.82)
INTENSITY, BICYCLE = 350.0, 0.04
"""Of a car's beam, and the share of it that a bicycle's has."""
WIDEST, CUTOFF, FALL, FOOT = 0.7, 0.012, 0.07, 0.003
"""The low beam: tangents of the angles at which it ends sidewards, and over which it falls off upwards and downwards;
its share at the wheels."""
LANE_M = 2.2
"""Who drives ahead within this aside stops the beam [m]."""
BUS = tuple(VEHICLE_CLASSES).index("bus")
HEADLIGHT, TAILLIGHT, GLASS = (SURFACE_NAMES.index(name) for name in ("headlight", "taillight", "glass"))
_SHARE = np.array([1.0 if c in MOTOR_CLASSES else BICYCLE if c == "cyclist" else 0.0 for c in VEHICLE_CLASSES])


def beams_of(actors: Actors, dark: np.ndarray) -> np.ndarray:
    """The headlights of actors, but for those who are `dark` (actor,): array of `BEAM`. The next one ahead in the lane
    stops a beam."""
    beam = np.zeros(len(actors.kind), BEAM)
    lit = np.flatnonzero((actors.kind >= 0) & ~dark)
    x, y, z, length, width, height, heading = np.nan_to_num(actors.box).T
    c, s = np.cos(heading), np.sin(heading)
    beam["x"], beam["y"] = x + 0.5 * length * c, y + 0.5 * length * s
    beam["z"] = z - height / 2 + np.minimum(0.42 * height, 0.9)
    beam["cosine"], beam["sine"] = c, s
    beam["intensity"][lit] = INTENSITY * _SHARE[actors.kind[lit]]
    there = actors.kind >= 0
    east, north = x[None, :] - beam["x"][:, None], y[None, :] - beam["y"][:, None]
    ahead, aside = east * c[:, None] + north * s[:, None], north * c[:, None] - east * s[:, None]
    in_lane = there & (np.abs(aside) < 0.5 * width + 0.5 * LANE_M) & (ahead > 0.5 * length)
    beam["reach"] = np.where(in_lane, ahead, BEAM_REACH_M).min(axis=1, initial=BEAM_REACH_M)
    return beam


@leaf
def beam_light(beam, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Irradiance of headlights on a surface, in white."""
    dx, dy, dz = x - beam.x, y - beam.y, z - beam.z
    ahead = dx * beam.cosine + dy * beam.sine
    if beam.intensity <= 0.0 or ahead < 0.2 or ahead > beam.reach:
        return 0.0
    aside = (dy * beam.cosine - dx * beam.sine) / ahead
    facing = -(dx * nx + dy * ny + dz * nz)
    if abs(aside) >= WIDEST or facing <= 0.0:
        return 0.0
    drop = -dz / ahead
    part = FOOT + math.exp(-drop / FALL) if drop > 0.0 else (1.0 + FOOT) * math.exp(drop / CUTOFF)
    square = dx * dx + dy * dy + dz * dz
    fade = 1.0 - ahead / BEAM_REACH_M
    level = (1.0 - (aside / WIDEST) ** 2) ** 2
    return beam.intensity * part * level * fade * facing / (square * math.sqrt(square))


@leaf
def own_light(surface, kind, beam, cosine, ahead):  # type: ignore[no-untyped-def]
    """Radiance of a lamp or window by night, seen at an angle to the actor's heading with that cosine; `ahead` is the
    window's own."""
    if surface == HEADLIGHT and beam.intensity > 0.0:
        e = 0.06 + 1.2 * max(0.0, cosine) ** 4
        return e * BEAM_RGB[0], e * BEAM_RGB[1], e * BEAM_RGB[2]
    if surface == TAILLIGHT and beam.intensity > 0.0:
        e = 0.05 + 0.14 * max(0.0, -cosine) ** 2
        return e, 0.05 * e, 0.03 * e
    if surface == GLASS and kind == BUS:
        e = 0.030 if abs(ahead) < 0.5 else 0.008
        return e, 0.92 * e, 0.75 * e
    return 0.0, 0.0, 0.0
