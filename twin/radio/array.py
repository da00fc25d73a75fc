"""Response of the base station's uniform linear array (SPEC of the radio model, item 1).

The elements lie on a horizontal line; broadside points to the boresight azimuth. What a plane wave does to the array
depends on one number a direction, the sine of its angle against the plane of broadside, u = sin(phi) cos(epsilon).
"""

import numpy as np
from jaxtyping import Complex, Float

__all__ = ["DEFAULT_ELEMENTS", "DEFAULT_SPACING_WAVELENGTHS", "direction_sine", "ula_response"]

DEFAULT_ELEMENTS = 16
"""Elements of the array (DeepSense's testbeds)."""
DEFAULT_SPACING_WAVELENGTHS = 0.5
"""Spacing of the elements d / lambda [1]."""


def direction_sine(
    azimuth_rad: Float[np.ndarray, "*batch"], zenith_rad: Float[np.ndarray, "*batch"], boresight_rad: float
) -> Float[np.ndarray, "*batch"]:
    """u = sin(phi) cos(epsilon) [1] of directions given by azimuth (counterclockwise from east) and zenith [rad].

    phi is the azimuth from broadside, counterclockwise, and epsilon = pi/2 - zenith the elevation.
    """
    return np.sin(azimuth_rad - boresight_rad) * np.sin(zenith_rad)


def ula_response(
    sine: Float[np.ndarray, "*batch"],
    elements: int = DEFAULT_ELEMENTS,
    spacing_wavelengths: float = DEFAULT_SPACING_WAVELENGTHS,
) -> Complex[np.ndarray, "*batch elements"]:
    """Array response a_n = exp(j 2 pi (d / lambda) n u) / sqrt(N), n = 0..N-1, of unit norm, complex128."""
    phase = 2.0 * np.pi * spacing_wavelengths * np.asarray(sine, dtype=np.float64)[..., None] * np.arange(elements)
    return np.exp(1j * phase) / np.sqrt(elements)
