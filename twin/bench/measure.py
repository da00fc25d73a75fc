"""The parts of the benchmark by name."""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from twin.bench.multimodal import multimodal
from twin.bench.processes import memory, start
from twin.bench.timing import Rates, Sizes, best_rate, numba_threads
from twin.errors import UserError
from twin.radio.codebook import uniform_angle
from twin.radio.sweep import beam_power
from twin.scenario import Template, load_scenario
from twin.simulator import Simulator

__all__ = ["PARTS", "bench"]

SWEEP_PATHS, SWEEP_THREADS = 8, 2
SCENARIO = "street_canyon"
PIPELINE, PIPELINE_ARRIVALS, PIPELINE_VEHICLES = "deepsense32", 40.0, 12
"""Scenario of the whole step; arrivals of vehicles a lane and minute; vehicles a frame that these must come to."""

MODALITIES = ("rf", "gps")

PARTS = ("sweep", "trace", "generate", "pipeline", "moving", "static", "munich", "memory", "start", "multimodal")


def bench(parts: Sequence[str] = (), sizes: Sizes | None = None, note: Callable[[str], None] = print) -> Rates:
    """Figures of some parts of `PARTS`, all by default; None where Sionna RT is missing, and `note` is told so once.

    Raises:
        UserError: there is no such part.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise UserError(f"there is no part {unknown[0]!r}", "twin bench", f"choose from {', '.join(PARTS)}")
    said: set[str] = set()

    def note_once(line: str) -> None:
        if line not in said:
            note(line)
        said.add(line)

    rates: Rates = {}
    for part in parts or PARTS:
        rates |= _action(part, note_once)(sizes or Sizes())
    return {name: None if value is None else float(f"{value:.5g}") for name, value in rates.items()}


def _action(part: str, note: Callable[[str], None]) -> Callable[[Sizes], Rates]:
    if part in ("moving", "static", "munich"):
        from twin.bench import propagation

        compare = {"moving": propagation.moving_scene, "static": propagation.static_scene, "munich": propagation.munich}
        return partial(compare[part], note=note)
    own = {"sweep": sweep, "trace": trace, "generate": generate, "pipeline": pipeline, "memory": memory, "start": start}
    own["multimodal"] = multimodal
    return own[part]


def sweep(sizes: Sizes) -> Rates:
    """64 beams of 16 elements from 8 paths on two threads."""
    rng = np.random.default_rng(0)
    shape = (sizes.sweep_frames, SWEEP_PATHS)
    gain = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    sine = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    weights = uniform_angle()
    with numba_threads(SWEEP_THREADS):
        rate = best_rate(sizes.sweep_frames, lambda: beam_power(gain, sine, weights), sizes)
    return {"sweep_frames_per_s": rate}


def trace(sizes: Sizes) -> Rates:
    """Paths of an episode of the street canyon, about a dozen vehicles, on one thread."""
    simulator = Simulator(SCENARIO, 0)
    with numba_threads(1):
        return {"trace_frames_per_s_core": best_rate(simulator.frames, simulator.paths, sizes)}


def generate(sizes: Sizes) -> Rates:
    """RF and GPS of the street canyon from the scenario to synced files on disk, one process, one thread.

    Frames a second of the clock, and of processor time: the first waits for the disk and for other programs.
    """
    spent = []
    frames = 0
    with numba_threads(1):
        Simulator(SCENARIO, 0, sizes.episodes).run(modalities=MODALITIES)  # compiles, or loads what is compiled
        for _ in range(sizes.repeats):
            with tempfile.TemporaryDirectory() as folder:
                frames, wall, processor = 0, time.perf_counter(), time.process_time()
                for episode in range(sizes.episodes):
                    recording = Simulator(SCENARIO, 0, episode).run(modalities=MODALITIES)
                    recording.save(folder)
                    frames += recording.frames
                spent.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = (min(column) for column in zip(*spent, strict=True))
    return {"generate_frames_per_s_core": frames / wall, "generate_frames_per_processor_s": frames / processor}


def pipeline(sizes: Sizes) -> Rates:
    """From the positions of a dozen vehicles and more to the measured sweep of each frame, on one thread.

    Timed are paths, antennas, beams and noise of an episode; where the vehicles are is known.
    """
    template = load_scenario(PIPELINE)
    raw = {**template.raw, "traffic": {**template.raw["traffic"], "arrivals_per_minute": PIPELINE_ARRIVALS}}
    simulator = Simulator(Template(raw, template.where), 0)
    vehicles = float((simulator.movers.shape >= 0).sum(axis=1).mean())
    if vehicles < PIPELINE_VEHICLES:
        raise RuntimeError(f"{vehicles:.1f} vehicles a frame are too few for this measurement")
    with numba_threads(1):
        rate = best_rate(simulator.frames, lambda: simulator.sweep_w(simulator.rsrp_w(simulator.paths())), sizes)
    return {"pipeline_frames_per_s_core": rate, "pipeline_vehicles": vehicles}
