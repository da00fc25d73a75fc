"""Runs both tracers over a scene, and says where what only one of them has comes from."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from twin.geometry.facets import Body
from twin.propagation.parity.matching import (
    Figures,
    differences,
    figures_of,
    interactions,
    legs_m,
    match,
    problems,
    strong,
)
from twin.propagation.parity.same_points import at_their_points
from twin.propagation.parity.scenes import ParityScene
from twin.propagation.paths import Interaction, Paths
from twin.propagation.sionna import HASH_SLOTS, RECEIVERS_A_SOLVE, SionnaTracer
from twin.propagation.tracer import Tracer

__all__ = ["Comparison", "Density", "Unmatched", "compare_scene", "densities", "worst"]

SEED = 20_000
MOST_PATHS = 256
"""Paths kept a link, so that none is cut off."""
SHORTEST_LEG_M = 0.01
"""Sionna drops paths with a shorter leg [m]."""
RAYS = 1_000_000
"""Rays that our tracer launches into large scenes."""
DENSE_RAYS = 16_000_000
"""Rays for what one tracer has and the other has not; Sionna solves each of these receivers alone."""
EDGE_RAYS = 4_000_000
"""Rays of Sionna in the comparison of edges, which few rays pass close by."""
SIONNAS_SLOTS = 1_000_000
"""Slots of Sionna's hash table as it comes."""


@dataclass(frozen=True)
class Unmatched:
    """Strong paths that one tracer has and the other has not.

    Attributes:
        ours, theirs: how many.
        short_leg: of ours, with a leg that is too short for Sionna.
        found_denser: that the other finds as well when it launches more rays.
    """

    ours: int
    theirs: int
    short_leg: int
    found_denser: int

    @property
    def unexplained(self) -> int:
        """The rest."""
        return self.ours + self.theirs - self.short_leg - self.found_denser


@dataclass(frozen=True)
class Comparison:
    """One scene at one carrier, over all of its base stations.

    Attributes:
        scene, carrier_hz, samples: what was compared, and the rays of a solve of Sionna.
        receivers: of each base station.
        seconds_ours, seconds_theirs: for preparing and tracing, compilation included.
        orders: figures of the direct paths and of each order of reflection that there is.
        unmatched: what only one has.
        edges: figures of diffracted paths; `edges_alike`: the same with Sionna's diffraction coefficient in ours.
    """

    scene: str
    carrier_hz: float
    receivers: int
    samples: int
    seconds_ours: float
    seconds_theirs: float
    orders: tuple[Figures, ...]
    unmatched: Unmatched
    edges: Figures | None = None
    edges_alike: Figures | None = None

    @property
    def problems(self) -> list[str]:
        """What does not reach the limits."""
        found = [text for figures in self.orders for text in problems(figures)]
        if self.unmatched.unexplained:
            found.append(f"{self.unmatched.unexplained} paths without a partner are not explained")
        if self.edges_alike is not None:
            found += problems(self.edges_alike, edges=True)
        return [f"{self.scene} at {self.carrier_hz / 1e9:g} GHz, {text}" for text in found]

    def as_json(self) -> dict[str, Any]:
        """Everything, the worst of the orders first."""
        return {
            "scene": self.scene,
            "carrier_ghz": self.carrier_hz / 1e9,
            "receivers": self.receivers,
            **worst(self.orders),
            "samples": self.samples,
            "seconds_ours": round(self.seconds_ours, 2),
            "seconds_theirs": round(self.seconds_theirs, 2),
            "unmatched": {**asdict(self.unmatched), "unexplained": self.unmatched.unexplained},
            "orders": [asdict(figures) for figures in self.orders],
            "edges": None if self.edges is None else asdict(self.edges),
            "edges_alike": None if self.edges_alike is None else asdict(self.edges_alike),
        }


def worst(orders: Sequence[Figures]) -> dict[str, float | None]:
    """The least share and the largest error of any group."""

    def of(name: str, pick: Callable[[list[float]], float]) -> float | None:
        values = [value for figures in orders if (value := getattr(figures, name)) is not None]
        return pick(values) if values else None

    return {
        "matched_share_ours": of("matched_share_ours", min),
        "matched_share_theirs": of("matched_share_theirs", min),
        "delay_error_ps_max": of("delay_error_ps_max", max),
        "angle_error_deg_max": of("angle_error_deg_max", max),
        "transfer_error_max": of("transfer_error_max", max),
        "same_points_error_max": of("same_points_error_max", max),
        "near_phase_error_deg_max": of("near_phase_error_deg_max", max),
    }


