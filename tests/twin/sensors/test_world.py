"""Rays meet the nearest of what stands still and of the actors, and learn where, what and at which slope."""

import numpy as np
import pytest
import trimesh

from twin.geometry.scene import build_scene
from twin.scenario import load_scenario
from twin.sensors.actors import Actors
from twin.sensors.meshes import ActorMesh, actor_meshes
from twin.sensors.surfaces.table import NO_SURFACE, SURFACE_NAMES
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

SIZES = tuple(VEHICLE_CLASSES.values())
CAR, BUS, PEDESTRIAN = (list(VEHICLE_CLASSES).index(name) for name in ("car", "bus", "pedestrian"))
GROUND = 500.0 * np.array([[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0]]], float)
WALL_X_M = 30.0
WALL = np.array([[[30, -50, 0], [30, 50, 0], [30, 50, 10]], [[30, -50, 0], [30, 50, 10], [30, -50, 10]]], float)


def surface(name):
    return SURFACE_NAMES.index(name)


def plain_world():
    """A ground, a brick wall that faces the origin, and actors that are boxes."""
    meshes = []
    for length, width, height in SIZES:
        box = trimesh.creation.box((length, width, height))
        box.apply_translation((0, 0, height / 2))
        meshes.append(ActorMesh(np.array(box.triangles), np.full(12, surface("paint"), np.uint8)))
    kinds = np.repeat([surface("asphalt"), surface("brick")], 2).astype(np.uint8)
    return World(np.concatenate([GROUND, WALL]), kinds, np.repeat([0, 1], 2), tuple(meshes))


def actors(*rows):
    """Actors on the ground from (class, x, y, heading); None is an empty row."""
    kind = np.array([-1 if row is None else row[0] for row in rows])
    box = np.full((len(rows), 7), np.nan)
    for k, row in enumerate(rows):
        if row is not None:
            size = SIZES[row[0]]
            box[k] = [row[1], row[2], size[2] / 2, *size, row[3]]
    return Actors(np.where(kind < 0, -1, np.arange(len(rows))), kind, box, np.zeros((len(rows), 3)))


def unit(*direction):
    return np.array([direction]) / np.linalg.norm(direction)


def test_a_ray_down_to_the_ground_is_as_long_as_its_slope_says():
    hits = plain_world().cast(np.array([0.0, 0.0, 2.0]), unit(3, 1, -1), Actors.none())
    assert hits.distance_m[0] == pytest.approx(2.0 * np.sqrt(11.0), rel=1e-12)
    assert (hits.actor[0], hits.surface[0]) == (-1, surface("asphalt"))
    np.testing.assert_allclose(hits.normal[0], [0, 0, 1], atol=1e-12)


def test_normals_face_the_origin_of_the_ray_on_both_sides_of_a_wall():
    world = plain_world()
    for x, way in ((0.0, 1.0), (60.0, -1.0)):
        hits = world.cast(np.array([x, 3.0, 2.0]), unit(way, 0, 0), Actors.none())
        assert hits.distance_m[0] == pytest.approx(30.0, rel=1e-12)
        assert hits.surface[0] == surface("brick")
        np.testing.assert_allclose(hits.normal[0], [-way, 0, 0], atol=1e-12)


def test_a_ray_into_the_sky_meets_nothing():
    hits = plain_world().cast(np.array([0.0, 0.0, 2.0]), unit(-1, 0, 1), actors((CAR, 10, 0, 0)))
    assert hits.distance_m[0] == np.inf
    assert (hits.actor[0], hits.triangle[0], hits.surface[0]) == (-1, -1, NO_SURFACE)
    np.testing.assert_array_equal(hits.normal[0], 0)


