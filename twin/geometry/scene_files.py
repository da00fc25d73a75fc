"""Scenes from files: Mitsuba's XML, meshes, building footprints, and the scenes that come with Sionna RT."""

import importlib.util
from pathlib import Path

from twin.errors import UserError
from twin.geometry.mesh_files import MESH_SUFFIXES, load_mesh_file
from twin.geometry.mitsuba_scene import load_mitsuba_scene
from twin.geometry.scene_objects import SceneFile, SceneMaterial, SceneObject

__all__ = [
    "SceneFile",
    "SceneMaterial",
    "SceneObject",
    "builtin_scene_file",
    "builtin_scene_names",
    "load_builtin_scene",
    "load_scene_file",
]

_FOOTPRINT_SUFFIXES = (".geojson", ".json")


def load_scene_file(
    path: Path,
    material: str = "concrete",
    origin_deg: tuple[float, float] | None = None,
    default_height_m: float = 10.0,
) -> SceneFile:
    """The objects of a file, read by its suffix.

    Args:
        path: of a Mitsuba scene (.xml), a mesh (`MESH_SUFFIXES`) or building footprints (.geojson, .json).
        material: of objects for which the file names none.
        origin_deg: latitude and longitude of the local frame's origin; footprints need it.
        default_height_m: of footprints without a height.

    Raises:
        UserError: the file cannot be read, or is of another kind.
    """
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return load_mitsuba_scene(path, material)
    if suffix in MESH_SUFFIXES:
        return load_mesh_file(path, material)
    if suffix not in _FOOTPRINT_SUFFIXES:
        known = " ".join((".xml", *MESH_SUFFIXES, *_FOOTPRINT_SUFFIXES))
        raise UserError(f"is of no kind of scene that is known ({suffix or 'no suffix'})", path, f"give one of {known}")
    if origin_deg is None:
        raise UserError("footprints need an origin", path, "give latitude and longitude of the origin")
    if importlib.util.find_spec("shapely") is None:
        raise UserError("footprints need the package shapely", path, "pip install 'jepa-msac-twin[footprints]'")
    from twin.geometry.footprints import load_footprints

    return load_footprints(path, origin_deg, material, default_height_m)


def load_builtin_scene(name: str) -> SceneFile:
    """A scene that comes with Sionna RT, as "munich".

    Raises:
        UserError: Sionna RT is not installed, or has no such scene.
    """
    return load_mitsuba_scene(builtin_scene_file(name), "concrete")


def builtin_scene_file(name: str) -> Path:
    """The XML of a scene that comes with Sionna RT.

    Raises:
        UserError: Sionna RT is not installed, or has no such scene.
    """
    names = builtin_scene_names()
    if name not in names:
        raise UserError("Sionna RT has no such scene", name, f"choose one of {', '.join(names)}")
    return _builtin_folder() / name / f"{name}.xml"


def builtin_scene_names() -> list[str]:
    """The scenes that come with Sionna RT, sorted.

    Raises:
        UserError: Sionna RT is not installed.
    """
    return sorted(file.stem for file in _builtin_folder().glob("*/*.xml") if file.stem == file.parent.name)


def _builtin_folder() -> Path:
    """Where the scenes lie; the package itself is not imported, which takes seconds and needs LLVM."""
    package = importlib.util.find_spec("sionna")
    for place in (package.submodule_search_locations or []) if package else []:
        folder = Path(place) / "rt" / "scenes"
        if folder.is_dir():
            return folder
    raise UserError("Sionna RT is not installed", "its scenes", "install the extra: pip install jepa-msac-twin[sionna]")
