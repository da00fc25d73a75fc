"""Diffraction at the edge of a wedge, polarimetric: the uniform theory of diffraction.

The coefficients are those of Kouyoumjian and Pathak (Proc. IEEE 62, 1448, 1974) for perfect conductors. Walls that are
not take the heuristic of Holm (IEEE Trans. Antennas Propag. 48, 1211, 2000), which refines that of Luebbers (IEEE
Trans. Antennas Propag. 32, 70, 1984): each of the four terms is weighed by the reflections that its image of the
source has undergone. It is K&P for conductors, it follows the jumps of geometrical optics at every shadow and
reflection boundary, and in the shadow it is reciprocal and within a fraction of a decibel of the exact solution for
impedance wedges (Maliuzhinets).

Time dependence exp(+j w t). Around the edge e, a wave along k is split into u = k x e / |k x e| and v = k x u: E along
u is K&P's hard case, E along v the soft one. Kernels: plain floats and small tuples in, no allocation."""

import math

import numpy as np

from twin.compiled import inlined, leaf
from twin.propagation.materials import slab_coefficients

__all__ = ["HOLM", "SIONNA", "edge_point", "fresnel_transition", "wedge_transfer"]

HOLM = 0
"""D = d2 + d1 Rn R0 + d4 R0 + d3 Rn (Holm 2000), in matrices of (u, v)."""
SIONNA = 1
"""D = (d1 - d4) R0 + (d2 - d3) Rn with Rn = 1 while only the 0-face is lit, as Sionna RT 2.2 evaluates what it cites as
Hashimoto's form. R0 has the sign that doubles the jump of the field at a reflection boundary instead of filling it, and
conductors do not get K&P's coefficients: only for comparisons with that program."""

_TERMS = 24
_ASYMPTOTIC_X = 40.0
_SLIVER = 1e-9


def _weideman(terms: int) -> tuple[float, np.ndarray]:
    """Scale L and coefficients, highest power first, of Weideman's expansion of the Faddeeva function.

    w(z) = 2 p(Z) / (L - j z)^2 + 1 / (sqrt(pi) (L - j z)), Z = (L + j z) / (L - j z) (SIAM J. Numer. Anal. 31, 1497,
    1994, eqs. 38 and I).
    """
    scale = math.sqrt(terms / math.sqrt(2.0))
    t = scale * np.tan(0.5 * np.pi * np.arange(1 - 2 * terms, 2 * terms) / (2 * terms))
    samples = np.concatenate([[0.0], np.exp(-t * t) * (scale * scale + t * t)])
    spectrum = np.fft.fft(np.fft.fftshift(samples)).real / (4 * terms)
    return scale, np.ascontiguousarray(spectrum[terms:0:-1])


_SCALE, _COEFFICIENTS = _weideman(_TERMS)


@leaf
def fresnel_transition(x: float) -> complex:
    """F(x) = 2 j sqrt(x) e^(jx) int_sqrt(x)^inf e^(-j t^2) dt (Kouyoumjian and Pathak 1974, eq. 26), x >= 0.

    Relative error below 1e-8: up to x = 40 as sqrt(pi x) e^(j pi/4) w(e^(3 j pi/4) sqrt(x)) with Weideman's expansion
    of the Faddeeva function w, beyond as the asymptotic series sum (2m - 1)!! (j / 2x)^m."""
    if x > _ASYMPTOTIC_X:
        step = complex(0.0, 0.5 / x)
        term = total = complex(1.0, 0.0)
        for m in range(1, 9):
            term = term * ((2.0 * m - 1.0) * step)
            total += term
        return total
    part = math.sqrt(0.5 * x)
    inverse = 1.0 / complex(_SCALE + part, part)
    z = complex(_SCALE - part, -part) * inverse
    p = complex(0.0, 0.0)
    for k in range(_TERMS):
        p = p * z + _COEFFICIENTS[k]
    w = (2.0 * p * inverse + 1.0 / math.sqrt(math.pi)) * inverse
    return w * complex(math.sqrt(math.pi) * part, math.sqrt(math.pi) * part)


@inlined
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def _cross(a, b):  # type: ignore[no-untyped-def]
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@leaf
def edge_point(tx, rx, origin, direction, length):  # type: ignore[no-untyped-def]
    """Where a ray from tx to rx is diffracted: the point origin + t length direction, t in [0, 1] on the edge [1].

    `direction` is a unit vector. The rays to and from the point make equal angles with the edge, which makes their
    length least (Keller, J. Opt. Soc. Am. 52, 116, 1962): with the half-planes through the edge and either end unfolded
    into one plane, the path is straight, and its point divides the feet of the ends by their distances from the edge.
    """
    a = tx[0] - origin[0], tx[1] - origin[1], tx[2] - origin[2]
    b = rx[0] - origin[0], rx[1] - origin[1], rx[2] - origin[2]
    foot_a, foot_b = _dot(a, direction), _dot(b, direction)
    off_a, off_b = _cross(a, direction), _cross(b, direction)
    away_a, away_b = math.sqrt(_dot(off_a, off_a)), math.sqrt(_dot(off_b, off_b))
    share = away_a / (away_a + away_b) if away_a + away_b > 0.0 else 0.5
    return (foot_a + share * (foot_b - foot_a)) / length


