"""The colours that actors wear: drawn once for each, and kept for the episode."""

import numpy as np
from jaxtyping import Float

from twin.sensors.surfaces.table import SURFACE_NAMES, SURFACES
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["PAINTS", "Wardrobe"]

PAINTS: dict[str, tuple[float, tuple[float, float, float]]] = {
    "white": (0.27, (0.70, 0.70, 0.68)),
    "black": (0.21, (0.018, 0.018, 0.020)),
    "grey": (0.19, (0.16, 0.165, 0.17)),
    "silver": (0.13, (0.46, 0.47, 0.48)),
    "blue": (0.09, (0.035, 0.09, 0.26)),
    "red": (0.07, (0.34, 0.025, 0.025)),
    "brown": (0.02, (0.13, 0.075, 0.04)),
    "green": (0.02, (0.03, 0.11, 0.06)),
}
"""Share among cars, and albedo; shares about as paint makers count them in North America."""
LIVERIES = ((0.70, 0.70, 0.68), (0.66, 0.66, 0.64), (0.10, 0.22, 0.42), (0.52, 0.08, 0.05), (0.62, 0.36, 0.04))
"""Albedos of buses and trucks; vans are mostly white, and else painted as cars."""
WHITE_VANS = 0.55
_ALBEDO = np.array([surface.albedo for surface in SURFACES.values()])
_CLASSES = tuple(VEHICLE_CLASSES)
_SKIN = ((0.52, 0.33, 0.24), (0.42, 0.25, 0.17), (0.26, 0.14, 0.09), (0.11, 0.06, 0.04))
_HAIR = ((0.02, 0.016, 0.014), (0.06, 0.035, 0.02), (0.22, 0.14, 0.06), (0.30, 0.29, 0.28))


class Wardrobe:
    """Albedo of every surface of an actor, by its identity and a number of the episode."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._worn: dict[tuple[int, int], np.ndarray] = {}

    def albedo(self, identity: int, kind: int) -> Float[np.ndarray, "surface 3"]:
        """Diffuse reflectance of each of `SURFACES` on an actor."""
        key = (int(identity), int(kind))
        if key not in self._worn:
            self._worn[key] = _dressed(_CLASSES[kind], np.random.default_rng([self._seed, *key]))
        return self._worn[key]


def _dressed(kind: str, rng: np.random.Generator) -> np.ndarray:
    albedo = _ALBEDO.copy()
    shares = np.array([share for share, _ in PAINTS.values()])
    paint = list(PAINTS.values())[rng.choice(len(PAINTS), p=shares / shares.sum())][1]
    whim, cloth, trousers = rng.random(4), rng.random(3), rng.random(3)
    if kind == "van" and whim[0] < WHITE_VANS:
        paint = PAINTS["white"][1]
    elif kind in ("bus", "truck"):
        paint = LIVERIES[int(whim[0] * len(LIVERIES))]
    worn = {
        "paint": np.array(paint) * (0.9 + 0.2 * whim[1]),
        "cloth": 0.03 + 0.5 * cloth**2,
        "trousers": 0.02 + 0.10 * trousers.mean() + 0.04 * trousers,
        "skin": np.array(_SKIN[int(whim[2] * len(_SKIN))]),
        "hair": np.array(_HAIR[int(whim[3] * len(_HAIR))]),
    }
    for name, value in worn.items():
        albedo[SURFACE_NAMES.index(name)] = value
    return albedo
