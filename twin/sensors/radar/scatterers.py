"""Where road users scatter a radar's wave: fixed points on their bodies, as far as the radar sees them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from twin.compiled import kernel
from twin.geometry.bvh import build_bvh, hides
from twin.sensors.actors import Actors
from twin.sensors.meshes import ActorMesh
from twin.sensors.radar.rcs import class_rcs_m2
from twin.sensors.radar.signal import Scatterers
from twin.sensors.world import World, actor_hides, passes_sphere
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["Reflectors", "actor_scatterers", "class_reflectors", "reflectors_of"]

PER_M2, FEWEST, MOST = 2.0, 24, 256
"""Points on a body per square metre of its box, and limits."""
_CANDIDATES = 16
"""Points tried for each that is kept."""
_RING_M = 30.0
_VIEWS = [(azimuth, elevation) for elevation in (3.0, 20.0) for azimuth in range(0, 360, 20)]
"""Azimuths and elevations [deg] from which a point has to be seen from `_RING_M` to count as outside."""


@dataclass(frozen=True)
class Reflectors:
    """Points on the outside of a class's body, in the mesh's frame; each stands for an equal share of its area."""

    point_m: Float[np.ndarray, "point 3"]
    normal: Float[np.ndarray, "point 3"]


def reflectors_of(mesh: ActorMesh, count: int) -> Reflectors:
    """`count` points spread evenly by area over what can be seen of a mesh; always the same."""
    corner = mesh.triangle_m[:, 0]
    along, across = mesh.triangle_m[:, 1] - corner, mesh.triangle_m[:, 2] - corner
    normal = np.cross(along, across)
    area = np.linalg.norm(normal, axis=1)
    normal = normal / np.maximum(area, np.finfo(float).tiny)[:, None]
    rng = np.random.default_rng(count)
    tried = _CANDIDATES * count
    share = (np.arange(tried) + rng.random(tried)) / tried
    which = np.minimum(np.searchsorted(np.cumsum(area), share * area.sum()), len(area) - 1)
    u, v = rng.random((2, tried, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    point_m = corner[which] + u * along[which] + v * across[which]
    outside = np.flatnonzero(_seen_from_around(mesh, point_m, normal[which]))
    kept = outside[np.linspace(0, len(outside) - 1, count).round().astype(int)]
    return Reflectors(point_m[kept], normal[which[kept]])


def _seen_from_around(mesh: ActorMesh, point_m: np.ndarray, normal: np.ndarray) -> Bool[np.ndarray, "point"]:
    tree, seen = build_bvh(mesh.triangle_m), np.zeros(len(point_m), bool)
    for azimuth, elevation in np.radians(_VIEWS):
        level = np.cos(elevation)
        eye_m = _RING_M * np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])
        rest = np.flatnonzero(~seen & (((eye_m - point_m) * normal).sum(axis=1) > 0))
        seen[rest] = ~_hidden_by_itself(tree.node, tree.triangle, eye_m, point_m[rest])
    return seen


@kernel
def _hidden_by_itself(nodes, triangles, eye, point):  # type: ignore[no-untyped-def]
    found = np.empty(point.shape[0], np.bool_)
    for k in range(point.shape[0]):
        x, y, z = point[k, 0], point[k, 1], point[k, 2]
        found[k] = hides(nodes, triangles, 0, nodes.shape[0], eye[0], eye[1], eye[2], x, y, z)
    return found


def class_reflectors(meshes: tuple[ActorMesh, ...]) -> tuple[Reflectors, ...]:
    """Of each of `VEHICLE_CLASSES`, on its mesh."""
    found = []
    for mesh, (length, width, height) in zip(meshes, VEHICLE_CLASSES.values(), strict=True):
        box_m2 = 2 * (length * width + width * height + height * length)
        found.append(reflectors_of(mesh, int(np.clip(round(PER_M2 * box_m2), FEWEST, MOST))))
    return tuple(found)


def actor_scatterers(
    world: World,
    reflectors: tuple[Reflectors, ...],
    radar_m: Float[np.ndarray, "3"],
    actors: Actors,
    farthest_m: float = np.inf,
) -> Scatterers:
    """The points of the actors that a radar sees, with radar cross sections.

    Those that face it and that the actor's own body does not hide share the cross section that its class has in that
    aspect, in proportion to cos^2 of the incidence: in sum it is just that, as seen in free space. Points behind other
    actors and behind what stands still are then left out. Echoes of one actor interfere by their phases: that is its
    fluctuation. Actors that are wholly further than `farthest_m` are left out.
    """
    there = np.flatnonzero(actors.kind >= 0)
    nearest_m = np.linalg.norm(actors.box[there, :3] - radar_m, axis=1) - actors.box[there, 3:6].sum(axis=1) / 2
    there = there[nearest_m < farthest_m]
    parts = [_points_of(reflectors[actors.kind[a]], actors.box[a], radar_m) for a in there]
    owner = np.repeat(there, [len(point) for point, _ in parts])
    if not len(owner):
        return Scatterers(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
    point_m, cosine = (np.concatenate(column) for column in zip(*parts, strict=True))
    state = np.empty(len(owner), np.int64)
    _look(world.node, world.triangle, world.still, world.records(actors), radar_m, point_m, owner, state)
    weight = np.where(state != _SELF_HIDDEN, cosine**2, 0.0)
    total = np.bincount(owner, weight, len(actors.kind))
    rcs_m2 = np.zeros(len(actors.kind))
    for a in there:
        rcs_m2[a] = class_rcs_m2(int(actors.kind[a]), _towards(actors.box[a], radar_m))
    share = weight * (rcs_m2 / np.maximum(total, np.finfo(float).tiny))[owner]
    seen = (state == _SEEN) & (share > 0)
    return Scatterers(point_m[seen], actors.velocity_mps[owner[seen]], share[seen])


_SELF_HIDDEN, _HIDDEN, _SEEN = 0, 1, 2


def _points_of(reflectors: Reflectors, box: np.ndarray, radar_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of an actor that face the radar, in the local frame, and the cosines of the incidence there."""
    x, y, z, height, heading = box[0], box[1], box[2], box[5], box[6]
    c, s = np.cos(heading), np.sin(heading)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    foot_m = np.array([x, y, z - height / 2])
    way_m = turn @ (radar_m - foot_m) - reflectors.point_m
    cosine = (way_m * reflectors.normal).sum(axis=1) / np.linalg.norm(way_m, axis=1)
    facing = cosine > 0
    return reflectors.point_m[facing] @ turn + foot_m, cosine[facing]


