"""What the ground is made of, by the plan that the camera paints it by: one street for all sensors."""

import numpy as np
from jaxtyping import Float, UInt8

from twin.sensors.surfaces.ground import Ground
from twin.sensors.surfaces.table import SURFACE_NAMES

__all__ = ["ground_surface", "is_ground"]

_HIGHEST_M, _FLATTEST = 0.3, 0.9
_ASPHALT, _MARKING, _SIDEWALK, _GRASS = (
    SURFACE_NAMES.index(name) for name in ("asphalt", "marking", "sidewalk", "grass")
)


def is_ground(place_m: Float[np.ndarray, "place 3"], normal: Float[np.ndarray, "place 3"]) -> np.ndarray:
    """Whether places of what stands still are ground: low and level."""
    return (place_m[:, 2] < _HIGHEST_M) & (normal[:, 2] > _FLATTEST)


def ground_surface(ground: Ground, place_m: Float[np.ndarray, "place 2"]) -> UInt8[np.ndarray, "place"]:
    """Index into `SURFACE_NAMES` at places of the local frame: carriageways, what is painted on them, pavements around
    roads and houses, and grass elsewhere."""
    found = np.full(len(place_m), _GRASS, np.uint8)
    along, across = _in_street(ground, 0, place_m)
    for part in ground.paved[::-1]:  # the first of those that overlap is on top
        beside = (np.abs(along - part["along"]) < part["length"]) & (np.abs(across - part["across"]) < part["width"])
        found[beside] = part["surface"]
    for road in range(len(ground.road)):
        beyond = np.abs(_in_street(ground, road, place_m)[1]) - ground.road[road, 4]
        found[beyond < ground.kerb[road]] = _SIDEWALK
    for road in range(len(ground.road)):
        along, across = _in_street(ground, road, place_m)
        inside = np.abs(across) < ground.road[road, 4]
        found[inside] = _ASPHALT
        for stripe in ground.stripe[ground.stripe["road"] == road]:
            painted = (np.abs(across - stripe["across"]) <= stripe["half"]) & (along >= stripe["start"])
            painted &= (along <= stripe["stop"]) & (along % stripe["period"] <= stripe["dash"])
            found[inside & painted] = _MARKING
    return found


def _in_street(ground: Ground, road: int, place_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres along and across a road."""
    x, y, cosine, sine, _ = ground.road[road]
    east, north = place_m[:, 0] - x, place_m[:, 1] - y
    return east * cosine + north * sine, north * cosine - east * sine
