"""Edges in the world: knife edge and wedge against published formulas, Keller's cone, and steady shadow boundaries."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import fresnel

from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction
from twin.propagation.tracer import Tracer

CARRIER_HZ = 28e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
VERTICAL, HORIZONTAL = 0, 1
CORNER = np.array([10.0, 5.0])  # of the house of `around_the_corner`


def traced(bodies, ue, *, bs, **options):
    options = {"diffraction": True, "max_paths": 60, **options}
    return Tracer(bodies, np.asarray(bs, float), CARRIER_HZ, **options).paths(np.atleast_2d(np.asarray(ue, float)))


def level_db(paths, polarisation=VERTICAL):
    """Of the narrowband channel, one polarisation to the same."""
    total = paths.transfer[..., polarisation, polarisation].astype(complex).sum(axis=-1)
    return 20 * np.log10(np.abs(total) + 1e-30)


def largest_step_db(paths, polarisation=VERTICAL):
    return np.abs(np.diff(level_db(paths, polarisation))).max()


def sharp(world, slope_deg=1.0, height=40.0):
    """A metal prism whose edge along y is at the height 0: as sharp as a knife."""
    half = height * np.tan(np.radians(slope_deg))
    return world.prism([(0.0, 0.0), (-half, -height), (half, -height)], 2000.0)


def around_the_corner(world, material, aside, z=5.0, distance=25.0):
    """A house, a base station before its long face, and receivers on a line across the shadow of its corner."""
    bs = np.array([-3.0, 15.0, 5.0])
    d = (CORNER - bs[:2]) / np.linalg.norm(CORNER - bs[:2])
    ue = CORNER + distance * d + np.outer(np.atleast_1d(aside), [-d[1], d[0]])
    return world.box((0.0, 0.0, 0.0, 20.0, 10.0, 30.0, 0.0), material), bs, np.column_stack([ue, np.full(len(ue), z)])


@pytest.mark.parametrize("nu", [-2.0, -1.0, -0.5, -0.01, 0.01, 0.5, 1.0, 1.5, 2.4, 3.0])
def test_a_sharp_edge_is_the_knife_edge_of_the_textbooks(world, nu):
    """Loss over free space by the Fresnel integral, as in figure 10 of ITU-R P.526-15."""
    before = after = 100.0
    height = nu / np.sqrt(2 * (before + after) / (WAVELENGTH_M * before * after))  # of the edge over the ray
    ends = np.array([-before, 0.0, -height]), np.array([after, 0.0, -height])
    paths = traced([sharp(world)], ends[1], bs=ends[0], order=0)
    free_db = 20 * np.log10(WAVELENGTH_M / (4 * np.pi * (before + after)))
    s, c = fresnel(nu)
    exact_db = -20 * np.log10(np.hypot(1 - c - s, c - s) / 2)
    for polarisation in (VERTICAL, HORIZONTAL):
        assert free_db - level_db(paths, polarisation)[0] == pytest.approx(exact_db, abs=0.25)


@pytest.mark.parametrize(("nu", "loss_db"), [(0.0001, 6.0), (1.0, 13.9), (2.4, 20.5)])
def test_a_sharp_edge_has_the_losses_of_itu_r_p_526(world, nu, loss_db):
    height = nu / np.sqrt(2 * 200.0 / (WAVELENGTH_M * 100.0 * 100.0))
    paths = traced([sharp(world)], [100.0, 0.0, -height], bs=[-100.0, 0.0, -height], order=0)
    free_db = 20 * np.log10(WAVELENGTH_M / (4 * np.pi * 200.0))
    assert free_db - level_db(paths)[0] == pytest.approx(loss_db, abs=0.3)


def keller(n, phi_i, phi_o, sine, polarisation):
    """Coefficient of a wedge of exterior angle n pi far from its shadow boundaries (Keller 1962, eqs. 22 and 23)."""
    k, cosine = 2 * np.pi / WAVELENGTH_M, np.cos(np.pi / n)
    terms = 1 / (cosine - np.cos((phi_o - phi_i) / n)), 1 / (cosine - np.cos((phi_o + phi_i) / n))
    sign = -1 if polarisation == "soft" else 1
    return abs(np.sin(np.pi / n) / (n * np.sqrt(2 * np.pi * k) * sine) * (terms[0] + sign * terms[1]))


@pytest.mark.parametrize("climb", [0.0, 12.0])
@pytest.mark.parametrize("phi_i_deg", [20.0, 45.0])
@pytest.mark.parametrize("deeper_deg", [15.0, 35.0])
def test_deep_in_the_shadow_of_a_metal_corner_is_kellers_field(world, climb, phi_i_deg, deeper_deg):
    house = world.box((-30.0, -30.0, 0.0, 60.0, 60.0, 60.0, 0.0), world.METAL)  # its corner is the z axis
    phi_i = np.radians(phi_i_deg)  # from the face y = 0, round to x = 0 at 270 degrees
    phi_o = phi_i + np.pi + np.radians(deeper_deg)
    turned = np.pi  # the face y = 0 runs from the corner to -x

    def at(radius, phi, z):
        return np.array([radius * np.cos(turned - phi), radius * np.sin(turned - phi), z])

    bs, ue = at(30.0, phi_i, 20.0), at(24.0, phi_o, 20.0 + climb)
    paths = traced([house], ue, bs=bs, order=0)
    assert paths.valid.sum() == 1
    assert paths.path_kind[0, 0] == Interaction.DIFFRACTION
    point = paths.vertices_m[0, 0, 0]
    np.testing.assert_allclose(point[:2], 0.0, atol=1e-9)
    before, after = np.linalg.norm(point - bs), np.linalg.norm(ue - point)
    sine = np.hypot(30.0 + 24.0, climb) ** -1 * 54.0
    spread = WAVELENGTH_M / (4 * np.pi) / np.sqrt(before * after * (before + after))
    # A vertical edge keeps vertical and horizontal polarisation apart: E along theta is soft, along phi hard.
    for axis, polarisation in ((VERTICAL, "soft"), (HORIZONTAL, "hard")):
        expected = spread * keller(1.5, phi_i, phi_o, sine, polarisation)
        assert abs(paths.transfer[0, 0, axis, axis]) == pytest.approx(expected, rel=0.02)
    assert abs(paths.transfer[0, 0, 0, 1]) < 1e-4 * abs(paths.transfer[0, 0, 1, 1])


@given(st.floats(-60, 60), st.floats(3, 60), st.floats(0.5, 12))
@settings(max_examples=60, deadline=None)
def test_a_diffracted_path_is_the_shortest_over_its_edge(world, y, x, z):
    """Fermat: so the rays before and after make one angle with the edge, Keller's cone."""
    roof = world.prism([(0.0, 10.0), (-6.0, 0.0), (6.0, 0.0)], 200.0)
    bs, ue, velocity = np.array([-25.0, -8.0, 3.0]), np.array([x + 7.0, y, z]), np.array([2.0, -11.0, 4.0])
    tracer = Tracer([roof], bs, CARRIER_HZ, diffraction=True)
    paths = tracer.paths(ue[None], velocity[None])
    (k,) = np.flatnonzero(paths.kind[0, :, 0] == Interaction.DIFFRACTION)
    point = paths.vertices_m[0, k, 0]
    np.testing.assert_allclose(point[[0, 2]], [0.0, 10.0], atol=1e-9)

    def length(along, end=ue):
        top = np.array([0.0, along, 10.0])
        return np.linalg.norm(top - bs) + np.linalg.norm(end - top)

    least = minimize_scalar(length, bounds=(-100, 100), method="bounded", options={"xatol": 1e-10})
    assert point[1] == pytest.approx(least.x, abs=1e-4)
    assert paths.delay_s[0, k] * SPEED_OF_LIGHT_MPS == pytest.approx(length(point[1]), rel=1e-12)
    k_in, k_out = (point - bs) / np.linalg.norm(point - bs), (ue - point) / np.linalg.norm(ue - point)
    assert k_in[1] == pytest.approx(k_out[1], abs=1e-9)
    moved = [tracer.paths((ue + dt * velocity)[None]).delay_s[0, 0] for dt in (-1e-4, 1e-4)]
    assert paths.doppler_hz[0, k] == pytest.approx(-(moved[1] - moved[0]) / 2e-4 * CARRIER_HZ, abs=0.1)


