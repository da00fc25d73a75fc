"""What is painted where nothing stands: clouds, and the far rim of the world below them."""

import math

from twin.compiled import leaf
from twin.sensors.camera.light import sky_radiance
from twin.sensors.surfaces.noise import cell_noise, value_noise

__all__ = ["backdrop"]

RIM_M = 1500.0
"""Distance of the trees and roofs on the horizon [m]: they are painted, nothing else meets them."""
CLEAR_DEPTH_M = 300.0
"""Depth of the air through which the sky is seen overhead [m]."""
RIM_ALBEDO = (0.055, 0.075, 0.045)


@leaf
def backdrop(light, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Radiance in a direction in which nothing stands."""
    if dz < _rim(math.atan2(dy, dx)):
        r, g, b = _far_ground(light, dx, dy, dz)
        clear = math.exp(-light.beta * RIM_M)
    else:
        r, g, b = sky_radiance(light, dx, dy, dz)
        if light.night == 0:
            r, g, b = _clouded(light, dx, dy, dz, r, g, b)
        clear = math.exp(-light.beta * CLEAR_DEPTH_M / max(dz, 0.02))
    air = light.air
    return air[0] + clear * (r - air[0]), air[1] + clear * (g - air[1]), air[2] + clear * (b - air[2])


@leaf
def _rim(azimuth):  # type: ignore[no-untyped-def]
    """Sine of the elevation up to which trees and roofs hide the sky."""
    trees = 0.012 + 0.022 * value_noise(azimuth * 14.0, 0.5, 81) + 0.012 * value_noise(azimuth * 60.0, 0.5, 82)
    block = math.floor(azimuth * 22.0)
    roof = 0.045 * cell_noise(int(block), 0, 83) if cell_noise(int(block), 0, 84) < 0.35 else 0.0
    return max(trees, roof)


@leaf
def _far_ground(light, dx, dy, dz):  # type: ignore[no-untyped-def]
    azimuth = math.atan2(dy, dx)
    crowns = value_noise(azimuth * 160.0, dz * 160.0, 85) if dz > 0.0 else 0.8
    shade = (0.6 + 0.8 * crowns) / math.pi
    facing = max(0.0, -(dx * light.to_sun[0] + dy * light.to_sun[1]))
    r = RIM_ALBEDO[0] * shade * (0.6 * light.sky[0] + facing * light.sun[0])
    g = RIM_ALBEDO[1] * shade * (0.6 * light.sky[1] + facing * light.sun[1])
    b = RIM_ALBEDO[2] * shade * (0.6 * light.sky[2] + facing * light.sun[2])
    return r, g, b


@leaf
def _clouded(light, dx, dy, dz, r, g, b):  # type: ignore[no-untyped-def]
    """Clouds on a plane above: more of them the more of the light comes through clouds."""
    x, y = dx / (dz + 0.08), dy / (dz + 0.08)
    body = 0.55 * value_noise(x * 1.3, y * 1.3, 91) + 0.28 * value_noise(x * 3.1, y * 3.1, 92)
    body += 0.12 * value_noise(x * 7.3, y * 7.3, 93) + 0.05 * value_noise(x * 17.0, y * 17.0, 94)
    cover = min(1.0, max(0.0, (body - 0.72 + 0.62 * light.cloud) / 0.22)) * min(1.0, dz / 0.06)
    cover *= cover * (3.0 - 2.0 * cover)
    lit = (0.9 + 0.5 * body) * (1.0 - 0.45 * light.cloud)
    e = (0.35 + 0.65 * light.cloud) / math.pi * lit
    wr = light.sky[0] * 0.9 * e + 0.45 * light.sun[0] / math.pi * lit
    wg = light.sky[1] * 0.9 * e + 0.45 * light.sun[1] / math.pi * lit
    wb = light.sky[2] * 0.9 * e + 0.45 * light.sun[2] / math.pi * lit
    veil = 0.85 * cover * (1.0 - 0.75 * light.cloud)
    return r + veil * (wr - r), g + veil * (wg - g), b + veil * (wb - b)
