"""Scenes in the XML of Mitsuba 3, as Sionna RT reads and Blender's exporter writes them."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from jaxtyping import Float

from twin.errors import UserError
from twin.geometry.mesh_files import read_bytes, read_obj, read_ply
from twin.geometry.scene_objects import Mesh, SceneFile, SceneMaterial, SceneObject, check_mesh, finite_number, scene_of

__all__ = ["load_mitsuba_scene"]

_UNSUPPORTED = ("include", "path", "alias")
"""Elements that would bring in what stands elsewhere."""
_ITU_ID = re.compile(r"(?:mat-)?itu[_-](.+)")
"""Ids that make a material one of ITU-R P.2040 whatever its bsdf says, as in Sionna."""
_RADIO = ("itu-radio-material", "radio-material")
_MESHES = {"ply": read_ply, "obj": read_obj}
_RECTANGLE = (
    np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]),
    np.array([[0, 1, 2], [0, 2, 3]], np.int32),
)
"""Mitsuba's rectangle: two by two metres in the plane z = 0, facing up."""
_CUBE_FACES = (
    ((1, -1, -1), (1, -1, 1), (-1, -1, 1), (-1, -1, -1)),
    ((1, 1, -1), (-1, 1, -1), (-1, 1, 1), (1, 1, 1)),
    ((1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)),
    ((1, -1, 1), (1, 1, 1), (-1, 1, 1), (-1, -1, 1)),
    ((-1, -1, 1), (-1, 1, 1), (-1, 1, -1), (-1, -1, -1)),
    ((1, 1, -1), (1, -1, -1), (-1, -1, -1), (-1, 1, -1)),
)
_CUBE = (
    np.array(_CUBE_FACES, np.float64).reshape(-1, 3),
    np.concatenate([np.array([[0, 1, 2], [3, 0, 2]], np.int32) + 4 * side for side in range(6)]),
)
"""Mitsuba's cube: two metres a side about the origin, every side with corners of its own."""


class _Declared(Exception):
    """The file declares a document type."""


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _Declared  # entities, which can grow without bound, are declared there


def load_mitsuba_scene(path: Path, material: str) -> SceneFile:
    """The shapes of a Mitsuba scene, with the names that Sionna gives them; `material` is that of shapes without any.

    Read are shapes of the types ply, obj, rectangle and cube. A material's name is the id of its bsdf. Cameras, lights
    and looks are passed over.

    Raises:
        UserError: the file or a mesh that it names cannot be read, or it holds what is not understood.
    """
    root = _parse(path)
    materials, objects = _materials(path, root), []
    for number, shape in enumerate(root.findall("shape")):
        name = shape.get("id", f"shape-{number}").removeprefix("mesh-")
        vertex_m, face = _mesh(path, name, shape)
        with np.errstate(over="ignore", invalid="ignore"):
            turn = _to_world(path, name, shape)
            moved = vertex_m @ turn[:3, :3].T + turn[:3, 3]
        own = _material_of(path, name, shape, materials)
        objects.append(SceneObject(name, *check_mesh(path, moved, face), material if own is None else own))
    return scene_of(path, objects, materials)


def _parse(path: Path) -> ET.Element:
    """The root of the document, `$name` replaced by the default of that name."""
    data = read_bytes(path, "name the XML of a Mitsuba scene")
    try:
        root = ET.fromstring(data, ET.XMLParser(target=_Builder()))
    except _Declared:
        raise UserError("declares a document type", path, "remove the DOCTYPE and its entities") from None
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"is no XML ({error})", path, "export the scene again") from None
    if root.tag != "scene":
        raise UserError(f"is no Mitsuba scene (its root is <{root.tag}>)", path, "name the XML of a Mitsuba scene")
    defaults: dict[str, str] = {}
    for element in root.iter():
        if element.tag in _UNSUPPORTED:
            raise UserError(f"holds <{element.tag}>, which is not supported", path, "put everything into one file")
        for key, text in element.items():
            if "$" in text:
                element.set(key, re.sub(r"\$(\w+)", lambda found: _default(path, defaults, found[1]), text))
        if element.tag == "default":
            defaults.setdefault(element.get("name", ""), element.get("value", ""))
    return root


def _default(path: Path, defaults: dict[str, str], name: str) -> str:
    if name not in defaults:
        raise UserError(f"uses ${name}, which has no default before", path, f'add <default name="{name}" value="..."/>')
    return defaults[name]


def _property(element: ET.Element, kind: str, name: str) -> str | None:
    found = element.find(f"{kind}[@name='{name}']")
    return None if found is None else found.get("value")


def _materials(path: Path, root: ET.Element) -> dict[str, SceneMaterial]:
    """The materials by their id, which stands on a bsdf of the scene or of a shape, or on one wrapped in it."""
    materials: dict[str, SceneMaterial] = {}
    for bsdf in root.findall("bsdf") + root.findall("shape/bsdf"):
        name = _bsdf_id(bsdf)
        if name is None:
            raise UserError("has a bsdf without an id", path, "give it one")
        if name in materials:
            raise UserError(f"has two bsdfs of the id {name!r}", path, "rename one of them")
        radio = next((part for part in bsdf.iter("bsdf") if part.get("type") in _RADIO), bsdf)
        itu = _itu(path, name, radio)
        numbers = {key: _number(path, name, radio, key) for key in ("relative_permittivity", "conductivity")}
        materials[name] = SceneMaterial(
            itu=itu,
            relative_permittivity=None if itu else numbers["relative_permittivity"],
            conductivity_s_per_m=None if itu else numbers["conductivity"],
            thickness_m=_number(path, name, radio, "thickness"),
        )
    return materials