@pytest.mark.parametrize("material", ["METAL", "CONCRETE"])
@pytest.mark.parametrize("z", [5.0, 1.7])
@pytest.mark.parametrize("polarisation", [VERTICAL, HORIZONTAL])
def test_the_shadow_of_a_corner_begins_steadily(world, material, z, polarisation):
    """In steps of a tenth of a wavelength the direct path goes out, and the sum changes by less than 1 dB."""
    aside = np.arange(-3.0, 3.0, WAVELENGTH_M / 10)
    house, bs, ue = around_the_corner(world, getattr(world, material), aside, z)
    paths = traced([house], ue, bs=bs)
    assert paths.line_of_sight.any()
    assert not paths.line_of_sight.all()
    assert largest_step_db(paths, polarisation) < 1.0
    dark = level_db(traced([house], ue, bs=bs, diffraction=False), polarisation)
    assert np.abs(np.diff(dark)).max() > 100.0  # which it does not without the edge


@pytest.mark.parametrize("material", ["METAL", "CONCRETE"])
def test_the_shadow_of_a_ridge_begins_steadily(world, material):
    roof = world.prism([(0.0, 10.0), (-6.0, 0.0), (6.0, 0.0)], 400.0, getattr(world, material))
    z = np.arange(-2.0, 3.0, WAVELENGTH_M / 10) + 10.0 - 3.0 / 25.0 * 30.0
    ue = np.column_stack([np.full(len(z), 30.0), np.full(len(z), 11.0), z])
    paths = traced([roof], ue, bs=[-25.0, 0.0, 13.0], order=1)
    assert 0 < paths.line_of_sight.sum() < len(z)
    for polarisation in (VERTICAL, HORIZONTAL):
        assert largest_step_db(paths, polarisation) < 1.0


