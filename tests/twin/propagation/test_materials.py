"""Materials against published constants, and reflections against a stack of layers solved field by field."""

import cmath
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.errors import UserError
from twin.propagation.materials import (
    VACUUM_PERMITTIVITY,
    VEHICLE_CONDUCTIVITY_S_PER_M,
    RadioMaterial,
    complex_permittivity,
    fresnel_coefficients,
    itu_material,
    itu_names,
    roughness_factor,
    slab_coefficients,
)

SPEED_OF_LIGHT_MPS = 299_792_458.0
CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
ROUNDING = 1e-12

PUBLISHED = [  # ITU-R P.2040-3, table 3: name, carrier [GHz], relative permittivity, conductivity [S/m]
    ("vacuum", 60, 1.0, 0.0),
    ("concrete", 1, 5.24, 0.0462),
    ("concrete", 60, 5.24, 0.0462 * 60**0.7822),
    ("brick", 28, 3.91, 0.0238 * 28**0.16),
    ("plasterboard", 60, 2.73, 0.0085 * 60**0.9395),
    ("wood", 60, 1.99, 0.0047 * 60**1.0718),
    ("glass", 60, 6.31, 0.0036 * 60**1.3394),
    ("glass", 300, 5.79, 0.0004 * 300**1.658),
    ("ceiling_board", 60, 1.48, 0.0011 * 60**1.0750),
    ("ceiling_board", 300, 1.52, 0.0029 * 300**1.029),
    ("chipboard", 60, 2.58, 0.0217 * 60**0.7800),
    ("plywood", 28, 2.71, 0.33),
    ("marble", 60, 7.074, 0.0055 * 60**0.9262),
    ("floorboard", 60, 3.66, 0.0044 * 60**1.3515),
    ("metal", 60, 1.0, 1e7),
    ("very_dry_ground", 5, 3.0, 0.00015 * 5**2.52),
    ("medium_dry_ground", 5, 15 * 5**-0.1, 0.035 * 5**1.63),
    ("wet_ground", 5, 30 * 5**-0.4, 0.15 * 5**1.30),
]


@pytest.mark.parametrize(("name", "carrier_ghz", "permittivity", "conductivity"), PUBLISHED)
def test_the_table_is_the_published_one(name, carrier_ghz, permittivity, conductivity):
    material = itu_material(name, carrier_ghz * 1e9)
    assert material.name == name
    assert material.relative_permittivity == pytest.approx(permittivity, rel=1e-12)
    assert material.conductivity_s_per_m == pytest.approx(conductivity, rel=1e-12)
    assert material.thickness_m == math.inf
    assert material.scattering_coefficient == material.roughness_m == 0.0


def test_every_material_of_the_table_is_named():
    assert set(itu_names()) == {name for name, *_ in PUBLISHED}
    assert itu_material("metal", CARRIER_HZ).conductivity_s_per_m == VEHICLE_CONDUCTIVITY_S_PER_M


def test_concrete_at_60_ghz_has_the_loss_tangent_of_its_conduction_current():
    eta = itu_material("concrete", CARRIER_HZ).permittivity(CARRIER_HZ)
    conduction, displacement = 0.0462 * 60**0.7822, 2 * math.pi * CARRIER_HZ * 8.854e-12 * 5.24
    assert eta.real == 5.24
    assert -eta.imag / eta.real == pytest.approx(conduction / displacement, rel=1e-4)
    assert eta == complex_permittivity(5.24, conduction, CARRIER_HZ)
    assert pytest.approx(1 / (4e-7 * math.pi * SPEED_OF_LIGHT_MPS**2), rel=1e-8) == VACUUM_PERMITTIVITY


def test_a_carrier_outside_the_measurements_is_a_users_error_that_says_what_to_do():
    said = (
        "material 'brick': its constants hold for 1-40 GHz (ITU-R P.2040-3, table 3), the carrier is 60 GHz; "
        "give its relative_permittivity and conductivity_s_per_m in the scenario"
    )
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        itu_material("brick", 60e9)
    with pytest.raises(UserError, match=r"0\.1-100 GHz and 220-450 GHz .* the carrier is 150 GHz"):
        itu_material("glass", 150e9)
    for carrier_hz in (0.99e9, 10.01e9, math.nan, 0.0, -5e9):
        with pytest.raises(UserError, match=r"'wet_ground'.*1-10 GHz"):
            itu_material("wet_ground", carrier_hz)
    for carrier_hz in (1e9, 10e9):
        itu_material("wet_ground", carrier_hz)


