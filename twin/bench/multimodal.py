"""Recordings with every modality, from the scenario to synced files on disk."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from twin.bench.processes import peak_mb
from twin.bench.timing import Rates, Sizes, numba_threads
from twin.console import warn_in_one_line
from twin.generation import generate_dataset
from twin.sensors.images import encode_jpeg
from twin.sensors.lidar.depth_image import depth_image
from twin.simulator import Simulator

__all__ = ["multimodal"]

SCENARIO, WORKERS, SEED = "deepsense32", 2, 0
WARM_FRAMES, WARM_EPISODE = 3, 1000


def multimodal(sizes: Sizes) -> Rates:
    """Frames a second of two processes that generate all modalities; what a frame takes of each sensor, and of disk.

    The processes have started and have their kernels; everything else of an episode counts: its world, its traffic,
    what stands still in each sensor's view, and the sync of its files.
    """
    rates: Rates = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(WORKERS, get_context("spawn"), initializer=warn_in_one_line) as pool,
    ):
        list(pool.map(_warm, range(2 * WORKERS)))
        started = time.perf_counter()
        frames = _frames(folder, sizes, pool)
        rates["multimodal_frames_per_s"] = frames / (time.perf_counter() - started)
        rates["bytes_per_frame"] = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / frames
        rates["worker_peak_mb"] = max(pool.map(_peak, range(8 * WORKERS)))
    return rates | _shares(sizes)


def _frames(folder: str, sizes: Sizes, pool: ProcessPoolExecutor) -> int:
    out = Path(folder, "dataset")
    generate_dataset(
        SCENARIO, out, episodes=sizes.multimodal_episodes, frames=sizes.multimodal_frames, seed=SEED, executor=pool
    )
    from twin.recording import scan

    return sum(entry.open().frames for entry in scan(out).episodes)


def _warm(number: int) -> None:
    import numba

    numba.set_num_threads(1)
    Simulator(SCENARIO, SEED, WARM_EPISODE + number).run(WARM_FRAMES)


def _peak(_: int) -> float:
    return peak_mb()


def _shares(sizes: Sizes) -> Rates:
    """Milliseconds that a frame takes of each sensor and its map, on one thread; means over an episode."""
    sensors = Simulator(SCENARIO, SEED).sensors
    actions: dict[str, Callable[[int], object]] = {
        "camera_ms": lambda k: encode_jpeg(sensors.picture(k).image),
        "lidar_ms": lambda k: depth_image(sensors.cloud(k).point_m),
        "radar_ms": lambda k: sensors.echo(k).map_db,
    }
    count = min(sizes.multimodal_frames, sensors.traffic.frames)
    rates: Rates = {}
    with numba_threads(1):
        for name, action in actions.items():
            action(0)
            started = time.perf_counter()
            for k in range(count):
                action(k)
            rates[name] = 1e3 * (time.perf_counter() - started) / count
        rates["lidar_points"] = sum(len(sensors.cloud(k).point_m) for k in range(count)) / count
    return rates