@pytest.mark.parametrize("roughness_m", [0.0, 5e-4])
@pytest.mark.parametrize("thickness_m", [np.inf, 0.01])
@pytest.mark.parametrize("scattering", [0.0, 0.5])
def test_a_reflection_ends_steadily_at_the_edge_of_its_wall(world, roughness_m, thickness_m, scattering):
    """The direct path is taken off: its fringes with the reflection are no boundary."""
    stuff = replace(world.CONCRETE, roughness_m=roughness_m, thickness_m=thickness_m, scattering_coefficient=scattering)
    house, bs, _ = around_the_corner(world, stuff, 0.0)
    image = np.array([bs[0], 10.0 - bs[1]])
    d = (CORNER - image) / np.linalg.norm(CORNER - image)
    aside = np.arange(-0.5, 0.5, WAVELENGTH_M / 10)
    ue = np.column_stack([CORNER + 25.0 * d + np.outer(aside, [-d[1], d[0]]), np.full(len(aside), 3.0)])
    paths = traced([house], ue, bs=bs, specular_loss=True)
    bounced = (paths.kind[..., 0] == Interaction.REFLECTION).any(axis=1)
    assert 0 < bounced.sum() < len(aside)
    indirect = replace(paths, transfer=paths.transfer * (paths.order > 0)[..., None, None])
    assert largest_step_db(indirect) < 0.2
    assert largest_step_db(indirect, HORIZONTAL) < 0.2


@pytest.mark.parametrize(("material", "tolerance"), [("METAL", 1e-5), ("CONCRETE", 1e-4)])
def test_a_path_over_an_edge_is_the_same_the_other_way_round(world, material, tolerance):
    """In the shadow the coefficients are reciprocal (Holm 2000): the matrix is transposed."""
    rng = np.random.default_rng(0)
    roof = world.prism([(0.0, 10.0), (-6.0, 0.0), (9.0, 0.0)], 300.0, getattr(world, material))
    for _ in range(20):
        bs, ue = rng.uniform([-40, -30, 0.5], [-10, 30, 8]), rng.uniform([12, -30, 0.5], [40, 30, 8])
        there, back = (traced([roof], a, bs=b, order=0) for a, b in ((ue, bs), (bs, ue)))
        assert there.valid.sum() == back.valid.sum() == 1
        scale = np.abs(there.transfer[0, 0]).max()
        np.testing.assert_allclose(there.transfer[0, 0] / scale, back.transfer[0, 0].T / scale, atol=tolerance)
        np.testing.assert_allclose(there.aod_rad[0, 0], back.aoa_rad[0, 0], atol=1e-9)


