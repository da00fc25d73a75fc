"""The cube that point scatterers give: a sum of tones, by a nonuniform FFT.

The intermediate frequency is the sent ramp times the conjugate of the received one. At antenna n and time t' of a ramp,

    x = A exp(j 2 pi (f0 tau + S tau t')) exp(j pi n s),   tau = 2 R(t + t') / c,

with f0 the carrier at the first sample, S the slope and s the sine of the direction (sin azimuth cos elevation,
positive to the left); the antennas are numbered from left to right, half a wavelength apart. Range, phase and speed
grow together: the phase of what recedes turns forward from chirp to chirp. Two small things are left out: the residual
video phase -pi S tau^2, which hardly changes in a frame, and how the range changes within a ramp but for the Doppler
shift of its tone (0.03 rad at 15 m/s).
"""

import math
from functools import cache

import numpy as np
from jaxtyping import Complex64, Float32
from numpy.polynomial import chebyshev
from scipy.fft import ifft

from twin.scenario.sensors import Radar
from twin.sensors.mount import Mount
from twin.sensors.radar.range_angle import signal_kernel
from twin.sensors.radar.signal import Scatterers, bins_per_m, echo_amplitude, wavelength_m

__all__ = ["echo_cube"]

NEAREST_M = 0.3
"""What lies nearer echoes from there: the radar equation is one of the far field."""
TAPS = 6
"""Grid points that a tone is spread over, on a grid twice as fine as the bins: an error of 1e-5 of its amplitude."""
_SHARPNESS = 2.30 * TAPS
_DEGREE = 11


def echo_cube(
    radar: Radar, mount: Mount, scatterers: Scatterers, chirps: int | None = None
) -> Complex64[np.ndarray, "antenna sample chirp"]:
    """The cube x(n, m, c) [sqrt(fW)] of the echoes of scatterers, without noise.

    x = sum A exp(j pi n s) exp(j 2 pi (2 R_c / lambda + f_c m / N)), with

        R_c = R + v t_c + (|v|^2 - v_r^2) t_c^2 / (2 R),  t_c = (c - (C - 1) / 2) T,
        f_c = (2 S R_c / c + 2 dR_c/dt / lambda) N / f_s,

    `chirps` C around the frame's time (the radar's by default; 1 for what stands still). What the filter of the
    intermediate frequency takes away, beyond the last bin, is left out, and so is what lies behind.
    """
    chirps = radar.chirps if chirps is None else chirps
    seen_m = mount.to_sensor(scatterers.position_m)
    range_m = np.maximum(np.linalg.norm(seen_m, axis=1), NEAREST_M)
    towards = seen_m / range_m[:, None]
    speed_mps = (scatterers.velocity_mps @ mount.axes.T * towards).sum(axis=1)
    bend_mps2 = ((scatterers.velocity_mps**2).sum(axis=1) - speed_mps**2) / range_m
    per_m, per_mps = bins_per_m(radar), 2 / wavelength_m(radar) * radar.samples / radar.sample_rate_hz
    amplitude = echo_amplitude(radar, range_m, towards[:, 0], scatterers.rcs_m2)
    heard = (amplitude > 0) & (range_m * per_m + speed_mps * per_mps < radar.samples)
    track = np.stack([range_m, speed_mps, bend_mps2, amplitude, towards[:, 1]], axis=1)[heard]
    grid = np.zeros((radar.antennas, 2 * radar.samples, chirps), np.complex64)
    if len(track):
        scales = (2 / wavelength_m(radar), per_m, per_mps, radar.chirp_interval_s)
        _spread(grid.view(np.float32), track, scales, _TAPS)
    return _samples_of_grid(grid)


def _samples_of_grid(grid: np.ndarray) -> np.ndarray:
    """What a spread grid stands for: its inverse DFT, the middle half, over that of the spreading function."""
    count = grid.shape[1] // 2
    half = count // 2
    wide = ifft(grid, axis=1, norm="forward", overwrite_x=True)
    found = np.concatenate([wide[:, -half:], wide[:, : count - half]], axis=1)
    found *= _correction(count)[:, None]
    return found


def _bump(place: np.ndarray) -> np.ndarray:
    """The spreading function, exp(b (sqrt(1 - z^2) - 1)) within -1 < z < 1 (Barnett, Magland and af Klinteberg, SIAM
    J. Sci. Comput. 41, C479, 2019)."""
    return np.exp(_SHARPNESS * (np.sqrt(np.maximum(0.0, 1 - (2 * place / TAPS) ** 2)) - 1))


