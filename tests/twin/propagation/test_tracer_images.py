"""Every path there is and no other: against all images in the faces of random boxes, however the world is meshed."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twin.geometry.facets import facets_of
from twin.propagation.paths import SPEED_OF_LIGHT_MPS
from twin.propagation.tracer import Tracer

CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
NEAR_EDGE_M = 1e-6
"""Bounces nearer than this to the edge of a face may be found or not."""
NEAR_BODY_M = 1e-3
"""So may legs that pass a box so closely."""
GROUND = (0.0, 0.0, -1.0, 400.0, 400.0, 1.0, 0.0)
MANY = 600


def faces_of(rows, spin):
    """Normal, point in the middle, two half axes, and box of every face."""
    faces = []
    for number, (x, y, base, *size, heading) in enumerate(rows):
        axes, half = spin(heading).T, np.array(size) / 2
        middle = np.array([x, y, base + half[2]])
        for axis in range(3):
            across = [(half[k] * axes[k]) for k in range(3) if k != axis]
            for sign in (1.0, -1.0):
                normal = sign * axes[axis]
                faces.append((normal, middle + half[axis] * normal, *across, number))
    return [np.array(column) for column in zip(*faces, strict=True)]


@np.errstate(all="ignore")  # images in the plane of a face
def all_paths(rows, bs, ue, order, world, physics):
    """(boxes, points, sure) of every path of that many bounces, with all sequences of faces tried."""
    normal, middle, u, v, owner = faces_of(rows, world.spin)
    chosen = np.array(list(permutations(range(len(normal)), 2)) if order == 2 else [[f] for f in range(len(normal))])
    if order == 3:
        chosen = np.stack(np.meshgrid(*[np.arange(len(normal))] * 3, indexing="ij"), -1).reshape(-1, 3)
        chosen = chosen[(chosen[:, 0] != chosen[:, 1]) & (chosen[:, 1] != chosen[:, 2])]

    def height(points, faces):
        return ((points - middle[faces]) * normal[faces]).sum(-1)

    images = [np.broadcast_to(bs, (len(chosen), 3))]
    for k in range(order):
        images.append(images[-1] - 2 * height(images[-1], chosen[:, k])[:, None] * normal[chosen[:, k]])
    points = [np.broadcast_to(ue, (len(chosen), 3))]
    for k in reversed(range(order)):
        here, there = height(points[0], chosen[:, k]), height(images[k + 1], chosen[:, k])
        points.insert(0, points[0] + (here / (here - there))[:, None] * (images[k + 1] - points[0]))
    points.insert(0, images[0])

    inner = np.full(len(chosen), np.inf)  # how far all bounces are within their faces, and both ends in front of them
    for k in range(order):
        f = chosen[:, k]
        for axis in (u[f], v[f]):
            reach = np.linalg.norm(axis, axis=1)
            aside = ((points[k + 1] - middle[f]) * axis).sum(-1) / reach
            inner = np.minimum(inner, reach - np.abs(aside))
        inner = np.minimum(inner, np.minimum(height(points[k], f), height(points[k + 2], f)))
    kept = np.flatnonzero(inner > -NEAR_EDGE_M)
    found = []
    for n in kept:
        legs = np.array([p[n] for p in points])
        boxes = owner[chosen[n]]
        tight = physics.through_boxes(rows, legs[:-1], legs[1:], -NEAR_BODY_M) > 0
        wide = physics.through_boxes(rows, legs[:-1], legs[1:], NEAR_BODY_M) > 0
        for k, number in enumerate(boxes):
            wide[k : k + 2, number] = False  # the leg ends on that box, and runs outside
        if not tight.any():
            found.append((tuple(boxes), legs, inner[n] > NEAR_EDGE_M and not wide.any()))
    return found


def paths_found(paths, bs, ue, t=0):
    """(bodies, points) of every reflected path."""
    found = []
    for k in np.flatnonzero(paths.order[t] > 0):
        order = paths.order[t, k]
        found.append((tuple(paths.body[t, k, :order]), np.array([bs, *paths.vertices_m[t, k, :order], ue])))
    return found


def matches(path, those):
    return any(path[0] == other[0] and np.abs(path[1] - other[1]).max() < 1e-6 for other in those)


sizes = st.floats(1.0, 14.0)
box_rows = st.tuples(
    st.floats(-20, 20), st.floats(-20, 20), st.sampled_from([0.0, 0.0, 1.5]), sizes, sizes, sizes, st.floats(0, 3.1)
)
spots = st.tuples(st.floats(-25, 25), st.floats(-25, 25), st.floats(0.5, 12.0)).map(np.array)


def outside(rows, point, physics):
    """Whether a point is well outside every box."""
    step = point + np.array([0.0, 0.0, 1e-9])
    return not (physics.through_boxes(rows, point[None], step[None], 0.02) > 0).any()


def assert_all_paths_and_no_other(rows, bs, ue, orders, world, physics):
    paths = Tracer([world.box(row) for row in rows], bs, CARRIER_HZ, order=max(orders), max_paths=MANY).paths(ue[None])
    found = paths_found(paths, bs, ue)
    for order in orders:
        there = all_paths(rows, bs, ue, order, world, physics)
        mine = [path for path in found if len(path[0]) == order]
        for path in there:
            assert not path[2] or matches(path, mine), f"missing: {path}"
        for path in mine:
            assert matches(path, there), f"invented: {path}"


@given(st.lists(box_rows, min_size=1, max_size=4), spots, spots)
@settings(max_examples=120, deadline=None)
def test_the_tracer_finds_every_path_of_two_bounces_and_no_other(world, physics, rows, bs, ue):
    rows = [GROUND, *rows]
    assume(outside(rows, bs, physics) and outside(rows, ue, physics) and np.linalg.norm(bs - ue) > 1.0)
    assert_all_paths_and_no_other(rows, bs, ue, (1, 2), world, physics)


@pytest.mark.long
@given(st.lists(box_rows, min_size=2, max_size=4), spots, spots)
@settings(max_examples=150, deadline=None)
def test_the_tracer_finds_every_path_of_three_bounces_and_no_other(world, physics, rows, bs, ue):
    rows = [GROUND, *rows]
    assume(outside(rows, bs, physics) and outside(rows, ue, physics) and np.linalg.norm(bs - ue) > 1.0)
    assert_all_paths_and_no_other(rows, bs, ue, (1, 2, 3), world, physics)


def canyon(turn=0.05):
    """Houses on both sides of a street, and two across its end."""
    rng = np.random.default_rng(11)
    rows = [(x, y, 0.0, 15.0, 9.0, rng.uniform(8, 20), rng.uniform(-turn, turn))
            for x in (-36.0, -18.0, 0.0, 18.0, 36.0) for y in (-13.0, 13.0)]  # fmt: skip
    return [GROUND, *rows, (55.0, 0.0, 0.0, 8.0, 20.0, 12.0, 0.1), (-55.0, 0.0, 0.0, 8.0, 20.0, 12.0, -0.07)]


def test_in_a_street_canyon_there_is_every_path_of_two_bounces_and_no_other(world, physics):
    rows, bs = canyon(), np.array([2.0, -7.5, 6.0])
    for ue in ([20.0, 3.0, 1.7], [-41.0, -5.0, 1.7]):
        assert_all_paths_and_no_other(rows, bs, np.array(ue), (1, 2), world, physics)


@pytest.mark.long
def test_in_a_street_canyon_there_is_every_path_of_three_bounces_and_no_other(world, physics):
    rows, bs = canyon()[:7], np.array([-20.0, -7.5, 6.0])
    for ue in np.random.default_rng(1).uniform([-40, -7, 1], [10, 7, 7], (8, 3)):
        assert_all_paths_and_no_other(rows, bs, ue, (1, 2, 3), world, physics)


def square(world, point, normal, size, turn, inset):
    """A square sheet that holds the point at `inset` of its size from one of its corners."""
    normal = normal / np.linalg.norm(normal)
    u = np.cross(normal, [0.36, -0.48, 0.8])
    u /= np.linalg.norm(u)
    u = np.cos(turn) * u + np.sin(turn) * np.cross(normal, u)
    v = np.cross(normal, u)
    corner = point - inset * size * (u + v)
    return world.plate(corner, corner + size * u, corner + size * (u + v), corner + size * v)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_path_over_the_very_corners_of_small_sheets_is_found(world, moving, seed):
    """Wherever the corners point: no beam is taken for narrower than it is."""
    rng = np.random.default_rng(seed)
    for _ in range(150):
        points = rng.uniform(-10, 10, (4, 3))
        legs = np.diff(points, axis=0)
        if np.linalg.norm(legs, axis=1).min() < 5.0:
            continue
        k = legs / np.linalg.norm(legs, axis=1)[:, None]
        sheets = [
            square(world, points[j + 1], k[j + 1] - k[j], *rng.uniform([0.2, 0], [2.5, 6.3]), 1e-3) for j in (0, 1)
        ]
        if moving:
            pose = np.zeros((2, 4))
            pose[:, :3] = rng.uniform(-30, 30, (2, 3))
            shapes = [replace(sheet, vertex_m=sheet.vertex_m - at[:3]) for sheet, at in zip(sheets, pose, strict=True)]
            tracer = Tracer([], points[0], CARRIER_HZ, shapes)
            paths = tracer.paths(points[3:], movers=world.movers(pose, shape=[0, 1]))
        else:
            paths = Tracer(sheets, points[0], CARRIER_HZ).paths(points[3:])
        found = paths_found(paths, points[0], points[3])
        assert matches(((0, 1), points), found) or any(cross(sheets[1 - j], a, b) for j, a, b in ends(points))


def ends(points):
    """Which legs the other sheet could cut: the first leg by the second one, the last leg by the first one."""
    return (0, points[0], points[1]), (1, points[2], points[3])


def cross(sheet, a, b):
    """Whether a segment meets a square sheet between its ends."""
    origin, u, v = sheet.vertex_m[0], *(sheet.vertex_m[[1, 3]] - sheet.vertex_m[0])
    s, t, share = np.linalg.solve(np.stack([u, v, a - b], axis=1), a - origin)
    return 0 <= s <= 1 and 0 <= t <= 1 and 1e-6 < share < 1 - 1e-6


@given(st.lists(box_rows, min_size=2, max_size=5), spots, spots)
@settings(max_examples=60, deadline=None)
def test_a_path_obeys_the_mirror_law_on_the_facets_that_it_names(world, physics, rows, bs, ue):
    rows = [GROUND, *rows]
    assume(outside(rows, bs, physics) and outside(rows, ue, physics) and np.linalg.norm(bs - ue) > 1.0)
    bodies = [world.box(row) for row in rows]
    velocity = np.array([3.0, -7.0, 1.0])
    paths = Tracer(bodies, bs, CARRIER_HZ, order=3, max_paths=MANY).paths(ue[None], velocity[None])
    facets = [facets_of(body) for body in bodies]
    for k in np.flatnonzero(paths.valid[0]):
        order = paths.order[0, k]
        points = np.array([bs, *paths.vertices_m[0, k, :order], ue])
        legs = np.diff(points, axis=0)
        directions = legs / np.linalg.norm(legs, axis=1)[:, None]
        for j in range(order):
            body, facet = bodies[paths.body[0, k, j]], facets[paths.body[0, k, j]]
            number = paths.facet[0, k, j]
            triangles = body.triangle_m[facet.triangle[facet.start[number] : facet.start[number + 1]]]
            assert on_one_of(triangles, points[j + 1])
            normal = np.cross(triangles[0, 1] - triangles[0, 0], triangles[0, 2] - triangles[0, 0])
            normal /= np.linalg.norm(normal)
            turn = directions[j + 1] - directions[j]
            assert np.linalg.norm(np.cross(turn, normal)) < 1e-9
            assert directions[j + 1] @ normal == pytest.approx(-(directions[j] @ normal), abs=1e-9)
        length = np.linalg.norm(legs, axis=1).sum()
        assert paths.delay_s[0, k] * SPEED_OF_LIGHT_MPS == pytest.approx(length, rel=1e-12)
        assert paths.doppler_hz[0, k] == pytest.approx(-(velocity @ directions[-1]) / WAVELENGTH_M, abs=1e-6)
        assert not (physics.through_boxes(rows, points[:-1], points[1:], -NEAR_BODY_M) > 0).any()
        loss = np.linalg.norm(paths.transfer[0, k], 2) / abs(physics.free_space(length))
        assert loss <= 1 + 1e-6


def on_one_of(triangles, point):
    """Whether a point is on one of the triangles: the three parts that it makes of it are as large as the whole."""

    def area(a, b, c):
        return np.linalg.norm(np.cross(b - a, c - a)) / 2

    return any(
        area(point, a, b) + area(point, b, c) + area(point, c, a) <= area(a, b, c) * (1 + 1e-9) + 1e-7
        for a, b, c in triangles
    )


def drive(frames=120):
    return np.column_stack([np.linspace(-45.0, 45.0, frames), np.linspace(-4.0, 5.0, frames), np.full(frames, 1.7)])


def pooled(paths):
    """Each path of every receiver once, by its receiver and delay."""
    t, k = np.nonzero(paths.valid)
    return {(int(i), round(float(d) * SPEED_OF_LIGHT_MPS, 6)) for i, d in zip(t, paths.delay_s[t, k], strict=True)}


@pytest.mark.parametrize("limit", ["MOST_EXHAUSTIVE_FACETS", "MOST_EXHAUSTIVE_CHAINS"])
@pytest.mark.parametrize("order", [2, pytest.param(3, marks=pytest.mark.long)])
def test_launched_rays_find_nearly_all_paths_and_invent_none(world, order, limit, monkeypatch):
    bodies, bs = [world.box(row) for row in canyon()], np.array([2.0, -7.5, 6.0])
    every = pooled(Tracer(bodies, bs, CARRIER_HZ, order=order, max_paths=MANY).paths(drive()))
    monkeypatch.setattr(f"twin.propagation.images.{limit}", 5)
    launched = pooled(Tracer(bodies, bs, CARRIER_HZ, order=order, max_paths=MANY).paths(drive()))
    assert launched <= every
    assert len(launched) >= 0.99 * len(every)
    assert len(every) > 1000


def split(body, count=1):
    """The same surface of smaller triangles: each cut into four, so often."""
    vertex, face = body.vertex_m, body.face
    for _ in range(count):
        corners = vertex[face]
        middles = (corners + np.roll(corners, -1, axis=1)) / 2
        points = np.concatenate([corners, middles], axis=1).reshape(-1, 3)
        six = 6 * np.arange(len(face))[:, None]
        face = np.concatenate([six + triangle for triangle in ([0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5])])
        vertex = points
    return replace(body, vertex_m=vertex, face=face)


def with_t_junctions(body):
    """Each triangle halved by itself, so that the cuts end in the middle of the neighbours' edges."""
    corners = body.triangle_m
    middle = (corners[:, 1] + corners[:, 2]) / 2
    a, b, c = np.moveaxis(corners, 1, 0)
    pieces = np.concatenate([np.stack([a, b, middle], 1), np.stack([a, middle, c], 1)])
    return replace(body, vertex_m=pieces.reshape(-1, 3), face=np.arange(len(pieces) * 3).reshape(-1, 3))


