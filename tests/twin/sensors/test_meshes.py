"""The bodies of the actors: closed, the right size, and recognisable from outside."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from twin.errors import UserError
from twin.sensors import meshes
from twin.sensors.meshes import ActorMesh, actor_meshes, load_actor_mesh
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.traffic.vehicles import MOTOR_CLASSES, VEHICLE_CLASSES

ASSETS = Path(__file__).parents[3] / "assets"
BODIES = dict(zip(VEHICLE_CLASSES, actor_meshes(), strict=True))
SIDES = {"left": (0, -1, 0), "right": (0, 1, 0), "front": (-1, 0, 0), "back": (1, 0, 0)}
"""Which way one looks who stands there."""
every_class = pytest.mark.parametrize("name", VEHICLE_CLASSES)


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ASSETS)
        yield importlib.import_module("make_meshes")


def normals(triangle_m):
    across = np.cross(triangle_m[:, 1] - triangle_m[:, 0], triangle_m[:, 2] - triangle_m[:, 0])
    return across / np.linalg.norm(across, axis=1, keepdims=True)


def first_hits(triangle_m, origin_m, direction):
    """Distance and triangle that each ray meets first (inf, -1 for none), from planes and half-planes alone."""
    a, normal = triangle_m[:, 0], normals(triangle_m)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.einsum("rtk,tk->rt", a - origin_m[:, None], normal) / (direction @ normal.T)
        point = origin_m[:, None] + distance[..., None] * direction[:, None]
        inside = np.isfinite(distance) & (distance > 0)
        for k in range(3):
            start, edge = triangle_m[:, k], triangle_m[:, (k + 1) % 3] - triangle_m[:, k]
            inside &= np.einsum("rtk,tk->rt", point - start, np.cross(normal, edge)) >= -1e-9
    distance = np.where(inside, distance, np.inf)
    which = distance.argmin(axis=1)
    return distance.min(axis=1), np.where(np.isfinite(distance.min(axis=1)), which, -1)


def pieces(triangle_m):
    """Triangles that hang together by edges, and whether each such piece is closed."""
    corner = np.unique(np.round(triangle_m.reshape(-1, 3), 7), axis=0, return_inverse=True)[1].reshape(-1, 3)
    edge = np.stack([corner, np.roll(corner, -1, axis=1)], axis=-1).reshape(-1, 2)
    code = edge.min(axis=1) * (corner.max() + 1) + edge.max(axis=1)
    owner, same = np.arange(len(edge)) // 3, np.unique(code, return_inverse=True)[1]
    shares = coo_array((np.ones(len(edge)), (owner, same))).tocsr()
    count, piece = connected_components(shares @ shares.T, directed=False)
    turns = np.bincount(same, np.where(edge[:, 0] < edge[:, 1], 1, -1))[same]
    paired = (np.bincount(same)[same] == 2) & (turns == 0)
    return piece, np.array([paired[piece[owner] == k].all() for k in range(count)])


def solids_of(body):
    piece, closed = pieces(body.triangle_m)
    return closed[piece]


def windings(point_m, triangle_m):
    """How often a closed surface goes around points: solid angles over 4 pi (van Oosterom and Strackee, 1983)."""
    a, b, c = np.moveaxis(triangle_m - point_m[:, None, None], 2, 0)
    na, nb, nc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    volume = np.einsum("ptk,ptk->pt", a, np.cross(b, c))
    rest = na * nb * nc + np.sum(a * b, -1) * nc + np.sum(b * c, -1) * na + np.sum(c * a, -1) * nb
    return np.arctan2(volume, rest).sum(axis=1) / (2 * np.pi)


def rays_from_around(name, count=1500, seed=3):
    """Rays from a sphere around the box at random points in it."""
    rng = np.random.default_rng(seed)
    size = np.array(VEHICLE_CLASSES[name])
    target = (rng.random((count, 3)) - (0.5, 0.5, 0.0)) * size
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return target - 20.0 * direction, direction


def seen_from(name, side, step_m=0.02):
    """Names of the surfaces that parallel rays from a side meet."""
    body, (length, width, height) = BODIES[name], VEHICLE_CLASSES[name]
    look = np.array(SIDES[side], float)
    across = np.arange(-0.5, 0.5, step_m) * (width if look[0] else length)
    over, up = (grid.ravel() for grid in np.meshgrid(across, np.arange(0.5 * step_m, 1, step_m) * height))
    origin = np.outer(over, np.abs(look[[1, 0, 2]])) + np.outer(up, (0, 0, 1)) - 20 * look
    _, which = first_hits(body.triangle_m, origin, np.tile(look, (len(origin), 1)))
    return {SURFACE_NAMES[k] for k in np.unique(body.surface[which[which >= 0]])}


@every_class
def test_a_body_fills_its_box_to_the_last_digit(name):
    length, width, height = VEHICLE_CLASSES[name]
    corner = BODIES[name].triangle_m.reshape(-1, 3)
    assert corner.min(axis=0).tolist() == [-length / 2, -width / 2, 0.0]
    assert corner.max(axis=0).tolist() == [length / 2, width / 2, height]


@every_class
def test_a_body_has_few_triangles_and_none_without_area(name):
    triangle_m = BODIES[name].triangle_m
    assert 150 <= len(triangle_m) <= (350 if name in MOTOR_CLASSES else 600)
    area = np.linalg.norm(np.cross(triangle_m[:, 1] - triangle_m[:, 0], triangle_m[:, 2] - triangle_m[:, 0]), axis=1)
    assert area.min() > 1e-4


@every_class
def test_every_piece_is_a_solid_wound_outwards_or_lies_on_one(name):
    triangle_m = BODIES[name].triangle_m
    piece, closed = pieces(triangle_m)
    volume = np.einsum("tk,tk->t", triangle_m[:, 0], np.cross(triangle_m[:, 1], triangle_m[:, 2])) / 6
    assert (np.bincount(piece, volume)[closed] > 0).all()
    solid = closed[piece]
    middle, normal = triangle_m[~solid].mean(axis=1), normals(triangle_m[~solid])
    behind, before = (
        sum(windings(middle + shift * normal, triangle_m[piece == k]) for k in np.flatnonzero(closed))
        for shift in (-0.03, 0.001)
    )
    # One solid ends between the two points, whatever others (wheels before their arches) are around both.
    np.testing.assert_allclose(behind - before, 1.0, atol=1e-6)


@every_class
def test_one_who_looks_at_a_body_sees_its_outside(name):
    body = BODIES[name]
    origin, direction = rays_from_around(name)
    solid = solids_of(body)
    for triangle_m, share in ((body.triangle_m[solid], 1.0), (body.triangle_m, 0.99)):
        _, which = first_hits(triangle_m, origin, direction)
        met = which >= 0
        assert met.mean() > 0.1
        facing = np.einsum("rk,rk->r", normals(triangle_m)[which[met]], direction[met]) < 0
        assert facing.mean() >= share


INSIDE = {
    "car": [(x, y, z) for x in (-1.9, -1.0, 0.0, 1.0, 1.9) for y in (-0.55, 0.0, 0.55) for z in (0.4, 0.75)],
    "van": [(x, y, 1.15) for x in (-2.5, -1.2, 0.0, 1.2, 2.0) for y in (-0.8, 0.0, 0.8)],
    "bus": [(x, y, 1.55) for x in (-5.8, -3.0, 0.0, 3.0, 5.6) for y in (-1.1, 0.0, 1.1)],
    "truck": [(x, y, 1.80) for x in (-4.3, -2.0, 0.0, 2.1, 2.6, 4.0) for y in (-1.0, 0.0, 1.0)],
    "cyclist": [(-0.23, 0.0, 1.05), (-0.05, 0.0, 1.25), (0.26, 0.0, 1.65)],
    "pedestrian": [(0.0, 0.0, 0.875), (0.0, 0.0, 1.2), (0.0, 0.0, 1.65)],
}
"""Points well inside the bodies [m], those of vehicles at half their height, and of a car lower too."""


@every_class
def test_no_ray_from_any_side_reaches_the_inside_of_a_body(name):
    azimuth = np.deg2rad(np.arange(0.5, 360.0, 2.0))
    direction = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros_like(azimuth)], axis=1)
    for point in INSIDE[name]:
        distance, _ = first_hits(BODIES[name].triangle_m, point - 20.0 * direction, direction)
        assert distance.max() < 20.0 - 0.02, point


@pytest.mark.parametrize("name", [*MOTOR_CLASSES, "cyclist"])
def test_headlights_shine_ahead_and_taillights_behind(name):
    body = BODIES[name]
    for lamp, sign in (("headlight", 1), ("taillight", -1)):
        own = body.triangle_m[body.surface == SURFACE_NAMES.index(lamp)]
        assert len(own) > 0
        limit = 0.35 if name in MOTOR_CLASSES else 0.1
        assert (sign * own[..., 0]).min() > limit * VEHICLE_CLASSES[name][0]
    lamps = {"headlight", "taillight"}
    assert "headlight" in seen_from(name, "front")
    assert "taillight" in seen_from(name, "back")
    if name in MOTOR_CLASSES:
        assert seen_from(name, "front") & lamps == {"headlight"}
        assert seen_from(name, "back") & lamps == {"taillight"}


@pytest.mark.parametrize("name", MOTOR_CLASSES)
def test_vehicles_are_the_same_on_both_sides(name):
    body = BODIES[name]
    origin, direction = rays_from_around(name)
    # The doors of a bus are on one side, but its solids are on both.
    kept = solids_of(body) if name == "bus" else np.ones(len(body.surface), bool)
    triangle_m, surface = body.triangle_m[kept], body.surface[kept]
    here, which = first_hits(triangle_m, origin, direction)
    there, other = first_hits(triangle_m, origin * (1, -1, 1), direction * (1, -1, 1))
    assert np.isfinite(here).sum() > 500
    np.testing.assert_allclose(here, there, atol=1e-6)
    assert (surface[which] == surface[other])[which >= 0].all()


def test_a_bus_has_its_doors_on_the_right():
    body = BODIES["bus"]
    glass = body.triangle_m[body.surface == SURFACE_NAMES.index("glass")]
    low = glass[glass[..., 2].min(axis=1) < 0.6]
    assert len(low) == 8
    assert (low[..., 1] < -1.2).all()


@every_class
def test_each_class_wears_what_it_should(name):
    seen = set().union(*(seen_from(name, side) for side in SIDES))
    worn = {"hair", "skin", "cloth", "trousers", "trim"}
    driven = {"paint", "tyre", "metal", "trim", "headlight", "taillight"}
    expected = {"pedestrian": worn, "cyclist": worn | driven}.get(name, driven | {"glass"})
    assert seen == expected


@pytest.mark.parametrize(("name", "wheels"), [("car", 4), ("van", 4), ("bus", 4), ("truck", 4), ("cyclist", 2)])
def test_wheels_stand_on_the_ground(name, wheels):
    body = BODIES[name]
    tyre = body.triangle_m[body.surface == SURFACE_NAMES.index("tyre")]
    piece, closed = pieces(tyre)
    assert closed.tolist() == [True] * wheels
    lowest = [tyre[piece == k][..., 2].min() for k in range(wheels)]
    np.testing.assert_allclose(lowest, 0.0, atol=1e-9)


def test_the_script_makes_the_files_that_come_with_the_project(script):
    assert list(script.MAKERS) == list(VEHICLE_CLASSES)
    for name in script.MAKERS:
        assert script.glb_bytes(name) == (ASSETS / "meshes" / f"{name}.glb").read_bytes(), name
    assert sum(path.stat().st_size for path in (ASSETS / "meshes").iterdir()) < 500_000


@every_class
def test_a_viewer_of_glb_files_shows_an_upright_coloured_body(name):
    scene = trimesh.load_scene(ASSETS / "meshes" / f"{name}.glb")
    length, width, height = VEHICLE_CLASSES[name]
    np.testing.assert_allclose(scene.bounds, [(-length / 2, 0, -width / 2), (length / 2, height, width / 2)], atol=1e-6)
    for surface, shape in scene.geometry.items():
        assert surface in SURFACE_NAMES
        assert shape.visual.material.name == surface
    colours = {tuple(shape.visual.material.baseColorFactor) for shape in scene.geometry.values()}
    assert len(colours) > 4


def car_file(tmp_path, edit):
    data = (ASSETS / "meshes" / "car.glb").read_bytes()
    path = tmp_path / "car.glb"
    path.write_bytes(edit(data))
    return path


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda data: data[:5000], "cannot be read as a mesh"),
        (lambda data: b"", "cannot be read as a mesh"),
        (lambda data: b"no mesh at all", "cannot be read as a mesh"),
        (lambda data: data.replace(b'"tyre"', b'"tire"'), "unknown surface 'tire'"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, edit, reason):
    path = car_file(tmp_path, edit)
    with pytest.raises(UserError, match=reason) as error:
        load_actor_mesh(path, VEHICLE_CLASSES["car"])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_body_of_another_size_is_refused(tmp_path):
    path = car_file(tmp_path, lambda data: data)
    with pytest.raises(UserError, match=r"does not fill its box of 4\.6 x 1\.8 x 1\.6 m"):
        load_actor_mesh(path, (4.6, 1.8, 1.6))


def test_an_installed_copy_reads_its_own_files(tmp_path, monkeypatch):
    monkeypatch.setattr(meshes, "files", lambda package: tmp_path)
    (tmp_path / "meshes").mkdir()
    actor_meshes.cache_clear()
    try:
        with pytest.raises(UserError, match=r"meshes/car\.glb: no such file"):
            actor_meshes()
        for path in (ASSETS / "meshes").iterdir():
            (tmp_path / "meshes" / path.name).write_bytes(path.read_bytes())
        loaded = actor_meshes()
    finally:
        actor_meshes.cache_clear()
    assert all(isinstance(body, ActorMesh) for body in loaded)
    assert loaded[0].triangle_m.tolist() == BODIES["car"].triangle_m.tolist()