def test_an_unknown_material_is_a_users_error_with_its_neighbours():
    with pytest.raises(UserError, match=r"'concret'.*concrete\?"):
        itu_material("concret", CARRIER_HZ)
    with pytest.raises(UserError, match=r"use one of vacuum, concrete, .*, wet_ground"):
        itu_material("unobtainium", CARRIER_HZ)


def test_the_table_says_nothing_of_thickness_and_roughness():
    pane = itu_material("glass", CARRIER_HZ, thickness_m=0.006, scattering_coefficient=0.1, roughness_m=1e-6)
    assert (pane.thickness_m, pane.scattering_coefficient, pane.roughness_m) == (0.006, 0.1, 1e-6)
    assert pane.relative_permittivity == 6.31


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("relative_permittivity", 0.99),
        ("relative_permittivity", math.inf),
        ("conductivity_s_per_m", -1e-9),
        ("conductivity_s_per_m", math.inf),
        ("thickness_m", 0.0),
        ("thickness_m", -1.0),
        ("scattering_coefficient", -0.1),
        ("scattering_coefficient", 1.1),
        ("roughness_m", -1e-6),
        ("roughness_m", math.inf),
        *((field, math.nan) for field in ("relative_permittivity", "conductivity_s_per_m", "thickness_m")),
        *((field, math.nan) for field in ("scattering_coefficient", "roughness_m")),
    ],
)
def test_a_material_that_cannot_be_is_a_users_error(field, value):
    with pytest.raises(UserError, match=f"^material 'wall': {field} is {re.escape(f'{value:g}')}; give "):
        RadioMaterial(**{"name": "wall", "relative_permittivity": 5.0, "conductivity_s_per_m": 0.1, field: value})


def stack(cosine, eta, thickness_m, wavelength_m):
    """(r_s, r_p) of a layer in air from its characteristic matrix (Born and Wolf, section 1.6).

    The tangential fields (E, H) at the front are the matrix times those at the back, a wave into the air; admittances
    in units of the vacuum's. For p the tangential E of the reflected wave points backwards along e_s x k_r.
    """
    inside = cmath.sqrt(eta - (1 - cosine**2))
    delta = 2 * math.pi * thickness_m / wavelength_m * inside
    found = []
    for outer, inner, sign in ((cosine, inside, 1), (1 / cosine, eta / inside, -1)):
        matrix = np.array(
            [[cmath.cos(delta), 1j * cmath.sin(delta) / inner], [1j * inner * cmath.sin(delta), cmath.cos(delta)]]
        )
        e, h = matrix @ [1, outer]
        found.append(sign * (outer * e - h) / (outer * e + h))
    return found


@pytest.mark.parametrize("degrees", [0, 20, 60, 85])
@pytest.mark.parametrize("thickness_m", [1e-5, 0.001, 0.006, 0.02])
@pytest.mark.parametrize("eta", [2.73 - 0.12j, 5.24 - 0.34j, 6.31 + 0j, 15 - 9j])
def test_a_slab_reflects_like_a_stack_of_one_layer(eta, thickness_m, degrees):
    cosine = math.cos(math.radians(degrees))
    found = slab_coefficients(cosine, eta, thickness_m, WAVELENGTH_M)
    np.testing.assert_allclose(found, stack(cosine, eta, thickness_m, WAVELENGTH_M), atol=1e-11)


@pytest.mark.parametrize("degrees", [0, 30, 75])
def test_a_lossless_slab_of_half_waves_is_transparent_and_of_quarter_waves_reflects_most(degrees):
    eta, cosine = 4.0 + 0j, math.cos(math.radians(degrees))
    half_wave_m = WAVELENGTH_M / 2 / math.sqrt(eta.real - (1 - cosine**2))
    for waves in (1, 2, 5):
        np.testing.assert_allclose(slab_coefficients(cosine, eta, waves * half_wave_m, WAVELENGTH_M), 0, atol=1e-13)
        np.testing.assert_allclose(stack(cosine, eta, waves * half_wave_m, WAVELENGTH_M), 0, atol=1e-13)
    share = np.linspace(0.02, 0.98, 97)
    power = [np.abs(slab_coefficients(cosine, eta, d * half_wave_m, WAVELENGTH_M)) ** 2 for d in share]
    np.testing.assert_allclose(share[np.argmax(power, axis=0)], 0.5, atol=0.011)


