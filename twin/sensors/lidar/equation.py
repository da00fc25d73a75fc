"""The lidar equation: how much of a pulse comes back from a surface, and whether the receiver notices it.

A surface that is wider than the beam returns, relative to what the receiver's threshold asks for,

    s = rho(theta) / 0.1 (r_half / r)^2 exp(-2 beta r),

so that s = 1 at normal incidence on a surface that scatters 10 % at the range r_half in clear air. The receiver
measures m = s + n sqrt(1 / q^2 + c^2 s^2), n ~ N(0, 1): the first part of the noise is its own, q times below the
threshold (`THRESHOLD_TO_NOISE`), the second the speckle of rough surfaces (`SPECKLE`). It reports what exceeds the
threshold, m > 1, so that an echo is noticed with the probability Phi((s - 1) / sqrt(1 / q^2 + c^2 s^2)), one half
where s = 1, and what is far, grazed or dark drops out.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8

from twin.sensors.surfaces.table import SURFACES

__all__ = [
    "LOBE_EXPONENT",
    "QUOTED_REFLECTANCE",
    "SPECKLE",
    "THRESHOLD_TO_NOISE",
    "echo_strength",
    "extinction_per_m",
    "measured_strength",
    "returned_share",
]

QUOTED_REFLECTANCE = 0.1
"""Reflectance of the surface for which the half range is quoted [1]."""
THRESHOLD_TO_NOISE = 5.0
"""q: the threshold over the standard deviation of the noise [1]; noise alone exceeds it in 3e-7 of the shots."""
SPECKLE = 0.2
"""c: standard deviation of an echo over its mean [1]. With q it puts 90 % of the returns at 0.82 of the range of
50 %, about as makers quote them (45 and 55 m, 100 and 120 m)."""
LOBE_EXPONENT = 100.0
"""n of the lobe around a mirror reflection [1]: 3.4 degrees off normal half of its light comes back."""
_CONTRAST = 0.05
"""Contrast that is left at the meteorological visibility [1] (WMO No. 8, 9.1.1)."""

_REFLECTANCE = np.array([surface.lidar_reflectance for surface in SURFACES.values()])
_GLOSS = np.array([surface.lidar_gloss for surface in SURFACES.values()])


def extinction_per_m(visibility_m: float) -> float:
    """beta [1/m] of air through which one sees so far: Koschmieder's law, exp(-beta V) = 0.05; 0 for infinity."""
    return -math.log(_CONTRAST) / visibility_m


def returned_share(surface: UInt8[np.ndarray, "ray"], cosine: Float[np.ndarray, "ray"]) -> Float[np.ndarray, "ray"]:
    """rho(theta) [1]: what comes back, over what Lambert's white surface returns at normal incidence.

    A share g of the reflected light leaves around the mirror reflection, in Phong's lobe as Lafortune and Willems
    (1994) normalise it, and the rest in all directions:
        rho(theta) = rho cos(theta) (1 - g + g (n + 2) / 2 cos(2 theta)^n), the lobe within theta < 45 degrees.

    Args:
        surface: index into `SURFACE_NAMES`.
        cosine: of the angle of incidence theta.
    """
    gloss = _GLOSS[surface]
    lobe = 0.5 * (LOBE_EXPONENT + 2.0) * np.maximum(2.0 * cosine**2 - 1.0, 0.0) ** LOBE_EXPONENT
    return _REFLECTANCE[surface] * cosine * (1.0 - gloss + gloss * lobe)


def echo_strength(
    returned: Float[np.ndarray, "ray"], range_m: Float[np.ndarray, "ray"], half_range_m: float, extinction_per_m: float
) -> Float[np.ndarray, "ray"]:
    """s [1]: an echo over the threshold, from `returned_share`."""
    fog = np.exp(-2.0 * extinction_per_m * range_m)
    return returned / QUOTED_REFLECTANCE * (half_range_m / range_m) ** 2 * fog


def measured_strength(strength: Float[np.ndarray, "ray"], normal: Float[np.ndarray, "ray"]) -> Float[np.ndarray, "ray"]:
    """m [1]: the echo with noise, over the threshold, from draws of N(0, 1); the receiver reports m > 1."""
    return strength + normal * np.sqrt(THRESHOLD_TO_NOISE**-2 + (SPECKLE * strength) ** 2)
