"""What every file of a scene becomes: named triangle meshes, and what the file says of their materials."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from twin.errors import UserError

__all__ = ["Mesh", "SceneFile", "SceneMaterial", "SceneObject", "check_mesh", "finite_number", "scene_of"]

Mesh = tuple[Float[np.ndarray, "vertex 3"], Int[np.ndarray, "face 3"]]
"""Vertices [m] and the faces' indices into them."""


@dataclass(frozen=True)
class SceneObject:
    """A triangle mesh that stands still.

    Attributes:
        name: unique within the scene.
        vertex_m: float64, in the frame of the scene.
        face: int32, in the order of the file; degenerate triangles are kept, so that an index means the same there.
        material: name of its material, a key of `SceneFile.materials`.
    """

    name: str
    vertex_m: Float[np.ndarray, "vertex 3"]
    face: Int[np.ndarray, "face 3"]
    material: str


@dataclass(frozen=True)
class SceneMaterial:
    """What a file says of a material; None where it says nothing.

    Attributes:
        itu: name of a material of ITU-R P.2040, as "concrete".
        relative_permittivity: its real part.
        conductivity_s_per_m: conductivity.
        thickness_m: of the slab.
    """

    itu: str | None = None
    relative_permittivity: float | None = None
    conductivity_s_per_m: float | None = None
    thickness_m: float | None = None


@dataclass(frozen=True)
class SceneFile:
    """The objects of a file and the materials that they name."""

    objects: tuple[SceneObject, ...]
    materials: dict[str, SceneMaterial]


def scene_of(path: Path, objects: Iterable[SceneObject], materials: dict[str, SceneMaterial]) -> SceneFile:
    """The scene of a file's objects and of the materials that they use.

    Raises:
        UserError: there are no objects, or two of one name.
    """
    scene = tuple(objects)
    if not scene:
        raise UserError("holds no objects", path, "give a scene with meshes")
    names: set[str] = set()
    for item in scene:
        if item.name in names:
            raise UserError(f"has two objects of the name {item.name!r}", path, "rename one of them")
        names.add(item.name)
    used = {item.material: materials.get(item.material, SceneMaterial()) for item in scene}
    return SceneFile(scene, used)


def check_mesh(path: Path, vertex_m: Float[np.ndarray, "vertex 3"], face: Int[np.ndarray, "face 3"]) -> Mesh:
    """The mesh as float64 and int32.

    Raises:
        UserError: a vertex is not finite, there are no faces, or one names a vertex that does not exist.
    """
    if len(face) == 0:
        raise UserError("holds no faces", path, "give a mesh with faces")
    bad = np.flatnonzero(~np.isfinite(vertex_m).all(axis=1))
    if len(bad):
        raise UserError(f"vertex {bad[0]} is not finite", path, "mend or export the mesh again")
    if face.min() < 0 or face.max() >= len(vertex_m):
        wrong = np.flatnonzero(((face < 0) | (face >= len(vertex_m))).any(axis=1))[0]
        raise UserError(
            f"face {wrong} names a vertex that does not exist (there are {len(vertex_m)})",
            path,
            "mend or export the mesh again",
        )
    return np.ascontiguousarray(vertex_m, np.float64), np.ascontiguousarray(face, np.int32)


def finite_number(text: str) -> float | None:
    """The finite number that `text` states, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
