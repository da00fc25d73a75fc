"""Patterns of single antenna elements: the complex field that a direction sees, in the world's spherical components.

Directions are (azimuth counterclockwise from east, zenith); fields have components along growing zenith (theta) and
growing azimuth (phi), and |F|^2 is the gain over an isotropic antenna. The antenna's own frame, where x is its
boresight and z its vertical, is turned into the world's by its azimuth about z after its downtilt about y.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Complex, Float
from numpy.lib.npyio import NpzFile

from twin.errors import UserError

__all__ = ["AntennaPattern", "PatternKind", "PatternTable", "field", "measured"]

PatternKind = Literal["isotropic", "tr38901", "measured"]
"""Kinds of patterns."""

_BEAMWIDTH_RAD = math.radians(65.0)
"""Half-power beamwidth, vertical and horizontal (TR 38.901, table 7.3-1)."""
_SIDELOBE_DB = 30.0
"""Attenuation beyond which the pattern stays level: SLA_V and A_max (TR 38.901, table 7.3-1)."""
_PEAK_GAIN_DB = 8.0
"""Largest gain G_E,max [dBi] (TR 38.901, table 7.3-1)."""
_POLE_SLACK_RAD = 1e-3
"""A grid of zeniths that ends this near to 0 and pi reaches the poles; rounded degrees do."""
_GAP_STEPS = 1.5
"""A grid of azimuths goes all round when it leaves no more than so many of its largest steps open."""


@dataclass(frozen=True, eq=False)
class PatternTable:
    """Field of an antenna sampled over directions of its own frame.

    Attributes:
        azimuth_rad: growing, once around.
        zenith_rad: growing, from 0 to pi.
        theta: field along growing zenith.
        phi: field along growing azimuth.
    """

    azimuth_rad: Float[np.ndarray, "azimuth"]
    zenith_rad: Float[np.ndarray, "zenith"]
    theta: Complex[np.ndarray, "zenith azimuth"]
    phi: Complex[np.ndarray, "zenith azimuth"]


@dataclass(frozen=True)
class AntennaPattern:
    """An antenna element as it is mounted.

    Attributes:
        kind: isotropic, the element of TR 38.901 (table 7.3-1), or measured.
        slant_rad: polarisation zeta in the antenna's frame: 0 is vertical, pi/2 horizontal, +-pi/4 slanted. A measured
            pattern has its own.
        azimuth_rad: of boresight, counterclockwise from east: the bearing alpha.
        downtilt_rad: of boresight below the horizon: beta.
        table: of a measured pattern, see `measured`.

    Raises:
        UserError: an unknown kind, an angle that is not finite, a table too many or missing, or a slanted table.
    """

    kind: PatternKind = "isotropic"
    slant_rad: float = 0.0
    azimuth_rad: float = 0.0
    downtilt_rad: float = 0.0
    table: PatternTable | None = None

    def __post_init__(self) -> None:
        where = "antenna pattern"
        if self.kind not in get_args(PatternKind):
            raise UserError(f"kind {self.kind!r} is unknown", where, f"use one of {', '.join(get_args(PatternKind))}")
        for name in ("slant_rad", "azimuth_rad", "downtilt_rad"):
            if not math.isfinite(getattr(self, name)):
                raise UserError(f"{name} is {getattr(self, name):g}", where, "give an angle in rad")
        if (self.kind == "measured") != (self.table is not None):
            what = f"kind {self.kind!r} {'takes no' if self.table else 'needs a'} table"
            raise UserError(what, where, "read a measured pattern from its file, and give no table with another kind")
        if self.kind == "measured" and self.slant_rad != 0.0:
            raise UserError("a measured pattern has its own polarisation", where, "leave out slant_rad")


def field(
    pattern: AntennaPattern, azimuth_rad: Float[np.ndarray, "*batch"], zenith_rad: Float[np.ndarray, "*batch"]
) -> Complex[np.ndarray, "*batch 2"]:
    """Field (F_theta, F_phi) [1] of a mounted antenna in directions of the world, complex128.

    The direction in the antenna's frame, (phi', theta'), is that of TR 38.901, eqs. 7.1-7 and 7.1-8, without slant
    (gamma = 0). There F' = sqrt(A) (cos zeta, sin zeta), polarisation model 2 (eqs. 7.3-4 and 7.3-5), with A the gain,
    or F' comes from the table. The world sees F' turned by psi (eqs. 7.1-11 and 7.1-15):
    F_theta = cos(psi) F'_theta - sin(psi) F'_phi, F_phi = sin(psi) F'_theta + cos(psi) F'_phi, where
    psi = arg(cos(beta) sin(theta) - sin(beta) cos(theta) cos(phi - alpha) + j sin(beta) sin(phi - alpha)).
    """
    zenith = np.asarray(zenith_rad, dtype=np.float64)
    turned = np.asarray(azimuth_rad, dtype=np.float64) - pattern.azimuth_rad
    sin_tilt, cos_tilt = math.sin(pattern.downtilt_rad), math.cos(pattern.downtilt_rad)
    sin_zenith, cos_zenith = np.sin(zenith), np.cos(zenith)
    sin_turned, cos_turned = np.sin(turned), np.cos(turned)
    x = cos_tilt * sin_zenith * cos_turned - sin_tilt * cos_zenith
    y = sin_zenith * sin_turned
    z = sin_tilt * sin_zenith * cos_turned + cos_tilt * cos_zenith
    own_azimuth, own_zenith = np.arctan2(y, x), np.arctan2(np.hypot(x, y), z)  # arctan: exact near the poles too
    theta, phi = _own_field(pattern, own_azimuth, own_zenith)
    psi = np.arctan2(sin_tilt * sin_turned, cos_tilt * sin_zenith - sin_tilt * cos_zenith * cos_turned)
    cos_psi, sin_psi = np.cos(psi), np.sin(psi)
    return np.stack([cos_psi * theta - sin_psi * phi, sin_psi * theta + cos_psi * phi], axis=-1)


def _own_field(
    pattern: AntennaPattern, azimuth_rad: Float[np.ndarray, "*batch"], zenith_rad: Float[np.ndarray, "*batch"]
) -> tuple[Complex[np.ndarray, "*batch"], Complex[np.ndarray, "*batch"]]:
    """Field (F'_theta, F'_phi) in directions of the antenna's frame, azimuths from -pi to pi."""
    if pattern.table is not None:
        return _interpolated(pattern.table, azimuth_rad, zenith_rad)
    gain_db = np.zeros(np.shape(azimuth_rad))
    if pattern.kind == "tr38901":
        vertical = np.minimum(12.0 * ((zenith_rad - math.pi / 2.0) / _BEAMWIDTH_RAD) ** 2, _SIDELOBE_DB)
        horizontal = np.minimum(12.0 * (azimuth_rad / _BEAMWIDTH_RAD) ** 2, _SIDELOBE_DB)
        gain_db = _PEAK_GAIN_DB - np.minimum(vertical + horizontal, _SIDELOBE_DB)
    amplitude = 10.0 ** (gain_db / 20.0) + 0j
    return amplitude * math.cos(pattern.slant_rad), amplitude * math.sin(pattern.slant_rad)