def without_shared_corners(body):
    return replace(body, vertex_m=body.triangle_m.reshape(-1, 3), face=np.arange(len(body.face) * 3).reshape(-1, 3))


def shuffled_and_turned_over(body):
    """Triangles in another order, and half of them wound the other way."""
    order = np.random.default_rng(3).permutation(len(body.face))
    face = body.face[order]
    face[::2] = face[::2, ::-1]
    return replace(body, face=face)


@pytest.mark.parametrize("mesh", [split, with_t_junctions, without_shared_corners, shuffled_and_turned_over])
def test_however_a_house_is_meshed_it_reflects_and_hides_the_same(world, physics, mesh):
    bodies, bs = [world.box(row) for row in canyon()], np.array([2.0, -7.5, 6.0])
    one = Tracer(bodies, bs, CARRIER_HZ, order=2, max_paths=60).paths(drive(60))
    other = Tracer([bodies[0], *map(mesh, bodies[1:])], bs, CARRIER_HZ, order=2, max_paths=60).paths(drive(60))
    assert one.valid.sum() > 500
    physics.same_paths(one, other)


def test_a_terrace_of_houses_is_one_wall(world, physics):
    """Flush fronts: no path is lost at the seams, none doubled."""
    whole = [world.box((0.0, 20.0, 0.0, 60.0, 8.0, 12.0, 0.0))]
    terrace = [world.box((x, 20.0, 0.0, 10.0, 8.0, 12.0, 0.0)) for x in (-25.0, -15.0, -5.0, 5.0, 15.0, 25.0)]
    ue = np.random.default_rng(0).uniform([-50, -10, 1], [50, 15, 15], (400, 3))
    bs = np.array([-3.0, 2.0, 6.0])
    one, other = (Tracer(bodies, bs, CARRIER_HZ, order=1).paths(ue) for bodies in (whole, terrace))
    physics.same_paths(one, other)
    # The mirror point runs over a seam when the receiver does so at twice the height over the wall.
    seam = bs + [2 * (5.0 - bs[0]), 0.0, 0.0]
    for aside in (-1e-9, 0.0, 1e-9):
        assert Tracer(terrace, bs, CARRIER_HZ, order=1).paths((seam + [aside, 0, 0])[None]).valid.sum() >= 2


@pytest.mark.parametrize("warp_m", [1e-6, 1e-5, 4e-5])
def test_a_wall_whose_corners_are_rounded_reflects_like_a_flat_one(world, warp_m):
    """Coordinates of single precision bend a wall by so much, and hide none of it from grazing rays."""
    ue = np.column_stack([np.linspace(20, 200, 200), np.full(200, 1.0), np.full(200, 3.0)])
    for bent in (-warp_m, warp_m):
        wall = world.plate((5, 3, 0), (105, 3, 0), (105, 3, 20), (5, 3 + bent, 20))
        paths = Tracer([wall], np.array([0.0, 1.0, 2.0]), CARRIER_HZ).paths(ue)
        assert (paths.valid.sum(axis=1) == 2).all()
