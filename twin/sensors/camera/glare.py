"""The glow around lamps by night: light that the lens, and fog, scatter."""

import math

import numpy as np

from twin.compiled import kernel
from twin.sensors.camera.beams import BEAM_RGB
from twin.sensors.camera.light import Light

__all__ = ["add_glare", "headlamps", "street_lamps"]

SCATTERED = 5e-5
"""Veiling radiance at an angle of 1 rad from a lamp, for the irradiance that it sheds on the lens [1/sr]; it falls with
the square of the angle (as in the eye: CIE 146, 2002)."""
NEAR_RAD, FAR_RAD = 0.004, 0.2
"""Within this angle the veil is flat; beyond that one it is not drawn [rad]."""
FOGGED = 25.0
"""By how much more fog scatters around a lamp, for each length of extinction before it."""
FAINTEST = 0.003
"""A veil below this value of a pixel is not drawn."""
ASTRAY = 0.004
"""Share of a beam's brightest intensity that leaves a headlight in any direction ahead."""


def street_lamps(lamps: np.ndarray, light: Light, eye: np.ndarray) -> np.ndarray:
    """Place and intensity towards the camera (lamp, 6) of the street lamps."""
    way = lamps - eye
    down = np.maximum(way[:, 2] / np.linalg.norm(way, axis=1), 0.0) if len(lamps) else np.zeros(0)
    return np.column_stack([lamps, (0.4 + down)[:, None] * np.array(light.lamp)])


def headlamps(beam: np.ndarray, boxes: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Place and intensity towards the camera of two headlights a vehicle, a little before its front."""
    found = [np.zeros((0, 6))]
    for side in (-0.36, 0.36):
        aside, ahead = side * boxes[:, 4], 0.1
        x = beam["x"] + ahead * beam["cosine"] - aside * beam["sine"]
        y = beam["y"] + ahead * beam["sine"] + aside * beam["cosine"]
        way = np.stack([eye[0] - x, eye[1] - y, eye[2] - beam["z"]], -1)
        cosine = (way[:, 0] * beam["cosine"] + way[:, 1] * beam["sine"]) / np.linalg.norm(way, axis=1)
        power = 0.5 * beam["intensity"] * (ASTRAY + 0.3 * np.maximum(cosine, 0.0) ** 12) * (cosine > 0)
        lamp = np.column_stack([x, y, beam["z"], power[:, None] * np.array(BEAM_RGB)])
        found.append(lamp[(beam["intensity"] > 0) & (cosine > 0)])
    return np.concatenate(found)


@kernel
def add_glare(picture, lamps, nearness, eye, axes, focal, beta, exposure):  # type: ignore[no-untyped-def]
    """Add the glow of lamps (lamp, 6) that nothing hides; `nearness` (row, column) of what the picture shows [1/m]."""
    rows, columns, _ = picture.shape
    for k in range(lamps.shape[0]):
        px, py, pz = lamps[k, 0] - eye[0], lamps[k, 1] - eye[1], lamps[k, 2] - eye[2]
        x = axes[0, 0] * px + axes[0, 1] * py + axes[0, 2] * pz
        if x <= 0.1:
            continue
        y = axes[1, 0] * px + axes[1, 1] * py + axes[1, 2] * pz
        z = axes[2, 0] * px + axes[2, 1] * py + axes[2, 2] * pz
        u, v = 0.5 * columns - focal[0] * y / x, 0.5 * rows - focal[1] * z / x
        if u < 0.0 or v < 0.0 or u >= columns or v >= rows:
            continue
        if nearness[int(v), int(u)] > 1.02 / x:
            continue
        square = px * px + py * py + pz * pz
        thick = beta * math.sqrt(square)
        share = SCATTERED * (1.0 + FOGGED * thick) * math.exp(-thick) / square
        strength = share * max(lamps[k, 3], max(lamps[k, 4], lamps[k, 5]))
        reach = min(FAR_RAD, math.sqrt(strength * exposure / FAINTEST))
        floor = strength / (reach * reach + NEAR_RAD * NEAR_RAD)
        cosine = x / math.sqrt(square)
        wide_u, wide_v = reach * focal[0] / cosine**2, reach * focal[1] / cosine**2
        for row in range(max(0, int(v - wide_v)), min(rows, int(v + wide_v) + 2)):
            for column in range(max(0, int(u - wide_u)), min(columns, int(u + wide_u) + 2)):
                du, dv = (column + 0.5 - u) / focal[0], (row + 0.5 - v) / focal[1]
                away = (du * du + dv * dv) * cosine * cosine
                veil = strength / (away + NEAR_RAD * NEAR_RAD) - floor
                if veil > 0.0:
                    veil *= share / strength
                    for band in range(3):
                        picture[row, column, band] += veil * lamps[k, 3 + band]
