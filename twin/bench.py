"""How fast the twin is on this machine."""

import tempfile
import time
from collections.abc import Callable

import numba
import numpy as np

from twin.radio.codebook import uniform_angle
from twin.radio.sweep import beam_power
from twin.simulator import Simulator

__all__ = ["bench", "generate_frames_per_s_core", "sweep_frames_per_s", "trace_frames_per_s_core"]

SWEEP_FRAMES, SWEEP_PATHS, SWEEP_THREADS = 200_000, 8, 2
SCENARIO, EPISODES = "street_canyon", 8
REPEATS = 3


def bench() -> dict[str, float]:
    """Rates [frames/s]: the beam sweep of 8 paths on two cores, tracing, and generation of RF and GPS on one core."""
    return {
        "sweep_frames_per_s": round(sweep_frames_per_s(), 1),
        "trace_frames_per_s_core": round(trace_frames_per_s_core(), 1),
        "generate_frames_per_s_core": round(generate_frames_per_s_core(), 1),
    }


def _with_threads(threads: int, action: Callable[[], float]) -> float:
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        return action()
    finally:
        numba.set_num_threads(before)


def _rate(frames: int, action: Callable[[], object]) -> float:
    """Frames a second of the fastest of some runs; a first one compiles."""
    action()
    best = 0.0
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        best = max(best, frames / (time.perf_counter() - started))
    return best


def sweep_frames_per_s() -> float:
    """64 beams of 16 elements from 8 paths on two threads."""
    rng = np.random.default_rng(0)
    shape = (SWEEP_FRAMES, SWEEP_PATHS)
    gain = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    sine = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    weights = uniform_angle()
    return _with_threads(SWEEP_THREADS, lambda: _rate(SWEEP_FRAMES, lambda: beam_power(gain, sine, weights)))


def trace_frames_per_s_core() -> float:
    """Paths of an episode of the street canyon, about a dozen vehicles, on one thread."""
    simulator = Simulator(SCENARIO, 0)
    return _with_threads(1, lambda: _rate(simulator.frames, simulator.paths))


def generate_frames_per_s_core() -> float:
    """RF and GPS of the street canyon from the scenario to verified files on disk, one process, one thread."""

    def generate() -> float:
        Simulator(SCENARIO, 0, EPISODES).run()  # compiles, and loads what is compiled
        with tempfile.TemporaryDirectory() as folder:
            frames, started = 0, time.perf_counter()
            for episode in range(EPISODES):
                recording = Simulator(SCENARIO, 0, episode).run()
                recording.save(folder)
                frames += recording.frames
            return frames / (time.perf_counter() - started)

    return _with_threads(1, generate)