def _itu(path: Path, name: str, radio: ET.Element) -> str | None:
    """The ITU name of a material, from its type or its id."""
    known = _ITU_ID.fullmatch(name)
    if known is None and radio.get("type") != "itu-radio-material":
        return None
    itu = _property(radio, "string", "type") or (known and known[1])
    if not itu:
        raise UserError(f"bsdf {name!r} has no ITU type", path, 'add <string name="type" value="concrete"/>')
    return itu


def _bsdf_id(bsdf: ET.Element) -> str | None:
    return next((part.get("id") for part in bsdf.iter("bsdf") if part.get("id")), None)


def _number(path: Path, bsdf: str, element: ET.Element, name: str) -> float | None:
    text = _property(element, "float", name)
    if text is None:
        return None
    value = finite_number(text)
    if value is None:
        raise UserError(f"bsdf {bsdf!r} has the {name} {text!r}", path, "give a number")
    return value


def _material_of(path: Path, name: str, shape: ET.Element, materials: dict[str, SceneMaterial]) -> str | None:
    named = [ref.get("id") for ref in shape.findall("ref") if ref.get("name", "bsdf") == "bsdf"]
    named += [_bsdf_id(bsdf) for bsdf in shape.findall("bsdf")]
    if len(named) > 1:
        raise UserError(f"shape {name!r} has {len(named)} materials", path, "leave one of them")
    if named and named[0] not in materials:
        raise UserError(f"shape {name!r} refers to the bsdf {named[0]!r}, which is not there", path, "add the bsdf")
    return named[0] if named else None


def _mesh(path: Path, name: str, shape: ET.Element) -> Mesh:
    kind = shape.get("type", "")
    if kind == "rectangle":
        return _RECTANGLE
    if kind == "cube":
        return _CUBE
    if kind not in _MESHES:
        raise UserError(
            f"shape {name!r} is of the type {kind!r}", path, "use ply, obj, rectangle or cube, or export it as a mesh"
        )
    file = _property(shape, "string", "filename")
    if not file:
        raise UserError(f"shape {name!r} names no file", path, 'add <string name="filename" value="..."/>')
    return _MESHES[kind](path.parent / file)


def _to_world(path: Path, name: str, shape: ET.Element) -> Float[np.ndarray, "4 4"]:
    """The transform of a shape into the scene: its steps one after the other."""
    whole = np.eye(4)
    for transform in shape.findall("transform"):
        if transform.get("name") in ("to_world", "toWorld"):  # the latter before version 2 of the format
            for step in transform:
                matrix = _step(step)
                if matrix is None:
                    raise UserError(
                        f"shape {name!r} has a <{step.tag}> that is not understood",
                        path,
                        "use translate, rotate, scale or matrix with finite numbers",
                    )
                whole = matrix @ whole
    return whole


def _step(step: ET.Element) -> Float[np.ndarray, "4 4"] | None:
    """The matrix of one step of a transform, or None where it is not understood."""
    matrix = np.eye(4)
    if step.tag == "matrix":
        values = _numbers(step.get("value", ""))
        if values is None or len(values) not in (9, 16):
            return None
        side = 3 if len(values) == 9 else 4
        matrix[:side, :side] = values.reshape(side, side)
        return matrix if (matrix[3] == [0, 0, 0, 1]).all() else None
    if step.tag not in ("translate", "rotate", "scale"):
        return None
    vector = _vector(step, 1.0 if step.tag == "scale" else 0.0)
    if vector is None:
        return None
    if step.tag == "translate":
        matrix[:3, 3] = vector
    elif step.tag == "scale":
        matrix[:3, :3] = np.diag(vector)
    else:
        angle_deg = finite_number(step.get("angle", ""))
        if angle_deg is None or not vector.any():
            return None
        matrix[:3, :3] = _rotation(vector, math.radians(angle_deg))
    return matrix


def _vector(step: ET.Element, missing: float) -> Float[np.ndarray, "3"] | None:
    """The vector of the attributes x, y, z, or of `value`, one number for all three or three."""
    single = step.get("value")
    if single is None:
        return _numbers(" ".join(step.get(axis, str(missing)) for axis in "xyz"), 3)
    values = _numbers(single)
    if values is None or len(values) not in (1, 3) or any(step.get(axis) is not None for axis in "xyz"):
        return None
    return np.broadcast_to(values, 3)


def _numbers(text: str, count: int | None = None) -> Float[np.ndarray, "number"] | None:
    values = [finite_number(word) for word in text.replace(",", " ").split()]
    if any(value is None for value in values) or (count is not None and len(values) != count):
        return None
    return np.array(values, np.float64)


def _rotation(axis: Float[np.ndarray, "3"], angle_rad: float) -> Float[np.ndarray, "3 3"]:
    """Counterclockwise turn about an axis (Rodrigues)."""
    x, y, z = axis / math.hypot(*axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: np.ndarray = np.eye(3) + math.sin(angle_rad) * cross + (1 - math.cos(angle_rad)) * cross @ cross
    return turn
