"""The world that the sensors see: what stands still, and a mesh for each class of actor.

A ray meets the tree of what stands still, and the mesh of every actor whose sphere it passes, in that actor's frame.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from twin.compiled import kernel, leaf
from twin.geometry.bvh import build_bvh, hides, joined, nearest
from twin.geometry.scene import Scene
from twin.sensors.actors import Actors
from twin.sensors.meshes import ActorMesh, actor_meshes
from twin.sensors.surfaces.table import NO_SURFACE, surface_of_material

__all__ = ["ACTOR", "Hits", "World", "actor_hides", "meet_actor", "meet_static", "passes_sphere"]

ACTOR = np.dtype(
    [(name, np.float64) for name in ("x", "y", "z", "cosine", "sine", "cx", "cy", "cz", "radius")]
    + [(name, np.int64) for name in ("root", "stop", "first", "_")]
)
"""An actor of an instant: its pose (origin on the ground under it) and a sphere around it [m], the nodes of its mesh,
and its first triangle. An absent one has radius -1."""


@dataclass(frozen=True)
class Hits:
    """What rays meet first.

    Attributes:
        distance_m: inf where they meet nothing.
        actor: row in `Actors`; -1 for what stands still, and for nothing.
        triangle: number in the world, -1 for nothing.
        normal: of the surface, towards the origin of the ray; zero for nothing.
        surface: index into `SURFACE_NAMES`, `NO_SURFACE` for nothing.
    """

    distance_m: Float[np.ndarray, "ray"]
    actor: Int[np.ndarray, "ray"]
    triangle: Int[np.ndarray, "ray"]
    normal: Float[np.ndarray, "ray 3"]
    surface: UInt8[np.ndarray, "ray"]


@leaf
def passes_sphere(actor, ax, ay, az, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Whether the ray from a along the unit vector d passes the sphere around the actor."""
    px, py, pz = actor.cx - ax, actor.cy - ay, actor.cz - az
    along = px * dx + py * dy + pz * dz
    square = px * px + py * py + pz * pz
    reach = actor.radius * actor.radius
    if actor.radius < 0.0 or (along < 0.0 and square > reach):
        return False
    return square - along * along <= reach


