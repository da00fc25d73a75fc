"""How strongly road users scatter a radar's wave back, by class and aspect, and the ground and buildings by surface."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from twin.sensors.surfaces.table import SURFACE_NAMES
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["Lobe", "RcsPattern", "class_rcs_m2", "surface_gamma"]


@dataclass(frozen=True)
class Lobe:
    """The flash of a face.

    Attributes:
        peak_dbsm: radar cross section where it is largest.
        azimuth_deg, zenith_deg: direction of the radar there, seen from the vehicle; azimuth from ahead, to the left.
            None: the same in all azimuths.
        azimuth_width_deg, zenith_width_deg: between the half-power points.
    """

    peak_dbsm: float
    azimuth_deg: float | None
    azimuth_width_deg: float
    zenith_deg: float
    zenith_width_deg: float


@dataclass(frozen=True)
class RcsPattern:
    """Lobes above a floor: sigma = max over lobes of peak - min(12 (da / width)^2 + 12 (dz / width)^2, peak - floor).

    Attributes:
        floor_dbsm: between the lobes.
        offset_db: added everywhere.
    """

    floor_dbsm: float
    lobes: tuple[Lobe, ...] = ()
    offset_db: float = 0.0

    def rcs_dbsm(self, azimuth_deg: float, zenith_deg: float) -> float:
        """Radar cross section towards a direction in the vehicle's frame: azimuth from ahead to the left, zenith."""
        found = self.floor_dbsm
        for lobe in self.lobes:
            off = ((zenith_deg - lobe.zenith_deg) / lobe.zenith_width_deg) ** 2
            if lobe.azimuth_deg is not None:
                turn_deg = (azimuth_deg - lobe.azimuth_deg + 180.0) % 360.0 - 180.0
                off += (turn_deg / lobe.azimuth_width_deg) ** 2
            found = max(found, lobe.peak_dbsm - 12.0 * off)
        return found + self.offset_db


_VEHICLE_LOBES = (
    Lobe(15.52, 0.0, 40.54, 71.75, 29.13),
    Lobe(20.75, 90.0, 26.90, 79.70, 44.42),
    Lobe(14.56, 180.0, 36.32, 79.65, 36.73),
    Lobe(20.75, -90.0, 26.90, 79.70, 44.42),
    Lobe(21.26, None, 1.0, 0.0, 18.13),
)
"""Front, left, back, right and roof of a vehicle, 3GPP TR 38.901 V19.0.0, table 7.9.2.1-4 (mean of all directions
11.25 dBsm); their floor is 7.07 dBsm."""
_CYCLIST_LOBES = (Lobe(5.0, 90.0, 26.90, 90.0, 45.0), Lobe(5.0, -90.0, 26.90, 90.0, 45.0))

RCS: dict[str, RcsPattern] = {
    "car": RcsPattern(7.07, _VEHICLE_LOBES),
    "van": RcsPattern(7.07, _VEHICLE_LOBES, 3.0),
    "bus": RcsPattern(7.07, _VEHICLE_LOBES, 9.0),
    "truck": RcsPattern(7.07, _VEHICLE_LOBES, 7.0),
    "cyclist": RcsPattern(-3.0, _CYCLIST_LOBES),
    "pedestrian": RcsPattern(-6.0),
}
"""By class. The car as in 3GPP; larger vehicles more in proportion to their faces, of order. The cyclist, strongest
from the side, and the pedestrian, below the -1.4 dBsm that 3GPP gives in all bands (table 7.9.2.1-1), of order of what
was measured at 77 GHz (Belgiovane and Chen, IEEE T-ITS, 2017; Fortuny-Guasch and Chareau, JRC EUR 25762, 2013)."""

_GAMMA_DB = {
    "asphalt": -17.0,
    "marking": -17.0,
    "sidewalk": -16.0,
    "concrete": -12.0,
    "grass": -8.0,
    "brick": -10.0,
    "glass": -15.0,
    "metal": -5.0,
    "wood": -10.0,
}
"""Backscatter gamma = sigma0 / cos(incidence) at millimetre waves, of order (Ulaby and Dobson, Handbook of Radar
Scattering Statistics for Terrain, 1989; Ulaby et al., IEEE T-AP 46, 1998, 95 GHz)."""
_GAMMA_OTHERWISE_DB = -10.0


def class_rcs_m2(kind: int, towards: Float[np.ndarray, "3"]) -> float:
    """Radar cross section of a class of `VEHICLE_CLASSES` towards a unit vector in the vehicle's frame [m^2]."""
    azimuth_deg = float(np.degrees(np.arctan2(towards[1], towards[0])))
    zenith_deg = float(np.degrees(np.arccos(np.clip(towards[2], -1.0, 1.0))))
    return float(10 ** (_PATTERNS[kind].rcs_dbsm(azimuth_deg, zenith_deg) / 10))


_PATTERNS = tuple(RCS[name] for name in VEHICLE_CLASSES)


def surface_gamma(surface: UInt8[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """gamma = sigma0 / cos(incidence) [1] of surfaces given as indices into `SURFACE_NAMES`."""
    return _GAMMAS[surface]


_GAMMAS = 10 ** (np.array([_GAMMA_DB.get(name, _GAMMA_OTHERWISE_DB) for name in SURFACE_NAMES]) / 10)
