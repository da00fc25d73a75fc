"""How much is measured, and how."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numba

__all__ = ["Rates", "Sizes", "best_rate", "numba_threads"]

Rates = dict[str, float | None]
"""Figures by name; None where one could not be measured."""


@dataclass(frozen=True)
class Sizes:
    """How much each part measures.

    Attributes:
        repeats, least_s: the fastest of so many runs counts, each at least so long [s].
        sweep_frames: frames of the beam sweep.
        episodes: of a scenario that are generated.
        moving_frames, moving_receivers: frames of the moving scene; receivers in the second run over them.
        static_receivers, city_receivers: receivers of the static scene and of `munich`.
        groups: of receivers that Sionna may solve together, smallest first; the fastest that finds enough counts.
        reference_samples, reference_solves: rays of the solves of Sionna that say what is to be found, and how many.
        first_samples: fewest rays that Sionna launches a solve.
        facets: triangles of the parts of `munich`.
        many_receivers, chunk: receivers of the memory test, and how many of them at a time.
        multimodal_episodes, multimodal_frames: that are generated with every modality; frames an episode at most.
    """

    repeats: int = 3
    least_s: float = 0.3
    sweep_frames: int = 200_000
    episodes: int = 8
    moving_frames: int = 40
    moving_receivers: int = 50
    static_receivers: int = 2048
    city_receivers: int = 2048
    groups: tuple[int, ...] = (128, 512, 2048)
    reference_samples: int = 10_000_000
    reference_solves: int = 6
    first_samples: int = 1_000
    facets: tuple[int, ...] = (100, 1_000, 10_000, 40_000)
    many_receivers: int = 1_000_000
    chunk: int = 20_000
    multimodal_episodes: int = 8
    multimodal_frames: int = 120


@contextmanager
def numba_threads(count: int) -> Iterator[None]:
    """Run numba on so many threads, or on as many as there are."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.set_num_threads(before)


def best_rate(count: int, action: Callable[[], object], sizes: Sizes) -> float:
    """How many of the `count` things that an action does are done a second in the fastest run; a first one compiles."""
    action()
    best = 0.0
    for _ in range(sizes.repeats):
        done, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < sizes.least_s or done == 0:
            action()
            done += count
        best = max(best, done / spent)
    return best
