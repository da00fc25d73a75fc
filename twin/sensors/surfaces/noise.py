"""Random textures that stay where they are: the same place always has the same value."""

import math

from twin.compiled import leaf

__all__ = ["cell_noise", "ripple", "value_noise"]


@leaf
def cell_noise(i, j, k):  # type: ignore[no-untyped-def]
    """A number in [0, 1) for three whole numbers."""
    h = (i * 374761393 + j * 668265263 + k * 2147483647 + 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489917) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@leaf
def value_noise(x, y, k):  # type: ignore[no-untyped-def]
    """Smooth noise in [0, 1) of wavelength 1 or so: `cell_noise` of the corners of the unit cell, blended."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    i, j = int(i), int(j)
    low = cell_noise(i, j, k) * (1.0 - u) + cell_noise(i + 1, j, k) * u
    high = cell_noise(i, j + 1, k) * (1.0 - u) + cell_noise(i + 1, j + 1, k) * u
    return low * (1.0 - v) + high * v


@leaf
def ripple(x, y, k, wavelength, seen):  # type: ignore[no-untyped-def]
    """`value_noise` about 0 of a wavelength, fading as a sample's footprint `seen` grows to it."""
    if seen >= wavelength:
        return 0.0
    return (value_noise(x / wavelength, y / wavelength, k) - 0.5) * (1.0 - seen / wavelength)
