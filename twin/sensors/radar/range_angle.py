"""The range-angle map of a radar cube."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Complex64, Float16, Float32
from numba import njit
from scipy.fft import fft

__all__ = [
    "ANGLE_BINS",
    "FLOOR_DB",
    "RANGE_BINS",
    "Clutter",
    "angle_bin_sine",
    "dft_length",
    "map_of_spectrum",
    "range_angle_map",
]

ANGLE_BINS, RANGE_BINS = 64, 256
BROADSIDE = ANGLE_BINS // 2
"""The angle bin of what lies in front."""
FLOOR_DB = -300.0
"""What a map holds instead of less, and of zeros [dB]."""
Clutter = Literal["chirp_mean", "antenna_mean", "none"]
"""What is subtracted before the angles: the mean over chirps removes what stands still, the mean over antennas what
lies in front."""

signal_kernel = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
"""A kernel of sums whose order is free; NaN stays NaN."""
_BLOCK = 4
"""Antennas that are summed at once; missing ones are zeros."""


def angle_bin_sine() -> Float32[np.ndarray, "64"]:
    """sin(azimuth) cos(elevation) in the middle of each angle bin: -1 (right) to 31/32 (left); bin 32 is in front."""
    return ((np.arange(ANGLE_BINS) - BROADSIDE) / BROADSIDE).astype(np.float32)


def dft_length(samples: int) -> int:
    """Length of the DFT over the samples of a chirp: at least `RANGE_BINS`."""
    return max(samples, RANGE_BINS)


def range_angle_map(
    cube: Complex64[np.ndarray, "antenna sample chirp"], clutter: Clutter = "chirp_mean"
) -> Float16[np.ndarray, "64 256"]:
    """The map (angle, range) of a cube x(n, m, c) in dB: 20 log10 of the mean over chirps of |Z|.

        Y(n, r, c) = 1/M sum_m x(n, m, c) exp(-j 2 pi r m / M),  M = max(samples, 256),  r = 0..255
        Z(a, r, c) = 1/64 sum_n Y'(n, r, c) exp(-j pi n (a - 32) / 32),  a = 0..63

    with Y' = Y less its mean over chirps, over antennas, or nothing. Both DFTs are divided by their length, zeros
    that pad them included, so that a tone of amplitude A in the middle of a bin peaks at A antennas / 64. Chirps of
    fewer than 256 samples are padded with zeros; of longer ones the nearest 256 bins are kept. The range grows with
    r. An echo's phase that grows by pi s from antenna to antenna lies in bin 32 + 32 s: with the antennas numbered
    from right to left where echoes arrive as exp(-j 4 pi R / lambda), and from left to right where the mixer conjugates
    them, the angle grows towards the left, the sensor's +y. Less than `FLOOR_DB` is `FLOOR_DB`.

    Raises:
        ValueError: the cube is not one, is empty, has more than 64 antennas, or is not finite.
    """
    if cube.ndim != 3 or 0 in cube.shape:
        raise ValueError(f"a cube has antennas, samples and chirps, this has shape {cube.shape}")
    if len(cube) > ANGLE_BINS:
        raise ValueError(f"{len(cube)} antennas do not fit into {ANGLE_BINS} angle bins")
    cube = np.asarray(cube, np.complex64)
    spectrum = fft(cube, dft_length(cube.shape[1]), axis=1, norm="forward")[:, :RANGE_BINS]
    found = map_of_spectrum(spectrum, clutter)
    if not np.isfinite(found).all():
        raise ValueError("the cube is not finite")
    return found


def map_of_spectrum(
    spectrum: Complex64[np.ndarray, "antenna 256 chirp"], clutter: Clutter
) -> Float16[np.ndarray, "64 256"]:
    """The map of Y(n, r, c), the DFT of a cube over its samples: the second half of `range_angle_map`."""
    magnitude = np.empty((ANGLE_BINS, RANGE_BINS), np.float32)
    _mean_magnitude(spectrum, get_args(Clutter).index(clutter), _TURN, magnitude)
    floor = 10 ** (FLOOR_DB / 20)
    return (20 * np.log10(np.maximum(magnitude, floor))).astype(np.float16)


_TURN = np.exp(1j * np.pi * np.outer(np.arange(BROADSIDE + 1), np.arange(ANGLE_BINS)) / BROADSIDE).astype(np.complex64)
"""exp(j pi m n / 32) for angle bins 32 + m and antennas n."""


@signal_kernel
def _mean_magnitude(spectrum, clutter, turn, magnitude):  # type: ignore[no-untyped-def]
    """Fill the mean over chirps of |sum_n Y'(n) exp(-j pi n m / 32)| / 64 for m = -32..31.

    Bins m and -m share their sums: with E = sum Y' cos and O = sum Y' sin they are E - jO and E + jO. The chirps are
    the innermost loops, real and imaginary parts apart, so that they fill vector registers."""
    antennas, ranges, chirps = spectrum.shape
    padded = (antennas + _BLOCK - 1) // _BLOCK * _BLOCK
    re, im = np.zeros((padded, chirps), np.float32), np.zeros((padded, chirps), np.float32)
    er, ei = np.empty(chirps, np.float32), np.empty(chirps, np.float32)
    our, oui = np.empty(chirps, np.float32), np.empty(chirps, np.float32)
    scale = np.float32(1.0 / (ANGLE_BINS * chirps))
    for r in range(ranges):
        for n in range(antennas):
            for c in range(chirps):
                re[n, c], im[n, c] = spectrum[n, r, c].real, spectrum[n, r, c].imag
        if clutter == 0:
            _less_chirp_mean(re[:antennas])
            _less_chirp_mean(im[:antennas])
        elif clutter == 1:
            _less_antenna_mean(re[:antennas])
            _less_antenna_mean(im[:antennas])
        for m in range(BROADSIDE + 1):
            for first in range(0, padded, _BLOCK):
                _add_block(re, im, first, turn[m], er, ei, our, oui)
            left, right = np.float32(0.0), np.float32(0.0)
            for c in range(chirps):
                left += np.sqrt((er[c] + oui[c]) ** 2 + (ei[c] - our[c]) ** 2)
                right += np.sqrt((er[c] - oui[c]) ** 2 + (ei[c] + our[c]) ** 2)
            if m < BROADSIDE:
                magnitude[BROADSIDE + m, r] = left * scale
            if m > 0:
                magnitude[BROADSIDE - m, r] = right * scale


@signal_kernel
def _add_block(re, im, n, turn, er, ei, our, oui):  # type: ignore[no-untyped-def]
    """Add antennas n to n + 3 to the even and odd sums."""
    a, b, c, d = turn[n], turn[n + 1], turn[n + 2], turn[n + 3]
    if n == 0:
        er[:], ei[:], our[:], oui[:] = 0.0, 0.0, 0.0, 0.0
    for k in range(er.shape[0]):
        er[k] += a.real * re[n, k] + b.real * re[n + 1, k] + c.real * re[n + 2, k] + d.real * re[n + 3, k]
        ei[k] += a.real * im[n, k] + b.real * im[n + 1, k] + c.real * im[n + 2, k] + d.real * im[n + 3, k]
        our[k] += a.imag * re[n, k] + b.imag * re[n + 1, k] + c.imag * re[n + 2, k] + d.imag * re[n + 3, k]
        oui[k] += a.imag * im[n, k] + b.imag * im[n + 1, k] + c.imag * im[n + 2, k] + d.imag * im[n + 3, k]


@signal_kernel
def _less_chirp_mean(values):  # type: ignore[no-untyped-def]
    for n in range(values.shape[0]):
        total = np.float32(0.0)
        for c in range(values.shape[1]):
            total += values[n, c]
        mean = total / np.float32(values.shape[1])
        for c in range(values.shape[1]):
            values[n, c] -= mean


@signal_kernel
def _less_antenna_mean(values):  # type: ignore[no-untyped-def]
    share = np.float32(1.0 / values.shape[0])
    for c in range(values.shape[1]):
        total = np.float32(0.0)
        for n in range(values.shape[0]):
            total += values[n, c]
        for n in range(values.shape[0]):
            values[n, c] -= share * total
