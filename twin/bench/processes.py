"""What only a process of its own can show: its peak memory, and how long it takes to start."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from twin.bench.timing import Rates, Sizes

__all__ = ["memory", "peak_mb", "start", "trace_many"]

SCENARIO = "street_canyon"
_TRACE_MANY = "from twin.bench.processes import trace_many; trace_many({count}, {chunk})"
_TRACE_ONE = f"from twin.simulator import Simulator; Simulator({SCENARIO!r}).paths(0, 1)"


def memory(sizes: Sizes) -> Rates:
    """Peak memory [MB] of a process that traces many receivers of a static scene chunk by chunk, and its rate.

    What is compiled is on disk by then: to compile it takes as much again.
    """
    _run(_TRACE_MANY.format(count=1, chunk=1))
    said = json.loads(_run(_TRACE_MANY.format(count=sizes.many_receivers, chunk=sizes.chunk)))
    return {"million_receivers_peak_mb": said["peak_mb"], "million_receivers_per_s": said["receivers_per_s"]}


def start(sizes: Sizes) -> Rates:
    """Seconds from the start of a process to the paths of a scenario's first frame, what is compiled being on disk."""
    _run(_TRACE_ONE)
    spent = []
    for _ in range(sizes.repeats):
        started = time.perf_counter()
        _run(_TRACE_ONE)
        spent.append(time.perf_counter() - started)
    return {"second_process_start_s": min(spent)}


def trace_many(count: int, chunk: int) -> None:
    """Trace receivers all over the street of a scenario, and print the peak memory [MB] and the rate."""
    from twin.simulator import Simulator

    simulator = Simulator(SCENARIO)
    rng, half_m = np.random.default_rng(0), simulator.scenario.street.length_m / 2
    started = time.perf_counter()
    for first in range(0, count, chunk):
        size = min(chunk, count - first)
        along_m, across_m = rng.uniform(-half_m, half_m, size), rng.uniform(-3.0, 3.0, size)
        ue_m = np.column_stack([simulator.scenario.local_m(along_m, across_m), np.full(size, 1.7)])
        simulator.tracer.paths(ue_m[None])
    rate = count / (time.perf_counter() - started)
    print(json.dumps({"peak_mb": peak_mb(), "receivers_per_s": rate}))


def peak_mb() -> float:
    """Most memory that this process has had [MB]; Linux counts what its parent had as well, except in /proc."""
    try:
        status = Path("/proc/self/status").read_text()
        return float(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
