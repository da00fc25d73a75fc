"""Meshes from files, with the faces in the order of the file.

PLY and OBJ are read here, because general readers regroup faces by material and by number of corners. A face of more
than three corners becomes a fan of triangles around its first corner, in its place.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Int

from twin.errors import UserError
from twin.geometry.scene_objects import Mesh, SceneFile, SceneObject, check_mesh, scene_of

__all__ = ["MESH_SUFFIXES", "load_mesh_file", "read_bytes", "read_obj", "read_ply"]

MESH_SUFFIXES = (".ply", ".obj", ".stl", ".off", ".glb", ".gltf")

_TYPES = {
    "i1": ("char", "int8"),
    "u1": ("uchar", "uint8"),
    "i2": ("short", "int16"),
    "u2": ("ushort", "uint16"),
    "i4": ("int", "int32"),
    "u4": ("uint", "uint32"),
    "i8": ("int64",),
    "u8": ("uint64",),
    "f4": ("float", "float32"),
    "f8": ("double", "float64"),
}
_SCALARS = {name: kind for kind, names in _TYPES.items() for name in names}
_ENCODINGS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_HEADER_END = re.compile(rb"^end_header[ \t]*\r?\n", re.MULTILINE)
_GLTF_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Turns glTF's axes (y up) into the local frame's (z up)."""

Column = tuple[str, str, str | None]
"""Name and type of a property, and the type of the count before each value where it is a list."""


def load_mesh_file(path: Path, material: str) -> SceneFile:
    """The meshes of a file, all of one material: PLY, OBJ and STL hold one; glTF one for each node of its scene graph.

    glTF has y up and is turned to z up; the others are taken as they are.

    Raises:
        UserError: the file cannot be read as a mesh, or the mesh is damaged.
    """
    suffix = path.suffix.lower()
    if suffix in (".ply", ".obj"):
        meshes = {path.stem: read_ply(path) if suffix == ".ply" else read_obj(path)}
    else:
        meshes = _graph_meshes(path)
    return scene_of(path, [SceneObject(name, *mesh, material) for name, mesh in meshes.items()], {})


def read_bytes(path: Path, remedy: str) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: there is no such file, or it cannot be read; `remedy` says what to do.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", path, remedy) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read ({reason})", path, remedy) from None


def _graph_meshes(path: Path) -> dict[str, Mesh]:
    if not path.is_file():
        raise UserError("no such file", path, f"name a mesh ({' '.join(MESH_SUFFIXES)})")
    try:
        scene: Any = trimesh.load_scene(path, process=False)
        placed = [(node, *scene.graph[node]) for node in scene.graph.nodes_geometry]
        shapes = [(node, place, scene.geometry[name]) for node, place, name in placed]
    except Exception as error:  # trimesh's readers raise anything on damaged files
        raise UserError(f"cannot be read as a mesh ({type(error).__name__})", path, "give another file") from None
    shapes = [part for part in shapes if isinstance(part[2], trimesh.Trimesh)]
    up = _GLTF_UP if path.suffix.lower() in (".glb", ".gltf") else np.eye(3)
    meshes = {}
    for node, place, shape in shapes:
        vertex = (np.asarray(shape.vertices, np.float64) @ place[:3, :3].T + place[:3, 3]) @ up.T
        meshes[node if len(shapes) > 1 else path.stem] = check_mesh(path, vertex, np.asarray(shape.faces))
    if not meshes:
        raise UserError("holds no faces", path, "give a mesh with faces")
    return meshes


def read_ply(path: Path) -> Mesh:
    """Vertices and faces of a PLY file, ASCII or binary of either byte order.

    Raises:
        UserError: it is no PLY, is cut short, or holds a damaged mesh.
    """
    data = read_bytes(path, "name a PLY file")
    try:
        vertex, polygons = _ply_columns(data)
        face = _fans(polygons)
    except (ValueError, KeyError, OverflowError) as error:
        raise UserError(f"is no whole PLY file ({error})", path, "export the mesh again") from None
    return check_mesh(path, vertex, face)


def _ply_columns(data: bytes) -> tuple[np.ndarray, Any]:
    """Vertices and polygons of the content of a PLY file."""
    end = _HEADER_END.search(data)
    if not data.startswith(b"ply") or end is None:
        raise ValueError("without a header")
    encoding, elements = _ply_header(data[: end.start()].decode("ascii", "replace"))
    if encoding == "ascii":
        # Every value becomes a float64, after which the layout is that of a binary file.
        body = np.array(data[end.end() :].split(), np.float64).tobytes()
        elements = {
            name: (count, [(field, "=f8", "=f8" if counted else None) for field, _, counted in columns])
            for name, (count, columns) in elements.items()
        }
    else:
        body = data[end.end() :]
    start = 0
    found: dict[str, dict[str, Any]] = {}
    for name, (count, columns) in elements.items():
        found[name], start = _ply_element(body, start, count, columns)
    if start != len(body):
        raise ValueError("longer than its header says")
    vertex = found.get("vertex", {})
    faces = found.get("face", {})
    if not {"x", "y", "z"} <= vertex.keys():
        raise ValueError("its vertices have no x, y and z")
    polygons = faces.get("vertex_indices", faces.get("vertex_index", ()))
    corners = np.stack([np.asarray(vertex[axis], np.float64) for axis in "xyz"], axis=-1)
    if corners.ndim != 2 or (isinstance(polygons, np.ndarray) and polygons.ndim != 2):
        raise ValueError("lists and single values are mixed up")
    return corners, polygons


