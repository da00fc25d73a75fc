"""What a path does to the field: spreading, reflection of both polarisations, and the 2 x 2 transfer matrix.

A field is carried as two complex vectors in space, one for each polarisation of the base station, so that no basis has
to be turned between two bounces. Time dependence exp(+j w t).
"""

import math

import numpy as np

from twin.compiled import inlined
from twin.propagation.materials import roughness_factor, slab_coefficients

__all__ = ["polarisation_vectors", "project", "reflect", "start"]


@inlined
def polarisation_vectors(x, y, z):  # type: ignore[no-untyped-def]
    """Unit vectors of growing zenith and of growing azimuth in the direction (x, y, z): theta_x, _y, _z, phi_x, _y, _z.

    Straight up and down, where there is no azimuth, it counts as 0.
    """
    plan = math.sqrt(x * x + y * y)
    if plan < 1e-12:
        return z, 0.0, 0.0, 0.0, 1.0, 0.0
    return z * x / plan, z * y / plan, -plan, -y / plan, x / plan, 0.0


@inlined
def start(field, kx, ky, kz):  # type: ignore[no-untyped-def]
    """Unit fields along theta and phi of a wave that leaves in the direction k."""
    field[0, 0], field[0, 1], field[0, 2], field[1, 0], field[1, 1], field[1, 2] = polarisation_vectors(kx, ky, kz)


@inlined
def reflect(field, kx, ky, kz, nx, ny, nz, eta, thickness, share, roughness, wavelength):  # type: ignore[no-untyped-def]
    """Turn the fields of a wave along k into those of its reflection off a face of unit normal n, either way round.

    E_r = r_s e_s (e_s . E) + r_p e_pr (e_pi . E), e_s = k x n / |k x n|, e_pi = e_s x k, e_pr = e_s x k_r, with the
    coefficients of a slab (ITU-R P.2040-3, clause 2.1.3.2) times its roughness factor and `share`, the amplitude that
    diffuse scattering leaves, sqrt(1 - S^2).
    """
    along = kx * nx + ky * ny + kz * nz
    cosine = min(1.0, abs(along))
    r_s, r_p = slab_coefficients(cosine, eta, thickness, wavelength)
    factor = share * roughness_factor(cosine, roughness, wavelength)
    r_s, r_p = r_s * factor, r_p * factor
    rx, ry, rz = kx - 2.0 * along * nx, ky - 2.0 * along * ny, kz - 2.0 * along * nz
    sx, sy, sz = ky * nz - kz * ny, kz * nx - kx * nz, kx * ny - ky * nx
    size = math.sqrt(sx * sx + sy * sy + sz * sz)
    if size < 1e-9:  # straight onto the face: every tangential direction is s
        sx, sy, sz, _, _, _ = polarisation_vectors(kx, ky, kz)
    else:
        inverse = 1.0 / size
        sx, sy, sz = sx * inverse, sy * inverse, sz * inverse
    px, py, pz = sy * kz - sz * ky, sz * kx - sx * kz, sx * ky - sy * kx
    qx, qy, qz = sy * rz - sz * ry, sz * rx - sx * rz, sx * ry - sy * rx
    for b in range(2):
        in_s = (field[b, 0] * sx + field[b, 1] * sy + field[b, 2] * sz) * r_s
        in_p = (field[b, 0] * px + field[b, 1] * py + field[b, 2] * pz) * r_p
        field[b, 0] = in_s * sx + in_p * qx
        field[b, 1] = in_s * sy + in_p * qy
        field[b, 2] = in_s * sz + in_p * qz


@inlined
def project(field, kx, ky, kz, amplitude, transfer):  # type: ignore[no-untyped-def]
    """Transfer matrix [[theta<-theta, theta<-phi], [phi<-theta, phi<-phi]] of a wave that arrives along k.

    Both ends use theta and phi of the direction in which the antenna looks: at the receiver that is -k.
    """
    tx, ty, tz, px, py, pz = polarisation_vectors(-kx, -ky, -kz)
    power = 0.0
    for b in range(2):
        first = (field[b, 0] * tx + field[b, 1] * ty + field[b, 2] * tz) * amplitude
        second = (field[b, 0] * px + field[b, 1] * py + field[b, 2] * pz) * amplitude
        transfer[0, b], transfer[1, b] = first, second
        power += first.real**2 + first.imag**2 + second.real**2 + second.imag**2
    return 0.5 * power


@inlined
def propagation_phase(length, wavelength):  # type: ignore[no-untyped-def]
    """exp(-j 2 pi length / wavelength), whole cycles taken off first."""
    cycles = length / wavelength
    angle = -2.0 * np.pi * (cycles - math.floor(cycles))
    return complex(math.cos(angle), math.sin(angle))
