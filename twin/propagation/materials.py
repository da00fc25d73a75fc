"""Reflection coefficients of surfaces.

Time dependence exp(+j w t): losses make the imaginary part of the permittivity
eta = epsilon_r - j sigma / (w epsilon_0) negative (`twin.geometry.scene.complex_permittivity`).
"""

from numba import njit

__all__ = ["VEHICLE_CONDUCTIVITY_S_PER_M", "fresnel_coefficients"]

VEHICLE_CONDUCTIVITY_S_PER_M = 1e7
"""Conductivity of a car's body [S/m]: metal of ITU-R P.2040-3, table 3."""


@njit(cache=True, error_model="numpy")
def fresnel_coefficients(cosine: float, eta: complex) -> tuple[complex, complex]:
    """Reflection coefficients (r_s, r_p) [1] of a half-space at the angle of incidence with that cosine.

    r_s = (cos - w) / (cos + w), r_p = (eta cos - w) / (eta cos + w), w = sqrt(eta - sin^2) (ITU-R P.2040-3, eqs. 31a
    and 31b), where the field along s keeps its axis e_s and the field along p goes from e_s x k_i to e_s x k_r.
    """
    root = (eta - (1.0 - cosine * cosine)) ** 0.5
    return (cosine - root) / (cosine + root), (eta * cosine - root) / (eta * cosine + root)
