"""Propagation paths: what a tracer finds and what the radio model reads."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

__all__ = ["DEFAULT_MAX_PATHS", "SPEED_OF_LIGHT_MPS", "Interaction", "Paths"]

SPEED_OF_LIGHT_MPS = 299_792_458.0
DEFAULT_MAX_PATHS = 12
"""P_max: strongest paths kept a link."""


class Interaction(IntEnum):
    """Codes of `Paths.kind`, one a bounce."""

    NO_PATH = -1
    NONE = 0
    REFLECTION = 1
    DIFFRACTION = 2
    SCATTERING = 3


@dataclass(frozen=True)
class Paths:
    """Paths from the base station to each receiver, strongest first by the norm of `transfer`; the rest is padding.

    The leading axes are those of the receivers' positions: frames, or frames and receivers. P = P_max paths, K bounces
    at most. Azimuths are counterclockwise from east, zeniths from straight up. Padding has gain, delay, angles and
    Doppler 0, kind `NO_PATH`, body and facet -1 and vertices NaN.

    `transfer`: T [1], from field to field: with theta (growing zenith) and phi (growing azimuth) of the directions in
        which the antennas see the path, E_rx = T E_tx, T[0] the row of theta. Spreading lambda / (4 pi L), all
        interactions, blockage and the phase exp(-j 2 pi L / lambda) are in it.
    `gain`: alpha = F_rx . T F_tx [1], F the fields of the antennas' patterns.
    `delay_s`: L / c [s].  `aod_rad`: azimuth and zenith in which the path leaves the base station [rad].
    `aoa_rad`: azimuth and zenith from which it comes to the UE [rad].
    `doppler_hz`: -(dL/dt) / lambda [Hz], positive when the path gets shorter.
    `kind`: `Interaction` code of each bounce; a direct path has NONE throughout.
    `body`: what it bounced off: 0 .. S - 1 the static bodies, S + a the mover in slot a.
    `facet`: which facet of the body (of a diffraction: which wedge).
    `vertices_m`: where it bounced [m], NaN where it did not.
    `blockage_db`: loss [dB] to vehicles that stand in the way of its legs, which is in the gain.
    `blockage_model`: what it was found with, see `twin.propagation.world.BLOCKAGE`; "none" where blocked paths vanish.
    `valid`: whether there is a path.
    `line_of_sight`: whether nothing lies between the antennas.  `blocked`: whether a vehicle does.
    `enclosed`: whether the receiver is inside a solid and the base station is not, or the other way round: no path can
    be. Bodies that are not closed have no inside; see `Tracer.shut_in`."""

    transfer: Complex[np.ndarray, "*link P 2 2"]
    gain: Complex[np.ndarray, "*link P"]
    delay_s: Float[np.ndarray, "*link P"]
    aod_rad: Float[np.ndarray, "*link P 2"]
    aoa_rad: Float[np.ndarray, "*link P 2"]
    doppler_hz: Float[np.ndarray, "*link P"]
    kind: Int[np.ndarray, "*link P K"]
    body: Int[np.ndarray, "*link P K"]
    facet: Int[np.ndarray, "*link P K"]
    vertices_m: Float[np.ndarray, "*link P K 3"]
    blockage_db: Float[np.ndarray, "*link P"]
    valid: Bool[np.ndarray, "*link P"]
    line_of_sight: Bool[np.ndarray, "*link"]
    blocked: Bool[np.ndarray, "*link"]
    enclosed: Bool[np.ndarray, "*link"]
    blockage_model: str = "none"

    @property
    def order(self) -> Int[np.ndarray, "*link P"]:
        """Bounces of each path: -1 no path, 0 the direct one."""
        bounces = (self.kind > 0).sum(axis=-1)
        return np.where(self.valid, bounces, -1)

    @property
    def path_kind(self) -> Int[np.ndarray, "*link P"]:
        """The largest `Interaction` code of each path: -1 no path, 0 the direct one."""
        return self.kind.max(axis=-1)

    def channel(self) -> Complex[np.ndarray, "*link"]:
        """Narrowband channel sum_l alpha_l [1] between the two antennas."""
        total: np.ndarray = self.gain.astype(np.complex128).sum(axis=-1)
        return total

    def impulse_response(self) -> tuple[Complex[np.ndarray, "*link P"], Float[np.ndarray, "*link P"]]:
        """h(tau) = sum_l alpha_l delta(tau - tau_l): coefficients [1] and delays [s]."""
        return self.gain, self.delay_s

    def frequency_response(self, offset_hz: Float[np.ndarray, "F"]) -> Complex[np.ndarray, "*link F"]:
        """H(f) = sum_l alpha_l exp(-j 2 pi f tau_l) [1] at frequencies relative to the carrier [Hz]."""
        turn = np.exp(-2j * np.pi * self.delay_s[..., None] * np.asarray(offset_hz, np.float64))
        response: np.ndarray = (self.gain[..., None] * turn).sum(axis=-2)
        return response
