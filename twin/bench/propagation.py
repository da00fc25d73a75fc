"""Our tracer and Sionna RT side by side, and what a larger scene costs ours.

Both trace the same frames of the same scenes to the same order, specular reflections alone, on one thread and on two.
Of ours `Tracer.paths` is timed, from positions to every array of `Paths`; of Sionna what `twin.bench.rival` says. A
ratio is the worse of those on one thread and on two.
"""

import math
import time
from collections.abc import Callable

import numpy as np

from twin.bench.cases import CARRIER_HZ, Case, city, moving_street, part_of, static_street
from twin.bench.rival import Rival
from twin.bench.timing import Rates, Sizes, best_rate, numba_threads
from twin.errors import UserError
from twin.propagation.tracer import Tracer

__all__ = ["moving_scene", "munich", "static_scene"]

THREADS = (1, 2)

Note = Callable[[str], None]


def moving_scene(sizes: Sizes, note: Note) -> Rates:
    """Frames a second with eight cars and the receivers moved in every frame: one receiver, and many."""
    name = "moving_scene"
    keys = [f"{name}_ratio", f"{name}_ratio_{sizes.moving_receivers}rx"]
    case = _scene(lambda: moving_street(sizes.moving_frames, sizes.moving_receivers), note)
    if case is None:
        return dict.fromkeys(keys)
    rival = _rival(case, sizes, note)
    samples = {n: rival.fewest_samples(n) for n in (1, sizes.moving_receivers)} if rival else {}
    rates: Rates = {}
    for key, receivers in zip(keys, (1, sizes.moving_receivers), strict=True):
        some = case.receivers(receivers)
        suffix = key.removeprefix(f"{name}_ratio")
        ours = {threads: _ours(some, threads, sizes) / receivers for threads in THREADS}
        theirs = {}
        rays = samples.get(receivers)
        if rival and rays:
            rival.case = some
            theirs = {threads: rival.rate(receivers, rays, threads) / receivers for threads in THREADS}
        rates |= _compared(key, f"{name}_frames_per_s{suffix}", ours, theirs)
        if rays:
            rates[f"{name}_sionna_samples{suffix}"] = rays
    return rates


def static_scene(sizes: Sizes, note: Note) -> Rates:
    """Receivers a second where nothing moves."""
    case = _scene(lambda: static_street(sizes.static_receivers), note)
    return {"static_scene_ratio": None} if case is None else _many_receivers("static_scene", case, sizes, note)


def munich(sizes: Sizes, note: Note) -> Rates:
    """Receivers a second in a city, and time a receiver in parts of it: its growth is (facets)^exponent."""
    case = _scene(lambda: city(sizes.city_receivers), note)
    if case is None:
        return {"munich_ratio": None}
    rates = _many_receivers("munich", case, sizes, note)
    facets, times_us = [], []
    for size in sizes.facets:
        part = part_of(case, size)
        started = time.perf_counter()
        tracer = Tracer(part.bodies, part.bs_m, CARRIER_HZ, order=part.order)
        rates[f"facets_{size}_preparation_s"] = time.perf_counter() - started
        facets.append(sum(len(body.face) for body in part.bodies))
        times_us.append(1e6 / _receivers_per_s(tracer, part, 1, sizes))
        rates[f"facets_{size}_us_per_receiver"] = times_us[-1]
    rates["facets_exponent"] = float(np.polyfit(np.log(facets), np.log(times_us), 1)[0])
    return rates


def _many_receivers(name: str, case: Case, sizes: Sizes, note: Note) -> Rates:
    """Rates over all receivers of a case; Sionna solves as many together as is fastest.

    The first of `Sizes.groups` says how many rays are needed. Larger ones lose paths: those that do not find enough
    with as many rays are left out.
    """
    ours = {threads: _ours(case, threads, sizes) for threads in THREADS}
    rival = _rival(case, sizes, note)
    theirs: dict[int, float] = {}
    details: Rates = {}
    samples = rival.fewest_samples(sizes.groups[0]) if rival else None
    for group in sizes.groups:
        if rival is None or samples is None or not rival.finds_enough(group, samples):
            continue
        found = {threads: rival.rate(group, samples, threads) for threads in THREADS}
        if sum(found.values()) > sum(theirs.values()):
            theirs = found
            details = {f"{name}_sionna_samples": samples, f"{name}_sionna_group": group}
    return _compared(f"{name}_ratio", f"{name}_receivers_per_s", ours, theirs) | details


def _compared(ratio: str, rate: str, ours: dict[int, float], theirs: dict[int, float]) -> Rates:
    """The ratio, then the rates that it comes of."""
    rates: Rates = {ratio: min(ours[n] / theirs[n] for n in theirs) if theirs else None}
    rates |= {f"{rate}_{threads}": value for threads, value in ours.items()}
    return rates | {f"{rate}_sionna_{threads}": value for threads, value in theirs.items()}


def _ours(case: Case, threads: int, sizes: Sizes) -> float:
    tracer = Tracer(case.bodies, case.bs_m, CARRIER_HZ, case.shapes, case.order)
    return _receivers_per_s(tracer, case, threads, sizes)


def _receivers_per_s(tracer: Tracer, case: Case, threads: int, sizes: Sizes) -> float:
    """Receivers a second, all frames in one call."""
    with numba_threads(threads):
        count = math.prod(case.ue_m.shape[:2])
        return best_rate(count, lambda: tracer.paths(case.ue_m, None, case.movers), sizes)


def _scene(make: Callable[[], Case], note: Note) -> Case | None:
    try:
        return make()
    except UserError as error:
        note(str(error))
        return None


def _rival(case: Case, sizes: Sizes, note: Note) -> Rival | None:
    try:
        return Rival(case, sizes)
    except UserError as error:
        note(str(error))
        return None