def _interpolated(
    table: PatternTable, azimuth_rad: Float[np.ndarray, "*batch"], zenith_rad: Float[np.ndarray, "*batch"]
) -> tuple[Complex[np.ndarray, "*batch"], Complex[np.ndarray, "*batch"]]:
    """Bilinear in azimuth and zenith; the last azimuth is followed by the first."""
    first, count = table.azimuth_rad[0], len(table.azimuth_rad)
    around = np.append(table.azimuth_rad, first + 2.0 * np.pi)
    wrapped = first + np.mod(azimuth_rad - first, 2.0 * np.pi)
    column = np.clip(np.searchsorted(around, wrapped, side="right") - 1, 0, count - 1)
    row = np.clip(np.searchsorted(table.zenith_rad, zenith_rad, side="right") - 1, 0, len(table.zenith_rad) - 2)
    across = (wrapped - around[column]) / (around[column + 1] - around[column])
    down = (zenith_rad - table.zenith_rad[row]) / (table.zenith_rad[row + 1] - table.zenith_rad[row])
    beside = (column + 1) % count

    def between(values: Complex[np.ndarray, "zenith azimuth"]) -> Complex[np.ndarray, "*batch"]:
        upper = (1.0 - across) * values[row, column] + across * values[row, beside]
        lower = (1.0 - across) * values[row + 1, column] + across * values[row + 1, beside]
        return (1.0 - down) * upper + down * lower

    return between(table.theta), between(table.phi)


