"""The light of a scene: sun, sky, fog and street lamps, in linear red, green and blue.

Unit of irradiance: about what a clear sky and a sun at 45 degrees shed on the ground. A radiance L on white paper under
the irradiance E is E / pi. By night the unit is another one, as for a camera that has opened its aperture.
"""

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import leaf
from twin.scenario.fields import Scenario
from twin.scenario.sensors import Camera
from twin.scenario.street_plan import junction_plan

__all__ = ["LAMP_HEIGHT_M", "Light", "lamps_of", "light_of", "luminance", "sky_radiance"]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Of linear sRGB (ITU-R BT.709)."""
KOSCHMIEDER = 3.912
"""-ln 0.02: where contrast has fallen to 2 %, visibility ends (Koschmieder, 1924)."""
FOG_DEPTH_M = 60.0
"""Depth of the air above the street in which fog or haze lies [m]: it dims the sun, and hides the sky near the
horizon."""
FOG_SHARE = 0.6
"""Radiance of dense fog seen level, over that of an even sky."""
AIR_LOSS = (0.055, 0.10, 0.21)
"""Optical depth of the clear air overhead in red, green and blue: what makes a low sun orange."""
BLUE, GREY = (0.71, 0.98, 1.47), (0.96, 1.0, 1.07)
"""Colours of the light of a clear and of an overcast sky, of luminance about 1."""
CLEAR_ZENITH, CLEAR_HORIZON = (0.72, 1.08, 1.40), (3.1, 2.95, 2.4)
"""Radiance of a clear sky there, over that of an even one."""
LAMP_HEIGHT_M, LAMP_SPACING_M, LAMP_ARM_M, LAMP_REACH_M = 8.0, 24.0, 1.2, 90.0
"""Street lamps stand on alternate sides of the street as far as this beyond its ends [m]."""
LAMP_RGB = (30.0, 22.0, 13.0)
"""Radiant intensity straight down."""
BOUNCE = 0.16
"""Reflectance of the ground as a whole."""
NIGHT_SKY_RGB = (0.0095, 0.0100, 0.0130)
"""Irradiance of the night sky."""
NIGHT_LEVEL = 0.28
"""Irradiance that a night's exposure is made for."""

Rgb = tuple[float, float, float]
_BLACK = (0.0, 0.0, 0.0)


class Light(NamedTuple):
    """What shines, for kernels too.

    Attributes:
        to_sun: unit vector.
        sun: irradiance on a surface that faces the sun; zero by night.
        sky: irradiance on the ground from the whole sky.
        bounce: irradiance from the ground on what looks down.
        zenith, horizon: radiance of the sky there.
        glow: radiance that the sky gains around the sun.
        lamp: radiant intensity of a street lamp straight down; zero by day.
        air: radiance of thick air, which fog tends to.
        beta: extinction of the air [1/m], `KOSCHMIEDER` / visibility.
        exposure: value of a pixel (1 is white) for a unit of radiance.
        night: 1 or 0.
    """

    to_sun: Rgb
    sun: Rgb
    sky: Rgb
    bounce: Rgb
    zenith: Rgb
    horizon: Rgb
    glow: Rgb
    lamp: Rgb
    air: Rgb
    cloud: float
    beta: float
    exposure: float
    night: int


def luminance(rgb: Rgb) -> float:
    """Of a linear colour."""
    return sum(share * value for share, value in zip(LUMINANCE, rgb, strict=True))


def light_of(camera: Camera) -> Light:
    """The light that the camera's fields describe.

    The sun sheds 1.41 exp(-0.057 / sin e) (1 - cloud) on what faces it at an elevation e (after Haurwitz, 1945),
    reddened by its way through the air; the sky what the clouds have scattered, and its own blue. The exposure makes
    grey paper grey in this light, times 2^EV.
    """
    azimuth, elevation = math.radians(camera.sun_azimuth_deg), math.radians(camera.sun_elevation_deg)
    to_sun = (math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation))
    beta, gain = KOSCHMIEDER / camera.visibility_m, 2.0**camera.exposure_ev
    if camera.night:
        return _night(to_sun, beta, gain, camera.cloud)
    rise = math.sin(elevation)
    direct = 1.41 * math.exp(-0.057 / rise)
    seen = (1.0 - camera.cloud) * math.exp(-beta * FOG_DEPTH_M / rise)
    sun = _scaled(_sun_colour(rise), direct * seen)
    blue, grey = _scaled(BLUE, 0.06 + 0.08 * rise), _scaled(GREY, 0.7 * (1.0 - seen) * direct * rise)
    sky = _added(blue, grey)
    level = 1.3 * luminance(sky) + luminance(sun) * (0.35 * rise + 0.4)  # of walls and ground, and of a bright sky
    veil = _scaled(_added(grey, _scaled(GREY, luminance(blue))), 1.0 - seen)
    zenith, horizon = _gradient(_scaled(blue, seen), veil)
    thick = 1.0 - math.exp(-beta * FOG_DEPTH_M)
    air = _added(_scaled(horizon, 1.0 - thick), _scaled(sky, thick * FOG_SHARE / math.pi))
    ground = _added(_scaled(sun, rise), sky)
    return Light(
        to_sun=to_sun,
        sun=sun,
        sky=sky,
        bounce=_scaled(ground, BOUNCE),
        zenith=zenith,
        horizon=horizon,
        glow=_scaled(sun, 0.22 * seen),
        lamp=_BLACK,
        air=air,
        cloud=camera.cloud,
        beta=beta,
        exposure=gain * 1.25 * math.pi / level,
        night=0,
    )


