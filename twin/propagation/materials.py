"""What surfaces are made of, and what they reflect.

Time dependence exp(+j w t): losses make the imaginary part of the permittivity
eta = epsilon_r - j sigma / (w epsilon_0) negative. A reflected field is r_s, r_p times the incoming one; what the
surface scatters out of the specular direction is the caller's to take away.
"""

import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from twin.compiled import leaf
from twin.errors import UserError

__all__ = [
    "VACUUM_PERMITTIVITY",
    "VEHICLE_CONDUCTIVITY_S_PER_M",
    "RadioMaterial",
    "complex_permittivity",
    "fresnel_coefficients",
    "itu_material",
    "itu_names",
    "roughness_factor",
    "slab_coefficients",
]

VACUUM_PERMITTIVITY = 8.8541878128e-12
"""epsilon_0 [F/m]."""
VEHICLE_CONDUCTIVITY_S_PER_M = 1e7
"""Conductivity of a car's body [S/m]: metal of ITU-R P.2040-3, table 3."""

OPAQUE = -40.0
"""log |e^(-2jq)| of a layer below which it is a half space to the last bit."""

_ITU_TABLE: dict[str, tuple[tuple[float, float, float, float, float, float], ...]] = {
    "vacuum": ((0.001, 100.0, 1.0, 0.0, 0.0, 0.0),),
    "concrete": ((1.0, 100.0, 5.24, 0.0, 0.0462, 0.7822),),
    "brick": ((1.0, 40.0, 3.91, 0.0, 0.0238, 0.16),),
    "plasterboard": ((1.0, 100.0, 2.73, 0.0, 0.0085, 0.9395),),
    "wood": ((0.001, 100.0, 1.99, 0.0, 0.0047, 1.0718),),
    "glass": ((0.1, 100.0, 6.31, 0.0, 0.0036, 1.3394), (220.0, 450.0, 5.79, 0.0, 0.0004, 1.658)),
    "ceiling_board": ((1.0, 100.0, 1.48, 0.0, 0.0011, 1.075), (220.0, 450.0, 1.52, 0.0, 0.0029, 1.029)),
    "chipboard": ((1.0, 100.0, 2.58, 0.0, 0.0217, 0.78),),
    "plywood": ((1.0, 40.0, 2.71, 0.0, 0.33, 0.0),),
    "marble": ((1.0, 60.0, 7.074, 0.0, 0.0055, 0.9262),),
    "floorboard": ((50.0, 100.0, 3.66, 0.0, 0.0044, 1.3515),),
    "metal": ((1.0, 100.0, 1.0, 0.0, 1e7, 0.0),),
    "very_dry_ground": ((1.0, 10.0, 3.0, 0.0, 0.00015, 2.52),),
    "medium_dry_ground": ((1.0, 10.0, 15.0, -0.1, 0.035, 1.63),),
    "wet_ground": ((1.0, 10.0, 30.0, -0.4, 0.15, 1.3),),
}
"""Rows of (lowest, highest frequency [GHz], a, b, c, d): ITU-R P.2040-3 (08/2023), table 3."""


@dataclass(frozen=True)
class RadioMaterial:
    """A material at one carrier: a layer of some thickness, or a half space, with a more or less rough face.

    Attributes:
        name: what it is called.
        relative_permittivity: epsilon_r [1], 1 to 1e6.
        conductivity_s_per_m: sigma [S/m], up to 1e12.
        thickness_m: of the layer, air on both sides [m]; infinite is a half space.
        scattering_coefficient: S [1], the share of the reflected field's amplitude that is scattered diffusely
            (Degli-Esposti et al., IEEE Trans. Antennas Propag. 55, 143, 2007); sqrt(1 - S^2) stays specular.
        roughness_m: standard deviation of the face's height [m] (`roughness_factor`).

    Raises:
        UserError: a value is outside its range, or not a number.
    """

    name: str
    relative_permittivity: float
    conductivity_s_per_m: float
    thickness_m: float = math.inf
    scattering_coefficient: float = 0.0
    roughness_m: float = 0.0

    def __post_init__(self) -> None:
        for field, fits, remedy in (  # each comparison is false for NaN
            ("relative_permittivity", 1.0 <= self.relative_permittivity <= 1e6, "give 1 to 1e6"),
            ("conductivity_s_per_m", 0.0 <= self.conductivity_s_per_m <= 1e12, "give 0 to 1e12"),
            ("thickness_m", self.thickness_m > 0.0, "give more than 0, or infinity for a half space"),
            ("scattering_coefficient", 0.0 <= self.scattering_coefficient <= 1.0, "give a value from 0 to 1"),
            ("roughness_m", 0.0 <= self.roughness_m < math.inf, "give 0 or more"),
        ):
            if not fits:
                raise UserError(f"{field} is {getattr(self, field):g}", f"material {self.name!r}", remedy)

    def permittivity(self, carrier_hz: float) -> complex:
        """Complex relative permittivity eta [1] (`complex_permittivity`)."""
        return complex_permittivity(self.relative_permittivity, self.conductivity_s_per_m, carrier_hz)


def complex_permittivity(relative_permittivity: float, conductivity_s_per_m: float, carrier_hz: float) -> complex:
    """eta = epsilon_r - j sigma / (2 pi f epsilon_0) (ITU-R P.2040-3, eq. 9)."""
    return relative_permittivity - 1j * conductivity_s_per_m / (2 * math.pi * carrier_hz * VACUUM_PERMITTIVITY)