@cache
def _correction(count: int) -> Float32[np.ndarray, "sample"]:
    """1 over the Fourier transform of the bump, at the samples -count/2 ... of a grid of 2 count points."""
    node, weight = np.polynomial.legendre.leggauss(200)
    place = node * TAPS / 2
    wave = np.cos(np.pi * np.outer(np.arange(count) - count // 2, place) / count)
    return (1 / (wave @ (weight * _bump(place) * TAPS / 2))).astype(np.float32)


def _tap_polynomials() -> Float32[np.ndarray, "tap power"]:
    """The bump from grid point to grid point as polynomials, highest power first, of a place from -1 to 1."""
    place = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    fits = [chebyshev.chebfit(place, _bump(tap + (place + 1) / 2 - TAPS / 2), _DEGREE) for tap in range(TAPS)]
    return np.array([chebyshev.cheb2poly(fit)[::-1] for fit in fits]).astype(np.float32)


_TAPS = _tap_polynomials()


@signal_kernel
def _spread(grid, track, scales, taps):  # type: ignore[no-untyped-def]
    """Add the tones to a grid (antenna, half bin, real and imaginary part of each chirp).

    A tone keeps its grid points over a run of chirps, and the loops over those fill vector registers."""
    antennas, points, chirps = grid.shape[0], grid.shape[1], grid.shape[2] // 2
    value, weight = np.empty((antennas, 2 * chirps), np.float32), np.empty(2 * chirps, np.float32)
    place, first = np.empty(2 * chirps, np.float32), np.empty(chirps, np.int64)
    for s in range(track.shape[0]):
        _follow(track[s], points // 2, scales, value[0], place, first)
        for n in range(1, antennas):
            _turn(value[n - 1], math.pi * track[s, 4], value[n])
        begin = 0
        while begin < chirps:
            end = begin + 1
            while end < chirps and first[end] == first[begin]:
                end += 1
            run = slice(2 * begin, 2 * end)
            for tap in range(taps.shape[0]):
                _weigh(taps[tap], place[run], weight[run])
                point = (first[begin] + tap) % points
                for n in range(antennas):
                    _add_product(grid[n, point, run], weight[run], value[n, run])
            begin = end


@signal_kernel
def _follow(track, samples, scales, value, place, first):  # type: ignore[no-untyped-def]
    """The tone's phasor at the first antenna and the chirp's middle, and where on the grid it begins.

    The range is a square of time, and so is the phase: each turn from chirp to chirp is the one before, turned on."""
    range_m, speed, bend, amplitude = track[0], track[1], track[2], track[3]
    turns_per_m, bins_per_m, bins_per_mps, interval_s = scales
    chirps, middle = first.shape[0], (samples // 2) / samples
    start_s = -0.5 * (chirps - 1) * interval_s
    start_m = range_m + (speed + 0.5 * bend * start_s) * start_s
    per_m, per_mps = turns_per_m + bins_per_m * middle, bins_per_mps * middle
    phasor = amplitude * _unit(per_m * start_m + per_mps * (speed + bend * start_s))
    turn = _unit(interval_s * (per_m * (speed + bend * (start_s + 0.5 * interval_s)) + per_mps * bend))
    bent = _unit(per_m * bend * interval_s * interval_s)
    for c in range(chirps):
        value[2 * c], value[2 * c + 1] = phasor.real, phasor.imag
        phasor *= turn
        turn *= bent
        time_s = start_s + c * interval_s
        bins = bins_per_m * (range_m + (speed + 0.5 * bend * time_s) * time_s)
        begin = 2.0 * (bins + bins_per_mps * (speed + bend * time_s)) - 0.5 * TAPS
        first[c] = math.ceil(begin)
        place[2 * c] = place[2 * c + 1] = 2.0 * (first[c] - begin) - 1.0


@signal_kernel
def _unit(turns):  # type: ignore[no-untyped-def]
    angle = 2.0 * math.pi * (turns - math.floor(turns))
    return complex(math.cos(angle), math.sin(angle))


@signal_kernel
def _turn(before, angle, after):  # type: ignore[no-untyped-def]
    """The phasors of an antenna from those of the one before."""
    re, im = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    for c in range(before.shape[0] // 2):
        a, b = before[2 * c], before[2 * c + 1]
        after[2 * c], after[2 * c + 1] = a * re - b * im, a * im + b * re


@signal_kernel
def _weigh(polynomial, place, weight):  # type: ignore[no-untyped-def]
    weight[:] = polynomial[0]
    for power in range(1, polynomial.shape[0]):
        for k in range(place.shape[0]):
            weight[k] = weight[k] * place[k] + polynomial[power]


@signal_kernel
def _add_product(row, weight, value):  # type: ignore[no-untyped-def]
    for k in range(row.shape[0]):
        row[k] += weight[k] * value[k]
