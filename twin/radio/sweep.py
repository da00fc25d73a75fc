"""Channel, beam sweep and receiver: from paths to the 64 powers that a sweep measures (radio model, items 2 to 4).

The kernel runs in float32: the element phases of a path are formed by the recurrence z_{n+1} = z_n exp(j 2 pi d u)
and one frame is one output row, so results do not depend on the number of threads.
"""

import numpy as np
from jaxtyping import Complex, Float, Int
from numba import njit, prange

from twin.radio.array import DEFAULT_SPACING_WAVELENGTHS, ula_response

__all__ = ["beam_power", "best_beam", "channel", "measure_sweep"]


def channel(
    gain: Complex[np.ndarray, "*batch path"],
    sine: Float[np.ndarray, "*batch path"],
    elements: int,
    spacing_wavelengths: float = DEFAULT_SPACING_WAVELENGTHS,
) -> Complex[np.ndarray, "*batch element"]:
    """Narrowband geometric channel h = sqrt(N) sum_l alpha_l a(u_l) [1]: the readable form of the kernel."""
    response = ula_response(sine, elements, spacing_wavelengths)
    return np.sqrt(elements) * (np.asarray(gain)[..., None] * response).sum(axis=-2)


@njit(cache=True, parallel=True, fastmath=False, error_model="numpy")
def _beam_power(gain_re, gain_im, sine, weight_re, weight_im, step, scale, out):  # type: ignore[no-untyped-def]
    frames, paths = sine.shape
    elements, beams = weight_re.shape
    for t in prange(frames):
        channel_re = np.zeros(elements, np.float32)
        channel_im = np.zeros(elements, np.float32)
        for p in range(paths):
            re, im = gain_re[t, p], gain_im[t, p]
            if re == 0.0 and im == 0.0:
                continue
            phase = step * sine[t, p]
            turn_re, turn_im = np.cos(phase), np.sin(phase)
            for n in range(elements):
                channel_re[n] += re
                channel_im[n] += im
                re, im = re * turn_re - im * turn_im, re * turn_im + im * turn_re
        sum_re = np.zeros(beams, np.float32)
        sum_im = np.zeros(beams, np.float32)
        for n in range(elements):
            h_re, h_im = channel_re[n], channel_im[n]
            for i in range(beams):  # h^H f
                sum_re[i] += h_re * weight_re[n, i] + h_im * weight_im[n, i]
                sum_im[i] += h_re * weight_im[n, i] - h_im * weight_re[n, i]
        for i in range(beams):
            out[t, i] = scale * (sum_re[i] * sum_re[i] + sum_im[i] * sum_im[i])


def beam_power(
    gain: Complex[np.ndarray, "frame path"],
    sine: Float[np.ndarray, "frame path"],
    weights: Complex[np.ndarray, "beam element"],
    tx_power_w: float = 1.0,
    spacing_wavelengths: float = DEFAULT_SPACING_WAVELENGTHS,
) -> Float[np.ndarray, "frame beam"]:
    """Noise-free power of each beam, RSRP_i = P_tx |h^H f_i|^2 [W], float32. A path of zero gain counts as none."""
    gain = np.asarray(gain, dtype=np.complex64)
    columns = np.ascontiguousarray(np.asarray(weights, dtype=np.complex64).T)
    out = np.empty((gain.shape[0], columns.shape[1]), np.float32)
    _beam_power(
        np.ascontiguousarray(gain.real),
        np.ascontiguousarray(gain.imag),
        np.array(sine, dtype=np.float32, order="C"),
        np.ascontiguousarray(columns.real),
        np.ascontiguousarray(columns.imag),
        np.float32(2.0 * np.pi * spacing_wavelengths),
        np.float32(tx_power_w),
        out,
    )
    return out


def measure_sweep(
    power_w: Float[np.ndarray, "*frame beam"], noise_w: float, symbols: int, rng: np.random.Generator
) -> Float[np.ndarray, "*frame beam"]:
    """A measured sweep (1/K) sum_k |sqrt(P_tx) h^H f_i s_k + n_k|^2 [W], n_k ~ CN(0, noise_w), |s_k| = 1, float32.

    The sum is drawn in one piece from its exact law: sigma^2 / (2 K) times a noncentral chi-square of 2 K degrees and
    noncentrality 2 K P / sigma^2, as the square of one shifted normal plus a chi-square of 2 K - 1 degrees.
    Its mean is P + sigma^2, the floor that real sweeps show; its variance (2 P sigma^2 + sigma^4) / K.
    """
    power = np.asarray(power_w, dtype=np.float64)
    if noise_w <= 0.0:
        return power.astype(np.float32)
    unit = noise_w / (2.0 * symbols)
    shifted = rng.standard_normal(power.shape) + np.sqrt(power / unit)
    rest = rng.chisquare(2 * symbols - 1, power.shape)
    return (unit * (shifted * shifted + rest)).astype(np.float32)


def best_beam(power_w: Float[np.ndarray, "*frame beam"]) -> Int[np.ndarray, "*frame"]:
    """Index of the strongest beam, 0-based; -1 where every beam is dark."""
    return np.where(power_w.max(axis=-1) > 0.0, power_w.argmax(axis=-1), -1).astype(np.int16)