@leaf
def _term(angle, n, kl):  # type: ignore[no-untyped-def]
    """cot(angle) F(k L a) with the a that belongs to it, 2 sin^2 of n times the distance to the next pole of cot.

    On a boundary, where cot is infinite and F zero, the finite limit from the side of positive angles.
    """
    angle -= math.pi * math.floor(angle / math.pi + 0.5)
    if angle == 0.0:
        return complex(n, n) * math.sqrt(math.pi * kl)
    sine = math.sin(n * angle)
    return fresnel_transition(2.0 * kl * sine * sine) * (math.cos(angle) / math.sin(angle))


@leaf
def _reflection(k, normal, edge, sine, arriving, eta, thickness, share, wavelength):  # type: ignore[no-untyped-def]
    """Matrix (uu, uv, vu, vv) of the reflection off a face that the edge bounds, from (u, v) of one ray to the other's.

    `k` is the ray before the reflection, or if not `arriving` the one after it; `sine` is |k x e|. With the axes of
    `slab_coefficients`, e_s = a u + b v, a = -(k . e) (k . n) / (|k x n| |k x e|), and a has the other sign after.
    """
    along = _dot(k, normal)
    r_s, r_p = slab_coefficients(min(1.0, abs(along)), eta, thickness, wavelength)
    r_s, r_p = r_s * share, r_p * share
    size = math.sqrt(max(0.0, 1.0 - along * along)) * sine
    if size < _SLIVER:  # straight onto the face: every tangential direction is s
        return r_p, 0j, 0j, r_s
    a = -_dot(k, edge) * along / size
    b = -_dot(_cross(k, normal), edge) / size
    if not arriving:
        a = -a
    turned = a * b * (r_s + r_p)
    return b * b * r_p - a * a * r_s, -turned, turned, b * b * r_s - a * a * r_p


