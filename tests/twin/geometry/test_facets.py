"""Facets and wedges of meshes: what is flat is one piece, and what bends there is an edge."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twin.errors import UserError
from twin.geometry.facets import COPLANAR_M, Body, facets_of, is_closed, wedges_of
from twin.propagation.materials import RadioMaterial

STUFF = RadioMaterial("stuff", 4.0, 0.1)
CORNERS = np.array(list(product((0.0, 1.0), repeat=3)))  # x slowest
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # -x +x -y +y -z +z
BOX = np.array([tri for a, b, c, d in SIDES for tri in ((a, b, c), (a, c, d))])


def body(vertex, face):
    return Body("thing", np.array(vertex, float), np.array(face), STUFF)


def box(size=(4.0, 3.0, 2.0), shift=(0.0, 0.0, 0.0)):
    return body(CORNERS * size + shift, BOX)


def l_shaped(height=5.0):
    """A house whose plan is an L: six walls, one inward corner."""
    plan = np.array([(0, 0), (6, 0), (6, 3), (3, 3), (3, 6), (0, 6)], float)
    vertex = np.concatenate([np.column_stack([plan, np.full(6, z)]) for z in (0.0, height)])
    walls = [tri for k in range(6) for tri in ((k, (k + 1) % 6, 6 + (k + 1) % 6), (k, 6 + (k + 1) % 6, 6 + k))]
    top = [(6, 7, 8), (6, 8, 9), (6, 9, 10), (6, 10, 11)]
    return body(vertex, walls + top + [(c - 6, b - 6, a - 6) for a, b, c in top])


def unwelded(solid):
    return body(solid.triangle_m.reshape(-1, 3), np.arange(3 * len(solid.face)).reshape(-1, 3))


def quartered(solid):
    corners = solid.triangle_m
    points = np.concatenate([corners, (corners + np.roll(corners, -1, axis=1)) / 2], axis=1)
    pieces = [points[:, triangle] for triangle in ([0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5])]
    return body(np.concatenate(pieces).reshape(-1, 3), np.arange(12 * len(corners)).reshape(-1, 3))


def combined(*solids):
    offsets = np.cumsum([0] + [len(solid.vertex_m) for solid in solids])
    face = np.concatenate([solid.face + offset for solid, offset in zip(solids, offsets, strict=False)])
    return body(np.concatenate([solid.vertex_m for solid in solids]), face)


def assert_consistent(solid, facets):
    """Every triangle that has an area is in one facet, and lies in its plane and its circle."""
    assert facets.start[0] == 0
    assert facets.start[-1] == len(facets.triangle)
    assert len(set(facets.triangle)) == len(facets.triangle) == (facets.of_triangle >= 0).sum()
    area = np.linalg.norm(np.cross(*np.moveaxis(np.diff(solid.triangle_m, axis=1), 1, 0)), axis=1) / 2
    for number in range(len(facets.normal)):
        those = facets.triangle[facets.start[number] : facets.start[number + 1]]
        assert (facets.of_triangle[those] == number).all()
        points = solid.triangle_m[those].reshape(-1, 3)
        assert np.abs(points @ facets.normal[number] - facets.offset_m[number]).max() <= COPLANAR_M + 1e-9
        assert np.linalg.norm(points - facets.center_m[number], axis=1).max() <= facets.radius_m[number] + 1e-9
        assert facets.area_m2[number] == pytest.approx(area[those].sum())
        assert area[those[0]] == pytest.approx(area[those].max())
        assert np.linalg.norm(facets.normal[number]) == pytest.approx(1.0)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (-650.3, 812.7, 3.1)])
@pytest.mark.parametrize("mesh", [lambda solid: solid, unwelded, quartered])
def test_a_box_has_six_facets(mesh, shift):
    solid = mesh(box(shift=shift))
    facets = facets_of(solid)
    assert_consistent(solid, facets)
    np.testing.assert_allclose(np.sort(facets.area_m2), [6, 6, 8, 8, 12, 12])
    assert {tuple(normal) for normal in facets.normal.round(9)} == {
        tuple(sign * axis) for axis in np.eye(3) for sign in (1, -1)
    }
    assert (np.diff(facets.area_m2) <= 1e-9).all()  # the largest first
    middle = np.array(shift) + [2.0, 1.5, 1.0]
    assert (facets.normal @ middle < facets.offset_m).all()  # wound outwards


def test_the_two_triangles_of_a_side_stay_who_they_are():
    facets = facets_of(box())
    pairs = [set(facets.triangle[a:b]) for a, b in zip(facets.start[:-1], facets.start[1:], strict=True)]
    assert sorted(map(sorted, pairs)) == [[2 * k, 2 * k + 1] for k in range(6)]
    np.testing.assert_array_equal(facets.of_triangle[::2], facets.of_triangle[1::2])


def test_triangles_wound_either_way_are_one_facet():
    face = BOX.copy()
    face[::2] = face[::2, ::-1]
    solid = body(CORNERS, face)
    assert len(facets_of(solid).normal) == 6
    assert len(wedges_of(solid, facets_of(solid)).length_m) == 12
    assert not is_closed(solid)


def test_what_lies_in_one_plane_and_does_not_touch_is_two_facets():
    two = combined(box(), box(shift=(9.0, 0.0, 0.0)))
    assert len(facets_of(two).normal) == 12
    assert is_closed(two)


def test_at_a_t_junction_the_pieces_stay_in_their_plane():
    """Two small triangles along the long side of a large one: no shared edge, the same plane."""
    sheet = body(
        [(0, 0, 0), (4, 0, 0), (0, 4, 0), (2, 0, 0), (0, -2, 0), (4, -2, 0)], [(0, 1, 2), (0, 4, 3), (3, 5, 1)]
    )
    facets = facets_of(sheet)
    assert_consistent(sheet, facets)
    np.testing.assert_allclose(np.abs(facets.normal), np.tile([0, 0, 1], (len(facets.normal), 1)), atol=1e-12)
    assert facets.area_m2.sum() == pytest.approx(8 + 2 + 2)
    assert (facets.of_triangle >= 0).all()


def test_slivers_belong_to_no_facet_and_spoil_none():
    solid = box()
    vertex = np.concatenate([solid.vertex_m, [(2.0, 0.0, 0.0), (2.0, 1e-12, 0.0)]])
    spoilt = body(vertex, [*BOX, (0, 4, 8), (0, 9, 8), (5, 5, 5)])
    facets = facets_of(spoilt)
    np.testing.assert_array_equal(facets.of_triangle[12:], -1)
    np.testing.assert_array_equal(facets.of_triangle[:12], facets_of(solid).of_triangle)
    assert_consistent(spoilt, facets)
    with pytest.raises(UserError, match="only triangles without area"):
        facets_of(body([(0, 0, 0), (1, 1, 1), (2, 2, 2)], [(0, 1, 2)]))


def test_a_thin_but_long_triangle_is_no_sliver():
    kerb = body([(0, 0, 0), (100, 0, 0), (100, 0, 0.02), (0, 0, 0.02)], [(0, 1, 2), (0, 2, 3)])
    facets = facets_of(kerb)
    assert len(facets.normal) == 1
    assert facets.area_m2[0] == pytest.approx(2.0)


@pytest.mark.parametrize(("sides", "radius"), [(8, 1.0), (360, 10.0), (2000, 1.0)])
def test_a_round_tower_does_not_creep_into_one_facet(sides, radius):
    """However little neighbours bend, no corner of a facet is far from its plane."""
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    vertex = np.concatenate([np.column_stack([ring, np.full(sides, z)]) for z in (0.0, 5.0)])
    k = np.arange(sides)
    after = (k + 1) % sides
    lower, upper = np.column_stack([k, after, sides + after]), np.column_stack([k, sides + after, sides + k])
    tower = body(vertex, np.concatenate([lower, upper]))
    facets = facets_of(tower)
    assert_consistent(tower, facets)
    if sides <= 360:
        assert len(facets.normal) == sides
    assert len(facets.normal) > 50 or sides == 8


def test_a_box_has_twelve_edges_with_the_normals_of_their_sides():
    solid = box()
    for mesh in (solid, unwelded(solid), quartered(solid), body(solid.vertex_m, BOX[:, ::-1])):
        facets = facets_of(mesh)
        wedges = wedges_of(mesh, facets)
        np.testing.assert_allclose(np.sort(wedges.length_m), np.repeat([2.0, 3.0, 4.0], 4))
        middle = wedges.origin_m + 0.5 * wedges.length_m[:, None] * wedges.direction
        outward = middle - [2.0, 1.5, 1.0]
        for normal, facet in ((wedges.normal_0, wedges.facet_0), (wedges.normal_n, wedges.facet_n)):
            assert ((normal * outward).sum(axis=1) > 0).all()
            np.testing.assert_allclose(np.abs((normal * facets.normal[facet]).sum(axis=1)), 1.0)
            np.testing.assert_allclose((normal * wedges.direction).sum(axis=1), 0.0, atol=1e-12)
        np.testing.assert_allclose((wedges.normal_0 * wedges.normal_n).sum(axis=1), 0.0, atol=1e-12)


def test_the_edges_of_a_sheet_are_free():
    sheet = body([(0, 0, 0), (4, 0, 0), (4, 3, 0), (0, 3, 0)], [(0, 1, 2), (0, 2, 3)])
    wedges = wedges_of(sheet, facets_of(sheet))
    np.testing.assert_allclose(np.sort(wedges.length_m), [3, 3, 4, 4])
    assert (wedges.facet_n == -1).all()
    np.testing.assert_array_equal(wedges.normal_n, -wedges.normal_0)


def test_an_inward_corner_bends_the_other_way():
    """The wedge of the inward corner is the air before it: its normals point into the house."""
    house = l_shaped()
    assert is_closed(house)
    assert house.volume_m3 == pytest.approx(27 * 5.0)
    facets = facets_of(house)
    assert len(facets.normal) == 8
    wedges = wedges_of(house, facets)
    upright = np.flatnonzero(np.abs(wedges.direction[:, 2]) > 0.5)
    assert len(wedges.length_m) == 18
    assert len(upright) == 6
    inward = [k for k in upright if np.allclose(wedges.origin_m[k, :2], [3.0, 3.0])]
    assert len(inward) == 1
    np.testing.assert_allclose(wedges.normal_0[inward[0]] + wedges.normal_n[inward[0]], [-1, -1, 0], atol=1e-12)
    corner = next(k for k in upright if np.allclose(wedges.origin_m[k, :2], [6.0, 0.0]))
    np.testing.assert_allclose(wedges.normal_0[corner] + wedges.normal_n[corner], [1, -1, 0], atol=1e-12)


def test_three_sheets_at_one_edge_are_no_wedge():
    fan = body([(0, 0, 0), (0, 0, 3), (4, 0, 0), (-3, 2, 0), (-3, -2, 0)], [(0, 1, 2), (0, 1, 3), (0, 1, 4)])
    wedges = wedges_of(fan, facets_of(fan))
    assert not ((np.abs(wedges.direction[:, 2]) > 0.999) & (wedges.length_m > 2.9)).any()
    assert not is_closed(fan)


coordinate = st.floats(-10, 10)


@given(st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=4, max_size=4), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_tetrahedron_has_six_edges_whose_normals_point_out(corners, inside_out):
    points = np.array(corners)
    volume = np.linalg.det(points[1:] - points[0]) / 6
    assume(abs(volume) > 1.0)
    face = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])
    face = face if (volume > 0) != inside_out else face[:, ::-1]
    solid = body(points, face)
    assert is_closed(solid)
    assert solid.volume_m3 == pytest.approx(-abs(volume) if inside_out else abs(volume))
    wedges = wedges_of(solid, facets_of(solid))
    assert len(wedges.length_m) == 6
    middle = wedges.origin_m + 0.5 * wedges.length_m[:, None] * wedges.direction - points.mean(axis=0)
    for normal in (wedges.normal_0, wedges.normal_n):
        assert ((normal * middle).sum(axis=1) > 0).all()
    edges = np.array([np.linalg.norm(points[a] - points[b]) for a in range(4) for b in range(a)])
    np.testing.assert_allclose(np.sort(wedges.length_m), np.sort(edges))


def test_a_surface_is_closed_when_every_edge_is_walked_both_ways():
    solid = box()
    assert is_closed(solid)
    assert is_closed(unwelded(solid))
    assert is_closed(quartered(solid))
    assert is_closed(body(solid.vertex_m, BOX[:, ::-1]))
    assert not is_closed(body(solid.vertex_m, BOX[1:]))
    assert not is_closed(body(solid.vertex_m, BOX[2:]))
    turned = BOX.copy()
    turned[3] = turned[3, ::-1]
    assert not is_closed(body(solid.vertex_m, turned))


def test_a_triangle_that_is_only_a_line_opens_no_solid():
    solid = box()
    assert is_closed(body(solid.vertex_m, [*BOX, (0, 0, 1), (7, 7, 7)]))


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (-650.3, 812.7, 3.1)])
def test_a_solid_has_the_volume_of_its_box_and_holds_what_is_inside(shift):
    solid = box(shift=shift)
    hollow = combined(solid, replace(box((2.0, 1.0, 1.0), np.array(shift) + [1.0, 1.0, 0.5]), face=BOX[:, ::-1]))
    assert solid.volume_m3 == pytest.approx(24.0, rel=1e-9)
    assert body(solid.vertex_m, BOX[:, ::-1]).volume_m3 == pytest.approx(-24.0, rel=1e-9)
    assert hollow.volume_m3 == pytest.approx(22.0, rel=1e-9)
    for point, within in (
        ((2.0, 1.5, 1.0), True),
        ((0.01, 0.01, 0.01), True),
        ((-0.01, 1, 1), False),
        ((2, 1.5, 40), False),
    ):
        assert solid.holds(np.array(shift) + point) == within
    assert not hollow.holds(np.array(shift) + [2.0, 1.5, 1.0])  # in the cavity
    assert hollow.holds(np.array(shift) + [0.5, 0.5, 0.25])


def test_a_mesh_that_is_none_is_a_users_error():
    for vertex, face, what in (
        (CORNERS, np.zeros((0, 3), int), "no triangles"),
        (CORNERS * np.nan, BOX, "not finite"),
        (CORNERS, BOX + 1, "do not exist"),
        (CORNERS, BOX - 1, "do not exist"),
    ):
        with pytest.raises(UserError, match=f"thing.*{what}"):
            body(vertex, face)
