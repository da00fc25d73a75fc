"""Geodesy of a site: the local frame has its origin on the ground under the base station, x east, y north [m]."""

import numpy as np
from jaxtyping import Float

__all__ = ["EARTH_RADIUS_M", "equirectangular_m", "geodetic_deg"]

EARTH_RADIUS_M = 6_371_000.0
"""Mean radius of the Earth [m], as in the paper's eq. (11)."""


def equirectangular_m(
    lat_lon_deg: Float[np.ndarray, "*batch 2"], origin_deg: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "*batch 2"]:
    """Local east and north coordinates [m] of geodetic positions [deg], float64.

    x = R_e cos(lat_0) (lon - lon_0), y = R_e (lat - lat_0) (paper, eq. 11), angles in radians. Longitudes are compared
    modulo 360 degrees.
    """
    lat, lon = np.moveaxis(np.asarray(lat_lon_deg, dtype=np.float64), -1, 0)
    lat_0, lon_0 = np.asarray(origin_deg, dtype=np.float64)
    east = np.radians((lon - lon_0 + 180.0) % 360.0 - 180.0) * EARTH_RADIUS_M * np.cos(np.radians(lat_0))
    return np.stack([east, np.radians(lat - lat_0) * EARTH_RADIUS_M], axis=-1)


def geodetic_deg(
    position_m: Float[np.ndarray, "*batch 2"], origin_deg: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "*batch 2"]:
    """Latitude and longitude [deg] of local east and north coordinates [m]: the inverse of `equirectangular_m`."""
    east, north = np.moveaxis(np.asarray(position_m, dtype=np.float64), -1, 0)
    lat_0, lon_0 = np.asarray(origin_deg, dtype=np.float64)
    lon = lon_0 + np.degrees(east / (EARTH_RADIUS_M * np.cos(np.radians(lat_0))))
    return np.stack([lat_0 + np.degrees(north / EARTH_RADIUS_M), (lon + 180.0) % 360.0 - 180.0], axis=-1)