@leaf
def wedge_transfer(  # type: ignore[no-untyped-def]
    edge, n_0, n_n, k_i, k_o, s_i, s_o, eta_0, thickness_0, eta_n, thickness_n, wavelength,
    share_0=1.0, share_n=1.0, rule=HOLM,
):  # fmt: skip
    """Dyadic diffraction coefficient D [m^0.5] of a convex wedge: three rows of three complex numbers.

    With E0 e^(-jks') / s' the field that comes along k_i from a source at s' = `s_i` [m], the diffracted field at
    s = `s_o` [m] along k_o is E(rx) = D E0 e^(-jk(s + s')) / sqrt(s s' (s + s')). D takes vectors across k_i to vectors
    across k_o and contains neither spreading nor propagation phase. It is zero along the edge.

    All vectors are unit tuples; `n_0`, `n_n` point out of the two faces. Either direction of `edge` will do, but for a
    screen (n_n = -n_0) it must be the one for which n_0 x edge points into the screen. Both rays must run outside and
    make the same angle with the edge (`edge_point`). The face nearer to the source becomes K&P's 0-face; on the
    bisector of a wedge that is no conductor, where it changes, D has a step that is small beside the direct wave.

    d1 .. d4 are the four terms of K&P's eq. 25 with L = s s' / (s + s') sin^2(beta_0). R0 is the reflection of the
    incoming ray off the 0-face, Rn the one off the n-face that leaves as the outgoing ray, as slabs of `thickness_0`,
    `thickness_n` [m] and permittivity `eta_0`, `eta_n` (ITU-R P.2040-3, clause 2.1.3.2) times `share_0`, `share_n`, the
    amplitude that diffuse scattering leaves, sqrt(1 - S^2). A reflected ray keeps its components on (u, v) while it is
    turned around the edge into k_o.
    """
    along = _dot(k_i, edge)
    sine = math.sqrt(max(0.0, 1.0 - along * along))
    if sine < 1e-6:
        zero = (0j, 0j, 0j)
        return zero, zero, zero
    e = (edge[0] * 1.0, edge[1] * 1.0, edge[2] * 1.0)
    tangent = _cross(n_0, e)
    if _dot(tangent, n_n) > _SLIVER:
        e = (-e[0], -e[1], -e[2])
        tangent = _cross(n_0, e)
    between = _cross(n_0, n_n)
    exterior = 2.0 * math.pi - math.atan2(math.sqrt(_dot(between, between)), -_dot(n_0, n_n))
    n = exterior / math.pi
    phi_i = _angle(-_dot(k_i, tangent), -_dot(k_i, n_0), exterior)
    phi_o = _angle(_dot(k_o, tangent), _dot(k_o, n_0), exterior)
    normal_0 = (n_0[0] * 1.0, n_0[1] * 1.0, n_0[2] * 1.0)
    normal_n = (n_n[0] * 1.0, n_n[1] * 1.0, n_n[2] * 1.0)
    if phi_i > 0.5 * exterior:
        phi_i, phi_o = exterior - phi_i, exterior - phi_o
        e = (-e[0], -e[1], -e[2])
        normal_0, normal_n = normal_n, normal_0
        eta_0, eta_n = eta_n, eta_0
        thickness_0, thickness_n = thickness_n, thickness_0
        share_0, share_n = share_n, share_0

    kl = 2.0 * math.pi / wavelength * s_i * s_o / (s_i + s_o) * sine * sine
    # -e^(-j pi/4) / (2 n sqrt(2 pi k) sin(beta_0))
    scale = math.sqrt(0.5 * wavelength) / (4.0 * math.pi * n * sine) * complex(-1.0, 1.0)
    half = 0.5 / n
    d_1 = scale * _term((math.pi + (phi_o - phi_i)) * half, n, kl)
    d_2 = scale * _term((math.pi - (phi_o - phi_i)) * half, n, kl)
    d_3 = scale * _term((math.pi + (phi_o + phi_i)) * half, n, kl)
    d_4 = scale * _term((math.pi - (phi_o + phi_i)) * half, n, kl)

    p_uu, p_uv, p_vu, p_vv = _reflection(k_i, normal_0, e, sine, True, eta_0, thickness_0, share_0, wavelength)
    if rule == SIONNA:
        q_uu, q_uv, q_vu, q_vv = _reflection(k_i, normal_n, e, sine, True, eta_n, thickness_n, share_n, wavelength)
        if exterior > math.pi + phi_i:
            q_uu, q_uv, q_vu, q_vv = complex(1.0, 0.0), 0j, 0j, complex(1.0, 0.0)
        m_uu = (d_1 - d_4) * p_uu + (d_2 - d_3) * q_uu
        m_uv = (d_1 - d_4) * p_uv + (d_2 - d_3) * q_uv
        m_vu = (d_1 - d_4) * p_vu + (d_2 - d_3) * q_vu
        m_vv = (d_1 - d_4) * p_vv + (d_2 - d_3) * q_vv
    else:
        q_uu, q_uv, q_vu, q_vv = _reflection(k_o, normal_n, e, sine, False, eta_n, thickness_n, share_n, wavelength)
        m_uu = d_2 + d_1 * (q_uu * p_uu + q_uv * p_vu) + d_4 * p_uu + d_3 * q_uu
        m_uv = d_1 * (q_uu * p_uv + q_uv * p_vv) + d_4 * p_uv + d_3 * q_uv
        m_vu = d_1 * (q_vu * p_uu + q_vv * p_vu) + d_4 * p_vu + d_3 * q_vu
        m_vv = d_2 + d_1 * (q_vu * p_uv + q_vv * p_vv) + d_4 * p_vv + d_3 * q_vv

    u_i, u_o = _cross(k_i, e), _cross(k_o, e)
    v_i, v_o = _cross(k_i, u_i), _cross(k_o, u_o)
    unit = 1.0 / (sine * math.sqrt(_dot(u_o, u_o)))
    # The rows of D: M applied to the axes of the incoming ray, on the axes of the outgoing one.
    x_u, x_v = (m_uu * u_i[0] + m_uv * v_i[0]) * unit, (m_vu * u_i[0] + m_vv * v_i[0]) * unit
    y_u, y_v = (m_uu * u_i[1] + m_uv * v_i[1]) * unit, (m_vu * u_i[1] + m_vv * v_i[1]) * unit
    z_u, z_v = (m_uu * u_i[2] + m_uv * v_i[2]) * unit, (m_vu * u_i[2] + m_vv * v_i[2]) * unit
    return (
        (u_o[0] * x_u + v_o[0] * x_v, u_o[0] * y_u + v_o[0] * y_v, u_o[0] * z_u + v_o[0] * z_v),
        (u_o[1] * x_u + v_o[1] * x_v, u_o[1] * y_u + v_o[1] * y_v, u_o[1] * z_u + v_o[1] * z_v),
        (u_o[2] * x_u + v_o[2] * x_v, u_o[2] * y_u + v_o[2] * y_v, u_o[2] * z_u + v_o[2] * z_v),
    )


@leaf
def _angle(along, up, exterior):  # type: ignore[no-untyped-def]
    """Angle from the 0-face, 0 .. exterior; what rounding puts into the wedge lies on the face next to it."""
    angle = math.atan2(up, along) % (2.0 * math.pi)
    if angle > exterior:
        return 0.0 if angle > math.pi + 0.5 * exterior else exterior
    return angle