def itu_names() -> list[str]:
    """Names of the materials of ITU-R P.2040-3, table 3, in its order."""
    return list(_ITU_TABLE)


def itu_material(name: str, carrier_hz: float, **overrides: Any) -> RadioMaterial:
    """A material of ITU-R P.2040-3 (08/2023), table 3: epsilon_r = a f^b, sigma = c f^d [S/m], f in GHz.

    Later editions add rows beyond 100 GHz; these are not here. `overrides` replace fields of the result: the table
    says nothing of thickness, scattering and roughness.

    Raises:
        UserError: no such material, the carrier is outside the range of its constants, or an override does not fit.
    """
    if name not in _ITU_TABLE:
        near = get_close_matches(name, _ITU_TABLE, 3)
        remedy = f"do you mean {' or '.join(near)}?" if near else f"use one of {', '.join(itu_names())}"
        raise UserError("no material of ITU-R P.2040-3, table 3, has this name", f"material {name!r}", remedy)
    f = carrier_hz / 1e9
    for low, high, a, b, c, d in _ITU_TABLE[name]:
        if low <= f <= high:
            return replace(RadioMaterial(name, a * f**b, c * f**d), **overrides)
    ranges = " and ".join(f"{row[0]:g}-{row[1]:g} GHz" for row in _ITU_TABLE[name])
    raise UserError(
        f"its constants hold for {ranges} (ITU-R P.2040-3, table 3), the carrier is {f:g} GHz",
        f"material {name!r}",
        "give its relative_permittivity and conductivity_s_per_m in the scenario",
    )


@leaf
def _root(z: complex) -> complex:
    """Square root of positive real part of numbers that are neither tiny nor huge, which `cmath.sqrt` provides for."""
    size = math.sqrt(z.real * z.real + z.imag * z.imag)
    larger = math.sqrt(0.5 * (size + abs(z.real)))
    if larger == 0.0:
        return 0j
    smaller = 0.5 * z.imag / larger
    return complex(larger, smaller) if z.real >= 0.0 else complex(abs(smaller), math.copysign(larger, z.imag))


@leaf
def _quotient(a: complex, b: complex) -> complex:
    """a / b of such numbers."""
    scale = 1.0 / (b.real * b.real + b.imag * b.imag)
    return complex((a.real * b.real + a.imag * b.imag) * scale, (a.imag * b.real - a.real * b.imag) * scale)


@leaf
def fresnel_coefficients(cosine: float, eta: complex) -> tuple[complex, complex]:
    """Reflection coefficients (r_s, r_p) [1] of a half-space at the angle of incidence with that cosine.

    r_s = (cos - w) / (cos + w), r_p = (eta cos - w) / (eta cos + w), w = sqrt(eta - sin^2) (ITU-R P.2040-3, eqs. 31a
    and 31b), where the field along s keeps its axis e_s and the field along p goes from e_s x k_i to e_s x k_r.
    """
    if eta == 1.0:  # 0 / 0 at grazing incidence
        return 0j, 0j
    root = _root(eta - (1.0 - cosine * cosine))
    along = eta * cosine
    return _quotient(cosine - root, cosine + root), _quotient(along - root, along + root)


@leaf
def slab_coefficients(cosine: float, eta: complex, thickness_m: float, wavelength_m: float) -> tuple[complex, complex]:
    """Reflection coefficients (r_s, r_p) [1] of a layer with air on both sides, at its front face.

    r = r' (1 - e^(-2jq)) / (1 - r'^2 e^(-2jq)), q = (2 pi d / lambda) sqrt(eta - sin^2) (ITU-R P.2040-3, eqs. 43 and
    44), with r' and the axes of `fresnel_coefficients`; infinite d is the half space.
    """
    if eta == 1.0:
        return 0j, 0j
    root = _root(eta - (1.0 - cosine * cosine))
    along = eta * cosine
    phase = (4.0 * math.pi * thickness_m / wavelength_m) * root
    if math.isinf(thickness_m) or phase.imag < OPAQUE:
        return fresnel_coefficients(cosine, eta)
    # u = 1 - e^(-2jq), and with r' = (a - w) / (a + w) all is multiplied by (a + w)^2: no difference of nearly equal
    # numbers is left of thin layers and grazing incidence.
    sine, cosine_of, decay = math.sin(0.5 * phase.real), math.cos(0.5 * phase.real), math.expm1(phase.imag)
    twice = 2.0 * sine * sine
    u = complex(twice - decay * (1.0 - twice), (1.0 + decay) * 2.0 * sine * cosine_of)
    less_s, less_p = (cosine - root) * u, (along - root) * u
    r_s = _quotient(less_s * (cosine + root), 4.0 * cosine * root + less_s * (cosine - root))
    r_p = _quotient(less_p * (along + root), 4.0 * along * root + less_p * (along - root))
    return r_s, r_p


@leaf
def roughness_factor(cosine: float, roughness_m: float, wavelength_m: float) -> float:
    """What a rough face leaves of the specular field: exp(-2 (2 pi sigma_h cos / lambda)^2) [1].

    For heights of normal distribution with standard deviation sigma_h [m] (Ament, Proc. IRE 41, 142, 1953), at the
    angle of incidence with that cosine; 1 for a smooth face.
    """
    if roughness_m == 0.0:
        return 1.0
    return math.exp(-2.0 * (2.0 * math.pi * roughness_m * cosine / wavelength_m) ** 2)
