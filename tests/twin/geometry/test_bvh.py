"""The hierarchy against every triangle by itself, and against rays that look for a gap between two."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.geometry.bvh import GRAZE_M, build_bvh, hides, joined, nearest


def soup(count, seed=0, spread=20.0, size=4.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-spread, spread, (count, 1, 3)) + rng.normal(0, size, (count, 3, 3))


def met(triangles, a, d):
    """Where each triangle is met along a + t d, by solving for the three unknowns; infinite where it is not."""
    system = np.stack([triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]], axis=-1)
    system = np.concatenate([system, np.broadcast_to(-d[:, None], (len(triangles), 3, 1))], axis=-1)
    u, v, t = np.linalg.solve(system, (a - triangles[:, 0])[..., None])[..., 0].T
    return np.where((u >= 0) & (v >= 0) & (u + v <= 1), t, np.inf)


def hidden(tree, a, b):
    return hides(tree.node, tree.triangle, 0, len(tree.node), *map(float, a), *map(float, b))


def first(tree, a, d, beyond=GRAZE_M):
    return nearest(tree.node, tree.triangle, 0, len(tree.node), *map(float, a), *map(float, d), beyond)


@pytest.mark.parametrize("count", [1, 3, 5, 40, 900])
def test_the_hierarchy_finds_what_trying_every_triangle_finds(count):
    triangles, rng = soup(count), np.random.default_rng(1)
    tree = build_bvh(triangles)
    seen = 0
    for _ in range(400):
        a, b = rng.uniform(-25, 25, (2, 3))
        length = np.linalg.norm(b - a)
        t = met(triangles, a, (b - a) / length)
        between = t[(t > GRAZE_M) & (t < length - GRAZE_M)]
        assert hidden(tree, a, b) == (len(between) > 0)
        ahead = np.where(t > GRAZE_M, t, np.inf)
        distance, which = first(tree, a, (b - a) / length)
        assert distance == pytest.approx(ahead.min(), rel=1e-9)
        assert which == (ahead.argmin() if np.isfinite(ahead.min()) else -1)
        seen += len(between) > 0
    assert seen > 0
    assert seen < 400


def test_a_tree_holds_every_triangle_once_in_boxes_that_hold_it():
    triangles = soup(333)
    tree = build_bvh(triangles)
    np.testing.assert_array_equal(np.sort(tree.triangle["number"]), np.arange(333))
    leaves = tree.node[tree.node["stop"] > tree.node["first"]]
    assert sum(leaves["stop"] - leaves["first"]) == 333
    for leaf in leaves:
        points = triangles[tree.triangle["number"][leaf["first"] : leaf["stop"]]].reshape(-1, 3)
        for axis, name in enumerate("xyz"):
            assert leaf[f"{name}0"] <= points[:, axis].min()
            assert leaf[f"{name}1"] >= points[:, axis].max()
    assert (tree.node["skip"] > np.arange(len(tree.node))).all()
    assert tree.node["skip"].max() == len(tree.node)


def sheet(cells, spin=0.0):
    """A square sheet of triangles whose corners are shared, turned about an axis of no special direction."""
    line = np.linspace(-3.0, 4.0, cells + 1)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    flat = np.concatenate([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)]).reshape(-1, 3, 2)
    triangles = np.concatenate([flat, np.zeros((*flat.shape[:2], 1))], axis=-1)
    axis = np.array([0.6, 0.64, 0.48])
    k = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(spin) * k + (1 - np.cos(spin)) * k @ k
    return triangles @ turn.T, turn


@given(st.integers(1, 9), st.floats(0, 3), st.floats(0.02, 0.98), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_nothing_leaks_through_the_seams_of_a_sheet(cells, spin, share, seed):
    """Rays aimed exactly at shared edges and corners."""
    triangles, turn = sheet(cells, spin)
    tree, rng = build_bvh(triangles), np.random.default_rng(seed)
    for _ in range(20):
        corners = triangles[rng.integers(len(triangles))]
        on_edge = corners[0] + rng.choice([0.0, share]) * (corners[2] - corners[0])
        inner = turn @ [0.5, 0.5, 0.0]
        on_edge = inner + 0.999 * (on_edge - inner) if cells == 1 else on_edge
        if np.abs(turn.T @ on_edge - [0.5, 0.5, 0.0]).max() > 3.49:
            continue  # the rim of the sheet
        side = rng.uniform([-5, -5, 0.1], [5, 5, 9])
        a, b = on_edge + turn @ side, on_edge - turn @ (side * rng.uniform(0.1, 3))
        assert hidden(tree, a, b)
        assert first(tree, a, (b - a) / np.linalg.norm(b - a))[0] == pytest.approx(np.linalg.norm(side), rel=1e-6)


def test_what_touches_an_end_does_not_hide_it():
    triangles, _ = sheet(4)
    tree = build_bvh(triangles)
    above, on, under = np.array([0.3, 0.2, 2.0]), np.array([0.3, 0.2, 0.0]), np.array([0.3, 0.2, -2.0])
    assert hidden(tree, above, under)
    assert not hidden(tree, above, on)
    assert not hidden(tree, on, under)
    assert not hidden(tree, on + [0, 0, 0.5 * GRAZE_M], under)
    assert hidden(tree, on + [0, 0, 2 * GRAZE_M], under)
    assert not hidden(tree, above, above)
    assert first(tree, on, [0.0, 0.0, 1.0]) == (np.inf, -1)


@pytest.mark.parametrize("axis", range(3))
def test_rays_along_the_axes_and_in_the_planes_of_boxes_are_no_special_case(axis):
    triangles, _ = sheet(6)
    tree = build_bvh(np.roll(triangles, axis, axis=-1))
    for x in (-3.0 + 1e-9, -2.5, 0.5, 4.0 - 1e-9):
        a, b = np.roll([x, 0.1, 3.0], axis), np.roll([x, 0.1, -3.0], axis)
        assert hidden(tree, a, b)
    for x in (-3.001, 4.001):
        a, b = np.roll([x, 0.1, 3.0], axis), np.roll([x, 0.1, -3.0], axis)
        assert not hidden(tree, a, b)
    assert not hidden(tree, np.roll([-9.0, 0.1, 1e-3], axis), np.roll([9.0, 0.1, 1e-3], axis))


def test_a_tree_of_a_forest_is_asked_by_itself():
    parts = [soup(30, 1), soup(1, 2), np.empty((0, 3, 3)), soup(60, 3)]
    forest, roots = joined([build_bvh(part) for part in parts])
    rng = np.random.default_rng(4)
    for _ in range(200):
        a, b = rng.uniform(-25, 25, (2, 3))
        d = (b - a) / np.linalg.norm(b - a)
        for number, part in enumerate(parts):
            tree = build_bvh(part)
            root, stop = roots[number], roots[number + 1]
            assert hides(forest.node, forest.triangle, root, stop, *a, *b) == hidden(tree, a, b)
            assert nearest(forest.node, forest.triangle, root, stop, *a, *d, GRAZE_M) == first(tree, a, d)


def test_an_empty_world_hides_nothing():
    tree = build_bvh(np.empty((0, 3, 3)))
    assert not hidden(tree, np.zeros(3), np.ones(3))
    assert first(tree, np.zeros(3), np.array([1.0, 0.0, 0.0])) == (np.inf, -1)


def test_triangles_in_one_place_still_make_a_tree():
    triangles = np.repeat(soup(1), 50, axis=0)
    tree = build_bvh(triangles)
    middle = triangles[0].mean(axis=0)
    normal = np.cross(triangles[0, 1] - triangles[0, 0], triangles[0, 2] - triangles[0, 0])
    normal /= np.linalg.norm(normal)
    assert hidden(tree, middle + normal, middle - normal)