@dataclass(frozen=True)
class _Links:
    """Every base station with every receiver, station by station [m]."""

    bodies: tuple[Body, ...]
    carrier_hz: float
    bs_m: Float[np.ndarray, "link 3"]
    ue_m: Float[np.ndarray, "link 3"]

    def some(self, links: Int[np.ndarray, "some"]) -> "_Links":
        return replace(self, bs_m=self.bs_m[links], ue_m=self.ue_m[links])

    def _paths(self, tracer_at: Callable[[np.ndarray], Tracer | SionnaTracer]) -> Paths:
        parts = []
        for bs_m in np.unique(self.bs_m, axis=0):
            here = (self.bs_m == bs_m).all(axis=1)
            parts.append((np.flatnonzero(here), tracer_at(bs_m).paths(self.ue_m[None, here])))
        place = np.argsort(np.concatenate([links for links, _ in parts]))
        return _of_arrays(lambda *rows: np.concatenate([row[0] for row in rows])[place], [part for _, part in parts])

    def ours(self, order: int, rays: int = RAYS, **options: Any) -> Paths:
        return self._paths(
            lambda bs_m: Tracer(self.bodies, bs_m, self.carrier_hz, (), order, MOST_PATHS, rays=rays, **options)
        )

    def theirs(self, order: int, samples: int, diffraction: bool = False, **options: Any) -> Paths:
        return self._paths(
            lambda bs_m: SionnaTracer(
                self.bodies, bs_m, self.carrier_hz, (), order, MOST_PATHS, samples, diffraction, **options
            )
        )


def _of_arrays(make: Callable[..., np.ndarray], parts: Sequence[Paths]) -> Paths:
    """Paths whose arrays are made of those of others."""
    names = [field.name for field in fields(Paths) if isinstance(getattr(parts[0], field.name), np.ndarray)]
    made: dict[str, Any] = {name: make(*(getattr(part, name) for part in parts)) for name in names}
    return replace(parts[0], **made)


def _links(scene: ParityScene, carrier_hz: float, receivers: int) -> _Links:
    bodies = scene.bodies(carrier_hz)
    ue_m = scene.receivers(np.random.default_rng(SEED), receivers, bodies)
    stations_m = np.array(scene.stations_m)
    return _Links(bodies, carrier_hz, stations_m.repeat(receivers, axis=0), np.tile(ue_m, (len(stations_m), 1)))


def compare_scene(scene: ParityScene, carrier_hz: float, receivers: int) -> Comparison:
    """Trace the receivers of a scene twice and compare.

    Raises:
        UserError: the carrier is out of range, or Sionna RT cannot run.
    """
    links = _links(scene, carrier_hz, receivers)
    begin = time.perf_counter()
    ours = links.ours(scene.order)
    middle = time.perf_counter()
    theirs = links.theirs(scene.order, scene.samples)
    end = time.perf_counter()
    matched = match(ours, theirs, links.bodies)
    found = differences(ours, theirs, matched, carrier_hz)
    moved = at_their_points(ours, theirs, matched.pair, links.bs_m, links.ue_m, links.bodies, carrier_hz)
    same_points = differences(moved, theirs, matched, carrier_hz)
    orders = tuple(
        figures_of(
            str(order) if order else "direct", ours, theirs, matched, found, same_points,
            (ours.order == order, theirs.order == order), carrier_hz,
        )
        for order in range(scene.order + 1)
    )  # fmt: skip
    orders = tuple(figures for figures in orders if figures.ours or figures.theirs)
    edges = _edges(links) if scene.edges else (None, None)
    return Comparison(
        scene.name, carrier_hz, receivers, scene.samples, middle - begin, end - middle, orders,
        _unmatched(links, scene, ours, theirs, matched.ours_alone, matched.theirs_alone), *edges,
    )  # fmt: skip


