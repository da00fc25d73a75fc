"""The signal of an FMCW radar: what it is made of, the power of echoes, and noise.

Cubes are amplitudes in sqrt(fW) at the receiver's input: |x|^2 is a power in femtowatts, and a map is in dBf, where
half precision is fine: thermal noise lies near -27 dBf and strong cars near +25.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float, Int
from scipy.special import ndtri

from twin.propagation.paths import SPEED_OF_LIGHT_MPS
from twin.scenario.sensors import Radar
from twin.sensors.radar.range_angle import dft_length

__all__ = [
    "FEMTOWATT_W",
    "Scatterers",
    "bins_per_m",
    "echo_amplitude",
    "map_bin_m",
    "noise_w",
    "thermal_noise",
    "wavelength_m",
]

BOLTZMANN_J_PER_K = 1.380649e-23
TEMPERATURE_K = 290.0
FEMTOWATT_W = 1e-15


@dataclass(frozen=True)
class Scatterers:
    """Points that scatter, in the local frame.

    Attributes:
        rcs_m2: radar cross section towards the radar.
    """

    position_m: Float[np.ndarray, "scatterer 3"]
    velocity_mps: Float[np.ndarray, "scatterer 3"]
    rcs_m2: Float[np.ndarray, "scatterer"]

    def where(self, kept: Bool[np.ndarray, "scatterer"] | Int[np.ndarray, "kept"]) -> "Scatterers":
        """Those that a mask or indices select."""
        return Scatterers(self.position_m[kept], self.velocity_mps[kept], self.rcs_m2[kept])


def wavelength_m(radar: Radar) -> float:
    """Of the carrier, at the first sample of a ramp."""
    return SPEED_OF_LIGHT_MPS / radar.carrier_hz


def bins_per_m(radar: Radar) -> float:
    """Cycles in the samples of a chirp that a metre of range adds: 2 S N / (c f_s)."""
    return 2 * radar.slope_hz_per_s * radar.samples / (SPEED_OF_LIGHT_MPS * radar.sample_rate_hz)


def map_bin_m(radar: Radar) -> float:
    """Range [m] from bin to bin of the radar's map: c f_s / (2 S M), M the length of the DFT."""
    return radar.samples / dft_length(radar.samples) / bins_per_m(radar)


def echo_amplitude(
    radar: Radar,
    range_m: Float[np.ndarray, "scatterer"],
    cosine: Float[np.ndarray, "scatterer"],
    rcs_m2: Float[np.ndarray, "scatterer"],
) -> Float[np.ndarray, "scatterer"]:
    """Amplitude [sqrt(fW)] of echoes by the radar equation, P_r = P_t G^2 lambda^2 sigma / ((4 pi)^3 R^4).

    `cosine` is that of the angle to the optical axis. Transmitter and receiver each have G = G0 cosine^n in front and
    nothing behind; n = G0 / 2 - 1 is the one that radiates what it is fed (10 dBi: n = 4, 66 degrees between half
    powers). Below 3 dBi n = 0.
    """
    boresight = 10 ** (radar.antenna_gain_dbi / 10)
    gain = boresight * np.where(cosine > 0, np.maximum(cosine, 0.0) ** max(0.0, boresight / 2 - 1), 0.0)
    sent_fw = 10 ** (radar.tx_power_dbm / 10 - 3) / FEMTOWATT_W
    return gain * wavelength_m(radar) / range_m**2 * np.sqrt(sent_fw * rcs_m2 / (4 * np.pi) ** 3)


def noise_w(radar: Radar) -> float:
    """Thermal noise k T B F of a receiver [W]; B is the sampling rate of the complex signal."""
    return float(BOLTZMANN_J_PER_K * TEMPERATURE_K * radar.sample_rate_hz * 10 ** (radar.noise_figure_db / 10))


def thermal_noise(radar: Radar, rng: np.random.Generator) -> Complex64[np.ndarray, "antenna sample chirp"]:
    """Noise CN(0, k T B F) of a cube [sqrt(fW)].

    Its real and imaginary parts take 65,536 values of equal probability, up to 4.3 standard deviations."""
    draw = rng.integers(0, len(_NORMAL), (radar.antennas, radar.samples, 2 * radar.chirps), dtype=np.uint16)
    deviation = np.float32(math.sqrt(noise_w(radar) / FEMTOWATT_W / 2))
    return np.take(deviation * _NORMAL, draw).view(np.complex64)


def _normal_quantiles(count: int) -> np.ndarray:
    values = ndtri((np.arange(count) + 0.5) / count)
    return (values / values.std()).astype(np.float32)


_NORMAL = _normal_quantiles(65_536)