def _towards(box: np.ndarray, radar_m: np.ndarray) -> np.ndarray:
    """The direction of the radar from the middle of an actor, in the actor's frame."""
    x, y, z = radar_m - box[:3]
    c, s = np.cos(box[6]), np.sin(box[6])
    way = np.array([c * x + s * y, c * y - s * x, z])
    return np.asarray(way / np.linalg.norm(way))


@kernel
def _look(nodes, triangles, still, actors, eye, point, owner, state):  # type: ignore[no-untyped-def]
    """Whether each point is hidden by its own actor, by something else, or seen."""
    ax, ay, az = eye[0], eye[1], eye[2]
    for k in range(point.shape[0]):
        bx, by, bz = point[k, 0], point[k, 1], point[k, 2]
        state[k] = _SEEN
        if actor_hides(nodes, triangles, actors[owner[k]], ax, ay, az, bx, by, bz):
            state[k] = _SELF_HIDDEN
            continue
        dx, dy, dz = bx - ax, by - ay, bz - az
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        for a in range(actors.shape[0]):
            if a == owner[k] or not passes_sphere(actors[a], ax, ay, az, dx / length, dy / length, dz / length):
                continue
            if actor_hides(nodes, triangles, actors[a], ax, ay, az, bx, by, bz):
                state[k] = _HIDDEN
                break
        if state[k] == _SEEN and hides(nodes, triangles, 0, still, ax, ay, az, bx, by, bz):
            state[k] = _HIDDEN