def _night(to_sun: Rgb, beta: float, gain: float, cloud: float) -> Light:
    return Light(
        to_sun=to_sun,
        sun=_BLACK,
        sky=NIGHT_SKY_RGB,
        bounce=_scaled(NIGHT_SKY_RGB, 0.5),
        zenith=(0.0012, 0.0016, 0.0030),
        horizon=(0.0046, 0.0040, 0.0040),
        glow=_BLACK,
        lamp=LAMP_RGB,
        air=(0.0055, 0.0048, 0.0042),
        cloud=cloud,
        beta=beta,
        exposure=gain * math.pi / NIGHT_LEVEL,
        night=1,
    )


def _sun_colour(rise: float) -> Rgb:
    """Colour of the sun through 1 / (sin e + 0.15 (e + 3.885)^-1.253) airs (Kasten, 1965), of luminance 1, white at 45
    degrees."""

    def through(sine: float) -> tuple[float, ...]:
        airs = 1.0 / (sine + 0.15 * (math.degrees(math.asin(sine)) + 3.885) ** -1.253)
        return tuple(math.exp(-loss * airs) for loss in AIR_LOSS)

    red, green, blue = (a / b for a, b in zip(through(rise), through(math.sqrt(0.5)), strict=True))
    return _scaled((red, green, blue), 1.0 / luminance((red, green, blue)))


def _gradient(blue: Rgb, grey: Rgb) -> tuple[Rgb, Rgb]:
    """Radiance at zenith and horizon of a sky between whose clouds so much irradiance comes.

    A clear one is deep above and pale below, an overcast one twice as bright above (three times: Moon and Spencer,
    1942). `sky_radiance` goes from one to the other with sqrt(sin e), whose cosine-weighted mean is 0.8."""
    zenith = _added(_times(blue, CLEAR_ZENITH), _scaled(grey, 1.14))
    horizon = _added(_times(blue, CLEAR_HORIZON), _scaled(grey, 0.6))
    return _scaled(zenith, 1.0 / math.pi), _scaled(horizon, 1.0 / math.pi)


def lamps_of(scenario: Scenario) -> np.ndarray:
    """Places of the street lamps (lamp, 3) in the local frame [m]."""
    reach = scenario.street.length_m / 2 + LAMP_REACH_M
    count = math.ceil(reach / LAMP_SPACING_M)
    number = np.arange(-count, count + 1)
    side = np.where(number % 2 == 0, 1.0, -1.0) * (scenario.kerb_m + 0.8 - LAMP_ARM_M)
    along, plan = number * LAMP_SPACING_M + 4.0, junction_plan(scenario)
    if plan is not None:  # none stands in the cross street
        free = np.abs(along - plan.middle_m) > plan.half_width_m + 1.0
        along, side = along[free], side[free]
    return np.column_stack([scenario.local_m(along, side), np.full(len(along), LAMP_HEIGHT_M)])


def _scaled(rgb: Rgb, factor: float) -> Rgb:
    return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor


def _added(a: Rgb, b: Rgb) -> Rgb:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _times(a: Rgb, b: Rgb) -> Rgb:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


@leaf
def sky_radiance(light, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Radiance of the sky without its clouds in a direction; that of the horizon below it."""
    up = math.sqrt(min(max(dz, 0.0), 1.0))
    cosine = max(0.0, dx * light.to_sun[0] + dy * light.to_sun[1] + dz * light.to_sun[2])
    square = cosine * cosine
    fourth = square * square
    eighth = fourth * fourth
    near = eighth * eighth
    near *= near
    glow = 0.12 * fourth + 0.35 * near + 1.5 * near**8
    r = light.horizon[0] + up * (light.zenith[0] - light.horizon[0]) + glow * light.glow[0]
    g = light.horizon[1] + up * (light.zenith[1] - light.horizon[1]) + glow * light.glow[1]
    b = light.horizon[2] + up * (light.zenith[2] - light.horizon[2]) + glow * light.glow[2]
    return r, g, b
