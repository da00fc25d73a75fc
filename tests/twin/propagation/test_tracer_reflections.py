"""Specular paths against mirrors and vectors: images, both polarisations, reciprocity, and what materials do."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.propagation.materials import RadioMaterial
from twin.propagation.paths import SPEED_OF_LIGHT_MPS
from twin.propagation.tracer import Tracer

CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
BS = np.array([0.0, 0.0, 5.0])
STORED = 1e-6
"""Relative error of a transfer matrix, stored in complex64."""
X, Y, Z = np.eye(3)


def traced(bodies, ue, *, bs=BS, **options):
    return Tracer(bodies, np.asarray(bs, float), CARRIER_HZ, **options).paths(np.atleast_2d(np.asarray(ue, float)))


def assert_carries(paths, k, points, expected):
    """The path runs over the points and has that transfer matrix."""
    np.testing.assert_allclose(paths.vertices_m[0, k, : len(points) - 2], points[1:-1], atol=1e-8)
    np.testing.assert_allclose(paths.transfer[0, k], expected, atol=STORED * np.abs(expected).max())
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert paths.delay_s[0, k] * SPEED_OF_LIGHT_MPS == pytest.approx(length, rel=1e-12)
    for found, line in ((paths.aod_rad, points[1] - points[0]), (paths.aoa_rad, points[-2] - points[-1])):
        line = line / np.linalg.norm(line)
        np.testing.assert_allclose(found[0, k], [np.arctan2(line[1], line[0]), np.arccos(line[2])], atol=1e-9)


def tilted(world, normal, middle, size=40.0, **options):
    """A square sheet, and what is across it."""
    normal = normal / np.linalg.norm(normal)
    u = np.cross(normal, [0.31, -0.77, 0.55])
    u *= size / 2 / np.linalg.norm(u)
    v = np.cross(normal, u)
    return world.plate(middle - u - v, middle + u - v, middle + u + v, middle - u + v, **options)


@pytest.mark.parametrize("turn", [0.0, 0.4, -1.1])
def test_a_wall_reflects_from_its_mirror_image(world, physics, turn):
    normal = world.spin(turn) @ -Y
    middle = world.spin(turn) @ [6.0, 25.0, 0.0]
    wall = world.box((*(middle - 3.0 * normal)[:2], 0.0, 60.0, 6.0, 20.0, turn))
    ue = world.spin(turn) @ [20.0, 6.0, 1.7]
    paths = traced([wall], ue)
    points = physics.over_mirrors(BS, ue, [(normal, middle)])
    assert np.linalg.norm(ue - physics.mirrored(BS, normal, middle)) == pytest.approx(physics.length_of(points))
    k = physics.path_off(paths, 0)
    assert_carries(paths, k, points, physics.transfer(points, [normal], [world.CONCRETE]))
    assert paths.path_kind[0, k] == paths.order[0, k] == 1


def test_a_wall_reflects_only_from_where_it_is(world):
    wall = world.box((20.0, 25.0, 0.0, 10.0, 6.0, 10.0, 0.0))  # 15 < x < 25; the mirror point runs over it
    x = np.linspace(0.0, 80.0, 801)
    paths = traced([wall], np.column_stack([x, np.full(801, 2.0), np.full(801, 1.7)]))
    mirror_x = x * 22.0 / (22.0 + 20.0)
    np.testing.assert_array_equal((paths.body[..., 0] == 0).any(axis=1), (mirror_x > 15.0) & (mirror_x < 25.0))


def test_a_wall_reflects_nothing_to_what_is_behind_or_in_it(world):
    wall = world.box((0.0, 25.0, 0.0, 100.0, 6.0, 20.0, 0.0))
    for y in (22.0, 22.0 + 1e-7, 25.0, 28.0, 40.0):
        assert not (traced([wall], [10.0, y, 1.7]).kind[..., 0] == 1).any()


@given(st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=60, deadline=None)
def test_a_tilted_sheet_turns_the_polarisation_as_vectors_do(world, physics, tip, aside):
    """The cross-polar components too, from either side of the sheet."""
    normal = physics.unit(np.array([0.4, -1.0, 0.2]) + 0.4 * np.array(tip))
    middle = np.array([8.0, 14.0, 6.0])
    ue = np.array([18.0, 2.0, 3.0]) + 3.0 * np.array(aside)
    points = physics.over_mirrors(BS, ue, [(normal, middle)])
    expected = physics.transfer(points, [normal], [world.CONCRETE])
    for face in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 1], [0, 2, 3]]):
        sheet = replace(tilted(world, normal, middle, 200.0), face=np.array(face))
        paths = traced([sheet], ue)
        assert_carries(paths, physics.path_off(paths, 0), points, expected)


def test_a_tilted_sheet_makes_horizontal_field_of_vertical_one_and_a_vertical_wall_does_not(world, physics):
    leaning, upright = physics.unit(np.array([0.0, -1.0, 0.8])), -Y
    ue = np.array([12.0, 2.0, 5.0])
    share = []
    for normal in (leaning, upright):
        paths = traced([tilted(world, normal, np.array([6.0, 12.0, 5.0]), 100.0)], ue)
        matrix = np.abs(paths.transfer[0, physics.path_off(paths, 0)])
        share.append(matrix[1, 0] / matrix[0, 0])
    assert share[0] > 0.1
    assert share[1] < 1e-6


@pytest.mark.parametrize("permittivity", [2.5, 3.18, 6.0])
def test_the_ground_does_not_reflect_vertical_polarisation_at_the_brewster_angle(world, permittivity):
    dry = RadioMaterial("dry", permittivity, 0.0)
    distance = (5.0 + 1.7) * np.sqrt(permittivity)  # tan(incidence) = sqrt(eta)
    paths = traced([world.ground(dry)], [distance, 0.0, 1.7])
    assert paths.valid[0].sum() == 2
    assert np.abs(paths.transfer[0, 1, 0, 0]) < 1e-6 * np.abs(paths.transfer[0, 0, 0, 0])
    # There the transmitted ray is at right angles with the reflected one, and r_s = (1 - eta) / (1 + eta).
    horizontal = np.abs(paths.transfer[0, 1, 1, 1]) * paths.delay_s[0, 1] * 4 * np.pi * CARRIER_HZ
    assert horizontal == pytest.approx((permittivity - 1) / (permittivity + 1), rel=1e-5)


@pytest.mark.parametrize("heading", [0.0, 0.37])
def test_the_images_of_a_right_angled_corner_are_its_reflections(world, physics, heading):
    """Two walls: both images of first order, and one of second order, through the edge."""
    spin = world.spin(heading)
    walls = [tilted(world, spin @ X, spin @ [0, 40, 0], 100.0), tilted(world, spin @ Y, spin @ [40, 0, 0], 100.0)]
    bs, ue = spin @ [20.0, 11.0, 6.0], spin @ [9.0, 17.0, 1.7]
    paths = traced(walls, ue, bs=bs, order=3)
    images = [spin @ (np.array(sign) * [20.0, 11.0, 6.0]) for sign in product((1, -1), (1, -1), (1,))]
    lengths = np.sort([np.linalg.norm(ue - image) for image in images])
    np.testing.assert_allclose(np.sort(paths.delay_s[paths.valid]) * SPEED_OF_LIGHT_MPS, lengths, rtol=1e-12)
    np.testing.assert_array_equal(np.sort(paths.order[paths.valid]), [0, 1, 1, 2])


def test_a_trihedral_corner_has_seven_images_and_sends_back_what_comes(world, physics):
    walls = [tilted(world, axis, 40.0 * (1 - axis), 160.0, material=world.METAL) for axis in (X, Y, Z)]
    bs = np.array([12.0, 7.0, 6.0])
    ue = bs + [0.5, -0.3, 1.0]
    paths = traced(walls, ue, bs=bs, order=3)
    images = [np.array(sign) * bs for sign in product((1, -1), repeat=3)]
    lengths = np.sort([np.linalg.norm(ue - image) for image in images])
    np.testing.assert_allclose(np.sort(paths.delay_s[paths.valid]) * SPEED_OF_LIGHT_MPS, lengths, rtol=1e-12)
    np.testing.assert_array_equal(np.bincount(paths.order[paths.valid]), [1, 3, 3, 1])
    (k,) = np.flatnonzero(paths.order[0] == 3)
    order = paths.body[0, k]
    points = physics.over_mirrors(bs, ue, [(np.eye(3)[axis], np.zeros(3)) for axis in order])
    assert_carries(paths, k, points, physics.transfer(points, np.eye(3)[order], [world.METAL] * 3))
    out, back = points[1] - points[0], points[-1] - points[-2]
    np.testing.assert_allclose(physics.unit(out), -physics.unit(back), atol=1e-9)


def test_the_images_of_a_corner_of_60_degrees_lie_on_a_circle(world):
    """A kaleidoscope: pi / 3 makes five images, of orders 1, 1, 2, 2 and 3."""
    other = np.array([np.cos(np.pi / 3), np.sin(np.pi / 3), 0.0])
    walls = [
        world.plate(0 * X, 90 * X, 90 * X + 30 * Z, 30 * Z),
        world.plate(0 * X, 90 * other, 90 * other + 30 * Z, 30 * Z),
    ]
    angle, at = np.radians([25.0, 40.0]), 20.0
    bs, ue = (np.array([at * np.cos(a), at * np.sin(a), 5.0]) for a in angle)
    paths = traced(walls, ue, bs=bs, order=3)
    around = [sign * angle[0] + k * 2 * np.pi / 3 for k in range(3) for sign in (1, -1)]
    lengths = np.sort([2 * at * abs(np.sin((a - angle[1]) / 2)) for a in around])
    np.testing.assert_allclose(np.sort(paths.delay_s[paths.valid]) * SPEED_OF_LIGHT_MPS, lengths, rtol=1e-12)
    np.testing.assert_array_equal(np.bincount(paths.order[paths.valid]), [1, 2, 2, 1])


def test_a_room_has_a_lattice_of_images(world):
    """A base station in a box: 1, 6, 18 and 38 images of orders 0 to 3 (Allen and Berkley, 1979)."""
    size = np.array([9.0, 6.0, 4.0])
    room = world.box((0.0, 0.0, 0.0, *size, 0.0))
    bs, ue = np.array([1.2, -0.7, 2.5]), np.array([-2.1, 1.3, 0.9])
    paths = traced([room], ue, bs=bs, order=3, max_paths=100)
    np.testing.assert_array_equal(np.bincount(paths.order[paths.valid]), [1, 6, 18, 38])
    low = np.array([-4.5, -3.0, 0.0])
    cells = [np.array(cell) for cell in product(range(-3, 4), repeat=3) if sum(map(abs, cell)) <= 3]
    images = [low + cell * size + np.where(cell % 2 == 0, bs - low, size - (bs - low)) for cell in cells]
    lengths = np.sort([np.linalg.norm(image - ue) for image in images])
    np.testing.assert_allclose(np.sort(paths.delay_s[paths.valid]) * SPEED_OF_LIGHT_MPS, lengths, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_path_is_the_same_the_other_way_round(world, seed):
    """Reciprocity: with the ends swapped, each path has the transposed matrix and the two directions change places."""
    rng = np.random.default_rng(seed)
    rows = [(x, y, 0.0, 25.0, 8.0, 15.0, rng.uniform(-0.1, 0.1)) for x in (-14.0, 14.0) for y in (-16.0, 16.0)]
    pane = RadioMaterial("pane", 6.31, 0.3, 0.008)
    leaning = tilted(world, np.array([1.0, 0.0, -0.4]), np.array([-32.0, 0.0, 6.0]), 30.0, material=pane)
    bodies = [world.ground(), leaning, *(world.box(row) for row in rows)]
    bs, ue = np.array([-22.0, 3.0, 6.5]), np.array([21.0, rng.uniform(-8, 8), 1.7])
    there, back = (traced(bodies, a, bs=b, order=3, max_paths=60) for a, b in ((ue, bs), (bs, ue)))
    assert (np.bincount(there.order[there.valid]) > 0).all()
    assert there.order.max() == 3
    np.testing.assert_array_equal(there.valid, back.valid)
    here, other = (np.argsort(paths.delay_s[0, paths.valid[0]]) for paths in (there, back))
    np.testing.assert_allclose(there.delay_s[0, here], back.delay_s[0, other], rtol=1e-12)
    transposed = back.transfer[0, other].swapaxes(-1, -2)
    scale = np.abs(transposed).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(there.transfer[0, here] / scale, transposed / scale, atol=1e-6)
    np.testing.assert_allclose(there.aod_rad[0, here], back.aoa_rad[0, other], atol=1e-9)


def test_straight_onto_a_wall_both_polarisations_come_back_alike(world, physics):
    wall = tilted(world, -Y, np.array([0.0, 12.0, 5.0]))
    ue = np.array([0.0, 4.0, 5.0])
    paths = traced([wall], ue)
    expected = physics.fresnel(1.0, world.CONCRETE)[0] * physics.free_space(12.0 + 8.0)
    np.testing.assert_allclose(np.linalg.svd(paths.transfer[0, 1])[1], abs(expected), rtol=1e-5)
    assert paths.transfer[0, 1, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_straight_down_onto_the_ground_there_is_no_azimuth_and_still_a_path(world, physics):
    paths = traced([world.ground()], BS - 3.0 * Z)
    expected = abs(physics.fresnel(1.0, world.EARTH)[0] * physics.free_space(5.0 + 2.0))
    assert paths.valid[0].sum() == 2
    np.testing.assert_allclose(np.linalg.svd(paths.transfer[0, 1])[1], expected, rtol=1e-5)
    assert np.isfinite(paths.aod_rad).all()


def slope(world, material, ue=(18.0, 2.0, 3.0), **options):
    """The reflection of a leaning sheet: its matrix, the cosine of incidence, and the length of its path."""
    normal = np.array([0.4, -1.0, 0.2]) / np.linalg.norm([0.4, -1.0, 0.2])
    sheet = tilted(world, normal, np.array([8.0, 14.0, 6.0]), 400.0, material=material)
    paths = traced([sheet], ue, **options)
    (k,) = np.flatnonzero(paths.kind[0, :, 0] == 1)
    line = paths.vertices_m[0, k, 0] - BS
    cosine = abs(line @ normal) / np.linalg.norm(line)
    return paths.transfer[0, k], cosine, paths.delay_s[0, k] * SPEED_OF_LIGHT_MPS


@pytest.mark.parametrize("thickness_m", [0.001, 0.0042, 0.02, 0.2])
def test_a_pane_reflects_what_all_its_echoes_add_up_to(world, physics, thickness_m):
    pane = RadioMaterial("pane", 6.31, 0.1, thickness_m)
    normal = physics.unit(np.array([0.4, -1.0, 0.2]))
    points = physics.over_mirrors(BS, np.array([18.0, 2.0, 3.0]), [(normal, np.array([8.0, 14.0, 6.0]))])
    expected = physics.transfer(points, [normal], [pane])
    np.testing.assert_allclose(slope(world, pane)[0], expected, atol=STORED * np.abs(expected).max())


def test_a_pane_of_half_a_wave_is_invisible_and_a_thick_lossy_one_is_a_half_space(world):
    eta, cosine = 6.31, slope(world, world.METAL)[1]
    half_wave_m = WAVELENGTH_M / 2 / np.sqrt(eta - (1 - cosine**2))
    clear, quarter = (
        np.abs(slope(world, RadioMaterial("pane", eta, 0.0, thickness))[0]).max()
        for thickness in (half_wave_m, half_wave_m / 2)
    )
    assert clear < 1e-6 * quarter
    thick, endless = (slope(world, RadioMaterial("brick", 3.9, 0.5, thickness))[0] for thickness in (0.5, np.inf))
    np.testing.assert_allclose(thick, endless, rtol=1e-4)


@pytest.mark.parametrize("ue", [(18.0, 2.0, 3.0), (3.0, 3.0, 5.0), (40.0, 8.0, 9.0)])
def test_a_rough_face_loses_what_ament_says(world, ue):
    smooth, cosine, _ = slope(world, world.CONCRETE, ue)
    for roughness_m in (2e-4, 1e-3):
        rough, *_ = slope(world, replace(world.CONCRETE, roughness_m=roughness_m), ue)
        phase = 4 * np.pi * roughness_m * cosine / WAVELENGTH_M  # of the round trip over one standard deviation
        np.testing.assert_allclose(rough, smooth * np.exp(-(phase**2) / 2), rtol=1e-4, atol=1e-12)


def test_scattering_takes_its_share_of_every_bounce_when_it_is_asked_to(world):
    patchy = replace(world.CONCRETE, scattering_coefficient=0.6)
    walls = [tilted(world, axis, 20.0 * (1 - axis), 100.0, material=patchy) for axis in (X, Y)]
    bs, ue = np.array([12.0, 7.0, 4.0]), np.array([9.0, 13.0, 1.7])
    whole, less = (traced(walls, ue, bs=bs, specular_loss=loss) for loss in (False, True))
    np.testing.assert_array_equal(whole.body, less.body)
    assert whole.order.max() == 2
    left = np.sqrt(1 - 0.6**2) ** whole.order[0]
    np.testing.assert_allclose(less.transfer[0], whole.transfer[0] * left[:, None, None], rtol=1e-5)


def test_what_a_wall_takes_in_does_not_come_back(world, physics):
    """No reflection is stronger than the wave that falls on it, whatever the polarisation, angle and material."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        thickness = rng.choice([np.inf, 10 ** rng.uniform(-4, -1)])
        material = RadioMaterial("stuff", rng.uniform(1.01, 30), rng.choice([0.0, 10 ** rng.uniform(-3, 7)]), thickness)
        matrix, _, length = slope(world, material, rng.uniform([5, -10, 0], [60, 8, 20]))
        assert np.linalg.norm(matrix, 2) <= abs(physics.free_space(length)) * (1 + STORED)
