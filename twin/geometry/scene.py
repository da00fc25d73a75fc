"""The static world of a scenario in the local frame: the ground, buildings, and what other files hold."""

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import trimesh

from twin.errors import UserError
from twin.geometry.facets import Body
from twin.geometry.scene_files import SceneFile, SceneMaterial, load_builtin_scene, load_scene_file
from twin.propagation.materials import VEHICLE_CONDUCTIVITY_S_PER_M, RadioMaterial, itu_material
from twin.scenario.fields import Material, Scenario, Scenery
from twin.traffic.vehicles import MOTOR_CLASSES, VEHICLE_CLASSES

__all__ = ["BODY_MATERIAL", "VEHICLE_MATERIAL", "Scene", "box_body", "build_scene", "vehicle_shapes"]

GROUND_MARGIN_M = 200.0
"""The ground reaches so far beyond everything that stands on it [m]."""
SURFACE_M = 1e-3
"""What is so near above a body counts as inside [m]."""
VEHICLE_MATERIAL = RadioMaterial("vehicle", 1.0, VEHICLE_CONDUCTIVITY_S_PER_M)
"""A vehicle's sheet metal: metal of ITU-R P.2040-3, table 3."""
BODY_MATERIAL = RadioMaterial("body", 7.98, 36.4)
"""Skin at 60 GHz (Gabriel, Lau and Gabriel, Phys. Med. Biol. 41, 2271, 1996), which lets nothing through: taken for
cyclists, their cycles within, and pedestrians at any carrier."""
_FOOTPRINTS = (".geojson", ".json")


@dataclass(frozen=True)
class Scene:
    """What stands still: the ground first where there is one, then buildings, then scenery."""

    bodies: tuple[Body, ...]


def build_scene(scenario: Scenario, folder: Path) -> Scene:
    """The scene of a scenario whose files are named relative to `folder`.

    Raises:
        UserError: a file cannot be read, a material does not hold at the carrier, or the base station stands in a body.
    """
    materials = {name: _material(name, material, scenario) for name, material in scenario.materials.items()}
    bodies = [
        _building(scenario, number, materials[building.material])
        for number, building in enumerate(scenario.buildings)
        if building.present
    ]
    for number, part in enumerate(scenario.scenery):
        bodies += _scenery(scenario, folder, number, part, materials)
    if scenario.ground is not None:
        bodies.insert(0, _ground(scenario, bodies, materials[scenario.ground]))
    station_m = np.array([0.0, 0.0, scenario.site.bs_height_m])
    for body in bodies:
        if body.closed and (body.holds(station_m) or body.holds(station_m - [0.0, 0.0, SURFACE_M])):
            raise UserError("the base station stands inside this body", body.name, "move one of them")
    return Scene(tuple(bodies))


def box_body(name: str, length_m: float, width_m: float, height_m: float, material: RadioMaterial) -> Body:
    """A box that stands on the origin, its length along x."""
    box = trimesh.creation.box((length_m, width_m, height_m))
    vertex_m = np.asarray(box.vertices, np.float64) + [0.0, 0.0, height_m / 2]
    return Body(name, vertex_m, np.asarray(box.faces, np.int32), material)


@cache
def vehicle_shapes() -> tuple[Body, ...]:
    """What road users look like to waves: a box for each of `VEHICLE_CLASSES`, in that order; of metal if it drives."""
    return tuple(
        box_body(name, *size, VEHICLE_MATERIAL if name in MOTOR_CLASSES else BODY_MATERIAL)
        for name, size in VEHICLE_CLASSES.items()
    )


def _material(name: str, given: Material, scenario: Scenario) -> RadioMaterial:
    """The material at the scenario's carrier.

    Raises:
        UserError: ITU-R P.2040 does not describe it there.
    """
    extra = {"scattering_coefficient": given.scattering_coefficient, "roughness_m": given.roughness_m}
    if given.thickness_m is not None:
        extra["thickness_m"] = given.thickness_m
    if given.relative_permittivity is not None and given.conductivity_s_per_m is not None:
        return RadioMaterial(name, given.relative_permittivity, given.conductivity_s_per_m, **extra)
    try:
        standard = itu_material(str(given.itu), scenario.radio.carrier_hz, **extra)
    except UserError as error:
        raise UserError(error.what, f"materials.{name}, {error.where}", error.remedy) from error
    permittivity, conductivity = given.relative_permittivity, given.conductivity_s_per_m
    return replace(
        standard,
        name=name,
        relative_permittivity=standard.relative_permittivity if permittivity is None else permittivity,
        conductivity_s_per_m=standard.conductivity_s_per_m if conductivity is None else conductivity,
    )


def _building(scenario: Scenario, number: int, material: RadioMaterial) -> Body:
    building = scenario.buildings[number]
    box = box_body(f"buildings.{number}", building.length_m, building.depth_m, building.height_m, material)
    return _placed(scenario, box, building.along_m, building.across_m, 0.0)


def _placed(scenario: Scenario, body: Body, along_m: float, across_m: float, heading_deg: float) -> Body:
    """A body given in street coordinates, in the local frame."""
    angle = scenario.street_heading_rad + math.radians(heading_deg)
    c, s = math.cos(angle), math.sin(angle)
    vertex_m = body.vertex_m @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    vertex_m[:, :2] += scenario.local_m(along_m, across_m)
    return replace(body, vertex_m=vertex_m)


def _ground(scenario: Scenario, bodies: list[Body], material: RadioMaterial) -> Body:
    """A square of the plane z = 0 under everything."""
    reach = 0.5 * scenario.street.length_m + scenario.site.street_distance_m
    reach = max([reach, *(float(np.abs(body.vertex_m[:, :2]).max()) for body in bodies)]) + GROUND_MARGIN_M
    corners = reach * np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    return Body("ground", corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), material)


def _scenery(
    scenario: Scenario, folder: Path, number: int, part: Scenery, materials: dict[str, RadioMaterial]
) -> list[Body]:
    where = f"scenery.{number}"
    origin_deg = (scenario.site.latitude_deg, scenario.site.longitude_deg)
    if part.builtin is not None:
        loaded = load_builtin_scene(part.builtin)
    else:
        loaded = load_scene_file(folder / str(part.file), part.material, origin_deg, part.storey_height_m)
    made = {name: _material_of_file(scenario, where, name, loaded, materials) for name in loaded.materials}
    bodies = [Body(f"{where}.{o.name}", o.vertex_m * part.scale, o.face, made[o.material]) for o in loaded.objects]
    if part.file is not None and part.file.lower().endswith(_FOOTPRINTS):
        return bodies
    return [_placed(scenario, body, part.along_m, part.across_m, part.heading_deg) for body in bodies]


def _material_of_file(
    scenario: Scenario, where: str, name: str, loaded: SceneFile, materials: dict[str, RadioMaterial]
) -> RadioMaterial:
    """The scenario's material of that name, or what the file says.

    Raises:
        UserError: neither describes it at the carrier.
    """
    if name in materials:
        return materials[name]
    said: SceneMaterial = loaded.materials[name]
    if said.itu is not None:
        if said.itu in materials:
            return materials[said.itu]
        slab = {} if said.thickness_m is None else {"thickness_m": said.thickness_m}
        return replace(itu_material(said.itu, scenario.radio.carrier_hz, **slab), name=name)
    if said.relative_permittivity is None:
        raise UserError(f"material {name!r} is not described", where, "describe it in materials")
    thickness_m = math.inf if said.thickness_m is None else said.thickness_m
    return RadioMaterial(name, said.relative_permittivity, said.conductivity_s_per_m or 0.0, thickness_m)
