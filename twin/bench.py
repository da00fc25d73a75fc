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
    by_clock, by_processor = generate_frames_per_s_core()
    return {
        "sweep_frames_per_s": round(sweep_frames_per_s(), 1),
        "trace_frames_per_s_core": round(trace_frames_per_s_core(), 1),
        "generate_frames_per_s_core": round(by_clock, 1),
        "generate_frames_per_processor_s": round(by_processor, 1),
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


def generate_frames_per_s_core() -> tuple[float, float]:
    """RF and GPS of the street canyon from the scenario to synced files on disk, one process, one thread.

    Frames a second of the clock, and of processor time: the first waits for the disk and for other programs.
    """
    frames = 0

    def generate() -> None:
        nonlocal frames
        with tempfile.TemporaryDirectory() as folder:
            frames, wall, processor = 0, time.perf_counter(), time.process_time()
            for episode in range(EPISODES):
                recording = Simulator(SCENARIO, 0, episode).run()
                recording.save(folder)
                frames += recording.frames
            spent.append((time.perf_counter() - wall, time.process_time() - processor))

    spent: list[tuple[float, float]] = []
    Simulator(SCENARIO, 0, EPISODES).run()  # compiles, or loads what is compiled
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        for _ in range(REPEATS):
            generate()
    finally:
        numba.set_num_threads(before)
    return frames / min(wall for wall, _ in spent), frames / min(processor for _, processor in spent)