def measured(path: str | Path, azimuth_rad: float = 0.0, downtilt_rad: float = 0.0) -> AntennaPattern:
    """The antenna whose field an .npz file holds, mounted with that azimuth and downtilt.

    The file has the grids `azimuth_rad` (once around; a repeated last sample a turn later is dropped) and `zenith_rad`
    (from 0 to pi), and `theta` and `phi` (zenith, azimuth), the complex field over them: |theta|^2 + |phi|^2 is the
    gain over an isotropic antenna. Azimuth 0 at zenith pi/2 is boresight.

    Raises:
        UserError: the file is missing or damaged, lacks an array, or an array has the wrong shape, is not finite, or
            its grid does not grow or does not cover the sphere.
    """
    remedy = "store azimuth_rad, zenith_rad, and complex theta and phi (zenith, azimuth) over the whole sphere"
    if not Path(path).is_file():
        raise UserError("no such file", path, "name the .npz of the antenna's pattern")
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, NpzFile):
            raise ValueError("one array only")
        with file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"not a readable antenna pattern: {error}", path, remedy) from error
    if missing := [name for name in ("azimuth_rad", "zenith_rad", "theta", "phi") if name not in arrays]:
        raise UserError(f"lacks {', '.join(missing)}", path, remedy)
    for name, kinds in (("azimuth_rad", "iuf"), ("zenith_rad", "iuf"), ("theta", "iufc"), ("phi", "iufc")):
        if arrays[name].dtype.kind not in kinds or not np.isfinite(arrays[name]).all():
            raise UserError(f"{name} holds something else than finite numbers", path, remedy)
    azimuth, zenith = (_grid(arrays[name], name, path, remedy) for name in ("azimuth_rad", "zenith_rad"))
    for name in ("theta", "phi"):
        if arrays[name].shape != (len(zenith), len(azimuth)):
            over = f"{len(zenith)} zeniths and {len(azimuth)} azimuths"
            raise UserError(f"{name} has shape {arrays[name].shape} over {over}", path, remedy)
    if abs(zenith[0]) > _POLE_SLACK_RAD or abs(zenith[-1] - np.pi) > _POLE_SLACK_RAD:
        raise UserError(f"zenith_rad goes from {zenith[0]:g} to {zenith[-1]:g}, not from 0 to pi", path, remedy)
    theta, phi = arrays["theta"].astype(np.complex128), arrays["phi"].astype(np.complex128)
    open_rad = 2.0 * np.pi - (azimuth[-1] - azimuth[0])
    if abs(open_rad) <= _POLE_SLACK_RAD:
        azimuth, theta, phi = azimuth[:-1], theta[:, :-1], phi[:, :-1]
    elif not 0.0 < open_rad <= _GAP_STEPS * np.diff(azimuth).max():
        raise UserError(f"azimuth_rad goes from {azimuth[0]:g} to {azimuth[-1]:g}, not once around", path, remedy)
    return AntennaPattern("measured", 0.0, azimuth_rad, downtilt_rad, PatternTable(azimuth, zenith, theta, phi))


def _grid(values: np.ndarray, name: str, path: str | Path, remedy: str) -> Float[np.ndarray, "point"]:
    grid = values.astype(np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all():
        raise UserError(f"{name} is no list of two or more growing angles", path, remedy)
    return grid
