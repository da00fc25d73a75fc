"""Propagation paths: what a tracer finds and what the radio model reads."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

__all__ = ["DEFAULT_MAX_PATHS", "NO_OBJECT", "Interaction", "Paths"]

DEFAULT_MAX_PATHS = 12
"""P_max: strongest paths kept a frame."""
NO_OBJECT = -1


class Interaction:
    """Codes of `Paths.kind`, one a bounce."""

    NO_PATH = -1
    NONE = 0
    REFLECTION = 1


@dataclass(frozen=True)
class Paths:
    """Paths from the base station to the UE, frame by frame, strongest first; what follows the last is padding.

    T frames, P = P_max paths, K bounces at most. Azimuths are counterclockwise from east, zeniths from straight up.
    Padding has gain, delay, angles and Doppler 0, kind `NO_PATH`, object `NO_OBJECT` and vertices NaN.

    `gain`: alpha = (lambda / 4 pi L) R exp(-j 2 pi L / lambda) [1], amplitude between isotropic, vertically polarised
        antennas, L [m] the path's length and R the product of its reflection coefficients and its blockage loss.
    `delay_s`: L / c [s].  `aod_rad`: azimuth and zenith in which the path leaves the base station [rad].
    `aoa_rad`: azimuth and zenith from which it comes to the UE [rad].
    `doppler_hz`: -(dL/dt) / lambda [Hz], positive when the path gets shorter.
    `kind`: `Interaction` code of each bounce; a direct path has NONE throughout.
    `object_id`: what it bounced off: 0 the ground, 1..B the static objects, B + 1 + a the mover in slot a.
    `vertices_m`: where it bounced [m], NaN where it did not.
    `valid`: whether there is a path.
    `line_of_sight`: whether nothing lies between the antennas.
    `blocked`: whether a vehicle does.
    `blockage_db`: knife-edge loss of the direct path [dB], 0 well clear of every edge and 6 at one; infinite where a
        mesh hides it, whose edges are unknown: the direct path is then left out.
    """

    gain: Complex[np.ndarray, "T P"]
    delay_s: Float[np.ndarray, "T P"]
    aod_rad: Float[np.ndarray, "T P 2"]
    aoa_rad: Float[np.ndarray, "T P 2"]
    doppler_hz: Float[np.ndarray, "T P"]
    kind: Int[np.ndarray, "T P K"]
    object_id: Int[np.ndarray, "T P K"]
    vertices_m: Float[np.ndarray, "T P K 3"]
    valid: Bool[np.ndarray, "T P"]
    line_of_sight: Bool[np.ndarray, "T"]
    blocked: Bool[np.ndarray, "T"]
    blockage_db: Float[np.ndarray, "T"]

    @property
    def path_kind(self) -> Int[np.ndarray, "T P"]:
        """-1 no path, 0 line of sight, 1 a reflection."""
        return self.kind.max(axis=-1)
