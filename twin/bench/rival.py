"""Sionna RT at its best: warm, on as many threads as ours, and with no more rays than it needs.

What stands still is one mesh a material, as Sionna's own loader merges it; movers are moved by one update a frame; the
table in which it marks what it has found has the size that Sionna gives it. Only its own work is timed: the update of
the scene, the solve, and the evaluation of the coefficients and delays. What the twin makes of them is not.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from twin.bench.cases import CARRIER_HZ, Case
from twin.bench.timing import Sizes
from twin.errors import UserError
from twin.geometry.facets import Body
from twin.propagation.paths import Paths
from twin.propagation.sionna import RECEIVERS_A_SOLVE, SionnaTracer, load_sionna

__all__ = ["ENOUGH", "Rival", "merged"]

ENOUGH = 0.99
"""Share of the paths of a dense solve, direct ones aside, that have to be found."""
MOST_PATHS = 64
HASH_SLOTS = 1_000_000
"""Of the solver's table, as Sionna has them; more cost time."""


class Rival:
    """Sionna RT on one case.

    Raises:
        UserError: Sionna RT or LLVM is missing, or it runs on a GPU.
    """

    def __init__(self, case: Case, sizes: Sizes) -> None:
        _load_on_the_cpu()
        self.case, self.sizes = case, sizes
        self.tracer = SionnaTracer(
            merged(case.bodies), case.bs_m, CARRIER_HZ, case.shapes, case.order, MOST_PATHS,
            hash_slots=HASH_SLOTS,
        )  # fmt: skip
        self._wanted = self._reflected(self._reference_case, sizes.reference_samples, RECEIVERS_A_SOLVE)

    @property
    def _reference_case(self) -> Case:
        """A few solves: frames if there are many, else receivers."""
        solves = self.sizes.reference_solves
        if len(self.case.ue_m) > 1:
            return self.case.frames(solves).receivers(RECEIVERS_A_SOLVE)
        return self.case.receivers(solves * RECEIVERS_A_SOLVE)

    def _reflected(self, case: Case, samples: int, group: int) -> set[tuple[int, ...]]:
        """Frame, receiver and bounces of each path that is not direct."""
        self.tracer.samples, self.tracer.receivers_a_solve = samples, group
        paths: Paths = self.tracer.paths(case.ue_m, None, case.movers)
        found = np.argwhere(paths.valid & (paths.kind.max(axis=-1) > 0))
        bounces = np.concatenate([paths.kind, paths.body, paths.facet], axis=-1)[tuple(found.T)]
        return {tuple(row) for row in np.concatenate([found[:, :2], bounces], axis=-1).tolist()}

    def fewest_samples(self, group: int) -> int | None:
        """Rays a solve, doubled until enough is found with so many receivers a solve; None where that never is."""
        samples = self.sizes.first_samples
        while samples <= self.sizes.reference_samples:
            if self.finds_enough(group, samples):
                return samples
            samples *= 2
        return None

    def finds_enough(self, group: int, samples: int) -> bool:
        """Whether so many rays find what is to be found with so many receivers a solve."""
        few = self._reference_case
        full = self.case.frames(len(few.ue_m)).receivers(max(group, few.ue_m.shape[1]))
        found = self._reflected(full, samples, group)
        return len(found & self._wanted) >= ENOUGH * len(self._wanted)

    def rate(self, group: int, samples: int, threads: int) -> float:
        """Receivers a second, all frames one after the other, in the fastest of some runs; a first one compiles."""
        import drjit

        before = drjit.thread_count()
        drjit.set_thread_count(threads)
        try:
            self.tracer.samples = samples
            self._run(group)
            return max(math.prod(self.case.ue_m.shape[:2]) / self._run(group) for _ in range(self.sizes.repeats))
        finally:
            drjit.set_thread_count(before)

    def _run(self, group: int) -> float:
        """Seconds for all frames. Where nothing moves, receivers are where they are before the clock starts."""
        import drjit

        movers, ue_m = self.case.movers, self.case.ue_m
        still = movers.shape.shape[1] == 0
        spent = 0.0
        for t in range(len(ue_m)):
            for first in range(0, ue_m.shape[1], group):
                part = ue_m[t, first : first + group]
                if still:
                    self.tracer.place_receivers(part, np.zeros_like(part))
                started = time.perf_counter()
                if not still:
                    if first == 0:
                        self.tracer.move(movers, t)
                    self.tracer.place_receivers(part, np.zeros_like(part))
                solved = self.tracer.solve()
                drjit.eval(*solved.a, solved.tau)
                drjit.sync_thread()
                spent += time.perf_counter() - started
        return spent


def _load_on_the_cpu() -> None:
    """Load Sionna RT where Dr.Jit sees no GPU: what is compared shares its cores.

    Raises:
        UserError: Sionna RT or LLVM is missing, or it was loaded on a GPU before.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        load_sionna()
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
    import mitsuba

    if not str(mitsuba.variant()).startswith("llvm"):
        raise UserError("Sionna RT runs on a GPU", "backend sionna", "hide it: CUDA_VISIBLE_DEVICES= twin bench")


def merged(bodies: Sequence[Body]) -> tuple[Body, ...]:
    """One body a material."""
    groups = defaultdict(list)
    for body in bodies:
        groups[body.material].append(body)
    made = []
    for material, group in groups.items():
        first = np.cumsum([0] + [len(body.vertex_m) for body in group[:-1]])
        face = np.concatenate([body.face + start for body, start in zip(group, first, strict=True)])
        vertex_m = np.concatenate([body.vertex_m for body in group])
        made.append(Body(material.name, vertex_m, face.astype(np.int32), material))
    return tuple(made)
