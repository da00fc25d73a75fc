"""From light to bytes: the lens's blur, the sensor's noise, and the tone curve of sRGB."""

import math

import numpy as np
from jaxtyping import Float, Float32, UInt8

from twin.compiled import kernel
from twin.scenario.sensors import Camera

__all__ = ["MID_GREY", "READ_SHARE", "developed"]

MID_GREY = 0.18
"""Linear value of mid grey, white is 1."""
READ_SHARE = 0.2
"""Of the noise's variance at mid grey, what does not come from the light."""
_STEPS = 1 << 14


def _tones() -> np.ndarray:
    """sRGB (IEC 61966-2-1) of linear values 0 .. 1, in steps of 1 / _STEPS, times 255 and ready to be cut."""
    linear = np.arange(_STEPS + 1) / _STEPS
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255.0 * curve + 0.5).astype(np.uint8)


_TONES = _tones()


def developed(
    radiance: Float32[np.ndarray, "row column 3"], exposure: float, camera: Camera, rng: np.random.Generator
) -> UInt8[np.ndarray, "row column 3"]:
    """The picture of some radiance: v = exposure L, blurred by a Gaussian, plus noise of the variance

        noise^2 (0.2 + 0.8 v / 0.18)

    (read and shot noise; `noise` is the standard deviation at mid grey), cut to 0 .. 1, as sRGB.
    """
    image = np.empty(radiance.shape, np.uint8)
    grain = rng.standard_normal(radiance.shape, np.float32) if camera.noise > 0 else np.zeros((1, 1, 1), np.float32)
    value = _blurred(radiance, _weights(camera.blur_px)) if camera.blur_px > 0 else radiance
    _expose(value, np.float32(exposure), grain, np.float32(camera.noise), _TONES, image)
    return image


def _weights(sigma_px: float) -> Float[np.ndarray, "tap"]:
    """A Gaussian's share in the middle pixel and in each to one side, as far as 3 sigma."""
    edge = np.arange(max(1, math.ceil(3 * sigma_px)) + 2) - 0.5
    below = np.array([0.5 * (1 + math.erf(e / (sigma_px * math.sqrt(2)))) for e in edge])
    weight = np.diff(below)
    return (weight / (weight[0] + 2 * weight[1:].sum())).astype(np.float32)


def _blurred(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    rows = len(value)
    found, between = np.empty_like(value), np.empty_like(value)
    _blur(value.reshape(rows, -1), weight, 3, between.reshape(rows, -1))
    _blur_down(between.reshape(rows, -1), weight, found.reshape(rows, -1))
    return found


@kernel
def _blur(value, weight, stride, found):  # type: ignore[no-untyped-def]
    """Each row blurred, pixels `stride` values apart; beyond its ends a row goes on as it ends."""
    rows, columns = value.shape
    reach = (weight.shape[0] - 1) * stride
    for row in range(rows):
        for k in range(columns):
            total = weight[0] * value[row, k]
            if reach <= k < columns - reach:
                for tap in range(1, weight.shape[0]):
                    total += weight[tap] * (value[row, k - tap * stride] + value[row, k + tap * stride])
            else:
                first, last = k % stride, columns - stride + k % stride
                for tap in range(1, weight.shape[0]):
                    low, high = max(first, k - tap * stride), min(last, k + tap * stride)
                    total += weight[tap] * (value[row, low] + value[row, high])
            found[row, k] = total


@kernel
def _blur_down(value, weight, found):  # type: ignore[no-untyped-def]
    """Each column blurred."""
    rows, columns = value.shape
    for row in range(rows):
        for k in range(columns):
            found[row, k] = weight[0] * value[row, k]
        for tap in range(1, weight.shape[0]):
            low, high = max(0, row - tap), min(rows - 1, row + tap)
            for k in range(columns):
                found[row, k] += weight[tap] * (value[low, k] + value[high, k])


@kernel
def _expose(value, exposure, grain, noise, tones, image):  # type: ignore[no-untyped-def]
    rows, columns, bands = value.shape
    steps = np.float32(tones.shape[0] - 1)
    read, shot = np.float32(READ_SHARE), np.float32((1.0 - READ_SHARE) / MID_GREY)
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    for row in range(rows):
        for column in range(columns):
            for band in range(bands):
                v = value[row, column, band] * exposure
                if noise > zero:
                    v += noise * math.sqrt(read + shot * v) * grain[row, column, band]
                v = min(max(v, zero), one)
                image[row, column, band] = tones[int(v * steps + half)]
