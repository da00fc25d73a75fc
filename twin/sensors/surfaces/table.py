"""What surfaces look like to light: to the camera, and to a LiDAR in the near infrared (865 and 905 nm alike).

Reflectances are of order: asphalt and concrete as in the ECOSTRESS spectral library (Meerdink et al., 2019), vehicle
paint as LiDAR makers quote it; a pane of glass mirrors 4 % at each face, and its dirt scatters little.
"""

from dataclasses import dataclass

__all__ = ["NO_SURFACE", "SURFACES", "SURFACE_NAMES", "Surface", "surface_of_material"]


@dataclass(frozen=True)
class Surface:
    """A kind of surface.

    Attributes:
        albedo: diffuse reflectance in linear red, green and blue.
        gloss: mirror reflectance at normal incidence.
        lidar_reflectance: of the near infrared, in all directions together.
        lidar_gloss: share of what is reflected that leaves as from a mirror, and is lost off normal.
    """

    albedo: tuple[float, float, float]
    gloss: float = 0.0
    lidar_reflectance: float = 0.3
    lidar_gloss: float = 0.0


SURFACES: dict[str, Surface] = {
    "asphalt": Surface((0.10, 0.10, 0.105), 0.0, 0.17),
    "sidewalk": Surface((0.34, 0.33, 0.31), 0.0, 0.35),
    "grass": Surface((0.10, 0.14, 0.05), 0.0, 0.50),
    "marking": Surface((0.75, 0.75, 0.72), 0.0, 0.70),
    "concrete": Surface((0.42, 0.40, 0.37), 0.0, 0.35),
    "brick": Surface((0.33, 0.14, 0.10), 0.0, 0.40),
    "glass": Surface((0.03, 0.04, 0.05), 0.14, 0.08, 0.90),
    "metal": Surface((0.45, 0.46, 0.47), 0.35, 0.50, 0.50),
    "wood": Surface((0.32, 0.21, 0.12), 0.0, 0.55),
    "paint": Surface((0.50, 0.50, 0.50), 0.04, 0.50, 0.40),
    "trim": Surface((0.03, 0.03, 0.03), 0.02, 0.06),
    "tyre": Surface((0.025, 0.025, 0.025), 0.0, 0.05),
    "headlight": Surface((0.85, 0.85, 0.80), 0.10, 0.60, 0.50),
    "taillight": Surface((0.45, 0.03, 0.03), 0.05, 0.70),
    "skin": Surface((0.45, 0.28, 0.20), 0.0, 0.55),
    "cloth": Surface((0.15, 0.22, 0.40), 0.0, 0.45),
    "trousers": Surface((0.07, 0.07, 0.10), 0.0, 0.40),
    "hair": Surface((0.06, 0.04, 0.03), 0.0, 0.15),
}
SURFACE_NAMES = tuple(SURFACES)
NO_SURFACE = 255
"""Index of what is no surface: the sky."""
_OTHERWISE = "concrete"


def surface_of_material(material: str) -> int:
    """Index of the surface that a radio material's name speaks of, as `glass` of `itu_glass`; else of concrete."""
    name = material.lower()
    found = next((surface for surface in SURFACE_NAMES if surface in name), _OTHERWISE)
    return SURFACE_NAMES.index(found)