@leaf
def meet_actor(nodes, triangles, actor, ax, ay, az, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Distance to the actor along the unit vector d, and the number of the triangle; (inf, -1) past it."""
    if not passes_sphere(actor, ax, ay, az, dx, dy, dz):
        return np.inf, -1
    px, py = ax - actor.x, ay - actor.y
    c, s = actor.cosine, actor.sine
    t, which = nearest(
        nodes, triangles, actor.root, actor.stop,
        px * c + py * s, py * c - px * s, az - actor.z, dx * c + dy * s, dy * c - dx * s, dz, 0.0,
    )  # fmt: skip
    return (t, actor.first + which) if which >= 0 else (np.inf, -1)


@leaf
def meet_static(nodes, triangles, stop, ax, ay, az, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Distance to what stands still along the unit vector d, and the number of the triangle; (inf, -1) for nothing."""
    return nearest(nodes, triangles, 0, stop, ax, ay, az, dx, dy, dz, 0.0)


@leaf
def actor_hides(nodes, triangles, actor, ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]
    """Whether the actor lies between a and b."""
    c, s = actor.cosine, actor.sine
    ax, ay, bx, by = ax - actor.x, ay - actor.y, bx - actor.x, by - actor.y
    return hides(
        nodes, triangles, actor.root, actor.stop,
        ax * c + ay * s, ay * c - ax * s, az - actor.z, bx * c + by * s, by * c - bx * s, bz - actor.z,
    )  # fmt: skip


@kernel
def _cast(nodes, triangles, still, actors, origin, direction, distance, which, actor):  # type: ignore[no-untyped-def]
    """Fill the nearest of what stands still (its nodes up to `still`) and of the actors, where it is nearer."""
    ax, ay, az = origin[0], origin[1], origin[2]
    for k in range(direction.shape[0]):
        dx, dy, dz = direction[k, 0], direction[k, 1], direction[k, 2]
        t, number = meet_static(nodes, triangles, still, ax, ay, az, dx, dy, dz)
        if t < distance[k]:
            distance[k], which[k], actor[k] = t, number, -1
        for a in range(actors.shape[0]):
            t, number = meet_actor(nodes, triangles, actors[a], ax, ay, az, dx, dy, dz)
            if t < distance[k]:
                distance[k], which[k], actor[k] = t, number, a


class World:
    """Triangles of what stands still first, then of the meshes of the classes, in one forest.

    Attributes:
        node, triangle: of the forest, as `Bvh`; the nodes before `still` are of what stands still.
        normal: of each triangle by its number, in the local frame or the mesh's; any side.
        surface: of each triangle, index into `SURFACE_NAMES`.
        body: of each triangle of what stands still, index into the bodies of the scene.
    """

    def __init__(
        self,
        triangle_m: Float[np.ndarray, "still 3 3"],
        surface: UInt8[np.ndarray, "still"],
        body: Int[np.ndarray, "still"],
        meshes: tuple[ActorMesh, ...],
    ) -> None:
        forest, starts = joined([build_bvh(triangle_m), *(build_bvh(mesh.triangle_m) for mesh in meshes)])
        self.node, self.triangle, self.still = forest.node, forest.triangle, int(starts[1])
        self._root, self._stop = starts[1:-1], starts[2:]
        self._first = np.cumsum([len(triangle_m), *(len(mesh.triangle_m) for mesh in meshes)])[:-1]
        corners = np.concatenate([triangle_m, *(mesh.triangle_m for mesh in meshes)])
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(across, axis=1, keepdims=True)
        self.normal = np.divide(across, length, out=np.zeros_like(across), where=length > 0)
        self.surface = np.concatenate([surface, *(mesh.surface for mesh in meshes)]).astype(np.uint8)
        self.body, self.meshes, self.still_triangle_m = body, meshes, triangle_m

    @classmethod
    def of(cls, scene: Scene) -> "World":
        """The world of a scene."""
        parts = [np.empty((0, 3, 3)), *(body.triangle_m for body in scene.bodies)]
        counts = [len(part) for part in parts[1:]]
        kinds = np.array([surface_of_material(body.material.name) for body in scene.bodies], np.uint8)
        return cls(
            np.concatenate(parts), np.repeat(kinds, counts), np.repeat(np.arange(len(counts)), counts), actor_meshes()
        )

    def records(self, actors: Actors) -> np.ndarray:
        """The actors as the kernels read them: an array of `ACTOR`."""
        found = np.zeros(len(actors.kind), ACTOR)
        there = actors.kind >= 0
        kind = np.where(there, actors.kind, 0)
        x, y, z, length, width, height, heading = np.nan_to_num(actors.box).T
        found["x"], found["y"], found["z"] = x, y, z - height / 2
        found["cosine"], found["sine"] = np.cos(heading), np.sin(heading)
        found["cx"], found["cy"], found["cz"] = x, y, z
        found["radius"] = np.where(there, 0.5 * np.sqrt(length**2 + width**2 + height**2) + 1e-3, -1.0)
        found["root"], found["stop"], found["first"] = self._root[kind], self._stop[kind], self._first[kind]
        return found

    def cast(
        self,
        origin_m: Float[np.ndarray, "3"],
        direction: Float[np.ndarray, "ray 3"],
        actors: Actors,
        farthest_m: float = math.inf,
    ) -> Hits:
        """What rays from one point along unit vectors meet first, nearer than `farthest_m`."""
        return self._met(origin_m, direction, actors, self.still, farthest_m)

    def cast_static(
        self, origin_m: Float[np.ndarray, "3"], direction: Float[np.ndarray, "ray 3"], farthest_m: float = math.inf
    ) -> Hits:
        """As `cast`, with nobody in the street."""
        return self._met(origin_m, direction, Actors.none(), self.still, farthest_m)

    def cast_actors(
        self,
        origin_m: Float[np.ndarray, "3"],
        direction: Float[np.ndarray, "ray 3"],
        actors: Actors,
        farthest_m: float = math.inf,
    ) -> Hits:
        """As `cast`, with nothing else in the world."""
        return self._met(origin_m, direction, actors, 0, farthest_m)

    def _met(self, origin_m: np.ndarray, direction: np.ndarray, actors: Actors, still: int, farthest_m: float) -> Hits:
        count = len(direction)
        distance, which = np.full(count, farthest_m), np.full(count, -1, np.int64)
        actor = np.full(count, -1, np.int64)
        direction = np.ascontiguousarray(direction, np.float64)
        origin = np.ascontiguousarray(origin_m, np.float64)
        _cast(self.node, self.triangle, still, self.records(actors), origin, direction, distance, which, actor)
        return self._hits(direction, actors, distance, which, actor)

    def _hits(
        self, direction: np.ndarray, actors: Actors, distance: np.ndarray, which: np.ndarray, actor: np.ndarray
    ) -> Hits:
        some = which >= 0
        normal, surface = np.zeros((len(which), 3)), np.full(len(which), NO_SURFACE, np.uint8)
        normal[some], surface[some] = self.normal[which[some]], self.surface[which[some]]
        turned = np.flatnonzero(actor >= 0)
        if len(turned):
            heading = actors.box[actor[turned], 6]
            c, s = np.cos(heading), np.sin(heading)
            x, y = normal[turned, 0].copy(), normal[turned, 1].copy()
            normal[turned, 0], normal[turned, 1] = c * x - s * y, s * x + c * y
        away: Bool[np.ndarray, ray] = (normal * direction).sum(axis=1) > 0
        normal[away] *= -1
        return Hits(np.where(some, distance, np.inf), actor, which, normal, surface)