@pytest.mark.parametrize("name", ["concrete", "glass", "metal", "wood"])
def test_a_thick_lossy_slab_is_a_half_space(name):
    eta = itu_material(name, CARRIER_HZ).permittivity(CARRIER_HZ)
    for cosine in np.linspace(0, 1, 21):
        ground = fresnel_coefficients(cosine, eta)
        assert slab_coefficients(cosine, eta, math.inf, WAVELENGTH_M) == ground
        np.testing.assert_allclose(slab_coefficients(cosine, eta, 1.0, WAVELENGTH_M), ground, atol=1e-10)


def test_a_half_space_does_not_reflect_p_at_the_brewster_angle():
    for eta in (1.5, 3.18, 5.24, 30.0):
        cosine = math.cos(math.atan(math.sqrt(eta)))
        r_s, r_p = fresnel_coefficients(cosine, complex(eta))
        assert abs(r_p) < 1e-14
        assert r_s == pytest.approx((1 - eta) / (1 + eta), rel=1e-12)
        assert abs(slab_coefficients(cosine, complex(eta), 0.003, WAVELENGTH_M)[1]) < 1e-13


def test_metal_is_a_mirror():
    metal = itu_material("metal", CARRIER_HZ, thickness_m=0.1)
    eta = metal.permittivity(CARRIER_HZ)
    r_s, r_p = slab_coefficients(0.7, eta, metal.thickness_m, WAVELENGTH_M)
    assert r_s == pytest.approx(-1, abs=2e-3)
    assert r_p == pytest.approx(1, abs=2e-3)
    assert slab_coefficients(0.7, eta, metal.thickness_m, WAVELENGTH_M) == pytest.approx(fresnel_coefficients(0.7, eta))


def test_free_space_reflects_nothing_and_everything_else_all_of_it_at_grazing_incidence():
    for thickness_m in (1e-6, 0.1, math.inf):
        for cosine in (0.0, 0.3, 1.0):
            assert slab_coefficients(cosine, 1 + 0j, thickness_m, WAVELENGTH_M) == (0, 0)
        for eta in (1.5 + 0j, 5.24 - 0.34j, 1 - 3e6j):
            np.testing.assert_allclose(slab_coefficients(0.0, eta, thickness_m, WAVELENGTH_M), -1, atol=ROUNDING)


@given(
    cosine=st.floats(0, 1),
    permittivity=st.floats(1, 100),
    conductivity=st.one_of(st.just(0.0), st.floats(1e-6, 1e8)),
    thickness_m=st.one_of(st.just(math.inf), st.floats(1e-9, 10)),
    carrier_hz=st.floats(1e8, 1e12),
)
def test_no_surface_reflects_more_than_arrives(cosine, permittivity, conductivity, thickness_m, carrier_hz):
    material = RadioMaterial("any", permittivity, conductivity, thickness_m)
    eta = material.permittivity(carrier_hz)
    for r in (
        *slab_coefficients(cosine, eta, thickness_m, SPEED_OF_LIGHT_MPS / carrier_hz),
        *fresnel_coefficients(cosine, eta),
    ):
        assert abs(r) <= 1 + ROUNDING


def test_a_rough_face_keeps_the_mean_of_the_phases_over_its_heights():
    heights_m = np.random.default_rng(0).normal(0.0, 2e-4, 400_000)
    for cosine in (1.0, 0.6, 0.1):
        path_m = 2 * heights_m * cosine  # what the way off a raised facet is shorter
        mean = np.exp(2j * np.pi * path_m / WAVELENGTH_M).mean().real
        assert roughness_factor(cosine, 2e-4, WAVELENGTH_M) == pytest.approx(mean, abs=2e-3)
        rayleigh = 4 * math.pi * 2e-4 * cosine / WAVELENGTH_M
        assert roughness_factor(cosine, 2e-4, WAVELENGTH_M) == pytest.approx(math.exp(-(rayleigh**2) / 2), rel=1e-12)


def test_a_smooth_face_and_grazing_incidence_lose_nothing():
    assert roughness_factor(1.0, 0.0, WAVELENGTH_M) == 1.0
    assert roughness_factor(0.0, 1e-3, WAVELENGTH_M) == 1.0
    assert roughness_factor(1.0, 0.1, WAVELENGTH_M) == 0.0
