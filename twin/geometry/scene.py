"""The static world of a scenario in the local frame: boxes, triangles of meshes, and the ground."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Complex, Float

from twin.errors import UserError
from twin.scenario import Mesh, Scenario

__all__ = ["VACUUM_PERMITTIVITY", "Scene", "build_scene", "complex_permittivity"]

VACUUM_PERMITTIVITY = 8.8541878128e-12
"""epsilon_0 [F/m]."""


@dataclass(frozen=True)
class Scene:
    """What stands still.

    Attributes:
        box: centre x, y, z, length, width, height [m], heading [rad] of every building.
        box_permittivity: complex relative permittivity of its material.
        triangle_m: vertices of mesh triangles.
        triangle_permittivity: of their materials.
        ground_permittivity: of the ground, the plane z = 0.
    """

    box: Float[np.ndarray, "building 7"]
    box_permittivity: Complex[np.ndarray, "building"]
    triangle_m: Float[np.ndarray, "triangle 3 3"]
    triangle_permittivity: Complex[np.ndarray, "triangle"]
    ground_permittivity: complex


def complex_permittivity(relative_permittivity: float, conductivity_s_per_m: float, carrier_hz: float) -> complex:
    """eta = epsilon_r - j sigma / (2 pi f epsilon_0) (ITU-R P.2040-3, eq. 9)."""
    return relative_permittivity - 1j * conductivity_s_per_m / (2 * math.pi * carrier_hz * VACUUM_PERMITTIVITY)


def build_scene(scenario: Scenario, folder: Path) -> Scene:
    """The scene of a scenario whose files are named relative to `folder`.

    Raises:
        UserError: a mesh cannot be read.
    """
    eta = {
        name: complex_permittivity(m.relative_permittivity, m.conductivity_s_per_m, scenario.radio.carrier_hz)
        for name, m in scenario.materials.items()
    }
    buildings = [building for building in scenario.buildings if building.present]
    box = np.zeros((len(buildings), 7))
    for row, building in zip(box, buildings, strict=True):
        row[:2] = scenario.local_m(building.along_m, building.across_m)
        row[2:] = (
            building.height_m / 2,
            building.length_m,
            building.depth_m,
            building.height_m,
            scenario.street_heading_rad,
        )
    triangles = [_triangles(scenario, mesh, folder / mesh.file) for mesh in scenario.meshes]
    station_m = np.array([0.0, 0.0, scenario.site.bs_height_m])
    for part, mesh in zip(triangles, scenario.meshes, strict=True):
        if _encloses(part, station_m):
            raise UserError("the base station stands inside this mesh", folder / mesh.file, "move one of them")
    etas = [np.full(len(part), eta[mesh.material]) for part, mesh in zip(triangles, scenario.meshes, strict=True)]
    return Scene(
        box=box,
        box_permittivity=np.array([eta[building.material] for building in buildings], complex),
        triangle_m=np.concatenate([np.empty((0, 3, 3)), *triangles]),
        triangle_permittivity=np.concatenate([np.empty(0, complex), *etas]),
        ground_permittivity=eta[scenario.ground],
    )


def _triangles(scenario: Scenario, mesh: Mesh, file: Path) -> Float[np.ndarray, "triangle 3 3"]:
    if not file.is_file():
        raise UserError("no such mesh", file, "name a file that trimesh reads (.ply, .obj, .stl, .glb)")
    try:
        shape = trimesh.load_mesh(file)
    except Exception as error:  # trimesh's readers raise anything on damaged files
        raise UserError(f"cannot be read as a mesh ({type(error).__name__})", file, "give another file") from None
    triangles = np.asarray(shape.triangles, np.float64) * mesh.scale
    if triangles.size == 0 or not np.isfinite(triangles).all():
        raise UserError("holds no triangles", file, "give a mesh with faces")
    angle = scenario.street_heading_rad + math.radians(mesh.heading_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    moved: np.ndarray = triangles @ turn.T
    moved[..., :2] += scenario.local_m(mesh.along_m, mesh.across_m)
    return moved


def _encloses(triangle_m: Float[np.ndarray, "triangle 3 3"], point_m: Float[np.ndarray, "3"]) -> bool:
    """Whether a closed mesh holds a point: a ray from it leaves through an odd number of triangles."""
    ray = np.array([0.36, 0.48, 0.8])
    a, b, c = triangle_m[:, 0], triangle_m[:, 1], triangle_m[:, 2]
    normal = np.cross(ray, c - a)
    determinant = ((b - a) * normal).sum(1)
    crossing = np.abs(determinant) > 1e-12
    scale = 1 / np.where(crossing, determinant, 1.0)
    offset = point_m - a
    u = scale * (offset * normal).sum(1)
    across = np.cross(offset, b - a)
    v = scale * (across @ ray)
    distance = scale * (across * (c - a)).sum(1)
    return bool((crossing & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)).sum() % 2)