def _unmatched(
    links: _Links,
    scene: ParityScene,
    ours: Paths,
    theirs: Paths,
    ours_alone: Int[np.ndarray, "n 2"],
    theirs_alone: Int[np.ndarray, "m 2"],
) -> Unmatched:
    """Where the strong paths that only one has come from."""
    ours_alone = ours_alone[strong(ours)[*ours_alone.T]]
    theirs_alone = theirs_alone[strong(theirs)[*theirs_alone.T]]
    short = np.array(
        [legs_m(ours, k, i, links.bs_m[k], links.ue_m[k]).min() < SHORTEST_LEG_M for k, i in ours_alone], bool
    )
    lost, missed = ours_alone[~short], theirs_alone
    return Unmatched(
        ours=len(ours_alone),
        theirs=len(theirs_alone),
        short_leg=int(short.sum()),
        found_denser=_found(lost, ours, links, lambda some: some.theirs(scene.order, DENSE_RAYS, receivers_a_solve=1))
        + _found(missed, theirs, links, lambda some: some.ours(scene.order, DENSE_RAYS)),
    )


def _found(alone: Int[np.ndarray, "n 2"], having: Paths, links: _Links, again: Callable[[_Links], Paths]) -> int:
    """How many of the paths the other tracer finds when it traces their links again."""
    if not len(alone):
        return 0
    some = np.unique(alone[:, 0])
    still = match(_of_arrays(lambda rows: rows[some], [having]), again(links.some(some)), links.bodies).ours_alone
    left = {(int(some[k]), int(i)) for k, i in still}
    return sum((int(k), int(i)) not in left for k, i in alone)


def _edges(links: _Links) -> tuple[Figures, Figures]:
    """Figures of paths over single edges: as they are, and with Sionna's diffraction coefficient in ours."""
    theirs = links.theirs(1, EDGE_RAYS, diffraction=True)
    both = []
    for rule in ("holm", "sionna"):
        ours = links.ours(1, diffraction=True, wedge_rule=rule)
        matched = match(ours, theirs, links.bodies)
        found = differences(ours, theirs, matched, links.carrier_hz)
        group = (ours.kind[..., 0] == Interaction.DIFFRACTION, theirs.kind[..., 0] == Interaction.DIFFRACTION)
        both.append(figures_of("edge", ours, theirs, matched, found, None, group, links.carrier_hz))
    return both[0], both[1]


@dataclass(frozen=True)
class Density:
    """How many of all strong reflected and direct paths a tracer finds with so many rays.

    Attributes:
        tracer: whose.
        rays: launched a solve; `hash_slots`: of Sionna's table, `together`: receivers that share it.
        found, paths: found, of those that any of the tracers finds.
        seconds: of tracing.
    """

    tracer: str
    rays: int
    hash_slots: int | None
    together: int | None
    found: int
    paths: int
    seconds: float


def densities(scene: ParityScene, carrier_hz: float, receivers: int) -> list[Density]:
    """What both tracers find as they launch more rays, and Sionna as chains collide less in its table."""
    links = _links(scene, carrier_hz, receivers)
    rows: list[tuple[str, int, int | None, int | None]] = [
        ("ours", rays, None, None) for rays in (10_000, 100_000, RAYS)
    ]
    rows += [
        ("Sionna", rays, slots, together)
        for rays, slots, together in (
            (RAYS, SIONNAS_SLOTS, 64),
            (RAYS, SIONNAS_SLOTS, RECEIVERS_A_SOLVE),
            (scene.samples, SIONNAS_SLOTS, RECEIVERS_A_SOLVE),
            (scene.samples // 16, HASH_SLOTS, RECEIVERS_A_SOLVE),
            (RAYS, HASH_SLOTS, RECEIVERS_A_SOLVE),
            (scene.samples, HASH_SLOTS, RECEIVERS_A_SOLVE),
        )
    ]
    found: list[set[tuple[int, bytes]]] = []
    seconds = []
    for _, rays, slots, together in rows:
        begin = time.perf_counter()
        if slots is None or together is None:
            paths = links.ours(scene.order, rays)
        else:
            paths = links.theirs(scene.order, rays, receivers_a_solve=together, hash_slots=slots)
        seconds.append(time.perf_counter() - begin)
        found.append({(link, interactions(paths, link, path)) for link, path in np.argwhere(strong(paths))})
    everything = set().union(*found)
    return [
        Density(*row, len(those), len(everything), spent)
        for row, those, spent in zip(rows, found, seconds, strict=True)
    ]