def test_a_house_diffracts_at_its_roof_and_corners_and_not_at_its_foot(world):
    house, bs, ue = around_the_corner(world, world.CONCRETE, np.linspace(-4.0, 4.0, 30), z=1.0)
    low = replace(house, vertex_m=house.vertex_m * [1.0, 1.0, 0.2])
    on_ground = traced([world.ground(), low], ue, bs=bs)
    bent = on_ground.kind[..., 0] == Interaction.DIFFRACTION
    assert bent.any(axis=1).all()
    assert (on_ground.vertices_m[bent][:, 0, 2] > 0.0).all()
    assert (on_ground.body[bent][:, 0] == 1).all()
    # Lifted off the ground, it has an edge below.
    high = replace(low, vertex_m=low.vertex_m + [0.0, 0.0, 3.0])
    hovering = traced([world.ground(), high], ue, bs=bs)
    bent = hovering.kind[..., 0] == Interaction.DIFFRACTION
    assert (np.abs(hovering.vertices_m[bent][:, 0, 2] - 3.0) < 1e-9).any()


def test_the_seams_of_a_terrace_do_not_diffract(world):
    terrace = [world.box((x, 20.0, 0.0, 10.0, 8.0, 12.0, 0.0)) for x in (-10.0, 0.0, 10.0)]
    ue = np.random.default_rng(0).uniform([-30, -10, 1], [30, 14, 11], (60, 3))
    paths = traced([world.ground(), *terrace], ue, bs=[-3.0, 2.0, 6.0])
    bent = paths.kind[..., 0] == Interaction.DIFFRACTION
    at = paths.vertices_m[bent][:, 0]
    assert len(at) > 60
    assert not ((np.abs(np.abs(at[:, 0]) - 5.0) < 1e-6) & (at[:, 2] < 12.0 - 1e-6)).any()
    assert ((np.abs(np.abs(at[:, 0]) - 15.0) < 1e-6) | (np.abs(at[:, 2] - 12.0) < 1e-6)).all()


def test_the_corners_of_a_room_do_not_diffract(world):
    room = world.box((0.0, 0.0, 0.0, 20.0, 12.0, 8.0, 0.2))
    paths = traced([room], [[3.0, 2.0, 1.5], [-6.0, -1.0, 4.0]], bs=[1.0, 0.5, 5.0])
    assert set(paths.path_kind[paths.valid]) == {Interaction.NONE, Interaction.REFLECTION}


def test_an_edge_that_something_hides_sends_nothing(world):
    house, bs, ue = around_the_corner(world, world.CONCRETE, -1.0)
    assert traced([house], ue, bs=bs).valid.sum() == 1
    screen = world.box((14.0, 1.5, 0.0, 1.0, 30.0, 60.0, 0.0))
    assert not traced([house, screen], ue, bs=bs).valid.any()


def test_a_van_before_an_edge_hides_it(world):
    house, bs, ue = around_the_corner(world, world.CONCRETE, -1.0)
    van = world.box((0.0, 0.0, 0.0, 6.0, 2.0, 9.0, 0.0), world.METAL)
    tracer = Tracer([house], bs, CARRIER_HZ, [van], diffraction=True)
    assert not tracer.paths(ue, movers=world.movers([[4.0, 9.3, 0.0, 0.3]])).valid.any()
    assert tracer.paths(ue, movers=world.movers([[4.0, 29.3, 0.0, 0.3]])).valid.any()


def test_edges_that_a_mesh_cuts_in_pieces_diffract_once(world, physics):
    house, bs, ue = around_the_corner(world, world.CONCRETE, np.linspace(-3.0, 3.0, 40))
    corners = house.triangle_m
    middles = (corners + np.roll(corners, -1, axis=1)) / 2
    points = np.concatenate([corners, middles], axis=1).reshape(-1, 3)
    six = 6 * np.arange(12)[:, None]
    face = np.concatenate([six + triangle for triangle in ([0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5])])
    physics.same_paths(traced([house], ue, bs=bs), traced([replace(house, vertex_m=points, face=face)], ue, bs=bs))
