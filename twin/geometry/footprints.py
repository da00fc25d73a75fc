"""Building footprints in GeoJSON (RFC 7946), raised to closed prisms."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float

from twin.errors import UserError
from twin.geometry.coordinates import equirectangular_m
from twin.geometry.mesh_files import read_bytes
from twin.geometry.scene_objects import Mesh, SceneFile, SceneObject, check_mesh, scene_of

__all__ = ["FARTHEST_M", "LEVEL_HEIGHT_M", "SMALLEST_AREA_M2", "load_footprints"]

LEVEL_HEIGHT_M = 3.0
"""Height of a building's level where only their number is known [m]."""
FARTHEST_M = 10_000.0
"""Farthest that a footprint may lie east or north of the origin, and highest that it may reach [m]."""
SMALLEST_AREA_M2 = 1e-4
"""Ground plans below this are none [m^2]."""

_NO_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_METRES = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*m?")


def load_footprints(
    path: Path, origin_deg: tuple[float, float], material: str = "concrete", default_height_m: float = 10.0
) -> SceneFile:
    """The polygons of a FeatureCollection as closed prisms, one object for each feature, in the frame about an origin.

    The names are `building-0`, `building-1`, ... by the feature's place in the file. A building reaches from its
    `min_height` (or the ground) up to its `height`, else to `building:levels` times three metres, else to the default.
    Features without an area are passed over; footprints that overlap stay as they are.

    Args:
        path: of the GeoJSON, positions in WGS84 longitude and latitude.
        origin_deg: latitude and longitude of the origin.
        material: of all buildings.
        default_height_m: of buildings that state neither height nor levels.

    Raises:
        UserError: the file is no FeatureCollection, or a feature has no usable footprint, place or height.
    """
    origin = np.array(origin_deg, np.float64)
    if not (np.abs(origin) <= [89.0, 180.0]).all():
        raise UserError(f"{origin_deg} is no origin of a frame", path, "give its latitude and longitude in degrees")
    objects = []
    for index, feature in enumerate(_features(path)):
        try:
            polygons = _polygons(feature, origin)
            if polygons:
                mesh = _prisms(polygons, *_bottom_and_top_m(feature, default_height_m))
                objects.append(SceneObject(f"building-{index}", *check_mesh(path, *mesh), material))
        except (ValueError, shapely.errors.ShapelyError) as error:
            raise UserError(f"feature {index}: {error}", path, "mend or remove that feature") from None
    return scene_of(path, objects, {})


def _features(path: Path) -> list[dict[str, Any]]:
    data = read_bytes(path, "name a GeoJSON file of building footprints")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is no JSON ({type(error).__name__})", path, "export the footprints again") from None
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list) or document.get("type") != "FeatureCollection":
        raise UserError("is no GeoJSON FeatureCollection", path, "export the footprints as one")
    return features


def _polygons(feature: Any, origin_deg: Float[np.ndarray, "2"]) -> list[shapely.Polygon]:
    """The valid polygons of a feature in the local frame [m]; none where it has no area by its kind."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise ValueError("is no feature")
    geometry = feature.get("geometry")
    if geometry is None:
        return []
    if not isinstance(geometry, dict):
        raise ValueError("its geometry is no object")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind in _NO_AREA:
        return []
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"its geometry is of the type {kind!r}")
    parts = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(parts, list) or not parts or not all(isinstance(part, list) and part for part in parts):
        raise ValueError("it has no coordinates")
    return [polygon for part in parts for polygon in _valid([_ring_m(ring, origin_deg) for ring in part])]


def _ring_m(ring: Any, origin_deg: Float[np.ndarray, "2"]) -> Float[np.ndarray, "corner 2"]:
    """A ring of longitudes and latitudes in the local frame; heights of its corners are passed over."""
    if not isinstance(ring, list) or not all(isinstance(corner, list) and len(corner) >= 2 for corner in ring):
        raise ValueError("a ring is no list of positions")
    if not all(_is_number(value) for corner in ring for value in corner[:2]):
        raise ValueError("a position is no pair of finite numbers")
    lon_lat = np.array([corner[:2] for corner in ring], np.float64).reshape(-1, 2)
    if len(np.unique(lon_lat, axis=0)) < 3:
        raise ValueError("a ring has fewer than three corners")
    if (np.abs(lon_lat) > [180.0, 90.0]).any():
        raise ValueError("a position is no longitude and latitude in degrees")
    ring_m = equirectangular_m(lon_lat[:, ::-1], origin_deg)
    if np.abs(ring_m).max() > FARTHEST_M:
        raise ValueError(f"it lies more than {FARTHEST_M / 1000:.0f} km from the origin; is it in degrees (WGS84)?")
    return ring_m


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _valid(rings_m: list[Float[np.ndarray, "corner 2"]]) -> list[shapely.Polygon]:
    """The polygon of an outer ring and holes, mended into several where it crosses itself."""
    polygon: Any = shapely.Polygon(rings_m[0], rings_m[1:])
    if not polygon.is_valid:
        polygon = shapely.make_valid(polygon)
    parts = [part for part in shapely.get_parts(polygon) if part.geom_type in ("Polygon", "MultiPolygon")]
    whole = [part for part in shapely.get_parts(parts) if part.area > SMALLEST_AREA_M2]
    if not whole:
        raise ValueError("its footprint has no area")
    return whole


def _bottom_and_top_m(feature: dict[str, Any], default_height_m: float) -> tuple[float, float]:
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ValueError("its properties are no object")
    bottom = _metres(properties, "min_height") or 0.0
    top, levels = _metres(properties, "height"), _metres(properties, "building:levels")
    if top is None:
        top = default_height_m if levels is None else levels * LEVEL_HEIGHT_M
    if not top > bottom:
        raise ValueError(f"its height {top:g} m is not above its min_height {bottom:g} m")
    if top > FARTHEST_M:
        raise ValueError(f"it is {top:g} m high")
    return bottom, top


def _metres(properties: dict[str, Any], name: str) -> float | None:
    """A number of metres (or of levels) from 0, also as a string and with the unit, None where it is not stated."""
    value = properties.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and (match := _METRES.fullmatch(value.strip())):
        value = float(match[1])
    if not _is_number(value) or value < 0:
        raise ValueError(f"its {name} is {value!r}")
    return float(value)


def _prisms(polygons: list[shapely.Polygon], bottom_m: float, top_m: float) -> Mesh:
    """Closed prisms over polygons, outward faces counterclockwise: bottoms, roofs, walls."""
    vertices, faces, first = [], [], 0
    for polygon in polygons:
        corner, roof = _triangulated(polygon)
        count = len(corner)
        edge = np.concatenate([roof[:, [0, 1]], roof[:, [1, 2]], roof[:, [2, 0]]])
        rim = edge[~np.isin(edge @ [count, 1], edge @ [1, count])]  # an inner edge is there in both directions
        here, there = rim.T
        walls = np.concatenate(
            [np.stack([here, there, there + count], axis=1), np.stack([here, there + count, here + count], axis=1)]
        )
        faces.append(first + np.concatenate([roof[:, ::-1], roof + count, walls]))
        vertices += [np.column_stack([corner, np.full(count, height)]) for height in (bottom_m, top_m)]
        first += 2 * count
    return np.concatenate(vertices), np.concatenate(faces)


def _triangulated(polygon: shapely.Polygon) -> Mesh:
    """The corners of a polygon and its counterclockwise triangles."""
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(polygon))
    clockwise_m = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3]
    corner, index = np.unique(clockwise_m.reshape(-1, 2), axis=0, return_inverse=True)
    return corner, index.reshape(-1, 3)[:, ::-1]