def test_an_actor_is_met_where_its_turned_box_is(box_range):
    rng = np.random.default_rng(0)
    there = actors((BUS, 12.0, -5.0, 0.7), None, (CAR, 15.0, 6.0, -2.5), (PEDESTRIAN, 6.0, 0.5, 1.0))
    origin = np.array([0.0, 0.0, 1.9])
    direction = np.stack([np.ones(20_000), rng.uniform(-1, 1, 20_000), rng.uniform(-0.15, 0.15, 20_000)], axis=1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    hits = plain_world().cast_actors(origin, direction, there)
    expected = np.full((4, len(direction)), np.inf)
    for k in (0, 2, 3):
        expected[k] = box_range(origin, direction, there.box[k])
    nearest = expected.min(axis=0)
    met = np.isfinite(nearest)
    assert 0.1 < met.mean() < 0.9
    np.testing.assert_allclose(hits.distance_m, nearest, atol=1e-9)
    np.testing.assert_array_equal(hits.actor[met], expected[:, met].argmin(axis=0))
    np.testing.assert_array_equal(hits.actor[~met], -1)
    assert (hits.surface[met] == surface("paint")).all()
    side = np.array([np.cos(there.box[0, 6]), np.sin(there.box[0, 6]), 0.0])
    cosine = np.abs(hits.normal[hits.actor == 0] @ side)
    assert np.minimum(np.abs(cosine), np.abs(cosine - 1)).max() < 1e-9
    assert ((hits.normal * direction).sum(axis=1)[met] < 0).all()


def test_the_nearer_of_actor_and_wall_is_met():
    world, origin = plain_world(), np.array([0.0, 0.0, 1.0])
    before, behind = actors((CAR, 20.0, 0.0, 0.0)), actors((CAR, 40.0, 0.0, 0.0))
    hits = world.cast(origin, unit(1, 0, 0), before)
    assert hits.distance_m[0] == pytest.approx(20.0 - 2.3)
    assert hits.actor[0] == 0
    hits = world.cast(origin, unit(1, 0, 0), behind)
    assert hits.distance_m[0] == pytest.approx(WALL_X_M)
    assert hits.actor[0] == -1
    assert world.cast_actors(origin, unit(1, 0, 0), behind).distance_m[0] == pytest.approx(40.0 - 2.3)
    assert world.cast_static(origin, unit(1, 0, 0)).distance_m[0] == pytest.approx(WALL_X_M)


def test_what_is_out_of_reach_is_not_met():
    world, origin = plain_world(), np.array([0.0, 0.0, 1.0])
    assert world.cast(origin, unit(1, 0, 0), Actors.none(), 29.9).distance_m[0] == np.inf
    assert world.cast(origin, unit(1, 0, 0), Actors.none(), 30.1).distance_m[0] == pytest.approx(WALL_X_M)


def placed(mesh, box):
    """The triangles of an actor's mesh where its box stands."""
    c, s = np.cos(box[6]), np.sin(box[6])
    turned = mesh.triangle_m @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return turned + [box[0], box[1], box[2] - box[5] / 2]


@pytest.mark.parametrize("name", ["deepsense32", "street_canyon"])
def test_an_independent_caster_meets_the_same(embree, name):
    """Within 1 mm on 99.9 % of the rays, and of these the same surface."""
    template = load_scenario(name)
    scenario, _ = template.draw(0, 0)
    scene = build_scene(scenario, template.folder)
    world, meshes = World.of(scene), actor_meshes()
    rows = [(kind, *scenario.local_m(6.0 * kind - 15.0, 2.0), 0.4 * kind) for kind in range(len(SIZES))]
    there = actors(*rows)
    triangles = [body.triangle_m for body in scene.bodies]
    triangles += [placed(meshes[kind], box) for kind, box in zip(there.kind, there.box, strict=True)]
    corner = np.concatenate(triangles).reshape(-1, 3)
    mesh = trimesh.Trimesh(corner, np.arange(len(corner)).reshape(-1, 3), process=False)
    origin = np.array([0.0, 0.0, scenario.site.bs_height_m])
    rng = np.random.default_rng(1)
    direction = rng.normal(0, [1, 1, 0.15], (20_000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    face, ray, place = embree(mesh).intersects_id(
        np.broadcast_to(origin, direction.shape), direction, multiple_hits=False, return_locations=True
    )
    expected, which = np.full(len(direction), np.inf), np.full(len(direction), -1)
    expected[ray], which[ray] = np.linalg.norm(place - origin, axis=1), face
    hits = world.cast(origin, direction, there)
    with np.errstate(invalid="ignore"):
        agree = (np.abs(hits.distance_m - expected) < 1e-3) | (np.isinf(expected) & np.isinf(hits.distance_m))
    assert agree.mean() >= 0.999
    owner = np.repeat(np.arange(len(triangles)) - len(scene.bodies), [len(part) for part in triangles])
    met = agree & np.isfinite(expected)
    assert (hits.actor >= 0).sum() > 200
    assert (hits.actor[met] == np.maximum(owner[which[met]], -1)).mean() >= 0.999
    kinds = np.concatenate([world.surface[: len(world.body)], *(meshes[kind].surface for kind in there.kind)])
    assert (hits.surface[met] == kinds[which[met]]).mean() >= 0.999
