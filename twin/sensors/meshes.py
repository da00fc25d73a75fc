"""The bodies of the actors: a low-poly mesh for each class, from the binary glTF files that come with the project."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from twin.errors import UserError
from twin.geometry.mesh_files import load_mesh_file
from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["ActorMesh", "actor_meshes", "load_actor_mesh"]

_DIGITS = 5
"""Decimals of a coordinate [m] that single precision keeps, and that the files are written with."""
_REMEDY = "install the project again, or run assets/make_meshes.py"


@dataclass(frozen=True)
class ActorMesh:
    """The body of a class of actors.

    Attributes:
        triangle_m: corners; origin on the ground under the middle of the class's box, x forward, y left, z up. Closed
            solids that overlap, and patches a little in front of them, all wound outwards.
        surface: of each triangle, index into `SURFACE_NAMES`.
    """

    triangle_m: Float[np.ndarray, "triangle 3 3"]
    surface: UInt8[np.ndarray, "triangle"]


def _folder() -> Path:
    installed = files("twin").joinpath("meshes")
    return Path(str(installed)) if installed.is_dir() else Path(__file__).parent.parent.parent / "assets" / "meshes"


def load_actor_mesh(path: Path, size_m: tuple[float, float, float]) -> ActorMesh:
    """The mesh of a file, each of whose nodes is named after its surface.

    Args:
        path: binary glTF.
        size_m: length, width and height of the box that it fills.

    Raises:
        UserError: there is no such file, it is damaged, names an unknown surface, or does not fill the box.
    """
    if not path.is_file():
        raise UserError("no such file", path, _REMEDY)
    objects = load_mesh_file(path, "").objects
    unknown = [item.name for item in objects if item.name not in SURFACE_NAMES]
    if unknown:
        raise UserError(f"has the unknown surface {unknown[0]!r}", path, f"choose from {', '.join(SURFACE_NAMES)}")
    triangle_m = np.concatenate([np.round(item.vertex_m, _DIGITS)[item.face] for item in objects])
    surface = [np.full(len(item.face), SURFACE_NAMES.index(item.name), np.uint8) for item in objects]
    length, width, height = size_m
    box = np.array([(-length / 2, -width / 2, 0.0), (length / 2, width / 2, height)])
    reach = np.stack([triangle_m.min(axis=(0, 1)), triangle_m.max(axis=(0, 1))])
    if np.abs(reach - box).max() > 10.0**-_DIGITS:
        raise UserError(f"does not fill its box of {length} x {width} x {height} m", path, _REMEDY)
    return ActorMesh(triangle_m, np.concatenate(surface))


@cache
def actor_meshes() -> tuple[ActorMesh, ...]:
    """The meshes that come with the project, in the order of `VEHICLE_CLASSES`.

    Raises:
        UserError: a file is missing or damaged.
    """
    return tuple(load_actor_mesh(_folder() / f"{name}.glb", size_m) for name, size_m in VEHICLE_CLASSES.items())