def _ply_header(text: str) -> tuple[str, dict[str, tuple[int, list[Column]]]]:
    encoding = ""
    elements: dict[str, tuple[int, list[Column]]] = {}
    columns: list[Column] = []
    for line in text.splitlines()[1:]:
        match line.split():
            case ["format", word, _] if word in ("ascii", *_ENCODINGS):
                encoding = word
            case ["element", name, count] if encoding and count.isdecimal() and name not in elements:
                columns = []
                elements[name] = (int(count), columns)
            case ["property", "list", counted, kind, name] if elements:
                columns.append((name, _scalar(encoding, kind), _scalar(encoding, counted)))
            case ["property", kind, name] if elements:
                columns.append((name, _scalar(encoding, kind), None))
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(f"header line {line.strip()!r}")
    if not encoding:
        raise ValueError("without a known format")
    return encoding, elements


def _scalar(encoding: str, kind: str) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"unknown type {kind!r}")
    return _ENCODINGS.get(encoding, "=") + _SCALARS[kind]


def _ply_element(body: bytes, start: int, count: int, columns: list[Column]) -> tuple[dict[str, Any], int]:
    """The columns of one element and where the next one starts; a list becomes an array, or a list of them if ragged.

    All rows are read at once where their lists are as long as the first row's.
    """
    if count == 0 or not columns:
        return {name: () if counted else np.empty(0) for name, _, counted in columns}, start
    lengths, _ = _row(body, start, columns)
    fields: list[Any] = []
    for name, kind, counted in columns:
        if counted:
            fields += [(f"{name} count", counted), (name, kind, (len(lengths[name]),))]
        else:
            fields.append((name, kind))
    layout = np.dtype(fields)
    end = start + count * layout.itemsize
    if end <= len(body):
        rows = np.frombuffer(body, layout, count, start)
        if all((rows[f"{name} count"] == len(lengths[name])).all() for name, _, counted in columns if counted):
            return {name: rows[name] for name, _, _ in columns}, end
    elif not any(counted for _, _, counted in columns):
        raise ValueError("cut short")
    if start + count > len(body):
        raise ValueError("cut short")
    ragged: dict[str, Any] = {name: [] for name, _, _ in columns}
    for _ in range(count):
        row, start = _row(body, start, columns)
        for name, value in row.items():
            ragged[name].append(value)
    return ragged, start


def _row(body: bytes, start: int, columns: list[Column]) -> tuple[dict[str, Any], int]:
    row: dict[str, Any] = {}
    for name, kind, counted in columns:
        length = 1
        if counted:
            stated = _take(body, start, counted, 1)[0]
            if not 0 <= stated <= len(body) or stated != int(stated):
                raise ValueError("a list of impossible length")
            length = int(stated)
            start += np.dtype(counted).itemsize
        values = _take(body, start, kind, length)
        start += values.nbytes
        row[name] = values if counted else values[0]
    return row, start


def _take(body: bytes, start: int, kind: str, count: int) -> np.ndarray:
    if start + count * np.dtype(kind).itemsize > len(body):
        raise ValueError("cut short")
    return np.frombuffer(body, kind, count, start) if count else np.empty(0, kind)


def _fans(polygons: Any) -> Int[np.ndarray, "face 3"]:
    """The triangles of polygons, in their order: fans around the first corner of each."""
    if isinstance(polygons, np.ndarray):
        corners = polygons.shape[1]
        if corners < 3:
            raise ValueError("a face of fewer than three corners")
        fan = np.array([[0, k, k + 1] for k in range(1, corners - 1)])
        face = polygons[:, fan].reshape(-1, 3)
    else:
        fans = [(p[0], p[k], p[k + 1]) for p in polygons for k in range(1, len(p) - 1)]
        if any(len(p) < 3 for p in polygons):
            raise ValueError("a face of fewer than three corners")
        face = np.array(fans).reshape(-1, 3)
    if len(face) and not (np.isfinite(face).all() and np.abs(face).max() < 2**31 and (face == face.astype(int)).all()):
        raise ValueError("a face with impossible indices")
    return face.astype(np.int64)


def read_obj(path: Path) -> Mesh:
    """Vertices and faces of an OBJ file, of all its objects and groups together.

    Raises:
        UserError: it cannot be read as an OBJ, or holds a damaged mesh.
    """
    data = read_bytes(path, "name an OBJ file")
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    text = data.decode("utf-8", "replace").replace("\\\r\n", " ").replace("\\\n", " ")
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split("#", 1)[0].split()
        try:
            if words[:1] == ["v"]:
                x, y, z = words[1:4]
                vertices.append([float(x), float(y), float(z)])
            elif words[:1] == ["f"]:
                polygons.append([_obj_index(word, len(vertices)) for word in words[1:]])
                if len(polygons[-1]) < 3:
                    raise ValueError
        except ValueError:
            raise UserError(f"line {number} is no {words[0]!r} of an OBJ", path, "export the mesh again") from None
    return check_mesh(path, np.array(vertices, np.float64).reshape(-1, 3), _fans(polygons))


def _obj_index(word: str, vertices: int) -> int:
    """The 0-based index of a corner `v/vt/vn`; a negative one counts back from the last vertex so far."""
    index = int(word.split("/", 1)[0])
    if index == 0 or abs(index) >= 2**31:
        raise ValueError
    return index - 1 if index > 0 else vertices + index
